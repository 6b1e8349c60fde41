"""Stage one on a cluster: what is missing is cut into shards, and actors extract these."""

from __future__ import annotations

import os
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

from ..config import ExtractConfig, Precision
from ..errors import InputError
from ..extraction.report import ExtractReport
from ..extraction.run import Shard, extract_features
from ..extraction.shards import cut, listed_places
from ..inputs import Listing, printable_path
from ..objects import is_url
from ..objects.fetch import without_query
from ..records import Failure, SourceInfo, VideoRef
from ..store import is_parts, open_store, open_writer, store_exists
from .board import Board
from .ray_engine import ActorOptions, run_board

if TYPE_CHECKING:
    from ..nets.extractor.feature_net import FeatureNet
    from ..nets.model.model import Model

SHARD_VIDEOS = 64
RETRIED = ("missing", "unreachable")  # reasons of failures that every run tries again


@dataclass(frozen=True)
class ShardTask:
    """What an actor extracts.

    Attributes:
        videos: of the shard.
        places: of them, see `shards.listed_places`.
        name: begins the names of its parts.
    """

    videos: Sequence[VideoRef]
    places: Mapping[str, int]
    name: str

    def halves(self) -> list[ShardTask]:
        """Two of half the size; none of a single video."""
        middle = len(self.videos) // 2
        parts = (self.videos[:middle], self.videos[middle:]) if middle else ()
        return [replace(self, videos=part) for part in parts]


@dataclass(frozen=True)
class ExtractJob:
    """What all actors of a job share.

    Attributes:
        store: of parts.
        config: settings of stage one; `workers` 0 is as many as an actor has cores.
        make_network: makes the feature network, in the actor.
        retry_failed, replace: see `extract_features`.
    """

    store: str
    config: ExtractConfig
    make_network: Callable[[], FeatureNet]
    retry_failed: bool = False
    replace: str = "never"

    def __call__(self) -> ShardExtractor:
        """The worker of an actor."""
        return ShardExtractor(self)


class ShardExtractor:
    """Keeps a network over many shards; decoders are started for each shard."""

    def __init__(self, job: ExtractJob) -> None:
        self._job, self._network = job, job.make_network()

    def run(self, payload: ShardTask) -> ExtractReport:
        """Extract a shard; see `extract_features` for errors."""
        job = self._job
        return extract_features(
            payload.videos,
            job.store,
            self._network,
            job.config,
            retry_failed=job.retry_failed,
            replace=job.replace,
            shard=Shard(payload.places, payload.name),
        )


def make_network(model: Model, config: ExtractConfig) -> FeatureNet:
    """The feature network of an actor."""
    from ..nets.extractor.feature_net import network_for

    return network_for(model, config, 0)


def with_job_precision(model: Model, config: ExtractConfig, actors: ActorOptions) -> ExtractConfig:
    """The settings with the arithmetic of all actors, where they leave it open.

    Machines of a cluster differ, and each would take its own. Actors with a share of a GPU take
    float16, others what suits the processor of this machine.
    """
    from ..nets.backbones import registry
    from ..nets.backend import resolve_precision

    if config.precision != "auto":
        return config
    close = model.backbone in registry.CLOSE_IN_BFLOAT16
    chosen = "float16" if actors.gpus else resolve_precision("auto", close, -1)
    return replace(config, precision=cast(Precision, chosen))


def plan_shards(
    videos: Sequence[VideoRef],
    stored: Mapping[str, int],
    failures: Mapping[str, Failure],
    *,
    retry_failed: bool = False,
    replace: str = "never",
    shard_videos: int = SHARD_VIDEOS,
) -> tuple[list[ShardTask], ExtractReport]:
    """Cut what is missing into shards. Pure.

    Args:
        videos: the list.
        stored: place by id of all stored videos.
        failures: recorded failures by id.
        retry_failed, replace: see `extract_features`.
        shard_videos: videos of a shard, at most.

    Returns:
        The shards in listed order, and a report that counts the other videos.
    """
    report = ExtractReport(listed=len(videos))
    if isinstance(videos, Listing):
        report.unreadable, report.left_out = dict(videos.unreadable), Counter(videos.left_out)
        report.links = len(videos.links)
    todo = []
    for ref in videos:
        failure = failures.get(ref.id)
        if ref.id in stored and replace == "never":
            report.already += 1
        elif failure and not retry_failed and failure.reason not in RETRIED:
            report.known_failures[ref.id] = failure
        else:
            todo.append(ref)
    report.todo = len(todo)
    places = {**stored, **listed_places([ref.id for ref in videos], stored)}
    job = secrets.token_hex(4)
    tasks = [
        ShardTask(
            [_with_full_path(ref) for ref in part],
            {ref.id: places[ref.id] for ref in part},
            f"{job}-{number:05}",
        )
        for number, part in enumerate(cut(todo, shard_videos))
    ]
    return tasks, report


