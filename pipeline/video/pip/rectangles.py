"""Axis-parallel rectangles with static edges; see `detector`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...image.resize import resize_crop
from ...records import Preprocess
from .outline import BORDER, Outline

_MIN_SIDE = 0.2  # of the frame's side
_MAX_AREA = 0.8  # of the frame's area; the features of the whole picture cover larger ones
# Part of a side that a round corner may take at each end; weight of the middle that is left.
_ROUND_PART, _ROUND_WEIGHT = 0.2, 0.85
_MAX_LINES = 10  # edges that are tried in each direction
_MIN_DISTANCE = 4  # pixels between two edges
_MIN_EDGE = 0.15  # mean of S, below which there is no edge
_MIN_ENCLOSED = 0.3  # strength of rectangles with edges on three or four sides
_MIN_SPLIT = 0.5  # strength of rectangles with edges on one or two sides


def rectangles(
    upright: np.ndarray, across: np.ndarray, round_corners: bool = True
) -> Iterator[Outline]:
    """Yield all rectangles that are strong enough, highest rank first; they may overlap.

    Corners are whole numbers.

    Args:
        upright, across: float32 [S, S], see `static_edges.static_edges`.
        round_corners: whether a side may be judged by its middle.
    """
    size = upright.shape[1]
    columns, rows = _lines(upright), _lines(across)
    if len(columns) + len(rows) == 4:  # the borders alone
        return
    # Strength of each line between any two ends; NaN on the border.
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
        (np.minimum(widths, heights) >= _MIN_SIDE * size)
        & (widths * heights <= _MAX_AREA * size * size)
        & (edges > 0)
        & (weakest >= np.where(edges > 2, _MIN_ENCLOSED, _MIN_SPLIT))
    )
    indexes = np.argwhere(good)
    for x0, x1, y0, y1 in indexes[np.argsort(-rank[good], kind="stable")].tolist():
        index, (left, right), (top, bottom) = (x0, x1, y0, y1), columns[[x0, x1]], rows[[y0, y1]]
        corners = (left, top), (right, top), (right, bottom), (left, bottom)
        yield Outline(
            tuple((int(x), int(y)) for x, y in corners),
            float(weakest[index]),
            int(edges[index]),
            float(rank[index]),
        )


def crop_rectangle(picture: np.ndarray, outline: Outline) -> np.ndarray:
    """Scale the content of a rectangle to the network's square, without its edges.

    Args:
        picture: uint8 RGB [S, S, 3].
        outline: a rectangle of `rectangles`.

    Returns:
        uint8 RGB [S, S, 3].
    """
    size = len(picture)
    left, top, right, bottom = (int(x) for corner in outline.corners[::2] for x in corner)
    first = [edge + 1 if edge else 0 for edge in (top, left)]
    last = [edge - 1 if edge < size else size for edge in (bottom, right)]
    part = picture[first[0] : last[0], first[1] : last[1]]
    return resize_crop(part, Preprocess(size, size, "stretch"))


def _lines(strength: np.ndarray) -> np.ndarray:
    """Find columns of [y, x] where an edge may be, borders included: int [n], ascending."""
    size = len(strength)
    length = int(_MIN_SIDE * size)
    sums = np.concatenate([np.zeros((1, size), np.float32), strength.cumsum(axis=0)])
    best = (sums[length:] - sums[:-length]).max(axis=0) / length  # the best part of this length
    best[:_MIN_DISTANCE] = best[size - _MIN_DISTANCE :] = 0
    positions = [0, size]
    for _ in range(_MAX_LINES):
        position = int(best.argmax())
        if best[position] < _MIN_EDGE:
            break
        positions.append(position)
        best[max(0, position - _MIN_DISTANCE) : position + _MIN_DISTANCE + 1] = 0
    return np.array(sorted(positions))


def _strengths(
    strength: np.ndarray, lines: np.ndarray, ends: np.ndarray, round_corners: bool
) -> np.ndarray:
    """Compute means of S along each line between two ends: [y, x] -> [line, end, end].

    They are NaN on the borders.
    """
    size = len(strength)
    sums = np.zeros((size + 1, len(lines)), np.float64)
    inner = (lines > 0) & (lines < size)
    sums[1:, inner] = strength[:, lines[inner]].cumsum(axis=0)
    sums_at_ends = sums[ends].T  # [line, end]
    lengths = np.maximum(1, ends[None, :] - ends[:, None])
    means = (sums_at_ends[:, None, :] - sums_at_ends[:, :, None]) / lengths
    if round_corners:
        first = np.rint(ends[:, None] + _ROUND_PART * (ends[None, :] - ends[:, None])).astype(int)
        last = ends[None, :] + ends[:, None] - first
        middle = (sums[last] - sums[first]).transpose(2, 0, 1) / np.maximum(1, last - first)
        corner = (ends > 0) & (ends < size)  # sides on the border have no corners
        middle[:, ~(corner[:, None] & corner)] = 0
        means = np.maximum(means, _ROUND_WEIGHT * middle)
    means[~inner] = np.nan
    return means
