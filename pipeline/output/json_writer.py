"""Scores -> JSON `{query_id: {database_id: similarity}}`, as the original writes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from ..text import json_text
from .score_table import require_finite
from .selection import select
from .target import is_stream, opened_output

DECIMALS = 6


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
