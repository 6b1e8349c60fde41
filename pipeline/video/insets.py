"""Pictures within the picture: where a rectangle with straight, lasting edges shows another video.

Picture in picture, split screens, players and bars all put one picture into another along edges
that lie exactly across or upright and stay where they are, while what is within and around them
moves. So steps of brightness that are there in most of a stretch of frames are these edges and
little else. What they enclose is cut out and stretched to the network's square as a picture of its
own.

Of a stretch of frames, for upright edges (those across are the same of the transposed pictures):

    E(y, x) = what |L(y, x + 1) - L(y, x - 1)| is in 65 % of the frames or more,
              L luminance in levels of 0 to 255
    S(y, x) = (E - max(E at x +- 3 and x +- 4) - 1) / (0.4 E + 3), held within 0 and 1

S is near 1 where a step stands out from its surroundings. An edge's strength is the mean of S along
it. A rectangle is enclosed by such edges and the border of the frame. Its strength is that of its
weakest edge; of rectangles strong enough those with the strongest edges are taken, where the border
counts as an edge of `_BORDER`. The constants were chosen on the training and validation splits of
benchmarks/retrieval, see benchmarks/NOTES.md.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from pipeline.config import MOST_INSETS
from pipeline.errors import InputError
from pipeline.records import Preprocess
from pipeline.resize import resize_crop

RULE = "edges/1"  # changes whenever other insets would be found in the same pictures
STRETCH = 16  # frames that are judged together
_LEAST_SIDE = 0.2  # of the frame's side
_MOST_AREA = 0.8  # of the frame's: beyond it the whole picture shows as much
_LINES = 10  # edges that are tried in each direction
_APART = 4  # pixels between them
_FAINT = 0.15  # no edge
_LASTING = 0.35  # quantile over the frames: an edge is there in the rest of them
_ENCLOSED = 0.3  # least strength of rectangles with edges on three or four sides
_SPLIT = 0.5  # of those with fewer
_BORDER = 0.45
_OVERLAP = 0.5  # of the smaller one's area, that two insets may share


@dataclass(frozen=True)
class Rectangle:
    """Rows top to bottom and columns left to right of a square picture, ends left out.

    Attributes:
        strength: of its weakest edge, 0 to 1.
        edges: sides that do not lie on the picture's border, 1 to 4.
    """

    top: int
    bottom: int
    left: int
    right: int
    strength: float
    edges: int

    @property
    def area(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)

    def shared(self, other: Rectangle) -> float:
        """Part of the smaller one's area that both cover, 0 to 1."""
        rows = min(self.bottom, other.bottom) - max(self.top, other.top)
        columns = min(self.right, other.right) - max(self.left, other.left)
        return max(0, rows) * max(0, columns) / min(self.area, other.area)

    def overlaps(self, other: Rectangle) -> bool:
        """Whether they share so much that one of them shows nothing new."""
        return self.shared(other) >= _OVERLAP


def find(pictures: np.ndarray, most: int) -> list[Rectangle]:
    """The rectangles with lasting edges, those with the strongest first.

    Args:
        pictures: uint8 RGB [T, S, S, 3], consecutive samples of one video; T of 1 or more.
        most: rectangles at most.
    """
    luminance = _luminance(pictures)
    upright, across = _edges(luminance), _edges(luminance.transpose(0, 2, 1))  # [y, x], [x, y]
    size = luminance.shape[1]
    columns, rows = _lines(upright), _lines(across)
    if len(columns) + len(rows) == 4:  # the borders alone
        return []
    # Strength of each upright line between any two rows and the other way round; NaN on the border.
    sides_x = _strengths(upright, columns, rows)  # [x, y0, y1]
    sides_y = _strengths(across, rows, columns)  # [y, x0, x1]
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
    rank = np.where(border, _BORDER, sides).mean(axis=0)
    widths = (columns[None, :] - columns[:, None])[:, :, None, None]
    heights = (rows[None, :] - rows[:, None])[None, None]
    good = (
        (np.minimum(widths, heights) >= _LEAST_SIDE * size)
        & (widths * heights <= _MOST_AREA * size * size)
        & (edges > 0)
        & (weakest >= np.where(edges > 2, _ENCLOSED, _SPLIT))
    )
    places = np.argwhere(good)
    order = np.argsort(-rank[good].round(4), kind="stable")  # equal ones by place
    taken: list[Rectangle] = []
    for x0, x1, y0, y1 in places[order].tolist():
        if len(taken) == most:
            break
        found = Rectangle(
            int(rows[y0]), int(rows[y1]), int(columns[x0]), int(columns[x1]),
            float(weakest[x0, x1, y0, y1]), int(edges[x0, x1, y0, y1]),
        )  # fmt: skip
        if not any(found.overlaps(other) for other in taken):
            taken.append(found)
    return taken


def cut(picture: np.ndarray, where: Rectangle) -> np.ndarray:
    """What the rectangle shows, without the pixels of its edges, as the network's square.

    Args:
        picture: uint8 RGB [S, S, 3].

    Returns:
        uint8 RGB [S, S, 3].
    """
    size = len(picture)
    first = [edge + 1 if edge else 0 for edge in (where.top, where.left)]
    last = [edge - 1 if edge < size else size for edge in (where.bottom, where.right)]
    part = picture[first[0] : last[0], first[1] : last[1]]
    return resize_crop(part, Preprocess(size, size, "stretch"))


