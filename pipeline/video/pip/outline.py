"""The outline of a picture within the picture: four corners, how sure it is, what it shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BORDER = 0.45  # what the border of the frame counts for, as an edge
_OVERLAP = 0.5  # of the smaller one's area, that two insets may share


@dataclass(frozen=True)
class Outline:
    """A convex quadrilateral.

    Attributes:
        corners: (x, y) in pixels of the picture, clockwise from top left; the border of a picture
            of S pixels lies at 0 and at S.
        strength: of its weakest edge, 0 to 1.
        edges: sides that do not lie on the picture's border, 1 to 4.
        rank: by which the best are chosen: mean strength of all four sides, the border counting
            `BORDER`, less what is taken off for a slant.
    """

    corners: tuple[tuple[float, float], ...]
    strength: float
    edges: int
    rank: float

    @property
    def upright(self) -> bool:
        """Whether it is a rectangle whose sides lie across and upright."""
        return all(x0 == x1 or y0 == y1 for (x0, y0), (x1, y1) in _sides(list(self.corners)))

    @property
    def area(self) -> float:
        """In pixels."""
        return _area(list(self.corners))

    def shared(self, other: Outline) -> float:
        """Part of the smaller one's area that both cover, 0 to 1."""
        part = list(self.corners)
        for start, end in _sides(list(other.corners)):
            part = _clipped(part, start, end)
        return round(_area(part) / min(self.area, other.area), 9)  # halves are halves

    def distance(self, other: Outline) -> float:
        """The most that a corner of one lies across or down from the other's, in pixels."""
        return float(np.abs(np.subtract(self.corners, other.corners)).max())

    def overlaps(self, other: Outline) -> bool:
        """Whether they share so much that one of them shows nothing new."""
        return self.shared(other) >= _OVERLAP

    def shrunk(self, size: int, width: float) -> np.ndarray:
        """Its corners without so many pixels along every edge that is not the border of a picture
        of `size`: float64 [4, 2].
        """
        lines = []
        for start, end in _sides(list(self.corners)):
            (x0, y0), (x1, y1) = start, end
            border = (x0 == x1 and x0 in (0, size)) or (y0 == y1 and y0 in (0, size))
            inward = np.array([y0 - y1, x1 - x0]) / np.hypot(x1 - x0, y1 - y0)
            lines.append((inward, inward @ start + (0 if border else width)))
        return np.array([
            np.linalg.solve([lines[i - 1][0], lines[i][0]], [lines[i - 1][1], lines[i][1]])
            for i in range(4)
        ])  # fmt: skip


Point = tuple[float, float]


def _sides(corners: list[Point]) -> list[tuple[Point, Point]]:
    return list(zip(corners, corners[1:] + corners[:1], strict=True))


def _area(corners: list[Point]) -> float:
    """Shoelace formula."""
    return 0.5 * abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in _sides(corners)))


def _clipped(corners: list[Point], start: Point, end: Point) -> list[Point]:
    """What of a polygon lies to the right of a line, y downwards (Sutherland and Hodgman, 1974)."""
    across, down = end[0] - start[0], end[1] - start[1]
    kept: list[Point] = []
    for here, there in _sides(corners):
        inside, next_inside = (
            across * (y - start[1]) - down * (x - start[0]) for x, y in (here, there)
        )
        if inside >= 0:
            kept.append(here)
        if inside * next_inside < 0:
            share = inside / (inside - next_inside)
            kept.append(
                (here[0] + share * (there[0] - here[0]), here[1] + share * (there[1] - here[1]))
            )
    return kept
