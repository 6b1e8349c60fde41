"""Finds the straight line through a matrix of evidence on which the best run lies.

A line is `database second = slope * query second + offset`. Cells with positive evidence vote for
the offsets that they lie on, slope by slope (a Hough transform); the runs of the offsets with the
most votes are then computed in full. So rows and columns without any match cost nothing, and a
query of a minute in a video of an hour takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .runs import best_runs
from .timeline import Timeline

SLOPES = tuple(2.0 ** (k / 4) for k in (0, -1, 1, -2, 2, -3, 3, -4, 4))
CUT_PRICE = 0.30  # seconds of full evidence that a cut inside of a video costs
_SLOPE_PRICE = 1.20  # seconds for a slope of 2 or 1/2, in proportion to the logarithm for others
_CORNER_PRICE = 0.20  # the same for the line from corner to corner: a whole video sped up or down
_MIN_SLOPE = 0.12  # |log2| of a slope below which the line from corner to corner is no other one
_CANDIDATES = 24  # lines of a slope that are computed in full
_MAX_VOTES = 30_000  # cells that vote, the best: bounds time where all frames look alike


class Line(NamedTuple):
    """A run on a line.

    Attributes:
        score: seconds of full evidence, less prices; of the side that is shorter on the line.
        slope, offset: database second = slope * query second + offset.
        first, last: query seconds of the run's first and last sample.
        whole: it leads from corner to corner, so that slope and offset are exact.
    """

    score: float
    slope: float
    offset: float
    first: float
    last: float
    whole: bool = False


class Votes(NamedTuple):
    """Cells with positive evidence: rows, columns and evidence, [n] each."""

    rows: np.ndarray
    columns: np.ndarray
    evidence: np.ndarray


def votes_of(evidence: np.ndarray, matrix: np.ndarray) -> Votes:
    """The cells that speak for a match, about `_MAX_VOTES` at most; both [Q, D].

    Of more cells those with the highest similarity vote.
    """
    places = np.flatnonzero(evidence > 0)
    if len(places) > _MAX_VOTES:
        similarities = matrix.ravel()[places]
        sample = similarities[:: 1 + len(places) // _MAX_VOTES]
        lowest = np.quantile(sample, 1 - _MAX_VOTES / len(places))
        places = places[similarities >= lowest]
    rows, columns = np.divmod(places, evidence.shape[1])
    return Votes(rows, columns, evidence[rows, columns])


def best_line(
    evidence: np.ndarray,
    votes: Votes,
    query: Timeline,
    database: Timeline,
    min_score: float,
    *,
    slopes: Sequence[float] = SLOPES,
) -> Line | None:
    """The line with the best run, over all slopes; None if none reaches `min_score`."""
    best: Line | None = None
    for slope in slopes:
        price = _SLOPE_PRICE * abs(np.log2(slope))
        floor = price + (min_score if best is None else best.score)
        if slope <= 1:
            candidate = _best_of_slope(evidence, votes, (query, database), slope, floor)
        else:
            turned = Votes(votes.columns, votes.rows, votes.evidence)
            candidate = _best_of_slope(evidence.T, turned, (database, query), 1 / slope, floor)
        if candidate is None:
            continue
        score, offset, first, last = candidate
        if slope > 1:  # the samples were the database's: query = database / slope + offset
            first, last = first / slope + offset, last / slope + offset
            offset *= -slope
        best = Line(score - price, slope, offset, first, last)
    return best


def corner_line(evidence: np.ndarray, query: Timeline, database: Timeline) -> Line | None:
    """The line from the beginning of both videos to the end of both, if a run fills it.

    None as well where both last about as long: `best_line` finds such a line.
    """
    slope = (database.end - database.start) / (query.end - query.start)
    if not SLOPES[-2] / 1.1 <= slope <= SLOPES[-1] * 1.1 or abs(np.log2(slope)) < _MIN_SLOPE:
        return None
    offset = database.start - slope * query.start
    if slope <= 1:
        columns = database.nearest(slope * query.seconds + offset)
        values = evidence[np.arange(len(query)), columns] * (slope * query.step)
    else:
        rows = query.nearest((database.seconds - offset) / slope)
        values = evidence[rows, np.arange(len(database))] * (database.step / slope)
    runs = best_runs(values[None], np.array([len(values)]), CUT_PRICE)
    if runs.first[0] > 0 or runs.last[0] < len(values) - 1:
        return None
    score = float(runs.score[0]) - _CORNER_PRICE * abs(np.log2(slope))
    return Line(score, slope, offset, query.seconds[0], query.seconds[-1], whole=True)


def _best_of_slope(
    evidence: np.ndarray, votes: Votes, sides: tuple[Timeline, Timeline], slope: float, floor: float
) -> tuple[float, float, float, float] | None:
    """The best run on lines of one slope of at most 1, taken at every sample of the first side.

    Returns:
        Score, offset, and seconds of the run's first and last sample on the first side; None if
        no score exceeds `floor`.
    """
    ours, theirs = sides
    weight = slope * ours.step
    offsets = theirs.seconds[votes.columns] - slope * ours.seconds[votes.rows]
    grid = theirs.step / 2  # a line takes cells up to half a step beside it
    lowest = offsets.min(initial=np.inf)
    if not np.isfinite(lowest):
        return None
    bins = np.rint((offsets - lowest) / grid).astype(np.intp)
    counted = np.bincount(bins, votes.evidence, int(bins.max()) + 1) * weight
    beside = np.zeros_like(counted)
    beside[:-1] += counted[1:]
    beside[1:] += counted[:-1]
    bound = counted + beside  # no run on a line of the bin can have more
    eligible = np.flatnonzero(bound > floor)
    if not len(eligible):
        return None
    if len(eligible) > _CANDIDATES:
        likely = (counted + beside / 2)[eligible]
        eligible = eligible[np.argpartition(-likely, _CANDIDATES)[:_CANDIDATES]]
    return _best_run(evidence, sides, slope, lowest + grid * np.sort(eligible), floor)


def _best_run(
    evidence: np.ndarray,
    sides: tuple[Timeline, Timeline],
    slope: float,
    offsets: np.ndarray,
    floor: float,
) -> tuple[float, float, float, float] | None:
    """As `_best_of_slope`, for the offsets [K] given."""
    ours, theirs = sides
    half = theirs.step / 2 + 1e-6
    begin = np.searchsorted(ours.seconds, (theirs.seconds[0] - half - offsets) / slope)
    end = np.searchsorted(ours.seconds, (theirs.seconds[-1] + half - offsets) / slope, "right")
    crossing = end > begin
    offsets, begin, counts = offsets[crossing], begin[crossing], (end - begin)[crossing]
    if not len(offsets):
        return None
    rows = np.minimum(begin[:, None] + np.arange(counts.max()), len(ours) - 1)
    columns = theirs.nearest(slope * ours.seconds[rows] + offsets[:, None])
    runs = best_runs(evidence[rows, columns] * (slope * ours.step), counts, CUT_PRICE)
    k = int(runs.score.argmax())
    if runs.score[k] <= floor:
        return None
    first, last = ours.seconds[rows[k, runs.first[k]]], ours.seconds[rows[k, runs.last[k]]]
    return float(runs.score[k]), float(offsets[k]), float(first), float(last)
