"""Merges small parts of a store of sealed parts into larger ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...objects import ObjectStore, open_objects
from ..copy import copy_videos
from ..limits import LIMITS, Limits
from .reader import PartsStore
from .upkeep import SMALL_BYTES, small_parts
from .writer import PartsWriter


def compact_parts(
    path: Path,
    *,
    small_bytes: int = SMALL_BYTES,
    progress: Callable[[int, int], None] | None = None,
    limits: Limits = LIMITS,
    objects: ObjectStore | None = None,
) -> tuple[int, int]:
    """Write the videos of small parts into new, larger parts; every video stays where it is listed.

    The old parts stay for a day, for readers that are open, and are then swept as orphans. Others
    may add at the same time: a video that another writer changes meanwhile stays as that one left
    it.

    Args:
        small_bytes: parts of fewer bytes are merged.
        progress: called with (videos done, videos in all) after each video.

    Returns:
        Parts with current videos before and after.

    Raises:
        StoreError: a video is damaged, or the storage cannot be reached.
    """
    objects = objects or open_objects(path)
    with PartsStore(path, limits, objects) as old:
        before = sum(live > 0 for live in old.log.live.values())
        ids = small_parts(old.log, old._header.row_bytes, small_bytes)
        with PartsWriter(path, limits, objects, "compact", sealed_videos=1 << 20) as new:
            places = {i: old.log.index.videos[i].place for i in ids}
            copy_videos(old, new, ids, places=places, progress=progress, limits=limits)
    with PartsStore(path, limits, objects) as now:
        return before, sum(live > 0 for live in now.log.live.values())
