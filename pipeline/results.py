"""Scores -> JSON `{query_id: {database_id: similarity}}`, as the original writes it.

The file is written piece by piece under a temporary name and renamed into place: whoever reads
it sees the old one or the whole new one.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from pipeline.errors import InputError, PipelineError

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


def check_output_file(path: str | Path, inputs: Iterable[str | Path] = ()) -> None:
    """Fail before the work, not after it, if the result cannot be written.

    Args:
        inputs: stores and lists that the result is made of, there already or still to be made.

    Raises:
        InputError: the folder does not exist or is not writable, the path is a folder, or it is
            one of the inputs, which the result would replace.
    """
    if not str(path):
        raise InputError("--output_file is empty, expected a file name")
    for other in inputs:
        if _same_file(path, other):
            raise InputError(
                f"{path}: is an input as well, the result would replace it; "
                "give --output_file another name"
            )
    path = _behind_links(path)
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is no regular file, expected a file name for --output_file")
    if not path.parent.is_dir():
        raise InputError(f"{path}: folder {path.parent} does not exist, make it first")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: no permission to write into {path.parent}")


def check_selection(top_k: int | None, threshold: float | None) -> None:
    """Fail before the work if `select` could choose nothing.

    Raises:
        InputError: naming the value.
    """
    if top_k is not None and top_k < 1:
        raise InputError(f"top_k is {top_k}, expected 1 or more")
    if threshold is not None and math.isnan(threshold):
        raise InputError("threshold is not a number")


def _same_file(path: str | Path, other: str | Path) -> bool:
    try:
        return os.path.samefile(path, other)
    except OSError:  # one of them does not exist yet
        return _behind_links(path) == _behind_links(other)


def _behind_links(path: str | Path) -> Path:
    """Where the file is: renaming onto a link would replace the link."""
    return Path(os.path.realpath(path))


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
) -> int:
    """Write the scores; the same input gives the same bytes.

    Args:
        scores: [Q, D] float32, finite; a row per query id.
        top_k, threshold: see `select`.
        listed_queries: all ids that were asked for, in their order; one that has no row, because
            its video cannot be used, is written with no scores. None: the query ids.

    Returns:
        Number of scores written.

    Raises:
        PipelineError: a score is not a finite number (nothing is written), or the disk is full.
    """
    path = _behind_links(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    written = 0
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            rows = {query_id: scores[i] for i, query_id in enumerate(query_ids)}
            asked = query_ids if listed_queries is None else listed_queries
            written = _write(file, asked, rows, database_ids, top_k, threshold)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise PipelineError(f"{path}: cannot write the result: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return written


def _write(
    file: TextIO,
    query_ids: Sequence[str],
    rows: Mapping[str, np.ndarray],
    database_ids: Sequence[str],
    top_k: int | None,
    threshold: float | None,
) -> int:
    keys = [json.dumps(i) for i in database_ids]
    written = 0
    file.write("{")
    for q, query_id in enumerate(query_ids):
        row = np.asarray(rows.get(query_id, ()), np.float32)
        if query_id in rows:
            require_finite(row[None], [query_id], database_ids)
        chosen = select(row, top_k, threshold)
        file.write(f"{',' if q else ''}\n {json.dumps(query_id)}: {{")
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
