"""From when to when two videos match: from a matrix of frame similarities to segments in seconds.

Pure functions on arrays. `align` is the way in; methods are exchanged by name.
"""

from __future__ import annotations

import numpy as np

from .hough import align_by_hough
from .insets import fold_insets
from .lines import align_by_lines
from .protocol import Aligner
from .refinement import EndWindow, refine
from .segment import Segment
from .timeline import Timeline
from .vcsl_dynamic import align_by_vcsl_dynamic
from .vcsl_hough import align_by_vcsl_hough
from .vcsl_network import align_by_vcsl_network
from .vcsl_warping import align_by_vcsl_warping

METHODS: dict[str, Aligner] = {
    "lines": align_by_lines,
    "hough": align_by_hough,
    "vcsl_tn": align_by_vcsl_network,
    "vcsl_hv": align_by_vcsl_hough,
    "vcsl_dp": align_by_vcsl_dynamic,
    "vcsl_dtw": align_by_vcsl_warping,
}
DEFAULT_METHOD = "lines"
MAX_SEGMENTS = 8  # of a pair

__all__ = [
    "DEFAULT_METHOD",
    "MAX_SEGMENTS",
    "METHODS",
    "Aligner",
    "EndWindow",
    "Segment",
    "align",
    "fold_insets",
    "refine",
]


def align(
    matrix: np.ndarray,
    query_seconds: np.ndarray,
    database_seconds: np.ndarray,
    *,
    query_duration: float | None = None,
    database_duration: float | None = None,
    method: str = DEFAULT_METHOD,
    max_segments: int = MAX_SEGMENTS,
) -> list[Segment]:
    """Find where two videos match.

    Args:
        matrix: float [Q, D], similarity of every query frame to every database frame, within
            [-1, 1], without the comparator; insets folded in (`fold_insets`).
        query_seconds, database_seconds: [Q] and [D], ascending times of the frames.
        query_duration, database_duration: seconds of the videos where they are known; None takes
            half a step after the last frame.
        method: of `METHODS`.
        max_segments: segments at most.

    Returns:
        The segments, the most certain first; none where nothing matches.

    Raises:
        ValueError: matrix and times do not fit, a value is no number, or there is no such method.
    """
    if method not in METHODS:
        raise ValueError(f"alignment method {method!r} is none of {', '.join(METHODS)}")
    query = Timeline.of_video(query_seconds, query_duration)
    database = Timeline.of_video(database_seconds, database_duration)
    matrix = np.asarray(matrix, np.float32)
    if matrix.shape != (len(query), len(database)):
        raise ValueError(
            f"matrix has shape {matrix.shape}, times are {len(query)} and {len(database)}"
        )
    if not np.isfinite(matrix).all():
        raise ValueError("the matrix holds a value that is no number")
    return METHODS[method](matrix, query, database, max_segments)
