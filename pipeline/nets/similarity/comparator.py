"""Video comparator: a small CNN that finds diagonals in the frame-to-frame matrix.

ViSiL (ICCV 2019), section 3.3 and table 1: three 3x3 convolutions with ReLU, 2x2 max pooling
after the first two, a 1x1 convolution to one channel, hard tanh. This is the plain reference,
one shape at a time; any number of leading batch axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..backend import ops

SHRINK = 4  # rows and columns of the matrix per row and column of the output
_LEAST = 1e-6  # of a weight: four of nothing weigh alike, where 0 / 0 would be NaN

Weights = tuple[Any, Any]


def compare(
    matrix: Any,
    layers: Sequence[tuple[Any, Any]],
    skip: float = 0.0,
    symmetric: bool = False,
    weights: Weights | None = None,
) -> Any:
    """Refined similarity of groups of 4 x 4 frames.

    Args:
        matrix: float [..., Tq, Tt] within [-1, 1], at least 4 x 4 (see
            `short_videos.repeat_to_min`).
        layers: four pairs of kernel [h, w, in, out] and bias [out].
        skip: share of the output that passes the network by, see `passed_by`; not in the paper.
        symmetric: for which Chamfer `passed_by` is.
        weights: of rows and columns in `passed_by`, float [..., Tq] and [..., Tt] with any or no
            leading axes of the matrix; None where all count alike. The network sees none.

    Returns:
        float [..., Tq // 4, Tt // 4] within [-1, 1]; frames beyond a multiple of 4 reach the
        output only through the convolutions.
    """
    *batch, rows, columns = matrix.shape
    x = ops.reshape(matrix, (-1, rows, columns, 1))
    *hidden, (kernel, bias) = layers
    for number, (hidden_kernel, hidden_bias) in enumerate(hidden):
        if number:
            x = ops.max_pool(x, 2, 2, "valid", data_format="channels_last")
        x = ops.relu(_convolution(_pad(x), hidden_kernel, hidden_bias))
    x = ops.clip(_convolution(x, kernel, bias), -1.0, 1.0)
    if skip:
        whole = ops.reshape(matrix, (-1, rows, columns, 1))
        if weights is not None:
            of_rows, of_columns = weights
            weights = ops.reshape(of_rows, (-1, rows)), ops.reshape(of_columns, (-1, columns))
        x = (1 - skip) * x + skip * passed_by(whole, symmetric, weights)
    return ops.reshape(x, (*batch, *x.shape[1:3]))


def passed_by(x: Any, symmetric: bool, weights: Weights | None = None) -> Any:
    """The matrix itself at the size of the output: of 4 x 4 similarities the mean of row maxima.

    The comparator knows the diagonals that it was trained on; what else the frames say is kept
    by this. Chamfer of it is that of the matrix, as far as neighbours match neighbours. With
    weights w it is sum_i w_i m_i / sum_i w_i, so that a blank frame among others of its group
    takes nothing from them.

    Args:
        x: float [B, P, Q, 1].
        symmetric: mean with that of column maxima.
        weights: of rows and columns, float [B or 1, P] and [B or 1, Q], 0 or more; columns count
            if symmetric only. None where all count alike.

    Returns:
        float [B, P // 4, Q // 4, 1].
    """
    rows, columns = (None, None) if weights is None else weights
    there = _mean_of_four(_max_of_four(x, 2), 1, rows)
    if not symmetric:
        return there
    return (there + _mean_of_four(_max_of_four(x, 1), 2, columns)) / 2


def _max_of_four(x: Any, axis: int) -> Any:
    size = (4, 1) if axis == 1 else (1, 4)
    return ops.max_pool(x, size, size, "valid", data_format="channels_last")


def _mean_of_four(x: Any, axis: int, weights: Any | None = None) -> Any:
    size = (4, 1) if axis == 1 else (1, 4)
    if weights is None:
        return ops.average_pool(x, size, size, "valid", data_format="channels_last")
    weights = ops.expand_dims(ops.maximum(weights, _LEAST), (3 - axis, 3))
    return _mean_of_four(x * weights, axis) / _mean_of_four(weights, axis)


def _pad(x: Any) -> Any:
    """One row and column on each side, mirrored: zeros would read as "unlike" at the edge."""
    return ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="symmetric")


def _convolution(x: Any, kernel: Any, bias: Any) -> Any:
    return ops.conv(x, kernel, padding="valid", data_format="channels_last") + bias
