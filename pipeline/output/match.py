"""What a search gives: pairs of videos with their score and, where asked for, their segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..alignment.segment import Segment


@dataclass(frozen=True, slots=True)
class Match:
    """A query and a database video that were selected for the result.

    Attributes:
        query_id, database_id: the two videos.
        score: of the pair.
        segments: from when to when they match, the most certain first; empty where no segment was
            found; None where none was looked for.
        mirrored: the segments are those of the mirrored query.
    """

    query_id: str
    database_id: str
    score: float
    segments: tuple[Segment, ...] | None = None
    mirrored: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The match as JSON has it; `mirrored` and `segments` only where segments were looked for.

        Returns:
            query_id, database_id and score; mirrored and segments, a list of dictionaries with the
            fields of `Segment`. The score has six decimals, seconds have three.
        """
        values: dict[str, Any] = {
            "query_id": self.query_id,
            "database_id": self.database_id,
            "score": rounded_score(self.score),
        }
        if self.segments is not None:
            values["mirrored"] = self.mirrored
            values["segments"] = [segment_dict(segment) for segment in self.segments]
        return values


class MatchTable(Protocol):
    """The selected scores of a search, query by query."""

    @property
    def query_ids(self) -> Sequence[str]:
        """Ids of all listed queries, in the order of the result."""

    def matches(self, query_id: str) -> Sequence[Match]:
        """The matches of a query in the order of the result; none if it could not be used.

        Raises:
            PipelineError: a score of the query is not a finite number; names the pair.
        """

    def check(self) -> None:
        """Raise what `matches` would raise for any of the queries."""


def segment_dict(segment: Segment) -> dict[str, Any]:
    """The fields of a segment, as JSON has them."""
    return {
        "query_start": rounded_seconds(segment.query_start),
        "query_end": rounded_seconds(segment.query_end),
        "database_start": rounded_seconds(segment.database_start),
        "database_end": rounded_seconds(segment.database_end),
        "score": rounded_score(segment.score),
        "query_decidable": segment.query_decidable,
    }


def rounded_score(score: float) -> float:
    """Six decimals, which is below float32's own error here; -0.0 becomes 0.0."""
    return round(score * 1e6) / 1e6


def rounded_seconds(seconds: float) -> float:
    """Milliseconds."""
    return round(seconds * 1e3) / 1e3
