"""Chamfer similarity, between frames over their regions and between videos over their frames.

ViSiL (ICCV 2019), section 3.2 equation 2 (frames) and section 3.3 equation 4 (videos); the
symmetric variant, section 3.3, is the mean of both directions and is used at both levels.

These are the plain reference; tensors may have any number of leading batch axes.
"""

from __future__ import annotations

from typing import Any

from pipeline.nets.backend import ops


def frame_to_frame(query: Any, target: Any, symmetric: bool = False) -> Any:
    """CS(q, t) = mean over q's regions of the maximum over t's regions of their dot product.

    Args:
        query: float [..., Tq, R, C].
        target: float [..., Tt, R, C], same leading axes.
        symmetric: (CS(q, t) + CS(t, q)) / 2.

    Returns:
        float [..., Tq, Tt].
    """
    *batch, frames_q, regions_q, channels = query.shape
    frames_t, regions_t = target.shape[-3:-1]
    rows = ops.reshape(query, (*batch, frames_q * regions_q, channels))
    columns = ops.reshape(target, (*batch, frames_t * regions_t, channels))
    dots = ops.matmul(rows, ops.swapaxes(columns, -1, -2))
    dots = ops.reshape(dots, (*batch, frames_q, regions_q, frames_t, regions_t))
    return _chamfer(dots, query_axis=-3, target_axis=-1, symmetric=symmetric)


def video_to_video(similarity: Any, symmetric: bool = False) -> Any:
    """Mean over the query's rows of the maximum over the target's columns.

    Args:
        similarity: float [..., Tq, Tt], frame-to-frame or the comparator's output.
        symmetric: mean of both directions.

    Returns:
        float [...].
    """
    return _chamfer(similarity, query_axis=-2, target_axis=-1, symmetric=symmetric)


def _chamfer(similarity: Any, query_axis: int, target_axis: int, symmetric: bool) -> Any:
    there = _directed(similarity, target_axis, query_axis)
    if not symmetric:
        return there
    return (there + _directed(similarity, query_axis, target_axis)) / 2


def _directed(similarity: Any, max_axis: int, mean_axis: int) -> Any:
    best = ops.max(similarity, axis=max_axis, keepdims=True)
    mean = ops.mean(best, axis=mean_axis, keepdims=True)
    return ops.squeeze(mean, axis=(mean_axis, max_axis))
