"""Video comparator: a small CNN that finds diagonals in the frame-to-frame matrix.

ViSiL (ICCV 2019), section 3.3 and table 1: three 3x3 convolutions with ReLU, 2x2 max pooling
after the first two, a 1x1 convolution to one channel, hard tanh. Pairs of different shapes share a
batch, see `ragged`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..backend import ops
from .ragged import pad_edges

SHRINK = 4  # rows and columns of the matrix per row and column of the output
_MIN_WEIGHT = 1e-6  # of a weight: four of nothing weigh alike, where 0 / 0 would be NaN

Tensor = Any
Weights = tuple[Any, Any]


def convolve(
    x: Tensor,
    heights: Tensor,
    widths: Tensor,
    layers: Sequence[tuple[Tensor, Tensor]],
    *,
    zeros: bool = False,
) -> Tensor:
    """The network, before the hard tanh.

    Args:
        x: [B, P + 2, Q + 2, 1], matrices with a border at each pair's own edge.
        heights, widths: int32 [B], rows and columns of each pair's matrix.
        layers: four pairs of kernel [h, w, in, out] and bias [out].
        zeros: between layers pad by zeros instead of the values at the edge.

    Returns:
        [B, P // 4, Q // 4]; rows of a pair beyond a multiple of 4 reach the output only through
        the convolutions.
    """
    *hidden, (kernel, bias) = layers
    for number, (hidden_kernel, hidden_bias) in enumerate(hidden):
        if number:
            heights, widths = heights // 2, widths // 2
            x = pad_edges(ops.max_pool(x, 2, 2, padding="valid"), heights, widths, zeros)
        x = ops.relu(ops.conv(x, hidden_kernel, padding="valid") + hidden_bias)
    return (ops.matmul(x, kernel[0, 0]) + bias)[..., 0]


def bypass(x: Tensor, symmetric: bool, weights: Weights | None = None) -> Tensor:
    """The matrix itself at the size of the output: of 4 x 4 similarities the mean of row maxima.

    The comparator knows the diagonals that it was trained on; what else the frames say is kept
    by this residual path. Chamfer of it is that of the matrix, as far as neighbours match
    neighbours. With weights w it is sum_i w_i m_i / sum_i w_i, so that a blank frame among others
    of its group takes nothing from them. Ours.

    Args:
        x: float [B, P, Q, 1].
        symmetric: mean with that of column maxima.
        weights: of rows and columns, float [B or 1, P] and [B or 1, Q], 0 or more; columns count
            if symmetric only. None where all count alike.

    Returns:
        float [B, P // 4, Q // 4].
    """
    rows, columns = (None, None) if weights is None else weights
    there = _mean_of_four(_max_of_four(x, 2), 1, rows)
    if symmetric:
        there = (there + _mean_of_four(_max_of_four(x, 1), 2, columns)) / 2
    return there[..., 0]


def _max_of_four(x: Tensor, axis: int) -> Tensor:
    size = (4, 1) if axis == 1 else (1, 4)
    return ops.max_pool(x, size, size, "valid", data_format="channels_last")


def _mean_of_four(x: Tensor, axis: int, weights: Tensor | None = None) -> Tensor:
    size = (4, 1) if axis == 1 else (1, 4)
    if weights is None:
        return ops.average_pool(x, size, size, "valid", data_format="channels_last")
    weights = ops.expand_dims(ops.maximum(weights, _MIN_WEIGHT), (3 - axis, 3))
    return _mean_of_four(x * weights, axis) / _mean_of_four(weights, axis)
