"""Adds segments to the matches of a search, for the pairs that are written and no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..errors import InputError, StoreError
from ..output.match import Match, MatchTable
from .pair_alignment import PairAligner, PairAlignment
from .request import SearchRequest

if TYPE_CHECKING:
    from ..nets.similarity.pair_scorer import PairScorer

MAX_UNSELECTED = 10_000  # pairs that are aligned though neither top_k nor a threshold is given
_PAIR_SECONDS = 0.01  # that a pair takes, about; videos of a minute


@dataclass
class RefinementReport:
    """How many segments had their ends found again in the videos.

    Attributes:
        segments: of all refined matches.
        refined: those of which an end was found again.
        reasons: why the others were not: reason -> ids of the videos, each once.
    """

    segments: int = 0
    refined: int = 0
    reasons: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class SegmentReport:
    """What was found in the pairs so far.

    Attributes:
        pairs: pairs that were aligned.
        marked: those with a segment.
        segments: all segments.
        thinned: pairs of very long videos of which only every so many-th frame was compared.
        thinned_step: that number, the largest.
        refinement: None if no video was to be decoded again.
    """

    pairs: int = 0
    marked: int = 0
    segments: int = 0
    thinned: int = 0
    thinned_step: int = 1
    refinement: RefinementReport | None = None


class SegmentRefiner(Protocol):
    """Finds ends of segments again, in the videos themselves."""

    report: RefinementReport

    def refined(
        self, query: int, database: Sequence[int], alignments: Sequence[PairAlignment | None]
    ) -> list[PairAlignment | None]:
        """The alignments of a query with some database videos, with better ends where possible."""


class SegmentMatches:
    """A `MatchTable` whose matches have segments; they are found when a query's are asked for.

    A video that turns out to be damaged is left out, as in the scores.

    Args:
        table: the matches without segments.
        request: what they were found with.
        refiner: finds ends again; None leaves them.
        scorer: the request's network, if it was made already.
        needed: float32 [queries], the score that a pair of each query needs for segments, see
            `unusual_scores`; None asks for none.

    Attributes:
        report: what was found so far.
    """

    def __init__(
        self,
        table: MatchTable,
        request: SearchRequest,
        refiner: SegmentRefiner | None = None,
        *,
        scorer: PairScorer | None = None,
        needed: np.ndarray | None = None,
    ) -> None:
        self._table, self._request, self._refiner = table, request, refiner
        self._needed = needed
        self._aligner = PairAligner(request, scorer=scorer)
        self._queries = {video_id: i for i, video_id in enumerate(request.queries.ids)}
        self._database = {video_id: i for i, video_id in enumerate(request.database.ids)}
        self.report = SegmentReport(refinement=refiner.report if refiner else None)

    @property
    def query_ids(self) -> Sequence[str]:
        """Ids of all listed queries."""
        return self._table.query_ids

    def check(self) -> None:
        """Raise what `matches` would raise for any of the queries."""
        self._table.check()

    def matches(self, query_id: str) -> Sequence[Match]:
        """The matches of a query with their segments; see `MatchTable`."""
        matches = list(self._table.matches(query_id))
        if not matches:
            return ()
        query = self._queries[query_id]
        database = [self._database[match.database_id] for match in matches]
        try:
            alignments = self._aligned(query, database, [match.score for match in matches])
        except StoreError:
            if query_id in self._request.queries.damaged:  # the run's report names it
                return ()
            raise
        if self._refiner is not None:
            alignments = self._refiner.refined(query, database, alignments)
        self._count(alignments)
        return [
            replace(match, segments=alignment.segments, mirrored=alignment.mirrored)
            for match, alignment in zip(matches, alignments, strict=True)
            if alignment is not None
        ]

    def _aligned(
        self, query: int, database: Sequence[int], scores: Sequence[float]
    ) -> list[PairAlignment | None]:
        """Alignments of pairs; those whose score does not stand out are not aligned."""
        needed = -np.inf if self._needed is None else float(self._needed[query])
        places = [place for place, score in enumerate(scores) if score >= needed]
        alignments: list[PairAlignment | None] = [PairAlignment(())] * len(scores)
        chosen = [database[place] for place in places], [scores[place] for place in places]
        for place, alignment in zip(places, self._aligner.align_all(query, *chosen), strict=True):
            alignments[place] = alignment
        return alignments

    def _count(self, alignments: Sequence[PairAlignment | None]) -> None:
        for alignment in alignments:
            if alignment is not None:
                self.report.pairs += 1
                self.report.marked += bool(alignment.segments)
                self.report.segments += len(alignment.segments)
                self.report.thinned += alignment.step > 1
                self.report.thinned_step = max(self.report.thinned_step, alignment.step)


def require_selection(queries: int, database: int, selects: bool) -> None:
    """Refuse to align all pairs of large sets.

    Args:
        queries, database: videos of the two sides.
        selects: a top_k or a threshold is given.

    Raises:
        InputError: there are more than 10,000 pairs, and nothing selects among them.
    """
    pairs = queries * database
    if selects or pairs <= MAX_UNSELECTED:
        return
    minutes = pairs * _PAIR_SECONDS / 60
    raise InputError(
        f"segments of all {pairs:,} pairs would take {minutes:,.0f} minutes or more: give top_k, "
        "threshold or max_fpr, and segments are found for the pairs that these select"
    )
