"""Vectors on the device: adapted, weighted by attention and content, in tiles, for products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backend import ops
from ..model.descriptors import Layout
from ..model.model import ModelWeights
from .adaptation import adapted, hubs_of, matrices_of
from .attention import attend, content_of_views
from .csls import view_offsets
from .dequantize import as_floats

Tensor = Any


@dataclass(frozen=True)
class Placed:
    """Vectors of one side on the device.

    Attributes:
        tiles: in the scorer's precision, weighted; of queries each [n * (Q - s), C], of targets
            [R * n, C]: Q and R vectors of a frame, s of them soft, views or pixels.
        whole: per tile [s * n, C], these of queries; empty where there are none.
        offsets: per tile float32 [s * n], what is added to their similarities.
        weights: per tile float32 [n], how much each frame counts; None where all count alike.
    """

    tiles: list[Tensor]
    weights: list[Tensor] | None
    whole: list[Tensor]
    offsets: list[Tensor]
    layout: Layout


class Placer:
    """Moves vectors of stores to the device.

    Args:
        weights: attention, adaptation, blank space and hubs are used.
        precision: of the products that follow.
    """

    def __init__(self, weights: ModelWeights, precision: str) -> None:
        self._layout, self._dims, self._precision = weights.layout, weights.dims, precision
        self._attention, self._blank = weights.attention, weights.blank
        self._hubs = hubs_of(weights)
        self._adaptation = matrices_of(weights.adaptation) if weights.adaptation else None

    def queries(self, vectors: np.ndarray, size: int, whole_tiles: bool) -> Placed:
        """Query vectors, adapted, weighted by attention and content.

        Args:
            vectors: [N, R, C] as stored, see `encoding`.
            size: frames of a tile.
            whole_tiles: round N up by zeros.
        """
        layout = self._layout.of_query(vectors.shape[1])
        if whole_tiles:
            vectors = _whole_tiles(vectors, size)
        tiles, weights, whole, offsets = [], [], [], []
        for start in range(0, len(vectors), size):
            x = ops.convert_to_tensor(vectors[start : start + size])
            x, weight = self._weighted(x, layout, regions_axis=1)
            if layout.whole_places:
                asked = [x[:, place] for place in layout.whole_places]
                whole.append(joined(asked, axis=0))
                apart = ops.cast(ops.stack(asked, axis=0), "float32")
                each = view_offsets(ops.transpose(apart, (1, 0, 2)), layout, self._hubs)
                offsets.append(ops.reshape(ops.transpose(each), (-1,)))
                rest = x[:, : layout.regions], x[:, layout.shared : layout.shared + layout.small]
                x = joined([part for part in rest if part.shape[1]], axis=1)
            tiles.append(ops.reshape(x, (-1, self._dims)))
            weights.append(weight)
        return Placed(tiles, None if self._blank is None else weights, whole, offsets, layout)

    def targets(self, vectors: np.ndarray, size: int, whole_tiles: bool) -> Placed:
        """Database vectors, adapted and weighted as well; arguments as of `queries`.

        Regions lie outside of frames, so that the maximum over them runs along whole rows of
        memory.
        """
        tiles, weights = [], []
        if whole_tiles:
            vectors = _whole_tiles(vectors, size)
        for start in range(0, len(vectors), size):
            x = ops.convert_to_tensor(vectors[start : start + size])
            x = ops.transpose(x, (1, 0, 2))
            x, weight = self._weighted(x, self._layout, regions_axis=0)
            tiles.append(ops.reshape(x, (-1, self._dims)))
            weights.append(weight)
        return Placed(tiles, None if self._blank is None else weights, [], [], self._layout)

    def _weighted(
        self, x: Tensor, layout: Layout, regions_axis: int
    ) -> tuple[Tensor, Tensor | None]:
        """[..., C] in the precision of products, weighted, and the weights of the frames."""
        x = as_floats(x, self._dims)
        if self._attention is None and self._blank is None and self._adaptation is None:
            return ops.cast(x, self._precision), None
        x, scale, weights = ops.cast(x, "float32"), None, None
        if self._blank is not None:
            of_queries = regions_axis == 1
            scale, weights = content_of_views(
                x if of_queries else ops.transpose(x, (1, 0, 2)), layout, self._blank, of_queries
            )
            scale = scale if of_queries else ops.transpose(scale)
        if self._adaptation is not None:
            x = adapted(x, layout, self._adaptation, regions_axis)
        if self._attention is not None:
            x = attend(x, ops.convert_to_tensor(self._attention))
        if scale is not None:
            x = x * scale[..., None]
        return ops.cast(x, self._precision), weights


def joined(parts: list[Tensor], axis: int) -> Tensor:
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=axis)


def _whole_tiles(vectors: np.ndarray, size: int) -> np.ndarray:
    """[N, R, C] with N rounded up to a multiple of `size` by zeros."""
    missing = -len(vectors) % size
    return np.concatenate([vectors, np.zeros((missing, *vectors.shape[1:]), vectors.dtype)])
