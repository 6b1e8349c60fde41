"""Descriptors on the device: adapted, weighted by attention and content, in tiles, for products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..backend import compiled_for_shapes, ops
from ..layers.whitening import l2_normalize
from ..model.descriptors import Comparison, DescriptorLayout
from ..model.model import Model
from .adaptation import adapt_descriptors, adaptation_matrices, adapted_anchors
from .attention import apply_head, descriptor_weights
from .csls import placed_anchors, term_offsets
from .dequantize import dequantize

Tensor = Any


@dataclass(frozen=True)
class DeviceFeatures:
    """Descriptors of one side on the device.

    Attributes:
        tiles: for each tile of n frames a dict by the name of the reference group, of tensors in
            the scorer's precision, weighted: of queries [P * n, C], the P descriptors that are
            compared with the group; of targets the group itself, [R * n, C].
        offsets: for each tile of queries a dict of float32 [F, n], what is added to the
            similarities of the last F descriptors; without the groups that have none.
        weights: for each tile float32 [n], how much each frame counts; None where all count alike.
        layout: of the frames.
    """

    tiles: list[dict[str, Tensor]]
    offsets: list[dict[str, Tensor]]
    weights: list[Tensor] | None
    layout: DescriptorLayout


class _Side(NamedTuple):
    """What is loaded: frames of a layout, of queries or of the database."""

    layout: DescriptorLayout
    queries: bool


class FeatureLoader:
    """Moves descriptors of stores to the device.

    Args:
        model: attention, adaptation, blank space and anchors are used.
        precision: of the products that follow.
    """

    def __init__(self, model: Model, precision: str) -> None:
        self._layout, self._precision = model.layout, precision
        self._stored_dims, self._dims = model.stored_dims or model.dims, model.dims
        self._model, self._blank = model, model.blank
        self._has_head = model.attention is not None or model.binarization is not None
        self._loads: dict[tuple[Any, ...], Callable[..., Any]] = {}
        self._anchors = placed_anchors(adapted_anchors(model))
        self._adaptation = adaptation_matrices(model.adaptation) if model.adaptation else None

    def queries(self, vectors: np.ndarray, size: int, whole_tiles: bool) -> DeviceFeatures:
        """Query descriptors, adapted, weighted by attention and content.

        Args:
            vectors: [N, Q, C] as stored, see `quantization`.
            size: frames of a tile.
            whole_tiles: round N up by zeros.
        """
        layout = self._layout.of_query(vectors.shape[1])
        return self._loaded(vectors, size, whole_tiles, _Side(layout, True))

    def targets(self, vectors: np.ndarray, size: int, whole_tiles: bool) -> DeviceFeatures:
        """Database descriptors, adapted and weighted as well; arguments as of `queries`."""
        return self._loaded(vectors, size, whole_tiles, _Side(self._layout, False))

    def _loaded(
        self, vectors: np.ndarray, size: int, whole_tiles: bool, side: _Side
    ) -> DeviceFeatures:
        loaded = DeviceFeatures([], [], None if self._blank is None else [], side.layout)
        if whole_tiles:
            missing = -len(vectors) % size
            zeros = np.zeros((missing, *vectors.shape[1:]), vectors.dtype)
            vectors = np.concatenate([vectors, zeros])
        load = self._compiled(side, vectors)
        for start in range(0, len(vectors), size):
            tile, offsets, weights = load(ops.convert_to_tensor(vectors[start : start + size]))
            loaded.tiles.append(tile)
            if side.queries:
                loaded.offsets.append(offsets)
            if loaded.weights is not None:
                loaded.weights.append(weights)
        return loaded

    def _compiled(self, side: _Side, vectors: np.ndarray) -> Callable[..., Any]:
        """`_tile` for vectors of this kind: one operation after the other takes twice as long."""
        kind = side, vectors.dtype, vectors.shape[1:]
        if kind not in self._loads:

            def load(x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor | None]:
                return self._tile(x, side)

            signature = [((None, *vectors.shape[1:]), vectors.dtype.name)]
            self._loads[kind] = compiled_for_shapes(load, signature)
        return self._loads[kind]

    def _tile(
        self, x: Tensor, side: _Side
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor | None]:
        """[n, R, C] -> what `DeviceFeatures` holds of a tile: descriptors, offsets, weights."""
        layout = side.layout
        # Descriptors lie outside of frames: maxima over them run along whole rows of memory.
        x, weights = self._weighted(ops.transpose(x, (1, 0, 2)), layout, side.queries)
        tile: dict[str, Tensor] = {}
        offsets: dict[str, Tensor] = {}
        for comparison in layout.comparisons:
            name = comparison.reference.name
            if not side.queries:
                alone = len(layout.comparisons) == 1
                tile[name] = _rows(x if alone else x[layout.slices[name]])
                continue
            rows = _gathered(x, layout, comparison)
            tile[name] = _rows(rows)
            if comparison.maxima:
                fused = ops.cast(rows[comparison.rows - comparison.fused_rows :], "float32")
                offsets[name] = term_offsets(fused, comparison, self._anchors)
        return tile, offsets, weights

    def _weighted(
        self, x: Tensor, layout: DescriptorLayout, queries: bool
    ) -> tuple[Tensor, Tensor | None]:
        """[R, n, C] in the precision of products, weighted, and the weights of the frames."""
        x = dequantize(x, self._stored_dims)
        cut = self._stored_dims > self._dims
        plain = self._blank is None and self._adaptation is None
        if plain and not cut and not self._has_head:
            return ops.cast(x, self._precision), None
        x, scale, weights = ops.cast(x, "float32"), None, None
        if cut:
            x = l2_normalize(x[..., : self._dims])
        if self._blank is not None:
            scale, weights = descriptor_weights(x, layout, self._blank, queries)
        if self._adaptation is not None:
            x = adapt_descriptors(x, layout, self._adaptation)
        if self._has_head:
            x = apply_head(x, self._model)
        if scale is not None:
            x = x * scale[..., None]
        return ops.cast(x, self._precision), weights


def _rows(x: Tensor) -> Tensor:
    """[P, n, C] -> [P * n, C]."""
    return ops.reshape(x, (-1, x.shape[-1]))


def _gathered(x: Tensor, layout: DescriptorLayout, comparison: Comparison) -> Tensor:
    """The rows of a comparison out of all descriptors: [Q, n, C] -> [P, n, C]."""
    spans: list[list[int]] = []
    for group in comparison.groups:
        place = layout.slices[group.name]
        if spans and spans[-1][1] == place.start:
            spans[-1][1] = place.stop
        else:
            spans.append([place.start, place.stop])
    return join([x[first:stop] for first, stop in spans], axis=0)


def join(parts: list[Tensor], axis: int) -> Tensor:
    """The parts along an axis; a single one as it is."""
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=axis)
