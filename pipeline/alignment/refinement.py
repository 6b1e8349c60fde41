"""Ends of a segment found again at a finer rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from .ends import interval_on
from .evidence import Evidence, Levels
from .likeness import Lines, expected, likeness
from .offset import fitted
from .search import Line
from .segment import Segment
from .timeline import Timeline

_FURTHEST = 2.0  # seconds that an end may move; the coarse rate is not further off
_REAL_TIME = 0.03  # slopes this close to 1 are 1: ends are known to a fraction of a second
_PITCH = 0.25  # steps of the query between places that are compared
_NOISE = 0.01  # seconds times similarity that make a place e times less likely: many frames tell
_MIN_SHARED = 0.5  # seconds of a window that have to lie within the segment


class EndWindow(NamedTuple):
    """Similarities around one end of a segment, sampled at a finer rate.

    Attributes:
        matrix: float32 [q, d], made as the one that the segment was found in.
        query_seconds, database_seconds: [q] and [d], ascending, since the start of each video.
    """

    matrix: np.ndarray
    query_seconds: np.ndarray
    database_seconds: np.ndarray


def refine(
    segment: Segment,
    *,
    head: EndWindow | None = None,
    tail: EndWindow | None = None,
    query_duration: float,
    database_duration: float,
    furthest: float = _FURTHEST,
) -> Segment:
    """Find the ends of a segment again in windows around them.

    Args:
        segment: of `align`.
        head, tail: windows around the start and the end, some three seconds to either side on
            both videos; None leaves that end as it is.
        query_duration, database_duration: seconds of the videos.
        furthest: seconds that an end may move.

    Returns:
        The segment with the ends that the windows show, in the query where its frames are most
        alike. An end whose window shows no match near it stays, so a result that equals the
        argument says that nothing was refined.

    Raises:
        ValueError: a window's matrix and times do not fit.
    """
    durations = query_duration, database_duration
    better = _refined(segment, head, tail, durations, furthest)
    if head is None or tail is None or better == segment:
        return better
    return _where_most_alike(better, (head, tail), durations, furthest / 2)


def _refined(
    segment: Segment,
    head: EndWindow | None,
    tail: EndWindow | None,
    durations: tuple[float, float],
    furthest: float,
) -> Segment:
    """The segment with the ends that the windows show, without change of speed if as good."""
    better = _with_ends(segment, head, tail, durations, furthest)
    if head is None or tail is None or abs(segment.slope - 1) < _REAL_TIME:
        return better
    # Where a video hardly moves the coarse rate gives slopes by chance.
    in_step = _in_step(segment, durations[0])
    unsped = _with_ends(in_step, head, tail, durations, furthest)
    windows = head, tail
    if unsped == in_step:
        return better
    return unsped if _likeness(unsped, windows) >= _likeness(better, windows) else better


def _where_most_alike(
    segment: Segment,
    windows: Sequence[EndWindow],
    durations: tuple[float, float],
    furthest: float,
) -> Segment:
    """The same seconds of the database video, in the query where they are most alike.

    Args:
        furthest: seconds of the query that it may move.
    """
    room = -segment.query_start, durations[0] - segment.query_end
    sides = [
        (Timeline.of_part(w.query_seconds, durations[0]), Timeline.of_part(w.database_seconds, d))
        for w, d in ((window, durations[1]) for window in windows)
    ]
    pitch = _PITCH * min(query.step for query, _ in sides)
    shifts = np.arange(-np.floor(furthest / pitch), np.floor(furthest / pitch) + 1) * pitch
    shifts = shifts[(shifts >= room[0] - 1e-6) & (shifts <= room[1] + 1e-6)]
    if len(shifts) < 2:
        return segment
    lines = Lines(np.full(len(shifts), segment.slope), segment.offset - segment.slope * shifts)
    alike = np.zeros(len(shifts))
    for window, (query, database) in zip(windows, sides, strict=True):
        columns = database.between(segment.database_start, segment.database_end)
        at = (database.seconds[columns] - segment.offset) / segment.slope
        margin = query.step / 2  # of all lines the window has to show what they lead to
        seen = (at + shifts[0] >= query.seconds[0] - margin) & (
            at + shifts[-1] <= query.seconds[-1] + margin
        )
        if seen.any():
            seconds = seen.sum() * database.step / segment.slope
            alike += seconds * likeness(window.matrix, query, database, columns[seen], lines)
    if not alike.any():
        return segment
    shift = expected(shifts, alike, _NOISE)
    return replace(
        segment, query_start=segment.query_start + shift, query_end=segment.query_end + shift
    )


def _in_step(segment: Segment, query_duration: float) -> Segment:
    """The same seconds of the database video without change of speed, about the same middle."""
    half = (segment.database_end - segment.database_start) / 2
    middle = (segment.query_start + segment.query_end) / 2
    cut = max(0.0, half - middle), max(0.0, middle + half - query_duration)  # beyond the query
    return replace(
        segment,
        query_start=middle - half + cut[0],
        query_end=middle + half - cut[1],
        database_start=segment.database_start + cut[0],
        database_end=segment.database_end - cut[1],
    )


def _likeness(segment: Segment, windows: Sequence[EndWindow]) -> float:
    """Mean similarity on a segment's line of its database frames within the windows, or -1."""
    values = []
    for window in windows:
        seconds = window.database_seconds
        own = (seconds >= segment.database_start) & (seconds <= segment.database_end)
        rows = Timeline.of_video(window.query_seconds).nearest(
            (seconds[own] - segment.offset) / segment.slope
        )
        values.append(window.matrix[rows, np.flatnonzero(own)])
    found = np.concatenate(values)
    return float(found.mean()) if len(found) else -1.0


