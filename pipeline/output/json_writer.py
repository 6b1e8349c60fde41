"""Scores -> JSON `{query_id: {database_id: similarity}}`, as the original writes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from ..text import json_text
from .score_table import ScoreTable
from .selection import Selection
from .target import is_stream, opened_output

DECIMALS = 6


def write_json(
    path: str | Path,
    table: ScoreTable,
    selection: Selection | None = None,
    listed_queries: Sequence[str] | None = None,
) -> int:
    """Write the scores in UTF-8, piece by piece; the same input gives the same bytes.

    A damaged query is written with no scores, a damaged database video is left out.

    Args:
        path: see `output.opened_output`.
        table: the scores.
        selection: which of them are written; None writes all.
        listed_queries: ids of all listed queries, in their order; one that has no row, because
            its video cannot be used, is written with no scores. None: the query ids.

    Returns:
        Number of scores written.

    Raises:
        PipelineError: a score is not a finite number (nothing is written), or the disk is full.
        BrokenPipeError: nobody reads the pipe any more.
    """
    query_ids = table.query_ids if listed_queries is None else listed_queries
    if is_stream(path):  # what was written to it cannot be taken back
        for query_id in query_ids:
            table.row(query_id)
    with opened_output(path) as file:
        return _write(file, table, selection or Selection(), query_ids)


def _write(file: TextIO, table: ScoreTable, selection: Selection, query_ids: Sequence[str]) -> int:
    keys = [json_text(i) for i in table.sound_database_ids]
    written = 0
    file.write("{")
    for q, query_id in enumerate(query_ids):
        row = table.row(query_id)
        selected = selection.indices(row)
        file.write(f"{',' if q else ''}\n {json_text(query_id)}: {{")
        for lines in _lines(keys, row, selected):
            file.write(lines)
        file.write("\n }" if len(selected) else "}")
        written += len(selected)
    file.write("\n}\n")
    return written


def _lines(keys: list[str], row: np.ndarray, selected: np.ndarray) -> Iterator[str]:
    for start in range(0, len(selected), 4096):
        part = selected[start : start + 4096]
        # Adding 0.0 turns -0.0 into 0.0; six decimals are below float32's own error here.
        values = np.round(row[part].astype(np.float64), DECIMALS) + 0.0
        lines = (f"\n  {keys[i]}: {v!r}" for i, v in zip(part, values.tolist(), strict=True))
        yield ("," if start else "") + ",".join(lines)
