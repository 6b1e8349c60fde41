"""`extract`: the command line of stage one."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace as replace_fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..config import Config, ExtractConfig
from ..errors import InputError
from ..records import VideoRef
from . import common, options
from .index import IndexKeeper

if TYPE_CHECKING:
    from ..cluster.extracting import ClusterOptions, ExtractJob
    from ..cluster.ray_engine import ActorOptions
    from ..extraction.run import ExtractReport, Shard


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-v", "--video_file", help="List of videos, one `id<TAB>path` a line.")
@click.option("--video_dir", help="Folder of videos instead; ids are the relative paths.")
@click.option(
    "--extensions",
    default="",
    help="More extensions of videos in the folder, such as insv,m2t,mod.",
)
@click.option(
    "--all_files",
    is_flag=True,
    help="Take every file of the folder that FFmpeg recognises, pictures as well, whatever its "
    "extension.",
)
@click.option("--follow_links", is_flag=True, help="Look into linked folders, into each once.")
@click.option(
    "--id_prefix",
    default="",
    help="Stands before every id, as card2/ for a second camera card with the same names.",
)
@click.option(
    "-o",
    "--store",
    required=True,
    help="Store to fill: a path ending in .h5, .zarr or .parts, or the URL of a bucket.",
)
@common.model_dir_option
@common.config_option
@common.gpu_option
@click.option(
    "--retry_failed",
    is_flag=True,
    help="Try again all that failed before, not only missing files and files that changed.",
)
@click.option(
    "--replace",
    type=click.Choice(("never", "changed", "all")),
    default="never",
    show_default=True,
    help="Redo stored videos: those whose file has another size or time, or all that are listed.",
)
@click.option(
    "--index",
    "keep_index",
    is_flag=True,
    help="Keep the store's candidate index up to date as it grows, as `visil-index index` does.",
)
@click.option(
    "--shard",
    help="K/N: only the K-th of N equal parts of the list, for a job scheduler. N machines add to "
    "one store of parts at the same time.",
)
@common.cluster_options
@common.handled("interrupted; what was reported as stored is kept, the same command goes on")
@options.settings("extract")
def extract(
    video_file: str | None,
    video_dir: str | None,
    extensions: str,
    all_files: bool,
    follow_links: bool,
    id_prefix: str,
    store: str,
    model_dir: str | None,
    gpu_id: int,
    retry_failed: bool,
    replace: str,
    keep_index: bool,
    shard: str | None,
    cluster: str | None,
    actors: ActorOptions,
    config: Config,
) -> int:
    """Decode videos and store their features, once.

    Run it again with a longer list, or after an interruption: only what is not stored yet is
    decoded. Exit code 3 says that some videos could not be stored, or are not the files that were
    stored.
    """
    from ..inputs import split_extensions

    videos = common.read_videos(
        video_file,
        video_dir,
        "video",
        id_prefix,
        extensions=split_extensions(extensions) if extensions else (),
        all_files=all_files,
        follow_links=follow_links,
    )
    if keep_index and (cluster is not None or shard is not None):
        raise InputError(
            "--index is for one process on one machine; after --shard and --cluster run "
            "visil-index index once"
        )
    if cluster is not None:
        from ..cluster.extracting import ClusterOptions
        from ..cluster.ray_engine import parse_cluster

        if shard is not None:
            raise InputError("give --cluster or --shard: a cluster cuts the list by itself")
        options = ClusterOptions(parse_cluster(cluster), actors)
        job = _cluster_job(store, model_dir, config.extract, actors)
        job = replace_fields(job, retry_failed=retry_failed, replace=replace)
        report = _extract_on_cluster(videos, job, options)
        return 0 if report.complete else common.PARTIAL_FAILURE
    part = None
    if shard is not None:
        videos, part = _shard(videos, store, shard)
    report = fill_store(
        videos,
        store,
        model_dir,
        config.extract,
        gpu_id,
        retry_failed=retry_failed,
        replace=replace,
        keep_index=keep_index,
        shard=part,
    )
    return 0 if report.complete else common.PARTIAL_FAILURE


def _shard(videos: Sequence[VideoRef], store: str, text: str) -> tuple[Sequence[VideoRef], Shard]:
    """The videos of `--shard`, with the places that they have in the whole list."""
    from ..extraction.run import Shard
    from ..extraction.shards import ShardNumber, listed_places
    from ..store import is_parts, open_store, store_exists

    number = ShardNumber.parse(text)
    if not is_parts(store):
        raise InputError(
            f"{store}: one process at a time adds to it; with --shard give a folder that ends in "
            ".parts, or the URL of a bucket"
        )
    stored = {}
    if store_exists(store):
        with open_store(store) as opened:
            stored = opened.places
    places = listed_places([video.id for video in videos], stored)
    return number.take(videos), Shard(stored | places, f"{secrets.token_hex(4)}-{number}")


def fill_store(
    videos: Sequence[VideoRef],
    store: str | Path,
    model_dir: str | None,
    config: ExtractConfig,
    gpu_id: int = 0,
    *,
    retry_failed: bool = False,
    replace: str = "never",
    keep_index: bool = False,
    label: str = "",
    shard: Shard | None = None,
) -> ExtractReport:
    """Run stage one with messages.

    Args:
        keep_index: bring the candidate index up to date, too.
        label: stands for the store in the last message, where its path would tell nothing.
    """
    from ..extraction.run import extract_features
    from ..nets.extractor.feature_net import network_for

    weights = common.load_weights(model_dir).with_dims(config.dims)
    config = _as_recorded(store, config)
    net = network_for(weights, config, gpu_id)
    line = common.ProgressLine()
    keeper = IndexKeeper(str(store), weights) if keep_index else None

    def progress(report: ExtractReport) -> None:
        done = len(report.stored) + len(report.failures)
        rate = report.frames / max(report.seconds, 1e-9)
        detail = f", {report.frames} frames, {rate:.1f}/s"
        line.show(done, report.todo, "videos", detail, report.frames_left / max(rate, 1e-9))
        if keeper:
            keeper.tell(len(report.stored))

    report = extract_features(
        videos,
        store,
        net,
        config,
        retry_failed=retry_failed,
        replace=replace,
        progress=progress,
        shard=shard,
    )
    _tell_report(report, label or str(store), probed=bool(getattr(videos, "unsure", ())))
    _tell_insets(report, label or str(store), net.name, net.insets)
    _tell_device(report, config.hwaccel)
    if keeper:
        keeper.update()
    return report


def _cluster_job(
    store: str, model_dir: str | None, config: ExtractConfig, actors: ActorOptions
) -> ExtractJob:
    from ..cluster.extracting import ExtractJob, make_network, with_job_precision

    weights = common.load_weights(model_dir).with_dims(config.dims)
    config = _as_recorded(store, config)
    # The job's settings stay open: the store then refuses what another job chose otherwise.
    network = partial(make_network, weights, with_job_precision(weights, config, actors))
    return ExtractJob(store, config, network)


def _extract_on_cluster(
    videos: Sequence[VideoRef], job: ExtractJob, cluster: ClusterOptions
) -> ExtractReport:
    """Run stage one on a cluster with messages."""
    from ..cluster.extracting import extract_on_cluster

    line = common.ProgressLine()

    def progress(report: ExtractReport, actors: int) -> None:
        done = len(report.stored) + len(report.failures)
        rate = done / max(report.seconds, 1e-9)
        detail = f", {len(report.failures)} failed, {rate:.2f}/s, {actors} actors"
        line.show(done, report.todo, "videos", detail)

    report = extract_on_cluster(videos, job, cluster, progress)
    _tell_report(report, job.store, probed=False)
    kinds = Counter(failure.reason for failure in report.failures.values())
    if kinds:
        common.say("failures: " + ", ".join(f"{n} {kind}" for kind, n in kinds.most_common()))
    return report


def _as_recorded(store: str | Path, config: ExtractConfig) -> ExtractConfig:
    """The settings, with the arithmetic that the job began with: `auto` differs by machine."""
    from ..store import is_parts, read_provenance, store_exists

    if config.precision != "auto" or not is_parts(store) or not store_exists(store):
        return config
    return replace_fields(config, precision=read_provenance(store).get("precision", "auto"))


def _tell_report(report: ExtractReport, store: str, *, probed: bool) -> None:
    """Say what was stored and what was not.

    Args:
        store: the store's path, or what stands for it.
        probed: some files of the folder were opened to see whether they are videos.
    """
    for note in report.store_notes:
        common.say(f"note: {note}")
    for video_id, note in report.notes.items():
        common.say(f"note: {video_id}: {note}")
    common.report_failures(list(report.failures.values()), "could not be stored")
    common.report_failures(
        list(report.known_failures.values()), "failed before, try again with --retry_failed"
    )
    _tell_identity(report)
    insets = f" ({report.decode.insets} of insets)" if report.decode.insets else ""
    failed = len(report.failures) + len(report.known_failures)
    conflicts = f", {len(report.changed)} changed" if report.changed else ""
    conflicts += f", {len(report.refused)} refused" if report.refused else ""
    common.say(
        f"{store}: {len(report.stored)} videos stored, {report.already} were there, "
        f"{failed} failed{conflicts}; "
        f"{report.frames} frames{insets} in {report.seconds:.1f} s{_limit(report)}"
    )
    common.report_folder(report.unreadable, report.left_out, report.links, probed)


def _tell_insets(report: ExtractReport, store: str, model: str, insets: int) -> None:
    """Say where a store that was begun earlier holds fewer insets than the model asks for."""
    if report.insets < report.model_insets:
        begun = (
            f"with at most {report.insets} insets at a time" if report.insets else "without insets"
        )
        common.say(
            f"note: {store} was begun {begun} (pictures within the picture), and goes on "
            f"so; model {model!r} asks for {insets}: make a new store to have them"
        )
    if report.older_insets:
        common.say(
            f"note: {store} was begun when fewer insets were found (none that move, as in "
            "films of a screen by hand), and goes on so; make a new store to have them"
        )


def _tell_device(report: ExtractReport, hwaccel: str) -> None:
    """Say how many videos the device did not decode."""
    done = report.decode.videos - report.decode.failed
    if hwaccel != "none" and report.decode.on_device < done:
        common.say(
            f"note: --hwaccel {hwaccel} decoded {report.decode.on_device} of {done} "
            "videos; software decoded the others"
        )


def _tell_identity(report: ExtractReport) -> None:
    """Name the listed files that are not the ones stored under their ids."""
    common.name_each(
        report.changed,
        "changed, see --replace changed (the stored ones stay as they are; for another film, see "
        "--id_prefix)",
    )
    common.name_each(
        report.refused,
        "refused, as another film has this id (--id_prefix TEXT gives all of a run other ids; "
        "--replace all puts the listed ones in place of the stored ones)",
    )
    for others, what in (
        (report.moved, "in another folder, with the same name and size, but another time"),
        (report.other_files, "with a file of another name"),
    ):
        if others:
            video_id, path = next(iter(others.items()))
            common.say(
                f"note: {len(others)} of the ids that were there are listed {what} than they were "
                f"stored from, {video_id!r} from {path}; they are taken for the same and stay. If "
                "these are other videos, give them other ids (--id_prefix)"
            )


def _limit(report: ExtractReport) -> str:
    """Which side was the limit, in a clause."""
    if not report.frames:
        return ""
    seconds = max(report.seconds, 1e-9)
    busy, waiting = report.network_seconds / seconds, report.decode.starved_seconds / seconds
    if busy >= waiting:
        return f" (network busy {min(busy, 1):.0%} of the time)"
    return f" (network busy {busy:.0%}, waiting for decoding {min(waiting, 1):.0%} of the time)"
