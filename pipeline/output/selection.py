"""Which scores of a query are written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np

from ..errors import InputError


@dataclass(frozen=True)
class Selection:
    """The best scores of each query, or all that reach a threshold, or both.

    Attributes:
        top_k: keep so many, 1 or more, best first, ties as listed; None keeps all in listed order.
        threshold: keep scores of at least this; None keeps all.
        rate: the share of unrelated pairs that the threshold was looked up for; None: none was.

    Raises:
        InputError: one of the numbers would select nothing; the message names it.
    """

    top_k: int | None = None
    threshold: float | None = None
    rate: float | None = None

    def __post_init__(self) -> None:
        if self.top_k is not None and not _is(self.top_k, Integral):
            raise InputError(f"top_k is {self.top_k!r}, expected a whole number")
        if self.threshold is not None and not _is(self.threshold, Real):
            raise InputError(f"threshold is {self.threshold!r}, expected a number")
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top_k is {self.top_k}, expected 1 or more")
        if self.threshold is not None and math.isnan(self.threshold):
            raise InputError("threshold is not a number")

    def leaves_out(self, database: int) -> bool:
        """Whether fewer scores than all of a query may be selected, of so many."""
        return self.threshold is not None or (self.top_k is not None and self.top_k < database)

    def reaches(self, scores: np.ndarray) -> np.ndarray:
        """Bool: the scores that reach the threshold."""
        if self.threshold is None:
            return np.ones(scores.shape, bool)
        return scores >= self.threshold

    def indices(self, row: np.ndarray) -> np.ndarray:
        """Where the selected scores of one query are.

        Args:
            row: [D] float32, the query's scores.

        Returns:
            [n] int64.
        """
        if self.threshold is None:
            indices = np.arange(len(row))
        else:
            indices = np.flatnonzero(self.reaches(row))
        if self.top_k is None:
            return indices
        if self.top_k < len(indices):
            # All that reach the k-th best score, so that ties are cut in listed order.
            place = len(indices) - self.top_k
            kth_best = np.partition(row[indices], place)[place]
            indices = indices[row[indices] >= kth_best]
        return indices[np.argsort(-row[indices], kind="stable")][: self.top_k]


def _is(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
