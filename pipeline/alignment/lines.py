"""Alignment by straight lines with offsets finer than a sample."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .decidable import is_query_decidable
from .ends import Stretch, stretch_on
from .evidence import UNRELATED, Evidence, Levels
from .offset import fitted
from .search import Line, best_line, corner_line, votes_of
from .segment import Segment
from .timeline import Timeline

_LEAST_SCORE = 0.60  # seconds of full evidence, less prices, that a line needs
_LEAST_SECONDS = 1.0  # of the longer side of a segment
_LEAST_QUERY_SECONDS = 0.4
_MARGIN = 0.30  # steps around a segment that belong to it when the next one is searched
_LEAST_CONTRAST = 0.5  # of a segment's similarity to that of the pair's best segment


def align_by_lines(
    matrix: np.ndarray, query: Timeline, database: Timeline, most: int
) -> list[Segment]:
    """Find segments one after another: the best line, its exact place, its ends.

    Each line that was found is taken out of the evidence before the next search. See
    `protocol.Aligner` for arguments and result.
    """
    evidence = Evidence(matrix)
    votes = votes_of(evidence.cells, matrix)
    found: list[Segment] = []
    for _ in range(most):
        line = best_line(evidence.cells, votes, query, database, _LEAST_SCORE)
        if not found:
            line = _better(line, corner_line(evidence.cells, query, database))
        if line is None:
            break
        slope, offset = line.slope, line.offset
        if not line.whole:
            slope, offset = fitted(evidence, query, database, line)
        stretch = _stretch(evidence, query, database, slope, offset)
        if stretch is not None:
            segment = _segment(matrix, query, database, slope, offset, stretch)
            if segment is not None:
                found.append(segment)
        _take_out(evidence, query, database, line, slope, offset, stretch)
        votes = votes._replace(evidence=np.maximum(evidence.cells[votes.rows, votes.columns], 0))
    best = max((s.score for s in found), default=0)
    return [s for s in found if s.score - UNRELATED >= _LEAST_CONTRAST * (best - UNRELATED)]


def _stretch(
    evidence: Evidence, query: Timeline, database: Timeline, slope: float, offset: float
) -> Stretch | None:
    """Where on a line the match lies.

    Once by the levels of the whole pair, and again by what the frames on this line have: one pair
    may hold an untouched piece and a heavily edited one.
    """
    rough = stretch_on(evidence, evidence.levels, query, database, slope, offset)
    if rough is None:
        return None
    levels = Levels.from_match(rough.level)
    return stretch_on(evidence, levels, query, database, slope, offset)


def _better(line: Line | None, other: Line | None) -> Line | None:
    """The line with the higher score; the other one has to reach the least score as well."""
    if other is None or other.score < _LEAST_SCORE:
        return line
    return other if line is None or other.score > line.score else line


def _segment(
    matrix: np.ndarray,
    query: Timeline,
    database: Timeline,
    slope: float,
    offset: float,
    stretch: Stretch,
) -> Segment | None:
    """The segment of a stretch, None if it is too short to be one."""
    length = stretch.end - stretch.start
    if length < _LEAST_QUERY_SECONDS or length * max(1.0, slope) < _LEAST_SECONDS:
        return None
    segment = Segment(
        stretch.start,
        stretch.end,
        max(database.start, slope * stretch.start + offset),
        min(database.end, slope * stretch.end + offset),
        stretch.score,
    )
    decidable = is_query_decidable(matrix, query, database, segment)
    return segment if decidable else replace(segment, query_decidable=False)


def _take_out(
    evidence: Evidence,
    query: Timeline,
    database: Timeline,
    line: Line,
    slope: float,
    offset: float,
    stretch: Stretch | None,
) -> None:
    """Take the frames of a segment out of the evidence."""
    start, end = (line.first, line.last) if stretch is None else (stretch.start, stretch.end)
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
