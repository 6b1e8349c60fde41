"""Copies from store to store: conversion, coarser dtypes, merging, reclaiming of space."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError, StoreError
from ..objects import storage_path
from ..quantization import ENCODINGS, convert, is_coarser
from .base import FeatureStore, crc32c
from .factory import create_or_append, open_store
from .limits import LIMITS, Limits
from .thumbnails import read_thumbnails, write_thumbnails
from .writer import StoreWriter

COMMIT_BYTES = 256 << 20


def copy_store(
    source: str | Path,
    target: str | Path,
    *,
    progress: Callable[[int, int], None] | None = None,
    dtype: str | None = None,
    note: Callable[[str], None] | None = None,
    limits: Limits = LIMITS,
) -> int:
    """Copy all videos of a store into another one, of the same back end or the other.

    Recorded failures are copied, too, except of videos that the target holds. Videos are added to
    a target that exists: so an interrupted copy continues, and two stores are merged. A copy into
    a new store holds current videos only, which reclaims the space of removed ones. Thumbnails are
    copied with their videos.

    Args:
        progress: called with (videos looked at, videos in all) after each video.
        dtype: encoding of the target, see `pipeline.quantization`; None: as the source.
        note: called with each sentence for the user about the target, see `StoreWriter.notes`.
        limits: of reader and writer.

    Returns:
        Number of videos copied.

    Raises:
        InputError: a finer dtype than that of the source, or the target is the source.
        StoreError: the target holds another video under the same id, or a store cannot be
            read or written; all that `open_store` and `create_or_append` raise.
    """
    if storage_path(source).resolve() == storage_path(target).resolve():
        raise InputError(f"{source}: cannot copy a store onto itself; name another target")
    with open_store(source, limits) as old:
        encoding = dtype or old.encoding
        if encoding in ENCODINGS and is_coarser(old.encoding, than=encoding):
            raise InputError(
                f"{source}: holds {old.encoding}, and {encoding} would not bring back what that "
                "rounded away; leave out --dtype, or extract the videos again"
            )
        with create_or_append(target, old.spec, encoding, old.provenance, limits=limits) as new:
            if note is not None:
                for text in new.notes:
                    note(text)
            return _Copier(old, new, limits).run(progress)


def copy_videos(
    old: FeatureStore,
    new: StoreWriter,
    ids: Sequence[str],
    *,
    places: Mapping[str, int],
    progress: Callable[[int, int], None] | None = None,
    limits: Limits = LIMITS,
) -> None:
    """Copy some videos, each checked against its checksum, to given places of the listed order.

    Args:
        places: see `StoreWriter.begin`.
        progress: called with (videos done, videos in all) after each video.

    Raises:
        StoreError: a video is damaged, or the target cannot be written.
    """
    copier = _Copier(old, new, limits)
    for done, video_id in enumerate(ids, 1):
        copier.copy_video(video_id, places[video_id])
        new.commit(more_follows=True)
        if progress:
            progress(done, len(ids))


@dataclass(frozen=True)
class _Copier:
    """Copies from an open store to an open writer."""

    old: FeatureStore
    new: StoreWriter
    limits: Limits

    def run(self, progress: Callable[[int, int], None] | None) -> int:
        """Copy all videos and failures; returns the number of videos copied."""
        old, new = self.old, self.new
        copied, uncommitted = 0, 0
        for done, video_id in enumerate(old, 1):
            if not self._is_copied(video_id):
                uncommitted += self.copy_video(video_id)
                copied += 1
            if uncommitted >= COMMIT_BYTES:
                new.commit()
                uncommitted = 0
            if progress:
                progress(done, len(old))
        failures = new.failures
        for failure in old.failures.values():
            if failure.id not in failures and failure.id not in new:
                new.fail(failure)
        return copied

    def _is_copied(self, video_id: str) -> bool:
        if video_id not in self.new:
            return False
        if self._new_checksum(video_id) != self.new.checksum(video_id):
            raise StoreError(
                f"{self.new.path}: holds another video {video_id!r} than {self.old.path}; remove "
                "one of them"
            )
        return True

    def _new_checksum(self, video_id: str) -> str:
        """The checksum that a video of the old store has in the new store's encoding."""
        old, dtype = self.old, self.new.dtype
        if old.dtype == dtype:
            return old.checksum(video_id)
        crc = 0
        for _, _, rows in self._slabs(video_id):
            crc = crc32c(convert(rows, old.spec.dims, dtype), crc)
        return f"{crc32c(old.seconds(video_id), crc):08x}"

    def copy_video(self, video_id: str, place: int | None = None) -> int:
        """Copy one video, checked against its checksum; returns its bytes."""
        old, dtype = self.old, self.new.dtype
        old.prefetch([(video_id, 0, old.frames(video_id))])
        record, seconds = old.record(video_id), old.seconds(video_id)
        video = self.new.begin(video_id, record.source, place)
        crc = 0
        for start, inset, rows in self._slabs(video_id):
            crc = crc32c(rows, crc)
            times = seconds[start : start + len(rows)]
            video.append_stored(convert(rows, old.spec.dims, dtype), times, inset)
        if crc32c(seconds, crc) != int(old.checksum(video_id), 16):
            video.abandon()
            raise StoreError(f"{old.path}: video {video_id!r} is damaged; extract it again")
        video.finish(record.note)
        pictures = read_thumbnails(old.path, video_id, old.checksum(video_id))
        if pictures is not None:
            write_thumbnails(self.new.path, video_id, self.new.checksum(video_id), pictures)
        return record.frames * self.new.header.row_bytes

    def _slabs(self, video_id: str) -> Iterator[tuple[int, int, np.ndarray]]:
        """(first frame, inset or 0, stored rows) over a whole video of the old store."""
        old = self.old
        step = self.limits.slab_rows(old.frame_bytes)
        insets, first = old.insets(video_id), 0
        for inset, frames in enumerate((old.frames(video_id) - sum(insets), *insets)):
            for start in range(first, first + frames, step):
                rows = old.read_stored(video_id, start, min(start + step, first + frames))
                yield start, inset, rows
            first += frames
