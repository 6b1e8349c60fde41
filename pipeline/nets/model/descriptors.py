"""Further looks at a frame, for copies that nine regions of one scale do not find.

A frame has up to five kinds of vectors, stored in this order:

* regions: of the picture as it is (`regions`).
* soft: one of the whole picture at half the size without fine detail. It survives noise, blur and
  few bits a second, which change the regions of a copy beyond recognition.
* pixels: the luminance of the whole picture on a few squares, see `nets.extractor.thumbnail`. It
  tells copies that keep the picture where it is, however little is left of it, from others of the
  same things. Queries may have a second one, of the mirrored picture, behind all others.
* small (queries only): one for every divisor k of the model, of the picture shrunk to 1 / k in the
  middle of an empty frame. It looks as the query does where it is a part of another picture, so it
  finds picture in picture among the regions of the database.
* views (queries only): made as the soft vector is, of what may have become of the picture: shrunk
  in black or grey, its parts, turned, its outlines; see `View`.

Two frames are as similar as the best of these says: regions against regions by Chamfer; the same
for a part of the regions, those of the query that find the best match (partial), so that a box
over the others, or a crop that cut them off, does no harm; soft and views against soft, pixels
against pixels, and small against the best region of the target, by their dot product. What is
easier to reach by chance has an offset taken off. The database pays for soft and pixels, a vector
each; what only queries have costs it nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ...checks import number, text, whole

MOST_PARTS = 16  # of a zoomed view, along one side
THUMBNAIL = 32  # squares along a side that the vector of pixels is made of

# Kinds of views, and what `amount` means.
VIEWS = {
    "framed": "share of the side that the picture takes up in black, more than 0 and less than 1",
    "matted": "share of the side that it takes up in the mean colour, more than 0 and less than 1",
    "zoomed": "share of the side of each part, 0.5 to less than 1",
    "turned": "degrees, both ways, more than 0 and 180 at most",
    "outlined": "factor of the gradient that is shown, more than 0",
}


@dataclass(frozen=True)
class View:
    """What may have become of a query's picture; one soft vector of each result.

    Attributes:
        kind: of `VIEWS`; amount: what it says there.
        offset: added to the similarity.
        hubness: how much of the vector's hubness is taken off, see `nets.similarity.csls`.
        parts: of a zoomed view, along one side; they lie evenly and may overlap.
    """

    kind: str
    amount: float
    offset: float = 0.0
    hubness: float = 0.0
    parts: int = 1

    def __post_init__(self) -> None:
        for key in ("amount", "offset", "hubness"):
            number(f"views: {key}", getattr(self, key))
        if text("views: kind", self.kind) not in VIEWS:
            raise ValueError(f"a view of kind {self.kind!r}, expected one of {', '.join(VIEWS)}")
        possible = {
            "framed": 0 < self.amount < 1,
            "matted": 0 < self.amount < 1,
            "zoomed": 0.5 <= self.amount < 1,
            "turned": 0 < self.amount <= 180,
            "outlined": 0 < self.amount < math.inf,
        }
        if not possible[self.kind]:
            raise ValueError(f"{self.kind} view of {self.amount}, expected {VIEWS[self.kind]}")
        whole("views: parts", self.parts, 1, MOST_PARTS)
        if self.kind != "zoomed" and self.parts != 1:
            raise ValueError(f"{self.kind} view of {self.parts} parts, only zoomed ones have parts")
        if not -1 <= self.offset <= 1:
            raise ValueError(f"{self.kind} view: offset {self.offset}, expected -1 to 1")
        if not 0 <= self.hubness <= 2:
            raise ValueError(f"{self.kind} view: hubness {self.hubness}, expected 0 to 2")

    @property
    def vectors(self) -> int:
        """How many of a frame."""
        if self.kind == "turned":
            return len(self.angles)
        return self.parts**2

    @property
    def angles(self) -> tuple[float, ...]:
        """Degrees of a turned view, clockwise; half a turn is the same both ways."""
        return (180.0,) if self.amount == 180 else (-self.amount, self.amount)


@dataclass(frozen=True)
class Layout:
    """Which vectors of a query frame are what, and how frames are compared by them.

    Attributes:
        regions: of the picture as it is.
        soft: whether both sides have that vector.
        small: vectors of shrunken pictures.
        partial: how many of the query's regions have to match, 0 for no such look.
        partial_offset: added to the similarity of these.
        small_offsets: added to the similarity of each small vector; empty for none.
        views: of queries, compared with the soft vector.
        pixels: whether both sides have that vector.
        pixels_offset: added to its similarity.
        mirrored: whether queries have one of the mirrored picture, too.
    """

    regions: int
    soft: bool = False
    small: int = 0
    partial: int = 0
    partial_offset: float = 0.0
    small_offsets: tuple[float, ...] = ()
    views: tuple[View, ...] = ()
    pixels: bool = False
    pixels_offset: float = 0.0
    mirrored: bool = False

    @property
    def shared(self) -> int:
        """Vectors of a frame that both sides have."""
        return self.regions + self.soft + self.pixels

    @property
    def query(self) -> int:
        """Vectors of a query's frame."""
        return sum(count for _, count in self.spaces)

    @property
    def soft_places(self) -> list[int]:
        """Where the vectors lie that are compared with the soft one, and whitened as it is."""
        views = range(self.shared + self.small, self.query - self.mirrored)
        return [self.regions] * self.soft + [*views]

    @property
    def pixel_places(self) -> list[int]:
        """Where the vectors of pixels lie."""
        return [self.regions + self.soft] * self.pixels + [self.query - 1] * self.mirrored

    @property
    def spaces(self) -> list[tuple[str, int]]:
        """Runs of vectors in their order: the whitening they have, and how many they are."""
        views = sum(view.vectors for view in self.views)
        runs = [
            ("regions", self.regions),
            ("soft", int(self.soft)),
            ("pixels", int(self.pixels)),
            ("regions", self.small),
            ("soft", views),
            ("pixels", int(self.mirrored)),
        ]
        return [(kind, count) for kind, count in runs if count]

    @property
    def whole_places(self) -> list[int]:
        """Where the vectors lie that are compared with one of the whole target picture."""
        return self.soft_places + self.pixel_places

    @property
    def whole_offsets(self) -> list[float]:
        """Of each of these what is added to its similarity."""
        views = [v.offset for v in self.views for _ in range(v.vectors)]
        return [0.0] * self.soft + views + [self.pixels_offset] * len(self.pixel_places)

    @property
    def whole_hubness(self) -> list[float]:
        """Of each of these how much of its hubness is taken off."""
        views = [v.hubness for v in self.views for _ in range(v.vectors)]
        return [0.0] * self.soft + views + [0.0] * len(self.pixel_places)

    @property
    def region_places(self) -> list[int]:
        """Where the others lie: regions, then small."""
        return [*range(self.regions), *range(self.shared, self.shared + self.small)]

    @property
    def of_database(self) -> Layout:
        """Without what only queries have."""
        return replace(self, small=0, small_offsets=(), views=(), mirrored=False)

    def of_query(self, vectors: int) -> Layout:
        """The layout of query frames that have so many vectors.

        Raises:
            ValueError: no layout of this model has so many.
        """
        for layout in (self, self.of_database):
            if layout.query == vectors:
                return layout
        raise ValueError(f"{vectors} vectors a frame, the model gives {self.shared} and more")
