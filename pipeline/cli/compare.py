"""`compare`: the command line of stage two, and the original's single command.

Lists of videos may be given in place of stores; stage one then runs first, into a store that is
kept if `--database_store` names one and temporary otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..config import Config, ExtractConfig
from ..errors import InputError
from ..output.writers import EXTENSIONS, FORMATS
from ..program import command
from . import common, options
from .extract import fill_store

if TYPE_CHECKING:
    from ..cluster.ray_engine import ActorOptions
    from ..extraction.report import ExtractReport
    from ..nets.model.model import Model
    from ..output.selection import Selection
    from ..records import VideoRef
    from ..search.run import CompareReport
    from ..search.shards import Distribute
    from ..workflow import Comparison, VideoSource


@dataclass(frozen=True)
class CompareOptions:
    """The options of `compare` as they were typed, and the settings."""

    query_file: str | None
    query_dir: str | None
    query_store: tuple[str, ...]
    database_file: str | None
    database_dir: str | None
    database_store: tuple[str, ...]
    mirrored_queries: bool
    mirrored_query_store: tuple[str, ...]
    background_store: tuple[str, ...]
    output_file: str
    file_format: str | None
    info_file: str | None
    model_dir: str | None
    top_k: int | None
    threshold: float | None
    max_fpr: float | None
    segments: bool
    refine_segments: bool
    video_root: str | None
    report_file: str | None
    candidates: str | None
    gpu_id: int
    shard: str | None
    cluster: str | None
    actors: ActorOptions
    network: str | None  # as the original; there is one network
    config: Config  # the settings of both stages

    @property
    def input_files(self) -> list[str]:
        """Lists, settings and the model's folder."""
        files = self.query_file, self.database_file, self.config.file
        return [*(str(path) for path in files if path), common.model_folder(self.model_dir)]


# Of stage one, for sides that are lists of videos.
LIST_SETTINGS = "sampling", "batch_size", "workers", "hwaccel", "precision"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-q", "--query_file", help="List of query videos, one `id<TAB>path` a line.")
@click.option("--query_dir", help="Folder of query videos; ids are the relative paths.")
@click.option(
    "--query_store", multiple=True, help="[PREFIX=]Store with query features; repeatable."
)
@click.option("-d", "--database_file", help="List of database videos, one `id<TAB>path` a line.")
@click.option("--database_dir", help="Folder of database videos; ids are the relative paths.")
@click.option(
    "--database_store",
    multiple=True,
    help="Store with database features; repeatable. With --database_file: where to keep them. "
    "card2/=db2.h5 puts card2/ before all its ids, so that stores with equal ids go together; this "
    "holds for all stores.",
)
@click.option(
    "--mirrored_queries",
    is_flag=True,
    help="Score queries mirrored as well, the better score counts: finds mirrored copies that "
    "the plain score misses.",
)
@click.option(
    "--mirrored_query_store",
    multiple=True,
    help=f"Stores of the same queries made with {command('extract')} --mirrored; repeatable. "
    "With --mirrored_queries and a list: where to keep them.",
)
@click.option(
    "--background_store",
    multiple=True,
    help="Store of videos unrelated to all queries; repeatable. Scores are then normalised by "
    "how well each query does among them.",
)
@click.option(
    "-o",
    "--output_file",
    default="results.json",
    show_default=True,
    help="The result: a file, a pipe, or - for standard output. The extension tells the format: "
    f"{', '.join(EXTENSIONS)}; else it is JSON.",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(FORMATS),
    help="Format of the result, where the name does not tell it.",
)
@click.option(
    "--info_file",
    help="Where to write model, settings and threshold as JSON. Formats that cannot hold them "
    "have them in RESULT.info.json anyhow.",
)
@common.model_dir_option
@common.config_option
@click.option("--top_k", type=click.IntRange(min=1), help="Write the best N of each query only.")
@click.option(
    "--threshold", type=click.FloatRange(-1, 1), help="Write scores of at least this only."
)
@click.option(
    "--max_fpr",
    type=float,
    help="Instead of --threshold: write the scores that at most this part of unrelated pairs "
    "reaches (0.001: one in a thousand), with the confidence the model was calibrated with.",
)
@click.option(
    "--segments",
    is_flag=True,
    help="Find from when to when the written pairs match. With many pairs give --top_k, "
    "--threshold or --max_fpr too.",
)
@click.option(
    "--refine_segments",
    is_flag=True,
    help="As --segments, and find the ends again in the videos where these are at hand: some "
    "seconds around each are decoded at a finer rate.",
)
@click.option(
    "--video_root",
    help="Folder that the videos are in now if they were moved after their features were stored.",
)
@click.option(
    "--report",
    "report_file",
    help="Write a page (.html) with stills, frame matrix and segments of every written pair.",
)
@common.candidates_option
@common.gpu_option
@click.option(
    "--shard",
    help="K/N: score only the K-th of N parts of the database (with --candidates of the queries), "
    "for a job scheduler; --output_file then ends in .npz, and merge-results joins the N files.",
)
@common.cluster_options
@click.option("--network", type=click.Choice(["resnet"]), hidden=True, help="As the original.")
@common.handled("interrupted; no result was written")
@options.settings("compare", *(f"extract.{name}" for name in LIST_SETTINGS))
def compare(**given_options: Any) -> int:
    """Compare query videos with database videos, write {query: {database: similarity}}.

    Either side is a list or folder of videos or one or more stores. Exit code 3 says that some
    listed or stored videos could not be scored.
    """
    from .. import workflow

    flags = CompareOptions(**given_options)
    if flags.shard is not None and flags.cluster is not None:
        raise InputError("give --cluster or --shard: a cluster cuts the database by itself")
    if flags.shard is not None:
        return _compare_shard(flags)
    comparison = _comparison(flags)
    host = Terminal(flags.model_dir, flags.gpu_id)
    report, complete = workflow.compare(
        comparison, host, distribution(flags.cluster, flags.actors, host)
    )
    damaged = common.report_damaged(report.damaged)
    common.say(_summary(flags.output_file, report))
    return 0 if complete and not damaged else common.PARTIAL_FAILURE


