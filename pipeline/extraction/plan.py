"""Which of the listed videos stage one works on: what a store has already is told by its files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence

from ..config import ExtractConfig
from ..errors import InputError
from ..inputs import Listing, printable
from ..records import Failure, InsetRule, VideoRef
from ..store import StoreWriter
from ..video.pip.detector import require_supported
from .identity import (
    Identity,
    difference,
    identity,
    other_name,
    same_state,
    state_of,
)
from .report import ExtractReport

_FIRST = 100  # listed files that are looked at before anything is recorded
_FEWEST = 10  # a shorter list may be of missing files alone: each is named on the screen


def choose_insets(
    config: ExtractConfig, model_insets: int, stored: InsetRule | None = None
) -> InsetRule:
    """Decide how a run of stage one detects insets, and how many at a time.

    The number in the settings comes first, then the store's, then the model's. Insets of queries
    are searched with `CompareConfig.query_insets` only, so queries have none unless the settings
    say so. A store keeps the version of the rule that it was made with: features of two versions
    cannot be compared.

    Args:
        config: settings of stage one.
        model_insets: number of insets that the model is made for.
        stored: rule of the store that is to be extended; None for a new store.

    Returns:
        The rule; its limit may be 0. If it differs from the store's, the store refuses it.

    Raises:
        InputError: this program does not know the store's rule.
    """
    if stored is not None:
        require_supported(stored)
        if config.insets in (None, stored.limit):
            return stored
    if config.insets is not None:
        return InsetRule(limit=config.insets)
    return InsetRule(limit=0 if config.as_queries or config.mirrored else model_insets)


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
