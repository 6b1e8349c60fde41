"""Upkeep of a store of sealed parts: merges small parts, sweeps what no log entry needs."""

from __future__ import annotations

import time

from ...objects import TEMPORARY, ObjectStore
from .log import CHECKPOINTS, LOG, PARTS, LogState

DAY = 86_400.0
SMALL_BYTES = 64 << 20  # a part that is smaller is merged with others


def orphans(objects: ObjectStore, state: LogState, now: float | None = None) -> list[str]:
    """Names of the objects that are not needed, and were not for a day.

    They are parts that no entry names (an attempt died behind its upload), parts of which all
    videos were replaced or removed, and temporary files. A reader that was opened within the last
    day may still read them, and a writer may be about to commit one.
    """
    limit = (time.time() if now is None else now) - DAY
    needed = {
        part.name
        for number, part in state.parts.items()
        if state.live[number] or part.retired > limit
    }
    found = []
    for folder in (PARTS, LOG, CHECKPOINTS):
        for info in objects.list(folder):
            temporary = f"/{TEMPORARY}" in info.name
            if info.modified < limit and (
                temporary or (folder == PARTS and info.name not in needed)
            ):
                found.append(info.name)
    return found


def sweep(objects: ObjectStore, state: LogState, now: float | None = None) -> list[str]:
    """Delete what `orphans` finds; returns its names."""
    found = orphans(objects, state, now)
    for name in found:
        objects.delete(name)
    return found


def small_parts(state: LogState, row_bytes: int, small_bytes: int = SMALL_BYTES) -> list[str]:
    """Ids of the videos of parts to be merged, in listed order.

    These parts are small, or most of what they hold was replaced or removed.

    Args:
        row_bytes: of one frame's vectors.
    """
    live_bytes: dict[int, int] = {}
    for entry in state.index.videos.values():
        size = entry.frames * (row_bytes + 8)
        live_bytes[entry.part] = live_bytes.get(entry.part, 0) + size
    small = {
        number
        for number, size in live_bytes.items()
        if state.parts[number].size < small_bytes or size < state.parts[number].size // 2
    }
    if len(small) < 2:
        return []
    return [i for i, entry in state.index.videos.items() if entry.part in small]
