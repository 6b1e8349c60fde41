"""Alignment by votes for offsets alone: quicker to explain, less exact, one speed only."""

from __future__ import annotations

import numpy as np

from .evidence import Evidence
from .search import votes_of
from .segment import Segment
from .timeline import Timeline

_MIN_SCORE = 1.0  # seconds of full evidence
_GAP = 2.5  # steps without a vote that end a run


def align_by_hough(
    matrix: np.ndarray, query: Timeline, database: Timeline, max_segments: int
) -> list[Segment]:
    """Take the offset with the most votes, cut its votes at gaps, and go on without its frames.

    After Douze et al., "An image-based approach to video copy detection with spatio-temporal
    post-filtering", IEEE Trans. Multimedia 2010. See `protocol.Aligner` for arguments and result.
    """
    votes = votes_of(Evidence(matrix).cells, matrix)
    step = max(query.step, database.step)
    offsets = database.seconds[votes.columns] - query.seconds[votes.rows]
    bins = np.rint(offsets / step).astype(np.intp)
    bins -= bins.min(initial=0)
    weights = votes.evidence.astype(np.float64)
    segments: list[Segment] = []
    while len(segments) < max_segments and weights.any():
        counted = np.convolve(np.bincount(bins, weights), [0.5, 1.0, 0.5], "same")
        peak = int(counted.argmax())
        own = np.flatnonzero((np.abs(bins - peak) <= 1) & (weights > 0))
        own = own[np.argsort(query.seconds[votes.rows[own]], kind="stable")]
        gaps = np.flatnonzero(np.diff(query.seconds[votes.rows[own]]) > _GAP * step) + 1
        run = max(np.split(own, gaps), key=lambda part: weights[part].sum())
        if weights[run].sum() * step < _MIN_SCORE:
            break
        rows, columns = votes.rows[run], votes.columns[run]
        segments.append(_segment(matrix, query, database, rows, columns))
        taken = np.isin(votes.rows, rows) | np.isin(votes.columns, columns)
        weights[taken] = 0
    return segments


def _segment(
    matrix: np.ndarray, query: Timeline, database: Timeline, rows: np.ndarray, columns: np.ndarray
) -> Segment:
    """From half a step before the first vote to half a step after the last."""

    def ends(side: Timeline, places: np.ndarray) -> tuple[float, float]:
        half = side.step / 2
        first, last = side.seconds[places.min()] - half, side.seconds[places.max()] + half
        return max(side.start, float(first)), min(side.end, float(last))

    return Segment(
        *ends(query, rows), *ends(database, columns), float(matrix[rows, columns].mean())
    )
