"""Writers of results, one for each format, chosen by the name of the file.

`open_writer` opens one, `check_result_file` refuses before the work what it would refuse after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .match import Match


@dataclass(frozen=True)
class ResultInfo:
    """What the scores of a result were made with.

    Attributes:
        model: name of the model.
        model_digest: SHA-256 (hex) of all that changes features, of the full dims.
        settings: of stage two, by name.
        top_k: matches of a query, at most; None: no limit.
        threshold: scores are at least this; None: no limit.
        rate: share of unrelated pairs that reach the threshold, as it was asked for (`max_fpr`);
            None where no rate was asked for.
    """

    model: str
    model_digest: str
    settings: Mapping[str, Any]
    top_k: int | None = None
    threshold: float | None = None
    rate: float | None = None


class ResultWriter(Protocol):
    """Writes matches in one format, query by query."""

    def write(self, query_id: str, matches: Sequence[Match]) -> None:
        """Write the matches of the next listed query; none for one that has none."""

    def close(self) -> None:
        """Write what comes at the end; `open_writer` calls it."""


def check_result_file(
    path: str | Path,
    inputs: Iterable[str | Path] = (),
    *,
    file_format: str | None = None,
    info_file: str | Path | None = None,
    segments: bool = False,
) -> None:
    """Fail before the work, not after it, if the result cannot be written.

    Args:
        path: see `target.check_output_file`.
        inputs: see `target.check_output_file`.
        file_format, info_file, segments: see `open_writer`.

    Raises:
        InputError: the format is not known, does not fit the name of the file, needs segments or
            a package that is not installed; or a file cannot be written.
    """
    raise NotImplementedError


@contextmanager
def open_writer(
    path: str | Path,
    info: ResultInfo,
    *,
    file_format: str | None = None,
    info_file: str | Path | None = None,
    segments: bool = False,
) -> Iterator[ResultWriter]:
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
    raise NotImplementedError
    yield
