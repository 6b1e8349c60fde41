"""Which of the listed videos stage one works on: what a store has already is told by its files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.decode import DecodeStats
from pipeline.errors import InputError
from pipeline.identity import (
    Identity,
    difference,
    identity,
    other_name,
    same_state,
    state_of,
)
from pipeline.inputs import Listing, printable
from pipeline.records import Failure, VideoRef
from pipeline.store import StoreWriter

_FIRST = 100  # listed files that are looked at before anything is recorded
_FEWEST = 10  # a shorter list may be of missing files alone: each is named on the screen


@dataclass
class ExtractReport:
    """What stage one did; kept up to date while it runs.

    Attributes:
        listed: videos in the list; already: of these, stored before this run; todo: the rest.
        stored: ids committed in this run; notes: id -> remark, of those that have one.
        failures: id -> why, of this run.
        known_failures: id -> why, failed in an earlier run and not tried again.
        changed: id -> what differs, of those that were there already and whose file has another
            size or time now; their features stay as they are.
        refused: id -> what differs, of those whose id is that of a stored file of another folder;
            they are not stored.
        moved: id -> path it was stored from, of those that were there already and whose file has
            the same name and size in another folder, but another time.
        other_files: id -> path it was stored from, of those that were there already and are
            listed with a file of another name.
        unreadable: path -> why, of folders and files below a listed folder.
        left_out: extension -> files below a listed folder that were not taken, or are no videos.
        links: to folders, below a listed folder, that were not followed.
        store_notes: what a person should know of the store as it was found.
        insets: pictures within the picture that were looked for, at most; older_insets: by an
            older rule, which finds fewer, as the store was begun with it.
        frames: sampled frames that went through the network, pictures within them included;
            `decode` has their numbers apart.
        frames_left: about how many are still to come, judged by the durations that the files
            begun so far claim.
        network_seconds, seconds: time in the network, and wall time.
        decode: what decoding did; its `starved_seconds` are the time that the network waited.
    """

    listed: int = 0
    already: int = 0
    todo: int = 0
    stored: list[str] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    known_failures: dict[str, Failure] = field(default_factory=dict)
    changed: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    other_files: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    links: int = 0
    store_notes: list[str] = field(default_factory=list)
    insets: int = 0
    older_insets: bool = False
    frames: int = 0
    frames_left: float = 0.0
    network_seconds: float = 0.0
    seconds: float = 0.0
    decode: DecodeStats = field(default_factory=DecodeStats)

    @property
    def complete(self) -> bool:
        """Every listed video is stored as its file is now, and nothing was unreadable."""
        lacking = (self.failures, self.known_failures, self.changed, self.refused, self.unreadable)
        return not any(lacking)


def plan(
    videos: Sequence[VideoRef], writer: StoreWriter, retry_failed: bool, replace: str
) -> tuple[list[VideoRef], ExtractReport]:
    """Which videos to decode, in listed order, and a report that counts the rest."""
    report = ExtractReport(listed=len(videos))
    if isinstance(videos, Listing):
        report.unreadable, report.left_out = dict(videos.unreadable), Counter(videos.left_out)
        report.links = len(videos.links)
    todo = []
    failures = writer.failures  # parsed once: the list may be long
    for ref in videos:
        failure = failures.get(ref.id)
        there = ref.id in writer
        if there and replace == "all":
            todo.append(ref)
        elif there and not _wanted(ref, writer, replace, report):
            continue
        elif failure and not retry_failed and _in_vain(failure, ref):
            report.known_failures[ref.id] = failure
        else:
            todo.append(ref)
    report.todo = len(todo)
    return todo, report


def _wanted(ref: VideoRef, writer: StoreWriter, replace: str, report: ExtractReport) -> bool:
    """Whether a stored video is to be made anew; if not, it is counted as what it is."""
    stored = writer.record(ref.id).source
    found = identity(ref.path, stored)
    if found is Identity.OTHER:
        report.refused[ref.id] = difference(ref.path, stored)
        return False
    if found is Identity.CHANGED:
        if replace == "changed":
            return True
        report.changed[ref.id] = difference(ref.path, stored)
    elif found is Identity.MOVED:
        report.moved[ref.id] = stored.path
    elif other_name(ref.path, stored):
        report.other_files[ref.id] = stored.path
    report.already += 1
    return False


def _in_vain(failure: Failure, ref: VideoRef) -> bool:
    """The file is as it was when it failed, so it would fail again."""
    if failure.reason == "missing":
        return False
    state = state_of(ref.path)
    return state is None or same_state(state, failure.source)


def first_missing(videos: Sequence[VideoRef]) -> bool:
    """Whether none of the first 100 listed files is there; never of a list of fewer than 10."""
    return len(videos) >= _FEWEST and _all_missing(videos)


def refuse_missing(
    videos: Sequence[VideoRef], todo: Sequence[VideoRef], known: Mapping[str, Failure]
) -> None:
    """Stop before anything is recorded: an unmounted disk is no reason to call files missing.

    Args:
        videos: a list of which `first_missing` holds.
        todo: the part of it to work on. What lies on another disk is reason enough to go on.
        known: failures recorded before.

    Raises:
        InputError: naming the directory that relative paths start at.
    """
    news = [ref for ref in todo if ref.id not in known or known[ref.id].reason != "missing"]
    if not todo or not _all_missing(news):
        return
    raise InputError(
        f"the first {min(_FIRST, len(videos))} of {len(videos)} listed files are all missing, "
        f"such as {printable(videos[0].path)}: mount their disk, or change to the directory that "
        f"relative paths start at (now {printable(os.getcwd())}). Nothing was recorded"
    )


def _all_missing(videos: Sequence[VideoRef]) -> bool:
    return all(state_of(ref.path) is None for ref in videos[:_FIRST])


def places(videos: Sequence[VideoRef], writer: StoreWriter) -> dict[str, int]:
    """Where each listed id stands in the store: behind what is not in this list, as listed.

    The order in which videos are finished varies from run to run; this does not, whether a run
    is interrupted or the list grows.
    """
    listed = {ref.id: i for i, ref in enumerate(videos)}
    if first := writer.place_behind_others(listed):
        listed = {video_id: first + i for video_id, i in listed.items()}
    return listed
