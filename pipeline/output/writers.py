"""Results in the formats that people use; the name of the file tells which.

`open_writer` opens a result, `check_result_file` refuses before the work what cannot be written
after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from ..errors import InputError
from .json_writer import JsonWriter, SegmentJsonWriter
from .match import Match, MatchTable
from .result_info import ResultInfo, beside, check_info_file, write_info
from .row_writers import CsvWriter, JsonLinesWriter, ParquetWriter
from .target import check_output_file, is_stream, opened_output
from .vcsl_writer import VcslWriter

# Extension -> format; `.vcsl.json` is looked for before `.json`.
EXTENSIONS = {
    ".vcsl.json": "vcsl",
    ".json": "json",
    ".jsonl": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
}
FORMATS = tuple(sorted(EXTENSIONS.values()))
_BINARY = {"parquet"}


@dataclass(frozen=True)
class OutputOptions:
    """What a command calls the options of its result, for messages.

    Attributes:
        output: gives the file.
        other_format: how else a format is chosen, for a name that tells none; empty: not at all.
        segments: how segments are asked for.
        info: gives another place for the info beside the result.
    """

    output: str = "--output_file"
    other_format: str = ", or a format (--format)"
    segments: str = "give --segments"
    info: str = "--info_file"


_OPTIONS = OutputOptions()


class ResultWriter(Protocol):
    """Writes matches in one format, query by query."""

    def write(self, query_id: str, matches: Sequence[Match]) -> None:
        """Write the matches of the next listed query; none for one that has none."""

    def close(self) -> None:
        """Write what comes at the end; `open_writer` calls it."""


@dataclass
class CountingWriter:
    """A writer that counts; `open_writer` gives it.

    Attributes:
        inner: writes.
        written: matches so far.
        queries: queries so far.
        unmatched: ids of the queries without matches.
    """

    inner: ResultWriter
    written: int = 0
    queries: int = 0
    unmatched: list[str] = field(default_factory=list)

    def write(self, query_id: str, matches: Sequence[Match]) -> None:
        """Write the matches of the next listed query; see `ResultWriter`."""
        self.inner.write(query_id, matches)
        self.written += len(matches)
        self.queries += 1
        if not len(matches):
            self.unmatched.append(query_id)

    def close(self) -> None:
        """Write what comes at the end."""
        self.inner.close()


def format_of(
    path: str | Path,
    file_format: str | None = None,
    segments: bool = False,
    options: OutputOptions = _OPTIONS,
) -> str:
    """The format that a result is written in.

    Args:
        path, file_format, segments: see `open_writer`.
        options: see `check_result_file`.

    Raises:
        InputError: it is not known, is not what the name says, or holds nothing but segments and
            there are none.
    """
    name = Path(path).name.lower()
    by_name = next((f for ending, f in EXTENSIONS.items() if name.endswith(ending)), None)
    if file_format is not None and file_format not in FORMATS:
        raise InputError(f"format is {file_format!r}, expected one of {', '.join(FORMATS)}")
    if file_format and by_name and file_format != by_name:
        raise InputError(
            f"{path}: by its name this is {by_name}, but the format is to be {file_format}; "
            "give the file another name, or leave the format out"
        )
    chosen = file_format or by_name
    if chosen is None and Path(path).suffix and not is_stream(path):
        raise InputError(
            f"{path}: no format has the extension {Path(path).suffix}; known are "
            f"{', '.join(EXTENSIONS)}; give one of these{options.other_format}"
        )
    chosen = chosen or "json"
    if chosen == "vcsl" and not segments:
        raise InputError(
            f"{path}: VCSL's format holds segments, but none are looked for; {options.segments}"
        )
    return chosen


def check_result_file(
    path: str | Path,
    inputs: Iterable[str | Path] = (),
    *,
    file_format: str | None = None,
    info_file: str | Path | None = None,
    segments: bool = False,
    options: OutputOptions = _OPTIONS,
) -> None:
    """Fail before the work, not after it, if the result cannot be written.

    Args:
        path: see `target.check_output_file`.
        inputs: see `target.check_output_file`.
        file_format, info_file, segments: see `open_writer`.
        options: what the command calls them.

    Raises:
        InputError: the format is not known, does not fit the name of the file, needs segments or
            a package that is not installed; or a file cannot be written.
    """
    inputs = list(inputs)
    check_output_file(path, inputs, option=options.output)
    chosen = format_of(path, file_format, segments, options)
    if chosen == "parquet" and find_spec("pyarrow") is None:
        raise InputError(
            f"{path}: Parquet needs pyarrow, which is not installed: "
            "pip install visil-index[parquet]"
        )
    info_path = _info_path(path, chosen, info_file)
    if info_path is not None:
        check_info_file(info_path, path, inputs, option=options.info)


@contextmanager
def open_writer(
    path: str | Path,
    info: ResultInfo,
    *,
    file_format: str | None = None,
    info_file: str | Path | None = None,
    segments: bool = False,
) -> Iterator[CountingWriter]:
    """Open a result to write to; a regular file appears when the block has ended.

    `write` is called once for every listed query, in their order.

    Args:
        path: file, pipe, or `-` for standard output.
        info: is written with every format but the original's JSON.
        file_format: of `FORMATS`; None takes what the extension says; `json` for streams and for
            names without one.
        info_file: where `info` is written as JSON; None: beside the result (`x.csv.info.json`)
            for formats that cannot hold it, and nowhere else.
        segments: matches have segments.

    Raises:
        InputError: see `check_result_file`.
        PipelineError: the disk is full; a file that was there stays as it was.
        BrokenPipeError: nobody reads the pipe any more.
    """
    chosen = format_of(path, file_format, segments)
    info_path = _info_path(path, chosen, info_file)
    with opened_output(path, binary=chosen in _BINARY) as file:
        inner = _writer(chosen, file, info, segments)
        writer = CountingWriter(inner)
        try:
            yield writer
            values = {
                "format": chosen,
                **info.as_dict(),
                "queries": writer.queries,
                "matches": writer.written,
                "queries_without_matches": writer.unmatched,
            }
            if isinstance(inner, ParquetWriter):
                inner.add_info(values)
            writer.close()
            file.flush()  # a full disk shows here, and neither file is replaced
        except BaseException:
            if isinstance(inner, ParquetWriter):
                inner.abandon()
            raise
        if info_path is not None:
            write_info(info_path, values)


def write_matches(
    path: str | Path,
    table: MatchTable,
    info: ResultInfo,
    *,
    file_format: str | None = None,
    info_file: str | Path | None = None,
    segments: bool = False,
) -> int:
    """Write all matches of a search; the same matches give the same bytes.

    A damaged query has no matches, a damaged database video is left out.

    Args:
        path, info, file_format, info_file, segments: see `open_writer`.
        table: the matches.

    Returns:
        Number of matches.

    Raises:
        PipelineError: a score is not a finite number (nothing is written), or the disk is full.
        BrokenPipeError: nobody reads the pipe any more.
    """
    if is_stream(path):  # what was written to it cannot be taken back
        table.check()
    options: dict[str, Any] = {"file_format": file_format, "info_file": info_file}
    with open_writer(path, info, segments=segments, **options) as writer:
        for query_id in table.query_ids:
            writer.write(query_id, table.matches(query_id))
    return writer.written


def _writer(chosen: str, file: Any, info: ResultInfo, segments: bool) -> ResultWriter:
    if chosen == "csv":
        return CsvWriter(file)
    if chosen == "jsonl":
        return JsonLinesWriter(file)
    if chosen == "parquet":
        return ParquetWriter(file, segments)
    if chosen == "vcsl":
        return VcslWriter(file)
    return SegmentJsonWriter(file, info) if segments else JsonWriter(file)


def _info_path(path: str | Path, chosen: str, info_file: str | Path | None) -> str | Path | None:
    """Where the info is written; None: nowhere, or in the result itself."""
    if info_file is not None or chosen in ("json", "parquet") or is_stream(path):
        return info_file
    return beside(path)
