"""`search`: the stored videos that are most like one or more others, in one command."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from ..config import Config
from ..errors import InputError
from . import common, options, streams
from .compare import Terminal

if TYPE_CHECKING:
    from ..output.search_result import SearchResult

# Of stage one, for queries.
QUERY_SETTINGS = "batch_size", "workers", "hwaccel", "precision"


@dataclass(frozen=True)
class SearchOptions:
    """The options of `search` as they were typed, and the settings."""

    videos: tuple[str, ...]
    index: tuple[str, ...]
    ids: tuple[str, ...]
    top_k: int
    threshold: float | None
    max_fpr: float | None
    output: str | None
    no_segments: bool
    candidates: str | None
    model_dir: str | None
    gpu_id: int
    config: Config


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("videos", metavar="[VIDEO]...", nargs=-1)
@click.option(
    "-i",
    "--index",
    multiple=True,
    required=True,
    help="Store to search; repeatable. card2/=db2.h5 puts card2/ before all its ids, so that "
    "stores with equal ids go together.",
)
@click.option(
    "--id", "ids", multiple=True, help="Search for this stored video, not for a file; repeatable."
)
@click.option(
    "--top_k", type=click.IntRange(min=1), default=10, show_default=True, help="Show the best N."
)
@click.option("--threshold", type=click.FloatRange(-1, 1), help="Leave out lower scores.")
@click.option(
    "--max_fpr",
    type=float,
    help="Call a match what at most this part of unrelated pairs reaches, as the model was "
    "calibrated. Default: 0.001, where the model is calibrated for this way of comparing",
)
@click.option(
    "-o",
    "--output",
    help="Write the matches to a file besides, in the format of its extension (.json, .jsonl, "
    ".csv, .parquet); with --max_fpr those that are called a match.",
)
@click.option("--no_segments", is_flag=True, help="Do not look from when to when videos match.")
@common.candidates_option
@common.model_dir_option
@common.config_option
@common.gpu_option
@common.handled("interrupted; nothing was written")
@options.settings("compare", *(f"extract.{name}" for name in QUERY_SETTINGS))
def search(**given_options: Any) -> int:
    """Find copies of each VIDEO (files, folders) among stored videos, and show them as a table.

    The table has the score of each match, a verdict, and from when to when both videos show the
    same. Exit code 3 says that some of several videos, or some stored ones, could not be used.
    """
    from ..index import Index
    from ..output.result_text import table_lines

    given = SearchOptions(**given_options)
    if not given.videos and not given.ids:
        raise InputError("give videos to search for, or --id of stored ones")
    if given.videos and given.ids:
        raise InputError("give videos or --id, not both")
    stores = [common.split_store(store) for store in given.index]
    segments = not given.no_segments
    if given.output is not None:
        _check_output(given, [path for _, path in stores], segments)
    # One search: nothing has to stay on the device for the next one.
    config = replace(given.config, compare=replace(given.config.compare, resident_mb=0))
    with Index(stores, Terminal(given.model_dir, given.gpu_id), config, given.gpu_id) as index:
        result = index.search(
            list(given.videos) or None,
            ids=given.ids or None,
            top_k=given.top_k,
            threshold=given.threshold,
            max_fpr=given.max_fpr,
            segments=segments,
            candidates=given.candidates,
        )
    if given.output is not None:  # first: whoever reads the table may stop before its end
        _write(given.output, result, only_confirmed=given.max_fpr is not None, segments=segments)
    for line in table_lines(result):
        streams.show(line)
    damaged = common.report_damaged(result.damaged)
    return common.PARTIAL_FAILURE if result.failures or damaged else 0


def _check_output(given: SearchOptions, stores: Sequence[str], segments: bool) -> None:
    from ..output.writers import check_result_file

    assert given.output is not None
    if given.output == "-":
        raise InputError("--output -: standard output has the table; give a file, or use compare")
    videos = [path for path in given.videos if not os.path.isdir(path)]
    files = [given.config.file] if given.config.file else []
    inputs = [*stores, *videos, *files, common.model_folder(given.model_dir)]
    check_result_file(given.output, inputs, segments=segments, option="--output")


def _write(path: str, result: SearchResult, *, only_confirmed: bool, segments: bool) -> None:
    """Write the matches, with `--max_fpr` those that reach its threshold."""
    from ..output.writers import open_writer

    info, verdict = result.info, result.verdict
    if only_confirmed:
        info = replace(info, threshold=verdict.threshold, rate=verdict.rate)
    with open_writer(path, info, segments=segments) as writer:
        for query_id in result.query_ids:
            matches = result.of(query_id)
            if only_confirmed:
                matches = [match for match in matches if verdict.of(match.score)]
            writer.write(query_id, matches)
    common.say(f"{path}: written")
