"""Quadrilaterals with slanted static edges, as in videos of a filmed screen; see `detector`.

An upright line is x = a + m (y - c), where c is the middle row; a line across is an upright one of
the transposed picture. The lines with the largest sum of S along them are found in a coarse picture
over all slants (a Radon transform), refined in the full one, and combined to quadrilaterals.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...image.homography import CORNERS, homography, warp
from .outline import BORDER, Outline

_STEP = 0.0125  # between slants: 1.4 pixels at the ends of a line of 224
_SLANTS = _STEP * np.arange(-16, 17)  # up to 11 degrees, refined up to 12
_COARSE = 4, 2  # rows and columns of a coarse pixel
_MAX_LINES = 6  # lines that are tried in each direction
_MIN_DISTANCE = 4  # pixels between the middles of two lines
_MIN_SLANT_DIFFERENCE = 0.1  # lines that differ by less must not cross
_MIN_EDGE = 0.35  # mean of S along a line, below which it is no edge
_MIN_LENGTH = 0.5  # part of the frame's side; a line is as strong as its best part of this length
_MIN_STRENGTH = 0.5  # of a quadrilateral
_MIN_SIDE = 0.4  # of the frame's side
_MAX_AREA = 0.95  # of the frame's area
_MIN_SLANT = 0.01  # of the most slanted side; less slanted ones are left to `rectangles`
_MAX_OUTSIDE = 3  # pixels that a corner may lie outside of the frame


def quadrilaterals(upright: np.ndarray, across: np.ndarray) -> Iterator[Outline]:
    """Yield all quadrilaterals that are strong enough, highest rank first; they may overlap.

    At least three sides are edges; the fourth may be the border.

    Args:
        upright, across: float32 [S, S], see `static_edges.static_edges`.
    """
    size = len(upright)
    lines = [_coarse_lines(strength) for strength in (upright, across)]
    if not all(map(len, lines)) or not np.concatenate(lines)[:, 1].any():
        return
    lines = [_refine(s, group) for s, group in zip((upright, across), lines, strict=True)]
    if sum(map(len, lines)) < 3:
        return
    sums = [_sums(s, group) for s, group in zip((upright, across), lines, strict=True)]
    borders = np.array([[0.0, 0.0], [size, 0.0]])
    yield from _combine([np.concatenate([group, borders]) for group in lines], sums, size)


def _combine(lines: list[np.ndarray], sums: list[np.ndarray], size: int) -> Iterator[Outline]:
    """Yield the quadrilaterals of two upright lines and two across, highest rank first.

    Args:
        lines: upright ones and ones across, float64 [n, 2] of a and m; the borders come last.
        sums: of S along the lines other than borders, see `_sums`.
        size: S, side of the frame in pixels.
    """
    x, y = _crossings(lines, size)  # [upright, across]
    upright_strengths, across_strengths = _strengths(sums[0], y), _strengths(sums[1], x.T)
    # Left, right, top, bottom.
    left, right, top, bottom = np.ix_(*(np.arange(len(lines[k])) for k in (0, 0, 1, 1)))
    sides = _stack(
        upright_strengths[left, top, bottom],
        upright_strengths[right, top, bottom],
        across_strengths[top, left, right],
        across_strengths[bottom, left, right],
    )
    border = np.isnan(sides)
    weakest = np.where(border, 1.0, sides).min(axis=0)
    rank = np.where(border, BORDER, sides).mean(axis=0).round(4)
    corner_x, corner_y = (
        _stack(p[left, top], p[right, top], p[right, bottom], p[left, bottom]) for p in (x, y)
    )
    widths = np.minimum(corner_x[1] - corner_x[0], corner_x[2] - corner_x[3])
    heights = np.minimum(corner_y[3] - corner_y[0], corner_y[2] - corner_y[1])
    area = 0.5 * (
        (corner_x * np.roll(corner_y, -1, axis=0)).sum(axis=0)
        - (corner_y * np.roll(corner_x, -1, axis=0)).sum(axis=0)
    )
    slants = [np.abs(group[:, 1]) for group in lines]
    slant = _stack(slants[0][left], slants[0][right], slants[1][top], slants[1][bottom])
    within = [(p >= -_MAX_OUTSIDE).all(axis=0) & (p <= size + _MAX_OUTSIDE).all(axis=0) for p in
              (corner_x, corner_y)]  # fmt: skip
    good = (
        (np.minimum(widths, heights) >= _MIN_SIDE * size)
        & (area <= _MAX_AREA * size * size)
        & (border.sum(axis=0) <= 1)
        & (weakest >= _MIN_STRENGTH)
        & (slant.max(axis=0) >= _MIN_SLANT)
        & within[0]
        & within[1]
    )
    indexes = np.argwhere(good)
    for row in indexes[np.argsort(-rank[good], kind="stable")]:
        index = tuple(row)
        corners = np.stack(
            [corner_x[(slice(None), *index)], corner_y[(slice(None), *index)]], axis=1
        )
        yield Outline(
            tuple((float(u), float(v)) for u, v in corners.round(2)),
            float(weakest[index]),
            4 - int(border[(slice(None), *index)].sum()),
            float(rank[index]),
        )


def straighten(pictures: np.ndarray, outline: Outline) -> np.ndarray:
    """Straighten the content of a quadrilateral to the network's square, without its edges.

    A perspective map takes the square to the corners (P. Heckbert, "Fundamentals of Texture Mapping
    and Image Warping", 1989); interpolation is bilinear.

    Args:
        pictures: uint8 RGB [T, S, S, 3].
        outline: corners of the quadrilateral.

    Returns:
        uint8 RGB [T, S, S, 3].
    """
    size = pictures.shape[1]
    corners = outline.inner_corners(size, width=1.5) / size * 2 - 1
    return warp(pictures, homography(CORNERS, corners), size, size, repeat_edge=True)


def _stack(*parts: np.ndarray) -> np.ndarray:
    return np.stack(np.broadcast_arrays(*parts))


def _coarse_lines(strength: np.ndarray) -> np.ndarray:
    """Find the lines with the largest sum of S: float64 [n, 2] of a and m, strongest first."""
    size = len(strength)
    rows, columns = _COARSE
    wide = np.pad(strength, ((0, 0), (1, 1)))
    coarse = np.maximum(np.maximum(wide[:, :-2], wide[:, 1:-1]), wide[:, 2:])[:, ::columns]
    height = size // rows
    coarse = coarse[: height * rows].reshape(height, rows, -1).mean(axis=1)
    width = coarse.shape[1]
    middle = (size - 1) / 2
    offsets = np.arange(height) * rows + (rows - 1) / 2 - middle
    reach = int(np.ceil(_SLANTS[-1] * middle / columns)) + 1
    wide = np.pad(coarse, ((0, 0), (reach, reach)))
    shifts = np.rint(_SLANTS[:, None] * offsets / columns).astype(int) + reach
    starts = np.arange(height) * wide.shape[1] + shifts  # [slant, y]
    sums = wide.ravel()[starts[:, :, None] + np.arange(width)].cumsum(axis=1, dtype=np.float32)
    length = int(_MIN_LENGTH * height)
    best = sums[:, length - 1 :].copy()
    best[:, 1:] -= sums[:, :-length]
    # On a short part neighbouring slants are as good; on the whole line the right slant is best.
    total = np.where(best.max(axis=1) >= _MIN_EDGE * length, sums[:, -1], 0)
    total[:, :2] = total[:, -2:] = 0
    at = np.arange(width) * columns
    best_lines: list[tuple[float, float]] = []
    while len(best_lines) < _MAX_LINES and total.max() > 0:
        slant, column = np.unravel_index(total.argmax(), total.shape)
        best_lines.append((float(at[column]), float(_SLANTS[slant])))
        slant_difference = np.abs(_SLANTS - _SLANTS[slant])[:, None]
        near = np.abs(at - at[column])[None] <= _MIN_DISTANCE + slant_difference * middle
        total[near & (slant_difference < _MIN_SLANT_DIFFERENCE)] = 0
    return np.array(best_lines).reshape(-1, 2)


def _sample_along(strength: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Sample S along lines [..., 2] of a and m: float32 [..., S], 0 outside of the picture."""
    size = len(strength)
    rows = np.arange(size)
    x = np.rint(lines[..., :1] + lines[..., 1:] * (rows - (size - 1) / 2)).astype(int)
    inside = (x >= 0) & (x < size)
    return np.where(inside, strength[rows, np.clip(x, 0, size - 1)], np.float32(0))


def _refine(strength: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Move each line to where the sum of S along it is largest; drop faint lines.

    Returns:
        float64 [n, 2]; a is counted from the border of the picture, as corners are.
    """
    length = int(_MIN_LENGTH * len(strength))
    shifts = np.stack(
        np.meshgrid(np.arange(-3, 4), np.arange(-4, 5) * _STEP / 4, indexing="ij"), axis=-1
    )
    best_lines = []
    for line in lines:
        sums = _sample_along(strength, line + shifts).cumsum(axis=-1, dtype=np.float64)
        best = sums[..., length - 1 :].copy()
        best[..., 1:] -= sums[..., :-length]
        if best.max() < _MIN_EDGE * length:
            continue
        # An edge is two pixels wide: take the middle of all positions that are as good.
        good = np.argwhere(sums[..., -1] >= sums[..., -1].max() - 0.5)
        nearest = good[np.abs(good - good.mean(axis=0)).sum(axis=1).argmin()]
        best_lines.append(line + shifts[tuple(nearest)] + [0.5, 0])
    return np.array(best_lines).reshape(-1, 2)


def _sums(strength: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Compute sums of S along each line up to each row: float64 [n, S + 1]."""
    along = _sample_along(strength, lines - [0.5, 0])
    return np.concatenate([np.zeros((len(lines), 1)), along.cumsum(axis=1, dtype=np.float64)], 1)


def _crossings(lines: list[np.ndarray], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute where upright lines and lines across meet: x and y [upright, across]."""
    middle = size / 2
    (a, m), (b, n) = (group.T for group in lines)
    x = ((a - middle)[:, None] + m[:, None] * (b - middle)) / (1 - m[:, None] * n)
    return x + middle, b + n * x


def _strengths(sums: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Compute means of S along lines between two crossings [line, end]: [line, end, end].

    The last two lines are the borders, which have no sums; their means are NaN.
    """
    at = np.clip(np.rint(ends[: len(sums)]).astype(int), 0, sums.shape[1] - 1)
    values = np.take_along_axis(sums, at, axis=1)
    lengths = np.maximum(1, at[:, None, :] - at[:, :, None])
    means = (values[:, None, :] - values[:, :, None]) / lengths
    return np.concatenate([means, np.full((2, *means.shape[1:]), np.nan)])