def distribution(cluster: str | None, actors: ActorOptions, host: Terminal) -> Distribute | None:
    """What scores the pairs on a cluster, if that was asked for."""
    if cluster is None:
        return None
    from ..cluster.extracting import ClusterOptions
    from ..cluster.ray_engine import parse_cluster
    from ..cluster.scoring import score_candidates_on_cluster, score_on_cluster
    from ..search.shards import Distribute

    options = ClusterOptions(parse_cluster(cluster), actors)
    return Distribute(
        partial(score_on_cluster, cluster=options, tick=host.progress),
        partial(score_candidates_on_cluster, cluster=options, tick=host.progress),
    )


def _compare_shard(flags: CompareOptions) -> int:
    """Score one part of the database."""
    from .. import workflow
    from ..extraction.shards import ShardNumber

    assert flags.shard is not None
    if flags.file_format is not None or flags.info_file is not None:
        raise InputError(
            "--format and --info_file are of a whole result: give them to merge-results"
        )
    number = ShardNumber.parse(flags.shard)
    comparison = _comparison(replace(flags, output_file=""))
    host = Terminal(flags.model_dir, flags.gpu_id)
    shard = number.number, number.count
    report = workflow.compare_shard(comparison, host, shard, flags.output_file)
    damaged = common.report_damaged(list(dict.fromkeys(report.damaged)))
    common.say(
        f"{flags.output_file}: {report.kept} scores of {report.queries} queries and "
        f"{report.database} database videos; {command('merge-results')} joins all parts"
    )
    return 0 if report.complete and not damaged else common.PARTIAL_FAILURE


