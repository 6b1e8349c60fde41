"""What an alignment gives: stretches of two videos that show the same."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Segment:
    """One stretch of a query and the stretch of a database video that matches it.

    Times are seconds since the start of each video, as VSC2022 and VCSL give them. A database
    stretch that is shorter or longer than the query's was sped up or slowed down.

    Attributes:
        query_start, query_end: seconds in the query.
        database_start, database_end: seconds in the database video.
        score: mean similarity of the frames that lie on each other, within [-1, 1].
        query_decidable: False where another stretch of the query fits about as well, because
            the query stands still or repeats itself. The times of the query are then one answer
            of several; those of the database video hold.
    """

    query_start: float
    query_end: float
    database_start: float
    database_end: float
    score: float
    query_decidable: bool = True

    @property
    def slope(self) -> float:
        """Seconds of the database video for one second of the query."""
        return (self.database_end - self.database_start) / (self.query_end - self.query_start)

    @property
    def offset(self) -> float:
        """Second of the database video at which the query's second 0 would lie."""
        return self.database_start - self.slope * self.query_start
