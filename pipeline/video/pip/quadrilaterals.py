"""Quadrilaterals with lasting edges at a slant: films of a screen, see `insets`.

An upright line is x = a + m (y - c), c the middle row; lines across are upright ones of the
transposed picture. Those with most of S along them are looked for in a coarse picture over all
slants (a Radon transform), refined in the fine one, and joined to quadrilaterals.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...image.homography import CORNERS, homography, warped
from .outline import BORDER, Outline

_STEP = 0.0125  # between slants: 1.4 pixels at the ends of a line of 224
_SLANTS = _STEP * np.arange(-16, 17)  # up to 11 degrees, refined up to 12
_COARSE = 4, 2  # rows and columns of a coarse pixel
_LINES = 6  # that are tried in each direction
_APART = 4  # pixels between them in their middle
_ALIKE = 0.1  # slants by which lines must differ to cross
_FAINT = 0.35  # no edge
_LONG = 0.5  # of the frame's side: a line's strength is that of its best part so long
_LEAST = 0.5  # strength of a quadrilateral
_LEAST_SIDE = 0.4  # of the frame's side
_MOST_AREA = 0.95  # of the frame's
_UPRIGHT = 0.01  # slant of the most slanted side, below which it is no business of this module
_BEYOND = 3  # pixels that a corner may lie outside of the frame


def quadrilaterals(upright: np.ndarray, across: np.ndarray) -> Iterator[Outline]:
    """All that are strong enough, by falling rank; they may overlap.

    Three sides at least are edges; the fourth may be the border.

    Args:
        upright, across: see `edges.lasting_edges`.
    """
    size = len(upright)
    lines = [_coarse_lines(strength) for strength in (upright, across)]
    if not all(map(len, lines)) or not np.concatenate(lines)[:, 1].any():
        return
    lines = [_refined(s, some) for s, some in zip((upright, across), lines, strict=True)]
    if sum(map(len, lines)) < 3:
        return
    sums = [_sums(s, some) for s, some in zip((upright, across), lines, strict=True)]
    borders = np.array([[0.0, 0.0], [size, 0.0]])
    lines = [np.concatenate([some, borders]) for some in lines]
    x, y = _crossings(lines, size)  # [upright, across]
    of_upright, of_across = _strengths(sums[0], y), _strengths(sums[1], x.T)
    # Left, right, top, bottom.
    left, right, top, bottom = np.ix_(*(np.arange(len(lines[k])) for k in (0, 0, 1, 1)))
    sides = _stack(
        of_upright[left, top, bottom],
        of_upright[right, top, bottom],
        of_across[top, left, right],
        of_across[bottom, left, right],
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
    slants = [np.abs(some[:, 1]) for some in lines]
    slant = _stack(slants[0][left], slants[0][right], slants[1][top], slants[1][bottom])
    within = [(p >= -_BEYOND).all(axis=0) & (p <= size + _BEYOND).all(axis=0) for p in
              (corner_x, corner_y)]  # fmt: skip
    good = (
        (np.minimum(widths, heights) >= _LEAST_SIDE * size)
        & (area <= _MOST_AREA * size * size)
        & (border.sum(axis=0) <= 1)
        & (weakest >= _LEAST)
        & (slant.max(axis=0) >= _UPRIGHT)
        & within[0]
        & within[1]
    )
    places = np.argwhere(good)
    for place in places[np.argsort(-rank[good], kind="stable")]:
        at = tuple(place)
        corners = np.stack([corner_x[(slice(None), *at)], corner_y[(slice(None), *at)]], axis=1)
        yield Outline(
            tuple((float(u), float(v)) for u, v in corners.round(2)),
            float(weakest[at]),
            4 - int(border[(slice(None), *at)].sum()),
            float(rank[at]),
        )


def straightened(pictures: np.ndarray, where: Outline) -> np.ndarray:
    """What a quadrilateral shows, without the pixels of its edges, as the network's square.

    The map is the perspective one of the square to the corners (P. Heckbert, "Fundamentals of
    Texture Mapping and Image Warping", 1989), values between pixels are bilinear.

    Args:
        pictures: uint8 RGB [T, S, S, 3].

    Returns:
        uint8 RGB [T, S, S, 3].
    """
    size = pictures.shape[1]
    corners = where.shrunk(size, width=1.5) / size * 2 - 1
    return warped(pictures, homography(CORNERS, corners), size, size, repeat_edge=True)


def _stack(*parts: np.ndarray) -> np.ndarray:
    return np.stack(np.broadcast_arrays(*parts))


def _coarse_lines(strength: np.ndarray) -> np.ndarray:
    """The lines with most of S along them: float64 [n, 2] of a and m, the strongest first."""
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
    length = int(_LONG * height)
    best = sums[:, length - 1 :].copy()
    best[:, 1:] -= sums[:, :-length]
    # Over a part so long neighbouring slants are as good; over all of it the right one is best.
    total = np.where(best.max(axis=1) >= _FAINT * length, sums[:, -1], 0)
    total[:, :2] = total[:, -2:] = 0
    at = np.arange(width) * columns
    found: list[tuple[float, float]] = []
    while len(found) < _LINES and total.max() > 0:
        slant, column = np.unravel_index(total.argmax(), total.shape)
        found.append((float(at[column]), float(_SLANTS[slant])))
        turned = np.abs(_SLANTS - _SLANTS[slant])[:, None]
        near = np.abs(at - at[column])[None] <= _APART + turned * middle
        total[near & (turned < _ALIKE)] = 0
    return np.array(found).reshape(-1, 2)


def _along(strength: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """S along lines [..., 2] of a and m: float32 [..., S], 0 outside of the picture."""
    size = len(strength)
    rows = np.arange(size)
    x = np.rint(lines[..., :1] + lines[..., 1:] * (rows - (size - 1) / 2)).astype(int)
    inside = (x >= 0) & (x < size)
    return np.where(inside, strength[rows, np.clip(x, 0, size - 1)], np.float32(0))


def _refined(strength: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Lines moved to where there is most of S along them; those that are faint are left out.

    Returns:
        float64 [n, 2], a counted from the border of the picture as corners are.
    """
    length = int(_LONG * len(strength))
    shifts = np.stack(
        np.meshgrid(np.arange(-3, 4), np.arange(-4, 5) * _STEP / 4, indexing="ij"), axis=-1
    )
    found = []
    for line in lines:
        sums = _along(strength, line + shifts).cumsum(axis=-1, dtype=np.float64)
        best = sums[..., length - 1 :].copy()
        best[..., 1:] -= sums[..., :-length]
        if best.max() < _FAINT * length:
            continue
        # An edge is two pixels wide: the middle of all that are as good.
        good = np.argwhere(sums[..., -1] >= sums[..., -1].max() - 0.5)
        nearest = good[np.abs(good - good.mean(axis=0)).sum(axis=1).argmin()]
        found.append(line + shifts[tuple(nearest)] + [0.5, 0])
    return np.array(found).reshape(-1, 2)


def _sums(strength: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Sums of S along each line up to each row: float64 [n, S + 1]."""
    along = _along(strength, lines - [0.5, 0])
    return np.concatenate([np.zeros((len(lines), 1)), along.cumsum(axis=1, dtype=np.float64)], 1)


def _crossings(lines: list[np.ndarray], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Where upright and other lines meet: x and y [upright, across]."""
    middle = size / 2
    (a, m), (b, n) = (some.T for some in lines)
    x = ((a - middle)[:, None] + m[:, None] * (b - middle)) / (1 - m[:, None] * n)
    return x + middle, b + n * x


def _strengths(sums: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Mean of S along lines between two crossings [line, end]: [line, end, end].

    NaN for the borders, of which there are no sums, the last two lines.
    """
    at = np.clip(np.rint(ends[: len(sums)]).astype(int), 0, sums.shape[1] - 1)
    values = np.take_along_axis(sums, at, axis=1)
    lengths = np.maximum(1, at[:, None, :] - at[:, :, None])
    means = (values[:, None, :] - values[:, :, None]) / lengths
    return np.concatenate([means, np.full((2, *means.shape[1:]), np.nan)])
