"""The outline of an embedded picture: corners, strength, overlap with another outline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BORDER = 0.45  # strength of the border of the frame when it counts as an edge
_MAX_OVERLAP = 0.5  # part of the smaller area that two insets may share


@dataclass(frozen=True)
class Outline:
    """A convex quadrilateral.

    Attributes:
        corners: (x, y) in pixels of the picture, clockwise from top left; the border of a picture
            of S pixels lies at 0 and at S.
        strength: of the weakest edge, 0 to 1.
        edges: number of sides that do not lie on the picture's border, 1 to 4.
        rank: order of choice: mean strength of the four sides, where the border counts `BORDER`,
            minus a penalty for a slant.
    """

    corners: tuple[tuple[float, float], ...]
    strength: float
    edges: int
    rank: float

    @property
    def upright(self) -> bool:
        """Whether this is an axis-parallel rectangle."""
        return all(x0 == x1 or y0 == y1 for (x0, y0), (x1, y1) in _sides(list(self.corners)))

    @property
    def area(self) -> float:
        """Area in pixels."""
        return _area(list(self.corners))

    def overlap_ratio(self, other: Outline) -> float:
        """Compute the common area as a part of the smaller area, 0 to 1."""
        polygon = list(self.corners)
        for start, end in _sides(list(other.corners)):
            polygon = _clip(polygon, start, end)
        return round(_area(polygon) / min(self.area, other.area), 9)  # halves are halves

    def corner_distance(self, other: Outline) -> float:
        """Compute the largest horizontal or vertical distance of two corners, in pixels."""
        return float(np.abs(np.subtract(self.corners, other.corners)).max())

    def overlaps(self, other: Outline) -> bool:
        """Tell whether the outlines share so much that one of them shows nothing new."""
        return self.overlap_ratio(other) >= _MAX_OVERLAP

    def inner_corners(self, size: int, width: float) -> np.ndarray:
        """Compute the corners after every edge moved inwards; sides on the border stay.

        Args:
            size: side of the picture in pixels.
            width: pixels that an edge moves.

        Returns:
            float64 [4, 2] of (x, y).
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
    """Compute the area of a polygon by the shoelace formula."""
    return 0.5 * abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in _sides(corners)))


def _clip(corners: list[Point], start: Point, end: Point) -> list[Point]:
    """Clip a polygon to the right side of a line, y downwards (Sutherland and Hodgman, 1974)."""
    across, down = end[0] - start[0], end[1] - start[1]
    clipped: list[Point] = []
    for here, there in _sides(corners):
        inside, next_inside = (
            across * (y - start[1]) - down * (x - start[0]) for x, y in (here, there)
        )
        if inside >= 0:
            clipped.append(here)
        if inside * next_inside < 0:
            share = inside / (inside - next_inside)
            clipped.append(
                (here[0] + share * (there[0] - here[0]), here[1] + share * (there[1] - here[1]))
            )
    return clipped
