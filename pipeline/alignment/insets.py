"""Pictures within the picture: their similarities count for the frames that they are in."""

from __future__ import annotations

import numpy as np


def fold_insets(
    matrix: np.ndarray,
    query: tuple[np.ndarray, int],
    database: tuple[np.ndarray, int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fold rows and columns of insets into those of the frames at their times, by the maximum.

    Args:
        matrix: float32 [Q, D], the frames of each video itself first, those of insets behind them,
            as stores keep them.
        query, database: of each side the seconds of all rows or columns, and how many of them are
            frames of the video itself.

    Returns:
        The matrix of the videos' own frames, and the seconds of its rows and columns.

    Raises:
        ValueError: seconds and matrix do not fit.
    """
    if matrix.shape != (len(query[0]), len(database[0])):
        raise ValueError(
            f"matrix has shape {matrix.shape}, times are {len(query[0])} and {len(database[0])}"
        )
    rows, query_seconds = _folded(matrix, *query)
    columns, database_seconds = _folded(rows.T, *database)
    return np.ascontiguousarray(columns.T), query_seconds, database_seconds


def _folded(matrix: np.ndarray, seconds: np.ndarray, own: int) -> tuple[np.ndarray, np.ndarray]:
    """Fold rows from `own` on into the row with the nearest time."""
    frames = np.asarray(seconds[:own], np.float64)
    if own == len(seconds):
        return matrix, frames
    middles = (frames[1:] + frames[:-1]) / 2
    result = matrix[:own].copy()
    np.maximum.at(result, np.searchsorted(middles, seconds[own:]), matrix[own:])
    return result, frames
