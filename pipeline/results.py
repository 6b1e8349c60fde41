"""Scores -> JSON `{query_id: {database_id: similarity}}`, as the original writes it."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from pipeline.errors import InputError, PipelineError
from pipeline.output import is_stream, opened_output
from pipeline.text import json_text

DECIMALS = 6
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


def check_selection(top_k: int | None, threshold: float | None) -> None:
    """Fail before the work if `select` could choose nothing.

    Raises:
        InputError: naming the value.
    """
    if top_k is not None and top_k < 1:
        raise InputError(f"top_k is {top_k}, expected 1 or more")
    if threshold is not None and math.isnan(threshold):
        raise InputError("threshold is not a number")


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


def write_json(
    path: str | Path,
    query_ids: Sequence[str],
    database_ids: Sequence[str],
    scores: np.ndarray,
    top_k: int | None = None,
    threshold: float | None = None,
    listed_queries: Sequence[str] | None = None,
    sound: tuple[np.ndarray, np.ndarray] | None = None,
) -> int:
    """Write the scores in UTF-8, piece by piece; the same input gives the same bytes.

    Args:
        path: see `output.opened_output`.
        scores: [Q, D] float32, finite where both videos are sound; a row per query id.
        top_k, threshold: see `select`.
        listed_queries: all ids that were asked for, in their order; one that has no row, because
            its video cannot be used, is written with no scores. None: the query ids.
        sound: bool [Q] and [D], videos that are not damaged. A damaged query is written with no
            scores, a damaged database video is left out. None: all are sound.

    Returns:
        Number of scores written.

    Raises:
        PipelineError: a score is not a finite number (nothing is written), or the disk is full.
        BrokenPipeError: nobody reads the pipe any more.
    """
    usable, columns = sound or (np.ones(len(query_ids), bool), np.ones(len(database_ids), bool))
    rows = {query_id: scores[i] for i, query_id in enumerate(query_ids) if usable[i]}
    found = [database_ids[i] for i in np.flatnonzero(columns).tolist()]
    asked = query_ids if listed_queries is None else listed_queries
    if is_stream(path):  # what was written to it cannot be taken back
        for query_id, row in rows.items():
            require_finite(row[columns][None], [query_id], found)
    with opened_output(path) as file:
        return _write(file, asked, rows, columns, found, top_k, threshold)


def _write(
    file: TextIO,
    query_ids: Sequence[str],
    rows: Mapping[str, np.ndarray],
    columns: np.ndarray,
    database_ids: Sequence[str],
    top_k: int | None,
    threshold: float | None,
) -> int:
    keys = [json_text(i) for i in database_ids]
    written = 0
    file.write("{")
    for q, query_id in enumerate(query_ids):
        row = np.empty(0, np.float32)
        if query_id in rows:
            row = np.asarray(rows[query_id][columns], np.float32)
            require_finite(row[None], [query_id], database_ids)
        chosen = select(row, top_k, threshold)
        file.write(f"{',' if q else ''}\n {json_text(query_id)}: {{")
        for lines in _lines(keys, row, chosen):
            file.write(lines)
        file.write("\n }" if len(chosen) else "}")
        written += len(chosen)
    file.write("\n}\n")
    return written


def _lines(keys: list[str], row: np.ndarray, chosen: np.ndarray) -> Iterator[str]:
    for start in range(0, len(chosen), 4096):
        part = chosen[start : start + 4096]
        # Adding 0.0 turns -0.0 into 0.0; six decimals are below float32's own error here.
        values = np.round(row[part].astype(np.float64), DECIMALS) + 0.0
        lines = (f"\n  {keys[i]}: {v!r}" for i, v in zip(part, values.tolist(), strict=True))
        yield ("," if start else "") + ",".join(lines)
