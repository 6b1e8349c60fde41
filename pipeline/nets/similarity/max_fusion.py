"""The best of what the looks at a frame say, from products taken at once; see `layout`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import ops
from ..model.descriptors import Layout

Tensor = Any


def best_look(
    dots: Tensor,
    whole: Tensor | None,
    layout: Layout,
    symmetric: bool,
    weights: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Frame-to-frame similarity; equals `chamfer.best_of_views`.

    Args:
        dots: [n, P, R, m], products of n query frames' regions and small vectors, P together,
            with m target frames' R regions.
        whole: float32 [n, m], the best of the products of soft vectors, views and pixels with their
            offsets; None without.
        layout: of the query frames.
        symmetric: average both directions of Chamfer over regions.
        weights: of query and of target frames, float32 [n] and [m], where regions are scaled.

    Returns:
        float32 [n, m], at most 1.
    """
    regions = layout.regions
    best = ops.cast(ops.max(dots, axis=2), "float32")
    result = ops.mean(best[:, :regions], axis=1)
    if weights is not None:
        result = result / weights[0][:, None]
    if symmetric:
        back = ops.mean(ops.cast(ops.max(dots[:, :regions], axis=1), "float32"), axis=1)
        if weights is not None:
            back = back / weights[1][None, :]
        result = (result + back) / 2
    if layout.partial:
        part = best_sum(best[:, :regions], layout.partial) / layout.partial
        result = ops.maximum(result, part + layout.partial_offset)
    if whole is not None:
        result = ops.maximum(result, whole)
    if layout.small:
        small = best[:, regions : regions + layout.small]
        if layout.small_offsets:
            small = small + np.array(layout.small_offsets, np.float32)[:, None]
        result = ops.maximum(result, ops.max(small, axis=1))
    # Offsets and rounding may lead beyond what a similarity is.
    return ops.minimum(result, 1.0)


def best_sum(x: Tensor, count: int) -> Tensor:
    """Sum of the `count` highest along axis 1, [n, R, m] -> [n, m].

    By maxima and minima of whole slices: next to nothing beside the product that x comes from,
    where sorting nine values at a time costs a sixth of it on a CPU (benchmarks/NOTES.md).
    """
    rest = [x[:, i] for i in range(x.shape[1])]
    total = None
    for _ in range(count):
        highest, left = rest[0], []
        for other in rest[1:]:
            left.append(ops.minimum(highest, other))
            highest = ops.maximum(highest, other)
        total = highest if total is None else total + highest
        rest = left
    return total
