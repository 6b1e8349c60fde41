"""CSLS: how near a query's descriptor lies to everything, which is taken off its similarities.

A crop may be a wall or the sky, which are like many pictures. By the maximum over many terms such
a descriptor would make unrelated videos alike. Its r is the mean similarity to its nearest
neighbours among anchors, descriptors of other videos: r of CSLS, for the side of queries (Conneau
et al., "Word translation without parallel data", ICLR 2018, section 2.3; hubs: Radovanovic et al.,
JMLR 11, 2010).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import ops
from ..model.descriptors import Comparison

NEAREST = 0.01  # share of the anchors that are neighbours


def placed_anchors(anchors: np.ndarray | None) -> Any:
    """Anchors as the functions below take them, on the device once for all queries.

    Args:
        anchors: float32 [M, C], of length 1, lowpass descriptors of other videos; None without.

    Returns:
        float32 [C, M], or None.
    """
    return None if anchors is None else ops.convert_to_tensor(np.ascontiguousarray(anchors.T))


def mean_nearest(x: Any, anchors: Any) -> Any:
    """r of CSLS: the mean similarity to the nearest anchors.

    Args:
        x: float32 [..., C], of length 1.
        anchors: float32 [C, M], see `placed_anchors`.

    Returns:
        float32 [...].
    """
    dots = ops.matmul(x, anchors)
    nearest, _ = ops.top_k(dots, max(1, round(NEAREST * anchors.shape[1])))
    return ops.mean(nearest, axis=-1)


def term_offsets(x: Any, comparison: Comparison, anchors: Any) -> Any:
    """What is added to the similarities of descriptors with a term of reduce max.

    Args:
        x: float32 [F, n, C], the last F rows of the comparison for n frames.
        anchors: see `placed_anchors`; None if none of the terms has CSLS taken off.

    Returns:
        float32 [F, n].
    """
    parts, start = [], 0
    fused = comparison.groups[len(comparison.groups) - len(comparison.maxima) :]
    for group, term in zip(fused, comparison.maxima, strict=True):
        rows, start = x[start : start + group.count], start + group.count
        offsets = ops.zeros_like(rows[..., 0]) + np.float32(term.offset)
        if term.csls and anchors is not None:
            offsets = offsets - np.float32(term.csls) * mean_nearest(rows, anchors)
        parts.append(offsets)
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=0)
