"""`duplicates`: groups of videos of one collection that show the same."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import click

from ..config import Config
from . import common, options, streams

if TYPE_CHECKING:
    from ..cluster.ray_engine import ActorOptions
    from ..nets.model.model import Model
    from ..output.duplicates import DuplicateGroup, DuplicateReport, GroupMember, Relation
    from ..search.collection_pairs import DistributePairs

# Of stage two, as far as they make sense within one collection.
SETTINGS = (
    "batch_size",
    "precision",
    "block_mb",
    "query_insets",
    "adapt",
    "checksums",
)
_LONGEST_ID = 40
_RELATIONS = {
    "copy": "copy of",
    "contained in": "contained in",
    "contains": "contains",
    "overlap": "shares a part with",
    "unlocated": "scores high, but no segment was found, with",
}


@click.command()
@click.argument("stores", nargs=-1, required=True, metavar="[PREFIX=]STORE...")
@click.option(
    "--threshold",
    type=click.FloatRange(-1, 1),
    help="Pairs with a score of at least this are duplicates; 0.5 is a start. Default: that of "
    "--max_fpr",
)
@click.option(
    "--max_fpr",
    type=float,
    help="Instead of --threshold: at most this part of unrelated pairs counts as duplicates, with "
    "the confidence the model was calibrated with. Default: the lowest that its calibration can "
    "tell",
)
@click.option(
    "-o",
    "--output",
    help="Write the groups as .json or .csv: what stays, what could be removed, and why.",
)
@common.candidates_option
@common.model_dir_option
@common.config_option
@common.gpu_option
@common.cluster_options
@common.handled("interrupted; no result was written")
@options.settings("duplicates", *(f"compare.{name}" for name in SETTINGS))
def duplicates(
    stores: tuple[str, ...],
    threshold: float | None,
    max_fpr: float | None,
    output: str | None,
    candidates: str | None,
    model_dir: str | None,
    gpu_id: int,
    cluster: str | None,
    actors: ActorOptions,
    config: Config,
) -> int:
    """Find videos that show the same within one collection of STOREs. Nothing is removed.

    Videos are grouped; of each group one stays as its representative. Another one could be removed
    if a video that stays shows all of it: as a copy, or as what it was cut from. Exit code 3 says
    that damaged videos were left out.
    """
    from ..deduplicate import DuplicateSearch, find_duplicates

    search = DuplicateSearch(
        [common.split_store(store) for store in stores],
        config,
        threshold=threshold,
        max_fpr=max_fpr,
        output_file=output,
        candidates=common.candidate_count(candidates),
        other_inputs=[*([config.file] if config.file else []), common.model_folder(model_dir)],
        gpu_id=gpu_id,
    )
    terminal = _Terminal(model_dir)
    distribute = _distribution(cluster, actors)
    report = find_duplicates(search, terminal, terminal.group_progress, distribute)
    if output not in ("-", "/dev/stdout"):
        for number, group in enumerate(report.groups, 1):
            for line in _group_lines(number, group):
                streams.show(line)
    code = common.report_damaged(report.damaged)
    common.say(_summary(report, output))
    return code


def _distribution(cluster: str | None, actors: ActorOptions) -> DistributePairs | None:
    """What scores the pairs on a cluster, if that was asked for."""
    if cluster is None:
        return None
    from ..cluster.extracting import ClusterOptions
    from ..cluster.ray_engine import parse_cluster
    from ..cluster.scoring import candidate_pairs_on_cluster, pairs_on_cluster
    from ..search.collection_pairs import DistributePairs

    options = ClusterOptions(parse_cluster(cluster), actors)
    return DistributePairs(
        partial(pairs_on_cluster, cluster=options),
        partial(candidate_pairs_on_cluster, cluster=options),
    )


class _Terminal:
    """A `workflow.SearchHost` that says what happens on standard error."""

    def __init__(self, model_dir: str | None) -> None:
        self._model_dir = model_dir
        self._line: common.ProgressLine | None = None
        self._group_line: common.ProgressLine | None = None

    def load_model(self) -> Model:
        return common.load_weights(self._model_dir)

    def note(self, text: str) -> None:
        common.say(f"note: {text}")

    def say(self, text: str) -> None:
        common.say(text)

    def progress(self, done: int, total: int) -> None:
        self._line = self._line or common.ProgressLine()
        self._line.show(-(-done // 10**6), -(-total // 10**6), "million pairs of frames")

    def group_progress(self, done: int, total: int) -> None:
        self._group_line = self._group_line or common.ProgressLine()
        self._group_line.show(done, total, "groups")


def _group_lines(number: int, group: DuplicateGroup) -> Iterator[str]:
    removable = group.removable
    yield f"group {number}: {len(group.members)} videos, {len(removable)} could be removed"
    width = min(_LONGEST_ID, max(len(member.id) for member in group.members))
    for member in group.members:
        if member.keep:
            alone = "representative" if member is group.representative else "other content"
            yield f"  keep      {_member_text(member, width, alone)}"
            for other in removable:  # below the video that shows all of it
                if other.relation and other.relation.other == member.id:
                    yield f"    remove  {_member_text(other, width)}"


def _member_text(member: GroupMember, width: int, alone: str = "") -> str:
    source = member.source
    pixels = f"{source.width}x{source.height}" if source.width and source.height else "?"
    facts = f"{_clock(member.seconds):>8}  {pixels:>9}  {_size(source.size):>9}"
    relation = _relation_text(member.relation) if member.relation else alone
    return f"{member.id:{width}}  {facts}  {relation}"


def _relation_text(relation: Relation) -> str:
    parts = f"{relation.score:.3f}"
    if relation.coverage or relation.other_coverage:
        parts += f"; {relation.coverage:.0%} of it, {relation.other_coverage:.0%} of the other"
    if not relation.decidable:
        parts += "; still or repeating"
    return f"{_RELATIONS[relation.kind]} {relation.other} ({parts})"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _size(size: int) -> str:
    for unit, factor in (("GB", 10**9), ("MB", 10**6)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size / 1000:.0f} kB" if size >= 0 else "?"


def _summary(report: DuplicateReport, output: str | None) -> str:
    removable = report.removable
    grouped = sum(len(group.members) for group in report.groups)
    size = sum(max(0, member.source.size) for member in removable)
    written = f"{output}: " if output else ""
    return (
        f"{written}{len(report.groups)} groups with {grouped} of {report.videos} videos; "
        f"{len(removable)} could be removed ({_size(size)}); nothing was removed"
    )
