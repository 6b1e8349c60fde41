"""Descriptors on the device: adapted, weighted by attention and content, in tiles, for products."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backend import ops
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
        loaded = DeviceFeatures([], [], None if self._blank is None else [], layout)
        for x in self._tiles(vectors, size, whole_tiles):
            x, weight = self._weighted(x, layout, queries=True)
            tile, offsets = {}, {}
            for comparison in layout.comparisons:
                rows = _gathered(x, layout, comparison)
                tile[comparison.reference.name] = _rows(rows)
                if comparison.maxima:
                    fused = ops.cast(rows[comparison.rows - comparison.fused_rows :], "float32")
                    term_values = term_offsets(fused, comparison, self._anchors)
                    offsets[comparison.reference.name] = term_values
            loaded.tiles.append(tile)
            loaded.offsets.append(offsets)
            if loaded.weights is not None:
                loaded.weights.append(weight)
        return loaded

    def targets(self, vectors: np.ndarray, size: int, whole_tiles: bool) -> DeviceFeatures:
        """Database descriptors, adapted and weighted as well; arguments as of `queries`."""
        layout = self._layout
        loaded = DeviceFeatures([], [], None if self._blank is None else [], layout)
        for x in self._tiles(vectors, size, whole_tiles):
            x, weight = self._weighted(x, layout, queries=False)
            names = [comparison.reference.name for comparison in layout.comparisons]
            parts = {name: x[layout.slices[name]] if len(names) > 1 else x for name in names}
            loaded.tiles.append({n: _rows(p) for n, p in parts.items()})
            if loaded.weights is not None:
                loaded.weights.append(weight)
        return loaded

    def _tiles(self, vectors: np.ndarray, size: int, whole_tiles: bool) -> Iterator[Tensor]:
        """[N, R, C] -> parts of [R, n, C].

        Descriptors lie outside of frames, so that maxima over them run along whole rows of memory.
        """
        if whole_tiles:
            missing = -len(vectors) % size
            zeros = np.zeros((missing, *vectors.shape[1:]), vectors.dtype)
            vectors = np.concatenate([vectors, zeros])
        for start in range(0, len(vectors), size):
            yield ops.transpose(ops.convert_to_tensor(vectors[start : start + size]), (1, 0, 2))

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
