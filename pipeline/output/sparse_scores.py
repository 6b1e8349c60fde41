"""A few scores of a table that is too large to be kept as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

SCORE = np.dtype([("row", np.int32), ("column", np.int32), ("score", np.float32)])


@dataclass(frozen=True)
class Chunk:
    """Some scores, sorted by row.

    Attributes:
        entries: of `SCORE`, in memory or in a file.
        starts: int64 [rows + 1], where the entries of each row begin.
    """

    entries: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, entries: np.ndarray, rows: int) -> Self:
        """A chunk of entries in any order."""
        entries = entries[np.argsort(entries["row"], kind="stable")]
        counts = np.bincount(entries["row"], minlength=rows)
        return cls(entries, np.concatenate([[0], np.cumsum(counts)]))


@dataclass(frozen=True)
class SparseScores:
    """Scores with their places in the table.

    Attributes:
        chunks: a pair may occur in several; the largest of its scores counts.
        bad: for each row that has a score that is no finite number, the first such column and the
            score there.
    """

    chunks: Sequence[Chunk]
    bad: Mapping[int, tuple[int, float]] = field(default_factory=dict)

    def row(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The scores of one row.

        Returns:
            Columns int32 [n], ascending, and their scores float32 [n].
        """
        parts = [c.entries[c.starts[number] : c.starts[number + 1]] for c in self.chunks]
        return best_of_each_column(np.concatenate(parts) if parts else np.empty(0, SCORE))


def best_of_each_column(entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The columns of entries of one row, ascending, and the largest score of each."""
    order = np.lexsort((-entries["score"], entries["column"]))
    columns, scores = entries["column"][order], entries["score"][order]
    first = np.ones(len(columns), bool)
    first[1:] = columns[1:] != columns[:-1]
    return columns[first], scores[first]
