"""Video comparator: a small CNN that finds diagonals in the frame-to-frame matrix.

ViSiL (ICCV 2019), section 3.3 and table 1: three 3x3 convolutions with ReLU, 2x2 max pooling
after the first two, a 1x1 convolution to one channel, hard tanh. This is the plain reference,
one shape at a time; any number of leading batch axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.nets.backend import ops

SHRINK = 4  # rows and columns of the matrix per row and column of the output


def compare(matrix: Any, layers: Sequence[tuple[Any, Any]]) -> Any:
    """Refined similarity of groups of 4 x 4 frames.

    Args:
        matrix: float [..., Tq, Tt], at least 4 x 4 (see `padding.repeat_to_min`).
        layers: four pairs of kernel [h, w, in, out] and bias [out].

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
    return ops.reshape(x, (*batch, *x.shape[1:3]))


def _pad(x: Any) -> Any:
    """One row and column on each side, mirrored: zeros would read as "unlike" at the edge."""
    return ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="symmetric")


def _convolution(x: Any, kernel: Any, bias: Any) -> Any:
    return ops.conv(x, kernel, padding="valid", data_format="channels_last") + bias
