"""PCA whitening of region vectors.

Jegou and Chum, "Negative evidences and co-occurences in image retrieval: the benefit of PCA and
whitening" (ECCV 2012): rotate to the principal axes, divide by the standard deviations, L2.
"""

from __future__ import annotations

from typing import Any

from ..backend import ops


def whiten(x: Any, mean: Any, matrix: Any) -> Any:
    """(x - mean) @ V / sqrt(d), then length 1.

    Args:
        x: float32 [..., D].
        mean: float32 [D].
        matrix: float32 [D, n], see `nets.model.whitening.projection`.

    Returns:
        float32 [..., n].
    """
    return l2_normalize(ops.matmul(x - mean, matrix))


_SMALLEST_SQUARE = 1e-12  # keeps a region without any activation at zero instead of NaN


def l2_normalize(x: Any) -> Any:
    """Scale the last axis to length 1; zeros stay zeros."""
    squares = ops.sum(ops.square(x), axis=-1, keepdims=True)
    return x * ops.rsqrt(ops.maximum(squares, _SMALLEST_SQUARE))
