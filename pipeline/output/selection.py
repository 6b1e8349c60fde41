"""Which scores of a query are written."""

from __future__ import annotations

import math

import numpy as np

from ..errors import InputError


def check_selection(top_k: int | None, threshold: float | None) -> None:
    """Fail before the work if `select` could choose nothing.

    Raises:
        InputError: naming the value.
    """
    if top_k is not None and top_k < 1:
        raise InputError(f"top_k is {top_k}, expected 1 or more")
    if threshold is not None and math.isnan(threshold):
        raise InputError("threshold is not a number")


def select(row: np.ndarray, top_k: int | None, threshold: float | None) -> np.ndarray:
    """Indices of the scores to write.

    Args:
        row: [D] float32, one query's scores.
        top_k: keep so many, 1 or more, best first, ties as listed; None keeps all in listed order.
        threshold: keep those of at least this score.

    Returns:
        [n] int64.
    """
    indices = np.arange(len(row)) if threshold is None else np.flatnonzero(row >= threshold)
    if top_k is None:
        return indices
    if top_k < len(indices):
        # All that reach the k-th best score, so that ties are cut in listed order.
        kth = np.partition(row[indices], len(indices) - top_k)[len(indices) - top_k]
        indices = indices[row[indices] >= kth]
    return indices[np.argsort(-row[indices], kind="stable")][:top_k]
