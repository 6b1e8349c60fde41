"""Further looks at a frame, for copies that nine regions of one scale do not find.

A frame has up to four kinds of vectors, stored in this order:

* regions: of the picture as it is (`regions`).
* soft: one of the whole picture at half the size without fine detail. It survives noise, blur and
  few bits a second, which change the regions of a copy beyond recognition.
* small (queries only): one for every divisor k of the model, of the picture shrunk to 1 / k in the
  middle of an empty frame. It looks as the query does where it is a part of another picture, so it
  finds picture in picture among the regions of the database.
* framed (queries only): one made as the soft vector is, of the picture shrunk to a part of its side
  in the middle of black. It looks as the query does when it is filmed off a screen, tilted, or
  has black around it.

Two frames are as similar as the best of these says: regions against regions by Chamfer; the same
for a part of the regions, those of the query that find the best match (partial), so that a box
over the others, or a crop that cut them off, does no harm; soft and framed against soft, and
small against the best region of the target, by their dot product. What is easier to reach by
chance has an offset taken off. The database pays for one vector more; what only queries have costs
it nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


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
        framed: whether queries have that vector; framed_offset: added to its similarity.
    """

    regions: int
    soft: bool = False
    small: int = 0
    partial: int = 0
    partial_offset: float = 0.0
    small_offsets: tuple[float, ...] = ()
    framed: bool = False
    framed_offset: float = 0.0

    @property
    def shared(self) -> int:
        """Vectors of a frame that both sides have."""
        return self.regions + self.soft

    @property
    def query(self) -> int:
        """Vectors of a query's frame."""
        return self.shared + self.small + self.framed

    @property
    def soft_places(self) -> list[int]:
        """Where the vectors lie that are compared with the soft one, and whitened as it is."""
        return [self.regions] * self.soft + [self.query - 1] * self.framed

    @property
    def region_places(self) -> list[int]:
        """Where the others lie: regions, then small."""
        return [*range(self.regions), *range(self.shared, self.shared + self.small)]

    @property
    def of_database(self) -> Layout:
        """Without what only queries have."""
        return replace(self, small=0, small_offsets=(), framed=False)

    def of_query(self, vectors: int) -> Layout:
        """The layout of query frames that have so many vectors.

        Raises:
            ValueError: no layout of this model has so many.
        """
        for layout in (self, self.of_database):
            if layout.query == vectors:
                return layout
        raise ValueError(f"{vectors} vectors a frame, the model gives {self.shared} and more")