def full_path(path: str) -> str:
    """A path that does not depend on the current directory; an actor has another one."""
    return path if is_url(path) else os.path.abspath(path)


def _with_full_path(ref: VideoRef) -> VideoRef:
    return VideoRef(ref.id, full_path(ref.path), ref.line)


@dataclass(frozen=True)
class ClusterOptions:
    """Where and how a job runs.

    Attributes:
        address: see `run_board`.
        actors: see `ActorOptions`.
        shard_videos: videos of a shard, at most.
    """

    address: str | None = None
    actors: ActorOptions = field(default_factory=ActorOptions)
    shard_videos: int = SHARD_VIDEOS


Progress = Callable[[ExtractReport, int], None]


def extract_on_cluster(
    videos: Sequence[VideoRef],
    job: ExtractJob,
    cluster: ClusterOptions,
    progress: Progress = lambda report, actors: None,
    *,
    change_tasks: Callable[[list[ShardTask]], list[ShardTask]] = lambda tasks: tasks,
) -> ExtractReport:
    """Bring a store of parts up to date with a list, on the actors of a cluster.

    Args:
        progress: called now and then with the report so far and the number of actors.
        change_tasks: may change the planned shards, as tests do.

    Returns:
        The report of the whole job.

    Raises:
        InputError: the store has no parts; or Ray is not installed.
        PipelineError: no machine can do a shard, as all lack a disk or reach no store.
    """
    if not is_parts(job.store):
        raise InputError(
            f"{job.store}: many machines add to a store of parts; give a folder that all of them "
            "see and that ends in .parts, or the URL of a bucket"
        )
    job = replace(job, store=full_path(job.store))
    tasks, report = _planned(videos, job, cluster)
    begin = time.perf_counter()

    def on_result(_: ShardTask, found: ExtractReport) -> None:
        _add_report(report, found)
        report.seconds = time.perf_counter() - begin

    lost: list[tuple[VideoRef, str]] = []
    board = Board(ShardTask.halves, on_result, lambda task, why: lost.append((task.videos[0], why)))
    board.add(change_tasks(tasks))
    workers = job.config.workers or cluster.actors.cpus
    job = replace(job, config=replace(job.config, workers=workers))
    report.store = job.store
    try:
        if tasks:
            options = cluster.actors
            run_board(board, job, options, cluster.address, lambda n: progress(report, n))
    finally:
        _record_lost(job.store, lost, report)
        report.seconds = time.perf_counter() - begin
    return report


def _planned(
    videos: Sequence[VideoRef], job: ExtractJob, cluster: ClusterOptions
) -> tuple[list[ShardTask], ExtractReport]:
    stored: dict[str, int] = {}
    failures: dict[str, Failure] = {}
    if store_exists(job.store):
        with open_store(job.store) as opened:
            stored, failures = opened.places, opened.failures
    return plan_shards(
        videos,
        stored,
        failures,
        retry_failed=job.retry_failed,
        replace=job.replace,
        shard_videos=cluster.shard_videos,
    )


def _add_report(total: ExtractReport, found: ExtractReport) -> None:
    """Add what a shard did to the report of the job."""
    total.stored += found.stored
    total.already += found.already
    total.todo -= found.already
    total.frames += found.frames
    total.network_seconds += found.network_seconds
    total.insets, total.model_insets = found.insets, found.model_insets
    total.older_insets |= found.older_insets
    total.decode.videos += found.decode.videos
    total.decode.failed += found.decode.failed
    total.decode.insets += found.decode.insets
    total.decode.on_device += found.decode.on_device
    for name in ("notes", "failures", "known_failures", "changed", "refused", "moved"):
        getattr(total, name).update(getattr(found, name))
    total.other_files.update(found.other_files)


def _record_lost(store: str, lost: Sequence[tuple[VideoRef, str]], report: ExtractReport) -> None:
    """Record the videos that killed the actors which had them alone."""
    for ref, why in lost:
        source = SourceInfo(printable_path(without_query(ref.path)))
        report.failures[ref.id] = Failure(ref.id, "decoder_crashed", why, source)
    if lost and store_exists(store):
        with open_writer(store) as writer:
            for ref, _ in lost:
                writer.fail(report.failures[ref.id])
