"""A table of scores, in memory or, where it is large, in a file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import PipelineError

_IN_MEMORY_BYTES = 256 << 20


def new_score_table(queries: int, database: int, folder: str | Path | None = None) -> np.ndarray:
    """An array [queries, database] float32 of -inf; in an unnamed file where it would be large.

    Args:
        folder: where that file is to be; None keeps the array in memory whatever its size.

    Raises:
        PipelineError: there is no room for the file.
    """
    size = queries * database * 4
    if folder is None or size <= _IN_MEMORY_BYTES:
        return np.full((queries, database), -np.inf, np.float32)
    try:
        with tempfile.TemporaryFile(prefix=".scores-", dir=folder) as file:
            # Room is taken now: a full disk under a mapped file would end the process later.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            table = np.memmap(file, np.float32, "r+", shape=(queries, database))
    except OSError as error:
        raise PipelineError(
            f"{folder}: no room for {size / 1e9:.1f} GB of scores ({error.strerror}): make some, "
            "or compare fewer queries at a time"
        ) from error
    table[:] = -np.inf
    return table


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
            raise PipelineError(
                f"the score of query {query!r} and {database_ids[bad[0]]!r} is {row[bad[0]]}: "
                "run `visil-index verify` on both stores"
            )