@click.command()
@click.argument("files", nargs=-1, required=True)
@click.option("-o", "--output_file", default="results.json", show_default=True, help="The result.")
@click.option("--format", "file_format", type=click.Choice(FORMATS), help="Format of the result.")
@click.option("--info_file", help="Where to write model, settings and threshold as JSON.")
@common.handled("interrupted; no result was written")
def merge_results(
    files: tuple[str, ...], output_file: str, file_format: str | None, info_file: str | None
) -> int:
    """Join the FILES of all `compare --shard K/N` to the result that one process would write."""
    from .. import workflow

    report = workflow.merge_results(
        files, output_file, file_format=file_format, info_file=info_file
    )
    common.say(
        f"{output_file}: {report.written} scores of {report.queries} queries and "
        f"{report.database} database videos"
    )
    return common.report_damaged(report.damaged)


def _comparison(flags: CompareOptions) -> Comparison:
    """What is compared with what. Lists are read last: a wrong option shows at once."""
    from ..workflow import Comparison

    selection = _selection(flags)
    candidates = common.candidate_count(flags.candidates)
    lists = (
        _listed(flags.query_file, flags.query_dir, "query"),
        _listed(flags.database_file, flags.database_dir, "database"),
    )
    return Comparison(
        _source(lists[0], flags.query_store, flags.query_file or flags.query_dir, "query"),
        _source(
            lists[1], flags.database_store, flags.database_file or flags.database_dir, "database"
        ),
        flags.config,
        mirror_queries=flags.mirrored_queries,
        mirrored=_prefixed(flags.mirrored_query_store),
        background=_prefixed(flags.background_store),
        selection=selection,
        max_fpr=flags.max_fpr,
        segments=flags.segments,
        refine_segments=flags.refine_segments,
        video_root=flags.video_root,
        report_file=flags.report_file,
        output_file=flags.output_file or None,
        file_format=flags.file_format,
        info_file=flags.info_file,
        other_inputs=flags.input_files,
        candidates=candidates,
        gpu_id=flags.gpu_id,
    )


def _selection(flags: CompareOptions) -> Selection:
    from ..output.selection import Selection

    if flags.threshold is not None and flags.max_fpr is not None:
        raise InputError("give --threshold or --max_fpr, not both")
    return Selection(flags.top_k, flags.threshold)


def _listed(path: str | None, folder: str | None, option: str) -> Sequence[VideoRef] | None:
    if path is None and folder is None:
        return None
    return common.read_videos(path, folder, option)


def _source(
    videos: Sequence[VideoRef] | None, stores: Sequence[str], origin: str | None, side: str
) -> VideoSource:
    from ..workflow import VideoSource

    if videos is None and not stores:
        raise InputError(f"give --{side}_file, --{side}_dir or --{side}_store")
    if videos is not None and len(stores) > 1:
        raise InputError(f"with a list of {side} videos, give at most one --{side}_store")
    return VideoSource(_prefixed(stores), videos, origin or "")


def _prefixed(stores: Sequence[str]) -> list[tuple[str, str]]:
    return [common.split_store(store) for store in stores]


def _summary(output_file: str, report: CompareReport) -> str:
    return (
        f"{output_file}: {report.written} scores of {report.queries} queries and "
        f"{report.database} database videos in {report.seconds:.2f} s "
        f"({report.waited:.2f} s waiting for features)"
    )


class Terminal:
    """A `workflow.Host` that says what happens on standard error.

    Args:
        model_dir: of the model; None: the one shipped with this program.
        gpu_id: see `nets.backend.device_scope`.
    """

    def __init__(self, model_dir: str | None, gpu_id: int) -> None:
        self._model_dir, self._gpu_id = model_dir, gpu_id
        self._line: common.ProgressLine | None = None

    def load_model(self) -> Model:
        return common.load_weights(self._model_dir)

    def extract(
        self, videos: Sequence[VideoRef], store: str | Path, config: ExtractConfig, label: str
    ) -> ExtractReport:
        return fill_store(videos, store, self._model_dir, config, self._gpu_id, label=label)

    def note(self, text: str) -> None:
        common.say(f"note: {text}")

    def say(self, text: str) -> None:
        common.say(text)

    def progress(self, done: int, total: int) -> None:
        self._line = self._line or common.ProgressLine()
        self._line.show(done, total, "database videos")
