"""The contract of a feature store for its one writer, and the code that back ends share.

A video is gathered by a `VideoWriter` and handed to the back end in one go when its length is
known. `commit` makes the data durable first, then the manifest's records.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from ..errors import StoreError
from ..records import Failure, FeatureSpec, SourceInfo, VideoRecord, VideoRef
from .header import Header
from .limits import Limits
from .manifest import (
    Entry,
    Index,
    check_source,
    close_group,
    fail_line,
    put_line,
    remove_line,
)
from .thumbnails import remove_thumbnails
from .video_writer import VideoWriter


class Releasable(Protocol):
    """The right to write, as `locks.WriterLock`."""

    def release(self) -> None:
        """Give it back."""


class StoreWriter(ABC):
    """Adds to a store; the only writer of it while it is open.

    `ids`, `record` and `failures` show the store as the next commit leaves it. After an error
    of the disk nothing more is written. What was committed is intact: make room and open the store
    again.

    Attributes:
        notes: sentences for the user about the state in which the store was opened; the command
            prints them.
        superseded: ids that another writer stored meanwhile, so that ours were dropped; only where
            a store has several writers.
    """

    def __init__(
        self, path: Path, lock: Releasable, header: Header, index: Index, limits: Limits
    ) -> None:
        self.path = path
        self.spec: FeatureSpec = header.spec
        self.dtype: np.dtype = header.dtype
        self.provenance: dict[str, Any] = header.provenance
        self.header = header
        self._limits = limits
        self.notes: list[str] = []
        self.superseded: list[str] = []
        self._spool_folder = path.parent  # for temporary files of videos
        self._lock = lock
        self._index = index
        self._keys = index.make_keys()
        self._lines: list[str] = []
        self._new: dict[str, None] = {}
        self._removed: set[str] = set()  # since the last commit
        self._open: dict[str, VideoWriter] = {}
        self._error: BaseException | None = None
        self._closed = False

    @property
    def ids(self) -> list[str]:
        """Ids of all stored videos, in the order they were first finished."""
        return list(self._index.videos)

    @property
    def failures(self) -> dict[str, Failure]:
        """Videos whose last attempt failed."""
        return self._index.failures

    def __contains__(self, video_id: object) -> bool:
        return video_id in self._index.videos

    def __len__(self) -> int:
        return len(self._index.videos)

    def record(self, video_id: str) -> VideoRecord:
        """The manifest's record of one video. Raises StoreError if it is not there."""
        self._require_stored(video_id, video_id in self._index.videos)
        return self._index.record(video_id)

    def checksum(self, video_id: str) -> str:
        """CRC-32C (hex) of one video as recorded. Raises StoreError if it is not there."""
        self._require_stored(video_id, video_id in self._index.videos)
        return self._index.videos[video_id].crc32c

    @property
    def places(self) -> dict[str, int]:
        """The place of every stored video, see `begin`."""
        return {video_id: entry.place for video_id, entry in self._index.videos.items()}

    def first_free_place(self, ids: Container[str]) -> int:
        """The first place (see `begin`) behind all stored videos except `ids`."""
        places = (e.place for i, e in self._index.videos.items() if i not in ids)
        return max(places, default=-1) + 1

    def begin(
        self, video: VideoRef | str, source: SourceInfo, place: int | None = None
    ) -> VideoWriter:
        """Start a video. Several may be open at once, each id once.

        An id that is there already is replaced: the old features stay until the new ones are
        finished and committed.

        Args:
            video: what is stored, or its id.
            source: where it comes from.
            place: readers list ids by ascending place, so that the order does not depend on which
                video was finished first; None: behind all stored videos.

        Raises:
            StoreError: this id is open already, `source` holds NaN or the like, or the
                writer is closed or broken.
        """
        self._require_usable()
        check_source(source)
        ref = video if isinstance(video, VideoRef) else VideoRef(video, source.path)
        if ref.id in self._open:
            raise StoreError(f"{self.path}: video {ref.id!r} is being written already")
        opened = VideoWriter(
            ref.id,
            source,
            self.header,
            self.path,
            self._limits,
            on_finish=self._finish,
            on_end=self._open.pop,
            place=place,
            spool_folder=self._spool_folder,
        )
        self._open[ref.id] = opened
        return opened

    def fail(self, failure: Failure) -> None:
        """Record that a video could not be stored. Features that it has already stay."""
        self._require_usable()
        self._log(fail_line(failure))

    def remove(self, video_id: str) -> None:
        """Take a video, and a recorded failure of it, out of the store.

        Raises:
            StoreError: neither is there.
        """
        self._require_usable()
        entry = self._index.videos.get(video_id)
        self._require_stored(video_id, entry is not None or self._index.has_failed(video_id))
        with _guard(self):
            if entry is not None:
                self._retire(entry)
            self._log(remove_line(video_id))
            self._new.pop(video_id, None)
            self._removed.add(video_id)

    def commit(self, *, more_follows: bool = False) -> list[str]:
        """Make everything finished so far durable: it survives a kill or a power failure.

        Args:
            more_follows: it may wait for what follows. A store of sealed parts does so, to make
                few large parts; other stores commit at once.

        Returns:
            Ids of the videos stored since the last commit, in the order they were finished.

        Raises:
            StoreError: the disk is full or failed; the committed state is intact.
        """
        self._require_usable()
        done, removed = list(self._new), self._removed
        with _guard(self):
            if self._lines:
                self._commit(close_group(self._lines))
            self._lines, self._new, self._removed = [], {}, set()
        for video_id in removed.difference(self._index.videos):
            remove_thumbnails(self.path, video_id)
        return done

    def close(self) -> None:
        """Commit what is finished, drop what is not, and let other writers in."""
        if self._closed:
            return
        try:
            for video in list(self._open.values()):
                video.abandon()
            if self._error is None:
                self.commit()
        finally:
            self._closed = True
            try:
                self._release()
            finally:
                self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @abstractmethod
    def _store(self, key: str, video: VideoWriter) -> tuple[int, tuple[int, ...]]:
        """Write a finished video under a new key; returns frames a chunk, and byte offsets."""

    @abstractmethod
    def _retire(self, entry: Entry) -> None:
        """A video's features are no longer current; readers of the old state may need them."""

    @abstractmethod
    def _commit(self, group: bytes) -> None:
        """Make all data durable, then append `group` to the manifest and make that durable."""

    @abstractmethod
    def _release(self) -> None:
        """Close files without writing anything more."""

    def _finish(self, video: VideoWriter, note: str) -> VideoRecord:
        self._require_usable()
        record = VideoRecord(video.id, video.frames, video.source, note, video.insets)
        key = self._keys.new(video.id)
        with _guard(self):
            rows, at = self._store(key, video)
            if video.id in self._index.videos:
                self._retire(self._index.videos[video.id])
            self._log(put_line(record, key, rows, f"{video.crc32c:08x}", at, place=video.place))
            self._new[video.id] = None
        return record

    def _log(self, line: str) -> None:
        self._index.apply(line)
        self._lines.append(line)

    def _require_usable(self) -> None:
        if self._closed:
            raise StoreError(f"{self.path}: this writer is closed")
        if self._error is not None:
            raise _broken(self.path, self._error) from self._error

    def _require_stored(self, video_id: str, stored: bool) -> None:
        if not stored:
            raise StoreError(f"{self.path}: holds no video {video_id!r}")


class _guard:
    """Turns an error of disk or library into a StoreError and stops the writer for good.

    Ctrl-C stops the writer, too: what lies between a change of the file and its line in the
    manifest must not be committed by `close`.
    """

    def __init__(self, writer: StoreWriter) -> None:
        self.writer = writer

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            return
        self.writer._error = error
        if isinstance(error, Exception) and not isinstance(error, StoreError):
            raise _broken(self.writer.path, error) from error


def _broken(path: Path, error: BaseException) -> StoreError:
    return StoreError(
        f"{path}: writing failed ({error}); what was committed is intact: make sure of disk "
        "space and permission, then run the same command again"
    )
