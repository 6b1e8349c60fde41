"""`search`: the stored videos that are most like one or more others, in one command."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..config import Config
from ..errors import InputError, ReportError
from . import common, options, streams
from .compare import Terminal, distribution

if TYPE_CHECKING:
    from ..cluster.ray_engine import ActorOptions
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
    refine_segments: bool
    video_root: str | None
    mirrored_queries: bool
    report_file: str | None
    model_dir: str | None
    gpu_id: int
    cluster: str | None
    actors: ActorOptions
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
@click.option(
    "--refine_segments",
    is_flag=True,
    help="Find the ends of segments again in the videos where these are at hand: some seconds "
    "around each are decoded at a finer rate.",
)
@click.option(
    "--video_root",
    help="Folder that the videos are in now if they were moved after their features were stored.",
)
@click.option(
    "--mirrored_queries",
    is_flag=True,
    help="Score videos mirrored as well, the better score counts: finds mirrored copies that the "
    "plain score misses.",
)
@click.option(
    "--report",
    "report_file",
    help="Write a page (.html) with stills, frame matrix and segments of every match.",
)
@common.candidates_option
@common.model_dir_option
@common.config_option
@common.gpu_option
@common.cluster_options
@common.handled("interrupted; nothing was written")
@options.settings("compare", *(f"extract.{name}" for name in QUERY_SETTINGS))
def search(**given_options: Any) -> int:
    """Find copies of each VIDEO (files, folders) among stored videos, and show them as a table.

    The table has the score of each match, a verdict, and from when to when both videos show the
    same. Exit code 3 says that some of several videos, or some stored ones, could not be used.
    """
    from ..index import Index
    from ..output.result_text import table_lines
    from ..output.search_result import SearchResult

    flags = SearchOptions(**given_options)
    _check_options(flags)
    stores = [common.split_store(store) for store in flags.index]
    inputs = _inputs(flags)
    _check_outputs(flags, [*inputs, *(str(path) for _, path in stores)])
    # One search: nothing has to stay on the device for the next one.
    config = replace(flags.config, compare=replace(flags.config.compare, resident_mb=0))
    terminal = Terminal(flags.model_dir, flags.gpu_id)
    failed = None
    distribute = distribution(flags.cluster, flags.actors, terminal)
    with Index(
        stores, terminal, config, flags.gpu_id, inputs=inputs, distribute=distribute, once=True
    ) as index:
        try:
            result = index.search(
                list(flags.videos) or None,
                ids=flags.ids or None,
                top_k=flags.top_k,
                threshold=flags.threshold,
                max_fpr=flags.max_fpr,
                mirror_queries=flags.mirrored_queries,
                segments=not flags.no_segments,
                refine_segments=flags.refine_segments,
                video_root=flags.video_root,
                report_file=flags.report_file,
                candidates=flags.candidates,
            )
        except ReportError as error:
            assert isinstance(error.result, SearchResult)
            result, failed = error.result, error
    if flags.output is not None:  # first: whoever reads the table may stop before its end
        _write(flags.output, result, flags)
    for line in table_lines(result):
        streams.show(line)
    damaged = common.report_damaged(result.damaged)
    if failed is not None:
        raise failed
    return common.PARTIAL_FAILURE if result.failures or damaged else 0


def _check_options(flags: SearchOptions) -> None:
    """Refuse options that exclude each other, before anything is opened."""
    if not flags.videos and not flags.ids:
        raise InputError("give videos to search for, or --id of stored ones")
    if flags.videos and flags.ids:
        raise InputError("give videos or --id, not both")
    if flags.threshold is not None and flags.max_fpr is not None:
        raise InputError("give --threshold or --max_fpr, not both")
    if flags.max_fpr is not None and not 0 < flags.max_fpr < 1:
        raise InputError(f"--max_fpr is {flags.max_fpr:g}, expected more than 0 and less than 1")
    if flags.no_segments and flags.refine_segments:
        raise InputError("give --no_segments or --refine_segments, not both")
    if flags.video_root is not None and not (flags.refine_segments or flags.report_file):
        raise InputError(
            "--video_root says where videos are for --refine_segments and for --report: give one "
            "of these as well"
        )
    if flags.mirrored_queries and flags.ids:
        raise InputError(
            "--mirrored_queries is for files, and a stored video was extracted one way: give its "
            "file in place of --id"
        )


def _inputs(flags: SearchOptions) -> list[str | Path]:
    """Files beside the stores that nothing may replace."""
    videos = [path for path in flags.videos if not os.path.isdir(path)]
    files: list[str | Path] = [flags.config.file] if flags.config.file else []
    return [*videos, *files, common.model_folder(flags.model_dir)]


def _check_outputs(flags: SearchOptions, inputs: Sequence[str | Path]) -> None:
    from ..output.result_info import beside
    from ..output.target import check_extension, check_output_file
    from ..output.writers import OutputOptions, check_result_file

    outputs: list[str | Path] = []
    if flags.output == "-":
        raise InputError("--output -: standard output has the table; give a file, or use compare")
    if flags.output is not None:
        options = OutputOptions("--output", "", "leave out --no_segments", "--output")
        segments = not flags.no_segments
        check_result_file(flags.output, inputs, segments=segments, options=options)
        outputs = [flags.output, beside(flags.output)]
    if flags.report_file == "-":
        raise InputError(
            "--report -: standard output has the table; give a file that ends in .html"
        )
    if flags.report_file is not None:
        check_output_file(flags.report_file, [*inputs, *outputs], option="--report")
        check_extension(flags.report_file, (".html", ".htm"), "--report")


def _write(path: str, result: SearchResult, flags: SearchOptions) -> None:
    """Write the matches, with `--max_fpr` those that reach its threshold."""
    from ..output.writers import open_writer

    info, verdict = result.info, result.verdict
    only_confirmed = flags.max_fpr is not None
    if only_confirmed:
        info = replace(info, threshold=verdict.threshold, rate=verdict.rate)
    with open_writer(path, info, segments=not flags.no_segments) as writer:
        for query_id in result.query_ids:
            matches = result.of(query_id)
            if only_confirmed:
                matches = [match for match in matches if verdict.of(match)]
            writer.write(query_id, matches)
    common.say(f"{path}: written")
