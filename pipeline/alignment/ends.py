"""Where on a line a match begins and ends."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .evidence import Evidence, Levels
from .runs import best_runs
from .search import CUT_PRICE
from .timeline import Timeline

_QUERY, _DATABASE = 0, 1
_GAP_SECONDS = 1.5  # of full evidence against a match, within a run
_GAP_CONTRAST = 0.10  # in similarity, between both sides of such a gap


class Interval(NamedTuple):
    """A part of a line: query seconds of both ends.

    Attributes:
        score, level: mean and median similarity of the samples on it.
    """

    start: float
    end: float
    score: float
    level: float


class _Samples(NamedTuple):
    """Samples of both sides along a line, in the order of their query seconds; each [N].

    Attributes:
        at: query seconds.
        side: `_QUERY` or `_DATABASE`.
        values: evidence of each, the better of the two neighbours on the other side, times half
            of its step.
        similarities: the same of the matrix.
    """

    at: np.ndarray
    side: np.ndarray
    values: np.ndarray
    similarities: np.ndarray


def interval_on(
    evidence: Evidence,
    levels: Levels,
    query: Timeline,
    database: Timeline,
    *,
    slope: float,
    offset: float,
) -> Interval | None:
    """The best run along a line, cut halfway between samples; None if the line meets no sample.

    Args:
        levels: by which evidence is judged; what matching frames of this line have.
    """
    low = max(query.start, (database.start - offset) / slope)
    high = min(query.end, (database.end - offset) / slope)
    samples = _samples_on(
        evidence, levels, query, database, slope=slope, offset=offset, low=low, high=high
    )
    if high <= low or not len(samples.at):
        return None
    runs = best_runs(samples.values[None], np.array([len(samples.at)]), CUT_PRICE)
    first, last = _without_worse_part(samples, int(runs.first[0]), int(runs.last[0]))
    start = _cut(samples, first, -1) if first else low
    end = _cut(samples, last, 1) if last < len(samples.at) - 1 else high
    score = float(samples.similarities[first : last + 1].mean())
    level = float(np.median(samples.similarities[first : last + 1]))
    return Interval(max(start, low), min(end, high), score, level)


def _without_worse_part(samples: _Samples, first: int, last: int) -> tuple[int, int]:
    """First and last sample of a run, of which one side of a gap is left out if it fits worse.

    Frames that resemble each other all along let a run go on behind an insertion, on frames
    that have better partners elsewhere.
    """
    values = samples.values[first : last + 1]
    gap = best_runs(-values[None], np.array([len(values)]), 0.0)
    if gap.score[0] < _GAP_SECONDS:
        return first, last
    before = samples.similarities[first : first + int(gap.first[0])]
    behind = samples.similarities[first + int(gap.last[0]) + 1 : last + 1]
    if not len(before) or not len(behind):
        return first, last
    apart = float(before.mean() - behind.mean())
    if abs(apart) < _GAP_CONTRAST:
        return first, last
    if apart > 0:
        return first, first + len(before) - 1
    return last - len(behind) + 1, last


def _samples_on(
    evidence: Evidence,
    levels: Levels,
    query: Timeline,
    database: Timeline,
    *,
    slope: float,
    offset: float,
    low: float,
    high: float,
) -> _Samples:
    rows = query.between(low, high)
    before, after = database.around(slope * query.seconds[rows] + offset)
    columns = database.between(slope * low + offset, slope * high + offset)
    times = (database.seconds[columns] - offset) / slope
    above, below = query.around(times)
    places = (
        (np.concatenate([rows, above]), np.concatenate([before, columns])),
        (np.concatenate([rows, below]), np.concatenate([after, columns])),
    )
    values = np.maximum(*(evidence.at(*place, levels) for place in places))
    similarities = np.maximum(*(evidence.matrix[place] for place in places))
    halves = np.repeat([query.step / 2, database.step / 2], [len(rows), len(columns)])
    side = np.repeat([_QUERY, _DATABASE], [len(rows), len(columns)])
    at = np.concatenate([query.seconds[rows], times])
    order = np.argsort(at, kind="stable")
    return _Samples(at[order], side[order], (values * halves)[order], similarities[order])


def _cut(samples: _Samples, inner: int, direction: int) -> float:
    """Query second of a cut: halfway from the last sample inside to the first outside.

    Samples of the database video decide where there are some on either side: the cut is mostly
    theirs, and the query's samples beyond it still resemble the last frame before it.

    Args:
        inner: place of the outermost sample inside.
        direction: 1 for the end, -1 for the start.
    """
    places = np.arange(len(samples.at))
    outside = (places - inner) * direction > 0
    for side in (_DATABASE, _QUERY):
        own = samples.side == side
        beyond, within = samples.at[own & outside], samples.at[own & ~outside]
        if len(beyond):
            nearest = beyond[0 if direction > 0 else -1]
            last = within[-1 if direction > 0 else 0] if len(within) else samples.at[inner]
            return float((nearest + last) / 2)
    return float(samples.at[inner])
