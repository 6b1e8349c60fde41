"""Chamfer similarity, between frames over their regions and between videos over their frames.

ViSiL (ICCV 2019), section 3.2 equation 2 (frames) and section 3.3 equation 4 (videos); the
symmetric variant, section 3.3, is the mean of both directions and is used at both levels. Ours is
the larger of both directions, between videos only.

These are the plain reference; tensors may have any number of leading batch axes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import ops
from ..model.descriptors import Layout
from .csls import view_offsets

Weights = tuple[Any, Any]


def frame_to_frame(
    query: Any, target: Any, symmetric: bool = False, weights: Weights | None = None
) -> Any:
    """CS(q, t) = mean over q's regions of the maximum over t's regions of their dot product.

    Args:
        query: float [..., Tq, R, C].
        target: float [..., Tt, R, C], same leading axes.
        symmetric: (CS(q, t) + CS(t, q)) / 2.
        weights: of regions that are scaled by a weight each, its mean over every frame, float
            [Tq] and [Tt]: the mean over regions becomes the weighted one.

    Returns:
        float [..., Tq, Tt].
    """
    return _chamfer_of(_products(query, target), symmetric, weights)


def _products(query: Any, target: Any) -> Any:
    """Dot products of all regions: [..., Tq, R, C], [..., Tt, R, C] -> [..., Tq, R, Tt, R]."""
    *batch, frames_q, regions_q, channels = query.shape
    frames_t, regions_t = target.shape[-3:-1]
    rows = ops.reshape(query, (*batch, frames_q * regions_q, channels))
    columns = ops.reshape(target, (*batch, frames_t * regions_t, channels))
    dots = ops.matmul(rows, ops.swapaxes(columns, -1, -2))
    return ops.reshape(dots, (*batch, frames_q, regions_q, frames_t, regions_t))


def _chamfer_of(dots: Any, symmetric: bool, weights: Weights | None) -> Any:
    """`frame_to_frame` of `_products`."""
    there = ops.mean(ops.max(dots, axis=-1), axis=-2)
    if weights is not None:
        there = there / weights[0][:, None]
    if not symmetric:
        return there
    back = ops.mean(ops.max(dots, axis=-3), axis=-1)
    if weights is not None:
        back = back / weights[1][None, :]
    return (there + back) / 2


def best_of_views(
    query: Any,
    target: Any,
    layout: Layout,
    symmetric: bool = False,
    weights: Weights | None = None,
    hubs: np.ndarray | None = None,
) -> Any:
    """Frame-to-frame similarity with all views of a frame: the best of what each says.

    Args:
        query: float [Tq, Q, C], laid out as `layout` says.
        target: float [Tt, R, C], the vectors that both sides have; more are ignored.
        symmetric, weights: see `frame_to_frame`; for the regions. Partial and small views ask
            the one way only.
        hubs: of the model, see `hubness`.

    Returns:
        float [Tq, Tt].
    """
    n = layout.regions
    regions = target[:, :n]
    dots = _products(query[:, :n], regions)
    best = _chamfer_of(dots, symmetric, weights)
    if layout.partial:
        best = ops.maximum(best, _partial_of(dots, layout.partial) + layout.partial_offset)
    if layout.whole_places:
        asked = ops.stack([query[:, place] for place in layout.whole_places], axis=1)
        offsets = view_offsets(asked, layout, hubs)
        kinds = [n] * len(layout.soft_places) + [layout.shared - 1] * len(layout.pixel_places)
        for i, place in enumerate(kinds):
            dots = ops.matmul(asked[:, i], ops.swapaxes(target[:, place], 0, 1))  # [Tq, Tt]
            best = ops.maximum(best, dots + offsets[:, i, None])
    for i in range(layout.small):
        small = query[:, layout.shared + i : layout.shared + i + 1]
        offset = layout.small_offsets[i] if layout.small_offsets else 0.0
        best = ops.maximum(best, frame_to_frame(small, regions) + offset)
    return ops.minimum(best, 1.0)


def _partial_of(dots: Any, count: int) -> Any:
    """Mean over the `count` regions of q that match best, of the maximum over t's regions.

    Ours, after the partial Hausdorff distance (Huttenlocher et al., PAMI 1993).
    """
    return ops.mean(ops.sort(ops.max(dots, axis=-1), axis=1)[:, -count:], axis=1)


def video_to_video(
    similarity: Any, function: str = "chamfer", weights: Weights | None = None
) -> Any:
    """Mean over the query's rows of the maximum over the target's columns.

    Args:
        similarity: float [..., Tq, Tt], frame-to-frame or the comparator's output.
        function: "symmetric_chamfer" for the mean of both directions, "max_chamfer" for the larger.
        weights: of rows and columns, float [Tq] and [Tt], for a weighted mean.

    Returns:
        float [...].
    """
    there = _mean(ops.max(similarity, axis=-1), weights and weights[0])
    if function == "chamfer":
        return there
    back = _mean(ops.max(similarity, axis=-2), weights and weights[1])
    return ops.maximum(there, back) if function == "max_chamfer" else (there + back) / 2


def _mean(values: Any, weights: Any | None) -> Any:
    if weights is None:
        return ops.mean(values, axis=-1)
    return ops.sum(values * weights, axis=-1) / ops.sum(weights, axis=-1)
