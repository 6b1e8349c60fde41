"""Rectangles with lasting edges that lie exactly across and upright, see `insets`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...image.resize import resize_crop
from ...records import Preprocess
from .outline import BORDER, Outline

_LEAST_SIDE = 0.2  # of the frame's side
_MOST_AREA = 0.8  # of the frame's: beyond it the whole picture shows as much
# Round corners may take so much of a side at each end; its middle then counts for so much.
_ROUND, _ROUND_COUNTS = 0.2, 0.85
_LINES = 10  # edges that are tried in each direction
_APART = 4  # pixels between them
_FAINT = 0.15  # no edge
_ENCLOSED = 0.3  # least strength of rectangles with edges on three or four sides
_SPLIT = 0.5  # of those with fewer


def rectangles(
    upright: np.ndarray, across: np.ndarray, round_corners: bool = True
) -> Iterator[Outline]:
    """All that are strong enough, by falling rank; they may overlap. Corners are whole numbers.

    Args:
        upright, across: see `edges.lasting_edges`.
        round_corners: whether a side may be judged by its middle.
    """
    size = upright.shape[1]
    columns, rows = _lines(upright), _lines(across)
    if len(columns) + len(rows) == 4:  # the borders alone
        return
    # Strength of each upright line between any two rows and the other way round; NaN on the border.
    sides_x = _strengths(upright, columns, rows, round_corners)  # [x, y0, y1]
    sides_y = _strengths(across, rows, columns, round_corners)  # [y, x0, x1]
    shape = len(columns), len(columns), len(rows), len(rows)
    sides = np.stack([  # [4, x0, x1, y0, y1]
        np.broadcast_to(sides_x[:, None], shape),
        np.broadcast_to(sides_x[None, :], shape),
        np.broadcast_to(sides_y.transpose(1, 2, 0)[:, :, :, None], shape),
        np.broadcast_to(sides_y.transpose(1, 2, 0)[:, :, None, :], shape),
    ])  # fmt: skip
    border = np.isnan(sides)
    edges = 4 - border.sum(axis=0)
    weakest = np.where(border, 1.0, sides).min(axis=0)
    rank = np.where(border, BORDER, sides).mean(axis=0).round(4)
    widths = (columns[None, :] - columns[:, None])[:, :, None, None]
    heights = (rows[None, :] - rows[:, None])[None, None]
    good = (
        (np.minimum(widths, heights) >= _LEAST_SIDE * size)
        & (widths * heights <= _MOST_AREA * size * size)
        & (edges > 0)
        & (weakest >= np.where(edges > 2, _ENCLOSED, _SPLIT))
    )
    places = np.argwhere(good)
    for x0, x1, y0, y1 in places[np.argsort(-rank[good], kind="stable")].tolist():
        at, (left, right), (top, bottom) = (x0, x1, y0, y1), columns[[x0, x1]], rows[[y0, y1]]
        corners = (left, top), (right, top), (right, bottom), (left, bottom)
        yield Outline(
            tuple((int(x), int(y)) for x, y in corners),
            float(weakest[at]),
            int(edges[at]),
            float(rank[at]),
        )


def cut(picture: np.ndarray, where: Outline) -> np.ndarray:
    """What a rectangle shows, without the pixels of its edges, as the network's square.

    Args:
        picture: uint8 RGB [S, S, 3].
        where: of `rectangles`.

    Returns:
        uint8 RGB [S, S, 3].
    """
    size = len(picture)
    left, top, right, bottom = (int(x) for corner in where.corners[::2] for x in corner)
    first = [edge + 1 if edge else 0 for edge in (top, left)]
    last = [edge - 1 if edge < size else size for edge in (bottom, right)]
    part = picture[first[0] : last[0], first[1] : last[1]]
    return resize_crop(part, Preprocess(size, size, "stretch"))


def _lines(strength: np.ndarray) -> np.ndarray:
    """Columns where an edge may be, borders included: int [n] ascending, of [y, x]."""
    size = len(strength)
    length = int(_LEAST_SIDE * size)
    sums = np.concatenate([np.zeros((1, size), np.float32), strength.cumsum(axis=0)])
    best = (sums[length:] - sums[:-length]).max(axis=0) / length  # of any part so long
    best[:_APART] = best[size - _APART :] = 0
    found = [0, size]
    for _ in range(_LINES):
        place = int(best.argmax())
        if best[place] < _FAINT:
            break
        found.append(place)
        best[max(0, place - _APART) : place + _APART + 1] = 0
    return np.array(sorted(found))


def _strengths(
    strength: np.ndarray, lines: np.ndarray, ends: np.ndarray, round_corners: bool
) -> np.ndarray:
    """Mean of S along each line between two ends, NaN on borders: [y, x] -> [line, end, end]."""
    size = len(strength)
    sums = np.zeros((size + 1, len(lines)), np.float64)
    inner = (lines > 0) & (lines < size)
    sums[1:, inner] = strength[:, lines[inner]].cumsum(axis=0)
    at = sums[ends].T  # [line, end]
    lengths = np.maximum(1, ends[None, :] - ends[:, None])
    means = (at[:, None, :] - at[:, :, None]) / lengths
    if round_corners:
        first = np.rint(ends[:, None] + _ROUND * (ends[None, :] - ends[:, None])).astype(int)
        last = ends[None, :] + ends[:, None] - first
        middle = (sums[last] - sums[first]).transpose(2, 0, 1) / np.maximum(1, last - first)
        corner = (ends > 0) & (ends < size)  # on the border there is none
        middle[:, ~(corner[:, None] & corner)] = 0
        means = np.maximum(means, _ROUND_COUNTS * middle)
    means[~inner] = np.nan
    return means
