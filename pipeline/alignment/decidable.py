"""Whether a match says which part of the query it is."""

from __future__ import annotations

import numpy as np

from .evidence import UNRELATED
from .segment import Segment
from .timeline import Timeline

_SHIFT = 2.0  # steps of the query by which another stretch has to be shifted to count as another
_AS_GOOD = 0.85  # of the contrast on the line that another stretch reaches if it fits as well
_MAX_COLUMNS = 200  # of a segment that are looked at, evenly spread
_MIN_SHARE = 0.80  # of the segment that has to lie within the query on the other stretch


def is_query_decidable(
    matrix: np.ndarray, query: Timeline, database: Timeline, segment: Segment
) -> bool:
    """Whether no other stretch of the query fits the segment's database frames about as well.

    A query that stands still, or repeats itself, has rows that are alike: the same frames of the
    database video then lie on several parallel lines.

    Args:
        matrix: float32 [Q, D].
    """
    columns = database.between(segment.database_start, segment.database_end)
    if not len(columns):
        return True
    if len(columns) > _MAX_COLUMNS:
        columns = columns[np.linspace(0, len(columns) - 1, _MAX_COLUMNS).astype(np.intp)]
    times = (database.seconds[columns] - segment.offset) / segment.slope
    room = segment.query_start - query.start, query.end - segment.query_end
    slack = (1 - _MIN_SHARE) * (segment.query_end - segment.query_start)
    shifts = np.arange(-(room[0] + slack), room[1] + slack + 1e-9, query.step)
    shifts = shifts[np.abs(shifts) >= _SHIFT * query.step]
    if not len(shifts):
        return True
    contrast = matrix[query.nearest(times), columns].mean() - UNRELATED
    at = times + shifts[:, None]
    inside = (at >= query.start) & (at <= query.end)
    cells = matrix[query.nearest(at), columns] * inside
    counts = inside.sum(axis=1)
    means = cells.sum(axis=1) / np.maximum(counts, 1)
    enough = counts >= _MIN_SHARE * len(columns)
    return not bool((enough & (means - UNRELATED >= _AS_GOOD * contrast)).any())