def _with_ends(
    segment: Segment,
    head: EndWindow | None,
    tail: EndWindow | None,
    durations: tuple[float, float],
    furthest: float,
) -> Segment:
    """The segment with the ends that the windows show."""
    start = _end_in(segment, head, durations, furthest, at_start=True)
    end = _end_in(segment, tail, durations, furthest, at_start=False)
    if head is not None and tail is not None and abs(segment.slope - 1) < _REAL_TIME:
        start, end = _in_real_time(start, end, durations[0])
    if end[0] <= start[0] or end[1] <= start[1]:
        return segment
    return replace(
        segment,
        query_start=start[0],
        query_end=end[0],
        database_start=start[1],
        database_end=end[1],
    )


def _in_real_time(
    start: tuple[float, float], end: tuple[float, float], query_duration: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Both ends on one line of slope 1, half way between the lines that their windows show.

    The database video's seconds are kept: a cut is sharper in it than in the query, which mostly
    goes on beyond.
    """
    offset = (start[1] - start[0] + end[1] - end[0]) / 2

    def moved(second: float) -> tuple[float, float]:
        query = min(max(second - offset, 0.0), query_duration)
        return query, query + offset

    return moved(start[1]), moved(end[1])


def _end_in(
    segment: Segment,
    window: EndWindow | None,
    durations: tuple[float, float],
    furthest: float,
    *,
    at_start: bool,
) -> tuple[float, float]:
    """Query and database second of one end; the old one if the window does not show it."""
    old = (
        (segment.query_start, segment.database_start)
        if at_start
        else (segment.query_end, segment.database_end)
    )
    if window is None:
        return old
    query = Timeline.of_part(window.query_seconds, durations[0])
    database = Timeline.of_part(window.database_seconds, durations[1])
    matrix = np.asarray(window.matrix, np.float32)
    if matrix.shape != (len(query), len(database)):
        raise ValueError(
            f"window has shape {matrix.shape}, times are {len(query)} and {len(database)}"
        )
    line = _line_in(segment, query, database, old)
    if line is None:
        return old
    evidence = Evidence(matrix, Levels.from_match(segment.score))
    span = furthest / 2 / max(query.step, database.step)
    slope, offset = fitted(evidence, query, database, line, span=span, slope_is_known=True)
    interval = interval_on(evidence, evidence.levels, query, database, slope=slope, offset=offset)
    if interval is None:
        return old
    at = interval.start if at_start else interval.end
    new = at, slope * at + offset
    far = max(abs(a - b) for a, b in zip(new, old, strict=True)) > furthest * max(1.0, slope)
    return old if far else (new[0], min(max(new[1], 0.0), durations[1]))


def _line_in(
    segment: Segment, query: Timeline, database: Timeline, end: tuple[float, float]
) -> Line | None:
    """The segment's line within a window; None if they hardly meet."""
    slope = 1.0 if abs(segment.slope - 1) < _REAL_TIME else segment.slope
    offset = end[1] - slope * end[0]
    first = max(segment.query_start, query.start, (database.start - offset) / slope)
    last = min(segment.query_end, query.end, (database.end - offset) / slope)
    return Line(0.0, slope, offset, first, last) if last - first >= _MIN_SHARED else None
