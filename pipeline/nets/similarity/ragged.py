"""Windows of the frame-to-frame matrix as one batch, each with borders at its own edge.

Pairs of different shapes share a batch by padding to a common one. The video comparator pads its
input, symmetrically or by zeros, at the *pair's own* edge, which then lies inside the batch. Before
each convolution one gather (`pad_edges`) puts the right values there, so padding changes no number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..backend import ops

Tensor = Any


def gather_windows(
    matrix: Tensor,
    windows: Tensor,
    rows: Tensor,
    columns: Tensor,
    border: int,
    *,
    zeros: bool = False,
) -> Tensor:
    """Gather windows out of [Nq, Nt]: [B, P + 2 border, Q + 2 border].

    Args:
        windows: [B, 8] int32, see `PairScorer.maxima`.
        rows, columns: 0 to P - 1 and 0 to Q - 1.
        border: 0, or 1 for symmetric padding at the window's own edge. What lies beyond repeats
            the window's last row or column.
        zeros: pad by zeros instead.
    """
    r, c = _window_indices(windows, rows, columns, border)
    width = ops.shape(matrix)[1]
    x = ops.take(ops.reshape(matrix, (-1,)), r[:, :, None] * width + c[:, None, :])
    return _masked(x, windows[:, 1], windows[:, 5], border) if zeros else x


def gather_weights(
    weights: Sequence[Tensor], windows: Tensor, rows: Tensor, columns: Tensor
) -> tuple[Tensor, Tensor] | None:
    """Weights of the windows' rows and columns, [B, P] and [B, Q]; None without weights.

    Args:
        weights: none, or those of all rows [Nq] and all columns [Nt] of the matrix.
    """
    if not weights:
        return None
    r, c = _window_indices(windows, rows, columns, 0)
    return ops.take(weights[0], r), ops.take(weights[1], c)


def _window_indices(
    windows: Tensor, rows: Tensor, columns: Tensor, border: int
) -> tuple[Tensor, Tensor]:
    """Rows and columns of the matrix that windows take; arguments as of `gather_windows`."""
    r = windows[:, 0:1] + source_index(ops.shape(rows)[0], windows[:, 1:2], border)
    c = windows[:, 4:5] + source_index(ops.shape(columns)[0], windows[:, 5:6], border)
    return r, c


def pad_edges(x: Tensor, heights: Tensor, widths: Tensor, zeros: bool = False) -> Tensor:
    """Symmetric padding by 1 at each pair's own edge: [B, H, W, C] -> [B, H + 2, W + 2, C].

    One gather of whole channel vectors; a fifth to a third faster on a CPU than padding the batch
    and then correcting rows and columns (benchmarks/NOTES.md).

    Args:
        heights, widths: int32 [B].
        zeros: pad by zeros instead.
    """
    batch, height, width = (ops.shape(x)[i] for i in range(3))
    first = ops.arange(batch, dtype="int32")[:, None] * height
    r = first + source_index(height, heights[:, None], 1)
    c = source_index(width, widths[:, None], 1)
    flat = ops.reshape(x, (-1, x.shape[3]))
    padded = ops.take(flat, r[:, :, None] * width + c[:, None, :], axis=0)
    return _masked(padded, heights, widths, 1) if zeros else padded


def _masked(x: Tensor, heights: Tensor, widths: Tensor, border: int) -> Tensor:
    """[B, H, W] or [B, H, W, C] with zeros outside of each pair, whose border is x's."""
    sides = [
        range_mask(ops.shape(x)[axis], border + sizes[:, None] * 0, border + sizes[:, None])
        for axis, sizes in ((1, heights), (2, widths))
    ]
    inside = ops.logical_and(sides[0][:, :, None], sides[1][:, None, :])
    return ops.where(inside[..., None] if len(x.shape) == 4 else inside, x, 0.0)


def source_index(n: Any, sizes: Tensor, border: int) -> Tensor:
    """[B, n + 2 border] int32: where each row of a window is taken from, sizes [B, 1].

    Mirroring by one and repeating the edge are the same: -1 is 0, and `size` is `size - 1`.
    """
    position = ops.arange(n + 2 * border, dtype="int32")[None, :] - border
    return ops.minimum(ops.maximum(position, 0), sizes - 1)


def range_mask(n: Any, first: Tensor, end: Tensor) -> Tensor:
    """[B, n] bool: which of 0 to n - 1 lie in [first, end) of each pair; both are [B, 1]."""
    position = ops.arange(n, dtype="int32")[None, :]
    return ops.logical_and(position >= first, position < end)
