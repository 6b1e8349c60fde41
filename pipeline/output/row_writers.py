"""Matches -> one row a match or segment: CSV, JSON Lines, Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, BinaryIO, TextIO

from ..text import json_text
from .match import Match, rounded_score, segment_dict

# The columns of VSC2022's matching track; `ref_id` is the database video.
COLUMNS = ("query_id", "ref_id", "query_start", "query_end", "ref_start", "ref_end", "score")
INFO_KEY = "visil_index"  # of the metadata of a Parquet file


class JsonLinesWriter:
    """Writes a match a line, as `Match.as_dict` gives it.

    Args:
        file: to write to.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, query_id: str, matches: Sequence[Match]) -> None:
        """Write the matches of a query; see `writers.ResultWriter`."""
        for match in matches:
            self._file.write(json_text(match.as_dict()) + "\n")

    def close(self) -> None:
        """Do nothing: there is no end to write."""


class CsvWriter:
    """Writes `COLUMNS`, a segment a row; a match without segments is a row with empty times.

    Args:
        file: to write to.
    """

    def __init__(self, file: TextIO) -> None:
        self._rows = csv.DictWriter(
            file, COLUMNS, restval="", extrasaction="ignore", lineterminator="\n"
        )
        self._rows.writeheader()

    def write(self, query_id: str, matches: Sequence[Match]) -> None:
        """Write the matches of a query; see `writers.ResultWriter`."""
        for match in matches:
            self._rows.writerows(_rows(match))

    def close(self) -> None:
        """Do nothing: there is no end to write."""


class ParquetWriter:
    """Writes the rows of `CsvWriter`; with segments more columns: `pair_score` and more.

    Args:
        file: to write to; it need not be seekable.
        segments: matches have segments.
        group_rows: rows that are collected before they are written as a row group, at least.

    Raises:
        ImportError: pyarrow is not installed.
    """

    def __init__(self, file: BinaryIO, segments: bool, *, group_rows: int = 1 << 16) -> None:
        import pyarrow
        import pyarrow.parquet

        self._sink, self._group_rows = _Sink(file), group_rows
        self._schema = _schema(segments)
        self._rows: list[Mapping[str, Any]] = []
        self._arrow = pyarrow
        self._writer = pyarrow.parquet.ParquetWriter(self._sink, self._schema)

    def write(self, query_id: str, matches: Sequence[Match]) -> None:
        """Write the matches of a query; see `writers.ResultWriter`."""
        for match in matches:
            self._rows.extend(_rows(match))
            if len(self._rows) >= self._group_rows:
                self._write_group()

    def add_info(self, values: Mapping[str, Any]) -> None:
        """Put the info of the result into the metadata of the file, as JSON."""
        self._writer.add_key_value_metadata({INFO_KEY: json.dumps(values)})

    def close(self) -> None:
        """Write the rows that are left, and the end."""
        if self._rows:
            self._write_group()
        self._writer.close()

    def abandon(self) -> None:
        """Write nothing more, as the result is not complete."""
        self._sink.abandoned = True
        with suppress(Exception):
            self._writer.close()

    def _write_group(self) -> None:
        columns = [
            self._arrow.array([_as_utf8(row.get(f.name)) for row in self._rows], f.type)
            for f in self._schema
        ]
        self._writer.write_table(self._arrow.Table.from_arrays(columns, schema=self._schema))
        self._rows = []


class _Sink:
    """A file that pyarrow writes to, until it is abandoned; pyarrow never closes the file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.abandoned = False
        self.closed = False

    def write(self, data: bytes) -> int:
        return len(data) if self.abandoned else self._file.write(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def _schema(segments: bool) -> Any:
    import pyarrow

    text, number, truth = pyarrow.string(), pyarrow.float64(), pyarrow.bool_()
    kinds = {"query_id": text, "ref_id": text}
    fields = [(name, kinds.get(name, number)) for name in COLUMNS]
    if segments:
        fields += [("pair_score", number), ("mirrored", truth), ("query_decidable", truth)]
    return pyarrow.schema(fields)


def _rows(match: Match) -> Iterator[dict[str, Any]]:
    """A row for each segment; one without times where there is none."""
    pair: dict[str, Any] = {"query_id": match.query_id, "ref_id": match.database_id}
    score = rounded_score(match.score)
    if match.segments is not None:
        pair |= {"pair_score": score, "mirrored": match.mirrored}
    if not match.segments:
        yield pair | {"score": score}
        return
    for segment in map(segment_dict, match.segments):
        yield {
            **pair,
            **segment,
            "ref_start": segment["database_start"],
            "ref_end": segment["database_end"],
        }


def _as_utf8(value: Any) -> Any:
    """A text as it can be encoded: half of a surrogate pair becomes `\\udc80`, as in CSV."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value
