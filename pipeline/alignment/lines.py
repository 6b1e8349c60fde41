"""Alignment by straight lines with offsets finer than a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from .decidable import is_query_decidable
from .ends import Interval, interval_on
from .evidence import UNRELATED, Evidence, Levels
from .likeness import best_shift
from .offset import fitted
from .search import Line, Votes, best_line, corner_line, votes_of
from .segment import Segment
from .timeline import Timeline

_MIN_SCORE = 0.60  # seconds of full evidence, less prices, that a line needs
_MIN_SECONDS = 1.0  # of the longer side of a segment
_MIN_QUERY_SECONDS = 0.4
_MARGIN = 0.30  # steps around a segment that belong to it when the next one is searched
_CORNER_SHARE = 0.5  # of the best line's score that the line from corner to corner needs
_CORNER_GAIN = 0.0  # of similarity, that it needs besides
_CORNER_LOSS = 0.05  # of similarity, that it may lack if it has more evidence
_REAL_TIME_SHARE = 0.5  # of the best line's score that one without change of speed needs
_REAL_TIME_LOSS = 0.02  # of similarity, that it may lack
_MIN_CONTRAST = 0.5  # of a segment's similarity to that of the pair's best segment
_SAME_SHARE = 0.75  # of a segment's database seconds that another one of a still query has


def align_by_lines(
    matrix: np.ndarray, query: Timeline, database: Timeline, max_segments: int
) -> list[Segment]:
    """Find segments one after another: the best line, its exact place, its ends.

    Each line that was found is taken out of the evidence before the next search. See
    `protocol.Aligner` for arguments and result.
    """
    evidence = Evidence(matrix)
    votes = votes_of(evidence.cells, matrix)
    segments: list[Segment] = []
    for _ in range(max_segments):
        line = best_line(evidence.cells, votes, query, database, _MIN_SCORE)
        place = None if line is None else _place(evidence, query, database, line)
        if place is not None and place.line.slope != 1:
            place = _real_time_if_as_good(evidence, votes, query, database, place)
        if not segments:
            place = _corner_if_better(evidence, query, database, place)
        if place is None:
            break
        segment = _segment(matrix, query, database, place)
        if segment is not None and not any(_is_another_answer(segment, s) for s in segments):
            if not segment.query_decidable:
                segment = _moved(matrix, query, database, segment, segments)
                place = place.at(segment)
            segments.append(segment)
        _take_out(evidence, query, database, place)
        votes = votes._replace(evidence=np.maximum(evidence.cells[votes.rows, votes.columns], 0))
    best = max((s.score for s in segments), default=0)
    return [s for s in segments if s.score - UNRELATED >= _MIN_CONTRAST * (best - UNRELATED)]


class _Place(NamedTuple):
    """A line, its exact slope and offset, and where on it the match lies."""

    line: Line
    slope: float
    offset: float
    interval: Interval | None

    def at(self, segment: Segment) -> _Place:
        """The place after its segment was moved."""
        if self.interval is None:
            return self
        interval = self.interval._replace(start=segment.query_start, end=segment.query_end)
        return self._replace(offset=segment.offset, interval=interval)


def _place(evidence: Evidence, query: Timeline, database: Timeline, line: Line) -> _Place:
    """The exact place of a line.

    Its ends are found once by the levels of the whole pair, and again by what the frames on this
    line have: one pair may hold an untouched piece and a heavily edited one.
    """
    slope, offset = line.slope, line.offset
    if not line.whole:
        slope, offset = fitted(evidence, query, database, line)
    interval = interval_on(evidence, evidence.levels, query, database, slope=slope, offset=offset)
    if interval is not None:
        levels = Levels.from_match(interval.level)
        interval = interval_on(evidence, levels, query, database, slope=slope, offset=offset)
    return _Place(line, slope, offset, interval)


def _real_time_if_as_good(
    evidence: Evidence, votes: Votes, query: Timeline, database: Timeline, best: _Place
) -> _Place:
    """The best line without change of speed, if its frames resemble each other about as much.

    Where a video hardly moves, lines of any slope have evidence, and a slope that leads to the
    ends of a video saves the price of cuts.
    """
    min_score = max(_MIN_SCORE, _REAL_TIME_SHARE * best.line.score)
    line = best_line(evidence.cells, votes, query, database, min_score, slopes=(1.0,))
    if line is None:
        return best
    place = _place(evidence, query, database, line)
    if best.interval is None or place.interval is None:
        return best
    lost = best.interval.score - place.interval.score
    return place if lost <= _REAL_TIME_LOSS else best


def _corner_if_better(
    evidence: Evidence, query: Timeline, database: Timeline, best: _Place | None
) -> _Place | None:
    """The line from corner to corner where it fits better than the best line.

    A whole video that was sped up explains all of the longer side, for which a run gets nothing:
    it counts seconds of the shorter side. So the corner line wins as well with less evidence if
    its frames resemble each other more. Where a video stands still neither is better, and a
    trimmed copy is the likelier of the two. With more evidence it may not fit clearly worse: a
    scene whose frames are all alike fills a corner line across an insertion.
    """
    line = corner_line(evidence.cells, query, database)
    if line is None or line.score < _MIN_SCORE:
        return best
    corner = _place(evidence, query, database, line)
    if best is None or best.interval is None:
        return corner
    if corner.interval is None or line.score < _CORNER_SHARE * best.line.score:
        return best
    gain = _CORNER_GAIN if line.score <= best.line.score else -_CORNER_LOSS
    closer = corner.interval.score - best.interval.score >= gain
    return corner if closer else best


def _segment(
    matrix: np.ndarray, query: Timeline, database: Timeline, place: _Place
) -> Segment | None:
    """The segment of a place, None if it is too short to be one."""
    _, slope, offset, interval = place
    if interval is None:
        return None
    length = interval.end - interval.start
    if length < _MIN_QUERY_SECONDS or length * max(1.0, slope) < _MIN_SECONDS:
        return None
    segment = Segment(
        interval.start,
        interval.end,
        max(database.start, slope * interval.start + offset),
        min(database.end, slope * interval.end + offset),
        interval.score,
    )
    decidable = is_query_decidable(matrix, query, database, segment)
    return segment if decidable else replace(segment, query_decidable=False)


def _is_another_answer(segment: Segment, found: Segment) -> bool:
    """Whether a segment shows the same frames at another place of a query that stands still."""
    start = max(segment.database_start, found.database_start)
    shared = min(segment.database_end, found.database_end) - start
    length = segment.database_end - segment.database_start
    return not found.query_decidable and shared > _SAME_SHARE * length


def _moved(
    matrix: np.ndarray,
    query: Timeline,
    database: Timeline,
    segment: Segment,
    others: Sequence[Segment],
) -> Segment:
    """The segment at the place of the query that its frames resemble most."""
    taken = np.zeros(len(query), bool)
    for other in others:
        taken[query.between(other.query_start, other.query_end)] = True
    shift = best_shift(matrix, query, database, segment, taken)
    return replace(
        segment, query_start=segment.query_start + shift, query_end=segment.query_end + shift
    )


def _take_out(evidence: Evidence, query: Timeline, database: Timeline, place: _Place) -> None:
    """Take the frames of a place out of the evidence."""
    line, slope, offset, interval = place
    start, end = (line.first, line.last) if interval is None else (interval.start, interval.end)
    margins = _MARGIN * query.step, _MARGIN * database.step
    rows = query.between(start - margins[0], end + margins[0])
    columns = database.between(
        slope * start + offset - margins[1], slope * end + offset + margins[1]
    )
    if not len(rows) or not len(columns):  # it lies between two samples: block those around it
        rows = query.between(line.first - 0.6 * query.step, line.last + 0.6 * query.step)
        ends = line.slope * np.array([line.first, line.last]) + line.offset
        columns = database.between(ends[0] - 0.6 * database.step, ends[1] + 0.6 * database.step)
    evidence.take_out(rows, columns)