class InsetFinder:
    """Goes along with the samples of one video.

    A rectangle keeps its number from stretch to stretch, so that an inset is one picture for as
    long as it is there; what comes after it may take its number.

    Args:
        most: insets of a stretch; 0 looks for none.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._recent: deque[np.ndarray] = deque(maxlen=STRETCH)
        self._seconds: list[float] = []  # of those not judged yet
        self._last: dict[int, Rectangle] = {}  # of each number

    def add(self, seconds: float, picture: np.ndarray) -> list[Inset]:
        """Take the next sample; what was found if it completes a stretch."""
        if not self._most:
            return []
        self._recent.append(picture)
        self._seconds.append(seconds)
        return self.flush() if len(self._seconds) == STRETCH else []

    def flush(self) -> list[Inset]:
        """Judge what is left, together with what came right before it, up to a stretch in all."""
        if not self._seconds:
            return []
        pictures = list(self._recent)
        fresh, seconds = pictures[-len(self._seconds) :], np.array(self._seconds)
        self._seconds = []
        self._last |= (numbered := self._numbered(find(np.stack(pictures), self._most)))
        return [
            Inset(number, seconds, np.stack([cut(p, where) for p in fresh]))
            for number, where in sorted(numbered.items())
        ]

    def _numbered(self, found: list[Rectangle]) -> dict[int, Rectangle]:
        """The numbers of those that cover most of the same as before, then the lowest free ones."""
        pairs = [
            (where.shared(last), i, number)
            for i, where in enumerate(found)
            for number, last in self._last.items()
            if where.overlaps(last)
        ]
        numbers: dict[int, int] = {}  # of each in `found`
        for _, i, number in sorted(pairs, key=lambda pair: -pair[0]):
            if i not in numbers and number not in numbers.values():
                numbers[i] = number
        for i in range(len(found)):
            if i not in numbers:
                numbers[i] = self._free(set(numbers.values()))
        return {numbers[i]: where for i, where in enumerate(found)}

    def _free(self, taken: set[int]) -> int:
        """A number that nothing has had so far, if there is one."""
        all_numbers = range(1, self._most + 1)
        left = [n for n in all_numbers if n not in taken]
        return min(left, key=lambda n: (n in self._last, n))


@dataclass(frozen=True)
class Inset:
    """A picture within the picture over a stretch of samples.

    Attributes:
        number: from 1 on.
        seconds: [n] float64, times of the samples.
        images: uint8 RGB [n, S, S, 3].
    """

    number: int
    seconds: np.ndarray
    images: np.ndarray


def rule_of(most: int) -> str:
    """What a store's spec says of so many insets, empty for none."""
    return f"{RULE} {most}" if most else ""


def most_of(rule: str) -> int:
    """How many insets a store's spec asks for.

    Raises:
        InputError: a rule that this version does not know.
    """
    name, _, number = rule.partition(" ")
    if not rule:
        return 0
    if name != RULE or number not in map(str, range(1, MOST_INSETS + 1)):
        raise InputError(
            f"insets found by the rule {rule!r}, which this version does not know; use the version "
            "that made the store, or make a new store"
        )
    return int(number)


def _luminance(pictures: np.ndarray) -> np.ndarray:
    """uint8 [T, S, S, 3] -> uint8 [T, S, S], by whole numbers: the same on every machine."""
    r, g, b = (pictures[..., i] * np.uint16(k) for i, k in enumerate((77, 150, 29)))
    return ((r + g + b + 128) >> 8).astype(np.uint8)


def _edges(luminance: np.ndarray) -> np.ndarray:
    """S of upright edges: uint8 [T, y, x] -> float32 [y, x]."""
    size = luminance.shape[2]
    right, left = luminance[:, :, 2:], luminance[:, :, :-2]
    steps = np.zeros((size, size), np.float32)
    steps[:, 1:-1] = _quantile(np.maximum(right, left) - np.minimum(right, left))
    wide = np.pad(steps, ((0, 0), (4, 4)), mode="edge")
    around = np.max([wide[:, i : i + size] for i in (0, 1, 7, 8)], axis=0)
    return np.clip((steps - around - 1) / (0.4 * steps + 3), 0, 1)


def _quantile(values: np.ndarray) -> np.ndarray:
    """The `_LASTING` quantile, the lower value of two: uint8 [T, ...] -> [...].

    Odd-even transposition sort: for so few frames its whole-picture minima and maxima of bytes take
    a tenth of the time of `np.partition`.
    """
    frames = list(values)
    for turn in range(len(frames)):
        for i in range(turn % 2, len(frames) - 1, 2):
            pair = frames[i], frames[i + 1]
            frames[i], frames[i + 1] = np.minimum(*pair), np.maximum(*pair)
    return frames[int(_LASTING * (len(frames) - 1))]


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


def _strengths(strength: np.ndarray, lines: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Mean of S along each line between two ends, NaN on borders: [y, x] -> [line, end, end]."""
    size = len(strength)
    sums = np.zeros((size + 1, len(lines)), np.float64)
    inner = (lines > 0) & (lines < size)
    sums[1:, inner] = strength[:, lines[inner]].cumsum(axis=0)
    at = sums[ends].T  # [line, end]
    lengths = np.maximum(1, ends[None, :] - ends[:, None])
    means = (at[:, None, :] - at[:, :, None]) / lengths
    means[~inner] = np.nan
    return means
