"""Slope and offset of a line to a fraction of a sample, as the mean of their posterior.

Three things tell where between the samples a line lies. Evidence summed along it is largest on the
right one, and so is similarity; and similarity falls off alike on both sides of it, so the right
line is the one from which the distance explains the similarities best.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .evidence import Evidence
from .likeness import Lines, likeness
from .runs import best_runs
from .search import CUT_PRICE, Line
from .timeline import Timeline

_SPAN, _PITCH = 1.0, 0.05  # steps around the line found, and between hypotheses
_SLOPE_SPAN, _SLOPES, _SLOPE_SPREAD = 0.15, 13, 0.12  # in logarithms
_REACH = 1.6  # steps within which similarity falls off
_WINDOW = 2.1  # steps beyond the run that are looked at
_TEMPERATURE = 0.40  # steps of evidence that make a hypothesis e times less likely, twice over
_NOISE = 0.04  # least spread of similarities about their fall-off
_UNLIKE = 0.10  # steps times similarity that make a hypothesis e times less likely
_SPILL_SPREAD, _SPILL_MAX = 0.20, 1.3  # steps of the query that the database video lacks
_MAX_ROWS = 300  # samples of a run that are looked at, evenly spread over a longer one


class _Window(NamedTuple):
    """Samples around a run on both sides, in steps of their own."""

    rows: np.ndarray
    columns: np.ndarray


def fitted(
    evidence: Evidence,
    query: Timeline,
    database: Timeline,
    line: Line,
    *,
    span: float = _SPAN,
    slope_is_known: bool = False,
) -> tuple[float, float]:
    """Slope and offset of a line found by `search`.

    Args:
        line: nearest samples lie on it. A slope of 1 is kept.
        span: steps to either side that are considered.
        slope_is_known: keep any slope.
    """
    step = max(query.step, database.step)
    middle = (line.first + line.last) / 2
    factors = np.ones(1)
    shifts = np.arange(-span, span + 1e-9, _PITCH) * step
    if line.slope != 1 and not slope_is_known:
        factors = np.exp(np.linspace(-_SLOPE_SPAN, _SLOPE_SPAN, _SLOPES))
        shifts = shifts[::2]
    slopes = np.repeat(line.slope * factors, len(shifts))
    shifts = np.tile(shifts, len(factors)) * max(1.0, line.slope)
    offsets = line.slope * middle + line.offset + shifts - slopes * middle
    around = _Window(
        _thinned(query.between(line.first - _WINDOW * step, line.last + _WINDOW * step)),
        _thinned(
            database.between(
                line.slope * (line.first - _WINDOW * step) + line.offset,
                line.slope * (line.last + _WINDOW * step) + line.offset,
            )
        ),
    )
    if not len(around.rows) or not len(around.columns):
        return line.slope, line.offset
    log = (
        _log_of_evidence(evidence.cells, query, database, around, slopes=slopes, offsets=offsets)
        / step
    )
    log += _log_of_fall_off(evidence, query, database, line, slopes=slopes, offsets=offsets)
    log += _log_of_likeness(evidence, query, database, line, Lines(slopes, offsets)) / step
    log += _log_of_spill(query, database, line, slopes=slopes, offsets=offsets, step=step)
    log -= (np.log(slopes / line.slope) / _SLOPE_SPREAD) ** 2 / 2
    weights = np.exp(log - log.max())
    weights /= weights.sum()
    slope = float(weights @ slopes)
    return slope, float(weights @ (slopes * middle + offsets)) - slope * middle


def _thinned(indices: np.ndarray) -> np.ndarray:
    """At most `_MAX_ROWS` of the indices, evenly spread."""
    if len(indices) <= _MAX_ROWS:
        return indices
    return indices[np.linspace(0, len(indices) - 1, _MAX_ROWS).astype(np.intp)]


def _log_of_evidence(
    cells: np.ndarray,
    query: Timeline,
    database: Timeline,
    around: _Window,
    *,
    slopes: np.ndarray,
    offsets: np.ndarray,
) -> np.ndarray:
    """Log likelihood [H] by the best runs along samples of either side, times the step."""
    times = query.seconds[around.rows]
    at = slopes[:, None] * times + offsets[:, None]
    values = cells[around.rows, database.nearest(at)] * query.step
    total = _runs_within(values, at, database)
    times = database.seconds[around.columns]
    at = (times - offsets[:, None]) / slopes[:, None]
    values = cells[query.nearest(at), around.columns] * database.step
    total += _runs_within(values, at, query)
    return (total - total.max()) / (2 * _TEMPERATURE)


def _runs_within(values: np.ndarray, at: np.ndarray, side: Timeline) -> np.ndarray:
    """Scores [H] of the best runs among values [H, N] whose places lie within the other side."""
    inside = (at >= side.start - 0.02 * side.step) & (at <= side.end + 0.02 * side.step)
    first, counts = inside.argmax(axis=1), inside.sum(axis=1)
    places = np.minimum(first[:, None] + np.arange(values.shape[1]), values.shape[1] - 1)
    shifted = np.take_along_axis(values, places, axis=1)
    scores = best_runs(shifted, np.maximum(counts, 1), CUT_PRICE).score
    return np.where(counts > 0, scores, 0.0)


def _log_of_fall_off(
    evidence: Evidence,
    query: Timeline,
    database: Timeline,
    line: Line,
    *,
    slopes: np.ndarray,
    offsets: np.ndarray,
) -> np.ndarray:
    """Log likelihood [H] by how well distances from the line explain similarities near it."""
    scale = max(1.0, line.slope) * max(query.step, database.step)
    rows = _thinned(query.between(line.first - 0.51 * query.step, line.last + 0.51 * query.step))
    if not len(rows):
        return np.zeros(len(slopes))
    at = line.slope * query.seconds[rows] + line.offset
    reach = int(np.ceil((_REACH + 0.3) * scale / database.step))
    columns = database.nearest(at)[:, None] + np.arange(-reach, reach + 1)
    inside = (columns >= 0) & (columns < len(database))
    columns = np.clip(columns, 0, len(database) - 1)
    times = database.seconds[columns]
    near = inside & (np.abs(times - at[:, None]) <= (_REACH + 0.3) * scale)
    cells = evidence.matrix[rows[:, None], columns]
    # Frames of the database that resemble nothing here are another scene: they tell no distance.
    best = np.full(len(database), -np.inf)
    np.maximum.at(best, columns[near], cells[near])
    near &= best[columns] >= evidence.levels.threshold
    if near.sum() < 3:
        return np.zeros(len(slopes))
    counts = np.maximum(near.sum(axis=1), 1)
    expected = slopes[:, None] * query.seconds[rows] + offsets[:, None]
    distance = np.abs(times - expected[:, :, None]) / scale
    falls = _centred(-np.minimum(distance, _REACH), near, counts)
    values = _centred(cells[None], near, counts)[0]
    dots, squares = (falls * values).sum(axis=(1, 2)), (falls * falls).sum(axis=(1, 2))
    gain = np.maximum(dots / np.maximum(squares, 1e-9), 0)
    errors = (values * values).sum() - 2 * gain * dots + gain * gain * squares
    free = max(int(near.sum()) - len(rows) - 1, 1)
    variance = max(float(errors.min()) / free, _NOISE**2)
    return -(errors - errors.min()) / (2 * variance)


def _log_of_likeness(
    evidence: Evidence, query: Timeline, database: Timeline, line: Line, lines: Lines
) -> np.ndarray:
    """Log likelihood [H] by the similarity of the run's database frames, times the step."""
    margin = 0.51 * database.step
    ends = line.slope * np.array([line.first, line.last]) + line.offset
    columns = database.between(ends[0] - margin, ends[1] + margin)
    if not len(columns):
        return np.zeros(len(lines.slopes))
    seconds = len(columns) * database.step
    return likeness(evidence.matrix, query, database, columns, lines) * seconds / _UNLIKE


def _centred(values: np.ndarray, near: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Values [H, R, B] less the mean of each row over the cells `near` [R, B], 0 elsewhere."""
    values = values * near
    return (values - (values.sum(axis=2) / counts)[:, :, None]) * near


def _log_of_spill(
    query: Timeline,
    database: Timeline,
    line: Line,
    *,
    slopes: np.ndarray,
    offsets: np.ndarray,
    step: float,
) -> np.ndarray:
    """Log prior [H]: mostly one video holds the other.

    It is rare that a bit of the query lies before the database video begins while a bit of the
    database video lies after the query ends, or the other way round.
    """
    before = (database.start - offsets) / slopes - query.start
    after = query.end - (database.end - offsets) / slopes
    starts = line.first < query.start + 1.1 * step
    stops = line.last > query.end - 2.1 * step
    head = np.where((before > 0) & (before < _SPILL_MAX * step) & starts & (after < 0), before, 0)
    tail = np.where((after > 0) & (after < _SPILL_MAX * step) & stops & (before < 0), after, 0)
    return -(((head + tail) / step) ** 2) / (2 * _SPILL_SPREAD**2)
