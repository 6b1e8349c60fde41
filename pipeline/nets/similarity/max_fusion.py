"""Frame-to-frame similarity: the maximum over the terms of a layout, of products taken at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..backend import ops
from ..model.descriptors import DescriptorLayout, SimilarityTerm

Tensor = Any


def fused_similarity(
    products: Sequence[tuple[Tensor, Tensor | None]],
    layout: DescriptorLayout,
    symmetric: bool,
    weights: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The maximum over all terms, see `nets.model.descriptors`.

    Args:
        products: for each of `layout.comparisons` the dot products [P, n, R, m] of P descriptors
            of n query frames with R of m database frames, and float32 offsets [F, n] of the last F
            query descriptors, None where F is 0.
        layout: of the query frames.
        symmetric: terms of reduce mean average both directions of Chamfer.
        weights: of query and of database frames, float32 [n] and [m], where regions are scaled.

    Returns:
        float32 [n, m], at most 1.
    """
    result = None
    for comparison, (dots, offsets) in zip(layout.comparisons, products, strict=True):
        single = comparison.reference.count == 1
        best = ops.cast(ops.squeeze(dots, 2) if single else ops.max(dots, axis=2), "float32")
        values = []
        for term in comparison.terms:
            rows = comparison.rows_of(term.query)
            back = ops.max(dots[rows], axis=0) if symmetric and term.reduce == "mean" else None
            values.append(_reduced(term, best[rows], back, _scales(term, layout, weights)))
        if offsets is not None:
            fused = best[comparison.rows - comparison.fused_rows :] + offsets[:, :, None]
            values.append(ops.max(fused, axis=0))
        for value in values:
            result = value if result is None else ops.maximum(result, value)
    # Offsets and rounding may lead beyond what a similarity is.
    return ops.minimum(result, 1.0)


def _scales(
    term: SimilarityTerm, layout: DescriptorLayout, weights: tuple[Tensor, Tensor] | None
) -> tuple[Tensor | None, Tensor | None]:
    """Weights of both sides' frames as far as the regions of these are scaled, else None."""
    if weights is None:
        return None, None
    regions = layout.groups[0].name
    return (
        weights[0] if term.query == regions else None,
        weights[1] if term.reference == regions else None,
    )


def _reduced(
    term: SimilarityTerm,
    best: Tensor,
    back: Tensor | None,
    scales: tuple[Tensor | None, Tensor | None],
) -> Tensor:
    """A term of reduce mean or top_k: float32 [P, n, m] and, both ways, [n, R, m] -> [n, m]."""
    if term.reduce == "top_k":
        return top_k_sum(best, term.top_k) / term.top_k + term.offset
    result = ops.mean(best, axis=0)
    if scales[0] is not None:
        result = result / scales[0][:, None]
    if back is not None:
        other_way = ops.mean(ops.cast(back, "float32"), axis=1)
        if scales[1] is not None:
            other_way = other_way / scales[1][None, :]
        result = (result + other_way) / 2
    return result + term.offset if term.offset else result


def top_k_sum(x: Tensor, count: int) -> Tensor:
    """Sum of the `count` highest along axis 0, [R, n, m] -> [n, m].

    By maxima and minima of whole slices: next to nothing beside the product that x comes from,
    where sorting nine values at a time costs a sixth of it on a CPU (benchmarks/NOTES.md).
    """
    rest = [x[i] for i in range(x.shape[0])]
    total = None
    for _ in range(count):
        highest, left = rest[0], []
        for other in rest[1:]:
            left.append(ops.minimum(highest, other))
            highest = ops.maximum(highest, other)
        total = highest if total is None else total + highest
        rest = left
    return total
