"""Losses that a head is trained by.

InfoNCE (S2VS, arXiv 2304.03378, section 3.3) or triplets (ViSiL, ICCV 2019, section 3.5), and
self-similarity towards 1 with the hardest negative towards 0 (S2VS). The similarity regularisation
of both papers is found where the comparator runs, see `head`.
"""

from __future__ import annotations

from typing import Any

from ..nets.backend import ops

_FAR = -2.0  # below every similarity
_SMALL = 1e-3  # keeps logarithms finite

Tensor = Any


def uses(x: Tensor, count: int) -> list[Tensor]:
    """The tensor `count` times, whose gradients are summed in the order of the list.

    TensorFlow adds up the gradients of a tensor's uses in an order that depends on which buffer
    is free first, so that with three uses or more equal runs part in their last digits.
    """
    return list(ops.unstack(ops.repeat(x[None], count, axis=0), count))


def info_nce(scores: Tensor, positive: Tensor, negative: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of each positive against the negatives of its row, and of its column; mean.

    Args:
        scores: float [B, M].
        positive, negative: float [B, M] of 0 and 1.
        temperature: scores are divided by it.
    """
    total = 0.0
    for axis, logits in zip((1, 0), uses(scores / temperature, 2), strict=True):
        negatives = ops.where(negative > 0, logits, -1e9)
        rest = ops.logsumexp(negatives, axis=axis, keepdims=True)
        loss = ops.softplus(rest - logits)  # log(exp(logits) + exp(rest)) - logits
        total = total + ops.sum(loss * positive) / ops.sum(positive)
    return total / 2


def triplets(scores: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """max(0, margin - positive + hardest negative) over rows, and over columns; mean."""
    total = 0.0
    for axis, use in zip((1, 0), uses(scores, 2), strict=True):
        hardest = ops.max(ops.where(negative > 0, use, _FAR), axis=axis, keepdims=True)
        loss = ops.relu(margin - use + hardest)
        total = total + ops.sum(loss * positive) / ops.sum(positive)
    return total / 2


def extremes(scores: Tensor, selves: Tensor, negative: Tensor) -> Tensor:
    """-log of self-similarities [B], and of 1 less each row's hardest negative of [B, M]; means."""
    hardest = ops.max(ops.where(negative > 0, scores, _FAR), axis=1)
    near_one = -ops.mean(ops.log(ops.clip(selves, _SMALL, 1.0)))
    near_zero = -ops.mean(ops.log(ops.clip(1.0 - hardest, _SMALL, 1.0)))
    return near_one + near_zero
