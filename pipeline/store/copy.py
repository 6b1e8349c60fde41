"""From store to store: conversion, merging, and getting rid of what was replaced or removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.errors import InputError, StoreError
from pipeline.store.base import FeatureStore
from pipeline.store.factory import create_or_append, open_store
from pipeline.store.writer import StoreWriter

COMMIT_BYTES = 256 << 20


def copy_store(
    source: str | Path,
    target: str | Path,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Copy all videos and failures of `source` into `target`, of the same back end or the other.

    A target that exists is added to: an interrupted copy goes on, and two stores merge. A copy
    into a new store holds live videos only, so it is also the way to reclaim space.

    Args:
        progress: called with (videos looked at, videos in all) after each video.

    Returns:
        Number of videos copied.

    Raises:
        StoreError: the target holds another video under the same id, or a store cannot be
            read or written; all that `open_store` and `create_or_append` raise.
    """
    if Path(source).resolve() == Path(target).resolve():
        raise InputError(f"{source}: cannot copy a store onto itself; name another target")
    with open_store(source) as old:
        made = create_or_append(target, old.spec, old.dtype.name, old.provenance)
        with made as new:
            return _copy(old, new, progress)


def _copy(old: FeatureStore, new: StoreWriter, progress: Callable[[int, int], None] | None) -> int:
    copied, waiting = 0, 0
    for done, video_id in enumerate(old, 1):
        if not _is_there(old, new, video_id):
            waiting += _copy_video(old, new, video_id)
            copied += 1
        if waiting >= COMMIT_BYTES:
            new.commit()
            waiting = 0
        if progress:
            progress(done, len(old))
    known = new.failures
    for failure in old.failures.values():
        if failure.id not in known and failure.id not in new:
            new.fail(failure)
    return copied


def _is_there(old: FeatureStore, new: StoreWriter, video_id: str) -> bool:
    if video_id not in new:
        return False
    if old.checksum(video_id) != new.checksum(video_id):
        raise StoreError(
            f"{new.path}: holds another video {video_id!r} than {old.path}; remove one of them"
        )
    return True


def _copy_video(old: FeatureStore, new: StoreWriter, video_id: str) -> int:
    """Copies one video, checked against its checksum; returns its bytes."""
    record, seconds = old.record(video_id), old.seconds(video_id)
    video = new.begin(video_id, record.source)
    step = new.header.slab_rows
    for start in range(0, record.frames, step):
        stop = start + step
        video.append(old.read_vectors(video_id, start, stop), seconds[start:stop])
    video.finish(record.note)
    if old.checksum(video_id) != new.checksum(video_id):
        new.remove(video_id)
        raise StoreError(f"{old.path}: video {video_id!r} is damaged; extract it again")
    return record.frames * new.header.row_bytes
