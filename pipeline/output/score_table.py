"""A table of scores, in memory or, where it is large, in a file."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import PipelineError

IN_MEMORY_BYTES = 256 << 20


@dataclass(frozen=True)
class ScoreTable:
    """The scores of all pairs, with the ids of both sides.

    Attributes:
        query_ids, database_ids: Q and D ids.
        scores: [Q, D] float32, finite where both videos are sound.
        sound_queries, sound_database: bool [Q] and [D], False for damaged videos; None: all are
            sound.
    """

    query_ids: Sequence[str]
    database_ids: Sequence[str]
    scores: np.ndarray
    sound_queries: np.ndarray | None = None
    sound_database: np.ndarray | None = None

    @cached_property
    def sound_columns(self) -> np.ndarray:
        """[D] bool."""
        if self.sound_database is None:
            return np.ones(len(self.database_ids), bool)
        return self.sound_database

    @cached_property
    def sound_database_ids(self) -> list[str]:
        """Ids of the database videos that have scores."""
        return [self.database_ids[i] for i in np.flatnonzero(self.sound_columns).tolist()]

    def row(self, query_id: str) -> np.ndarray:
        """A query's scores for `sound_database_ids`, float32; none if it is damaged or unknown.

        Raises:
            PipelineError: a score is not a finite number; names the pair.
        """
        number = self._numbers.get(query_id)
        if number is None:
            return np.empty(0, np.float32)
        row = np.asarray(self.scores[number][self.sound_columns], np.float32)
        require_finite(row[None], [query_id], self.sound_database_ids)
        return row

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """Row of each sound query."""
        sound = self.sound_queries
        return {q: i for i, q in enumerate(self.query_ids) if sound is None or sound[i]}


def new_score_table(
    queries: int,
    database: int,
    folder: str | Path | None = None,
    in_memory_bytes: int = IN_MEMORY_BYTES,
) -> np.ndarray:
    """An array [queries, database] float32 of -inf; in an unnamed file where it would be large.

    Args:
        folder: where that file is to be; None keeps the array in memory whatever its size.
        in_memory_bytes: a larger table is kept in the file.

    Raises:
        PipelineError: there is no room for the file.
    """
    size = queries * database * 4
    if folder is None or size <= in_memory_bytes:
        return np.full((queries, database), -np.inf, np.float32)
    table = unnamed_file(folder, np.dtype(np.float32), (queries, database))
    table[:] = -np.inf
    return table


def unnamed_file(folder: str | Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.memmap:
    """An array in a file that is gone once the array is.

    Args:
        folder: where the file is to be.

    Raises:
        PipelineError: there is no room for the file.
    """
    size = dtype.itemsize * math.prod(shape)
    try:
        with tempfile.TemporaryFile(prefix=".scores-", dir=folder) as file:
            # Room is taken now: a full disk under a mapped file would end the process later.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            return np.memmap(file, dtype, "r+", shape=shape)
    except OSError as error:
        raise PipelineError(
            f"{folder}: no room for {size / 1e9:.1f} GB of scores ({error.strerror}): make some, "
            "or compare fewer queries at a time"
        ) from error


def require_finite(
    scores: np.ndarray, query_ids: Sequence[str], database_ids: Sequence[str]
) -> None:
    """Refuse scores that are no numbers, as damaged features give.

    Args:
        scores: [Q, D].

    Raises:
        PipelineError: naming the first such pair.
    """
    for query, row in zip(query_ids, scores, strict=True):
        bad = np.flatnonzero(~np.isfinite(row))
        if len(bad):
            raise score_error(query, database_ids[bad[0]], row[bad[0]])


def score_error(query_id: str, database_id: str, score: float) -> PipelineError:
    """The error that says that a score is no number."""
    return PipelineError(
        f"the score of query {query_id!r} and {database_id!r} is {score}: "
        "run `visil-index verify` on both stores"
    )
