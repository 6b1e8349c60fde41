"""How much database frames resemble a query on lines that run side by side.

Evidence is cut off at its best value. So where a query hardly moves, lines side by side have the
same, and the price of cuts prefers one that touches an end. Similarity itself still tells them
apart: frames of a slow pan, or of smoke, resemble those most that they were copied from.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .segment import Segment
from .timeline import Timeline

_MAX_COLUMNS = 200  # of a stretch that are looked at, evenly spread
_BLOCK_LINES = 1000  # that are compared at a time: bounds memory for queries of hours
_PITCH = 0.25  # steps of the query between places that are compared
_NOISE = 0.02  # seconds times similarity that make a place e times less likely
_LIKELY = 0.10  # of the best place's likelihood; places beyond a less likely one do not count
_TAKEN_PRICE = 0.10  # of similarity, for query frames that belong to another segment
_ABSENT = 0.10  # similarity of a frame that the query lacks: that of unrelated frames


class Lines(NamedTuple):
    """Lines `database second = slope * query second + offset`; slopes and offsets [H]."""

    slopes: np.ndarray
    offsets: np.ndarray


def likeness(
    matrix: np.ndarray, query: Timeline, database: Timeline, columns: np.ndarray, lines: Lines
) -> np.ndarray:
    """Mean similarity [H] of some database frames to what the query shows on each line.

    Between two samples of the query similarities are interpolated.

    Args:
        matrix: float32 [Q, D].
        columns: intp [N] with N > 0, the database frames.
    """
    if len(columns) > _MAX_COLUMNS:
        columns = columns[np.linspace(0, len(columns) - 1, _MAX_COLUMNS).astype(np.intp)]
    blocks = np.arange(_BLOCK_LINES, len(lines.slopes), _BLOCK_LINES)
    means = [
        _means(matrix, query, database, columns, Lines(*block))
        for block in zip(*(np.split(values, blocks) for values in lines), strict=True)
    ]
    return np.concatenate(means)


def _means(
    matrix: np.ndarray, query: Timeline, database: Timeline, columns: np.ndarray, lines: Lines
) -> np.ndarray:
    """As `likeness`, of few lines."""
    at = (database.seconds[columns] - lines.offsets[:, None]) / lines.slopes[:, None]
    before, after = query.around(at)
    gap = query.seconds[after] - query.seconds[before]
    share = np.where(gap > 0, (at - query.seconds[before]) / np.where(gap > 0, gap, 1), 0)
    values = matrix[before, columns] * (1 - share) + matrix[after, columns] * share
    margin = query.step / 2
    absent = (at < query.start - margin) | (at > query.end + margin)
    return np.asarray(np.where(absent, _ABSENT, values).mean(axis=1))


def best_shift(
    matrix: np.ndarray, query: Timeline, database: Timeline, segment: Segment, taken: np.ndarray
) -> float:
    """Seconds by which to move a segment within the query to where its frames are most alike.

    Args:
        matrix: float32 [Q, D].
        taken: bool [Q], query frames that belong to other segments.
    """
    columns = database.between(segment.database_start, segment.database_end)
    room = query.start - segment.query_start, query.end - segment.query_end
    pitch = _PITCH * query.step
    shifts = np.arange(np.ceil(room[0] / pitch), np.floor(room[1] / pitch) + 1) * pitch
    if not len(columns) or not len(shifts):
        return 0.0
    offsets = segment.offset - segment.slope * shifts
    lines = Lines(np.full(len(shifts), segment.slope), offsets)
    alike = likeness(matrix, query, database, columns, lines)
    if taken.any():
        marks = np.broadcast_to(taken[:, None], matrix.shape)
        alike -= _TAKEN_PRICE * likeness(marks, query, database, columns, lines)
    return expected(shifts, alike * (segment.query_end - segment.query_start))


def expected(places: np.ndarray, alike: np.ndarray, noise: float = _NOISE) -> float:
    """The mean of the places [H] around the best one, weighted by their likelihood.

    Args:
        alike: [H], seconds times similarity.
        noise: of these, that makes a place e times less likely.
    """
    weights = np.exp((alike - alike.max()) / noise)
    best = int(weights.argmax())
    unlikely = np.flatnonzero(weights < _LIKELY)
    first = unlikely[unlikely < best].max(initial=-1) + 1
    last = unlikely[unlikely > best].min(initial=len(places))
    return float(np.average(places[first:last], weights=weights[first:last]))
