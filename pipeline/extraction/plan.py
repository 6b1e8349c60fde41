"""Plans stage one: which listed videos to decode, in which order, and how to detect insets."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from ..config import ExtractConfig
from ..errors import InputError
from ..inputs import Listing, printable_path
from ..objects import is_url
from ..records import Failure, InsetRule, VideoRef
from ..store import StoreWriter, is_parts
from ..video.pip.detector import require_supported
from .identity import (
    Identity,
    describe_difference,
    file_state,
    has_other_name,
    identity,
    is_same_state,
    object_changed,
)
from .report import ExtractReport
from .shards import listed_places

_CHECKED_FILES = 100  # listed files that are inspected before anything is recorded
_REQUESTS = 16  # at a time, for ETags
_MIN_LISTED = 10  # in a shorter list every missing file is named
MIN_MISSING = 10  # so many, and half of a shard, are no failures of videos


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


def report_insets(
    report: ExtractReport, rule: InsetRule, config: ExtractConfig, model_insets: int
) -> None:
    """Report how insets are detected, and how a new store with these settings would do it.

    Queries and mirrored videos have insets on request only, so nothing is lacking there.
    """
    plain = not config.as_queries and not config.mirrored
    report.insets = rule.limit
    report.model_insets = model_insets if plain and config.insets is None else rule.limit
    report.older_insets = plain and rule != InsetRule(limit=rule.limit)


def select_videos(
    videos: Sequence[VideoRef], writer: StoreWriter, retry_failed: bool, replace: str
) -> tuple[list[VideoRef], ExtractReport]:
    """Choose the videos to decode, in listed order, and report the rest.

    Args:
        videos: the list.
        writer: of the store.
        retry_failed: try videos again that failed in an earlier run.
        replace: "never", "changed" or "all", see `run.extract_features`.

    Returns:
        The videos to decode, and a report that counts the others.
    """
    report = ExtractReport(listed=len(videos))
    if isinstance(videos, Listing):
        report.unreadable, report.left_out = dict(videos.unreadable), Counter(videos.left_out)
        report.links = len(videos.links)
    todo = []
    failures = writer.failures  # parsed once, as there may be many
    changed = _changed_objects(videos, writer) if replace == "changed" else set()
    for ref in videos:
        failure = failures.get(ref.id)
        is_stored = ref.id in writer
        if is_stored and (replace == "all" or ref.id in changed):
            todo.append(ref)
        elif is_stored and not _must_redo(ref, writer, replace, report):
            continue
        elif failure and not retry_failed and _would_fail_again(failure, ref):
            report.known_failures[ref.id] = failure
        else:
            todo.append(ref)
    report.todo = len(todo)
    return todo, report


def _changed_objects(videos: Sequence[VideoRef], writer: StoreWriter) -> set[str]:
    """Ids of stored objects that changed; several at once are asked for, as answers take time."""
    refs = [ref for ref in videos if is_url(ref.path) and ref.id in writer]
    if not refs:
        return set()
    sources = [writer.record(ref.id).source for ref in refs]
    with ThreadPoolExecutor(_REQUESTS) as pool:
        verdicts = list(pool.map(object_changed, [ref.path for ref in refs], sources))
    return {ref.id for ref, changed in zip(refs, verdicts, strict=True) if changed}


def _must_redo(ref: VideoRef, writer: StoreWriter, replace: str, report: ExtractReport) -> bool:
    """Tell whether a stored video must be extracted again; if not, report it."""
    stored = writer.record(ref.id).source
    relation = identity(ref.path, stored)
    if relation is Identity.OTHER:
        report.refused[ref.id] = describe_difference(ref.path, stored)
        return False
    if relation is Identity.CHANGED:
        if replace == "changed":
            return True
        report.changed[ref.id] = describe_difference(ref.path, stored)
    elif relation is Identity.MOVED:
        report.moved[ref.id] = stored.path
    elif has_other_name(ref.path, stored):
        report.other_files[ref.id] = stored.path
    report.already += 1
    return False


def _would_fail_again(failure: Failure, ref: VideoRef) -> bool:
    """Tell whether the file is as it was when it failed, so that it would fail again."""
    if failure.reason in ("missing", "unreachable"):
        return False
    state = file_state(ref.path)
    return state is None or is_same_state(state, failure.source)


def first_files_missing(videos: Sequence[VideoRef]) -> bool:
    """Tell whether the first 100 listed files are all missing; never for fewer than 10."""
    return len(videos) >= _MIN_LISTED and _all_missing(videos)


def refuse_missing(
    videos: Sequence[VideoRef], todo: Sequence[VideoRef], failures: Mapping[str, Failure]
) -> None:
    """Stop before anything is recorded if the files are missing: a disk may not be mounted.

    Args:
        videos: a list for which `first_files_missing` is true.
        todo: the videos of it to decode. If some of these exist on another disk, nothing is raised.
        failures: id -> failure recorded by an earlier run.

    Raises:
        InputError: names the directory that relative paths start at.
    """
    unrecorded = [
        ref for ref in todo if ref.id not in failures or failures[ref.id].reason != "missing"
    ]
    if not todo or not _all_missing(unrecorded):
        return
    count, first = min(_CHECKED_FILES, len(videos)), printable_path(videos[0].path)
    raise InputError(
        f"the first {count} of {len(videos)} listed files are all missing, such as {first}: mount "
        "their disk, or change to the directory that relative paths start at (now "
        f"{printable_path(os.getcwd())}). Nothing was recorded"
    )


def _all_missing(videos: Sequence[VideoRef]) -> bool:
    first = videos[:_CHECKED_FILES]
    return all(not is_url(ref.path) and file_state(ref.path) is None for ref in first)


def store_positions(videos: Sequence[VideoRef], writer: StoreWriter) -> dict[str, int]:
    """Compute the position of each listed id in the store: in listed order, after other videos.

    Videos are finished in an order that varies from run to run. Their positions do not vary, also
    if a run is interrupted or the list grows. In a store of parts they also hold if the list grows
    at its front (`shards.listed_places`).
    """
    if is_parts(writer.path):
        return writer.places | listed_places([ref.id for ref in videos], writer.places)
    listed = {ref.id: i for i, ref in enumerate(videos)}
    if first := writer.first_free_place(listed):
        listed = {video_id: first + i for video_id, i in listed.items()}
    return listed
