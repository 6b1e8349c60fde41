"""One video on its way into a store.

It is gathered in memory, beyond 16 MiB in a temporary file beside the store that has no name:
memory stays bounded however long the video is, and a killed process leaves nothing behind.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from pipeline.encoding import decoded_dtype, encode
from pipeline.errors import StoreError
from pipeline.records import SourceInfo, VideoRecord
from pipeline.store.base import crc32c
from pipeline.store.header import Header

BUFFER_BYTES = 16 << 20  # of one open video in memory


class VideoWriter:
    """One video on its way into a store; made by `StoreWriter.begin`.

    Attributes:
        id: of the video.
        source: where it came from.
        place: position in the order of ids, or None: behind all others.
        frames: appended so far.
        seconds: [frames] float64, their times.
        crc32c: over the vectors so far; `finish` adds the times.
    """

    def __init__(
        self,
        video_id: str,
        source: SourceInfo,
        header: Header,
        store: Path,
        on_finish: Callable[[VideoWriter, str], VideoRecord],
        on_end: Callable[[str], object],
        place: int | None = None,
    ) -> None:
        self.id = video_id
        self.source = source
        self.place = place
        self.frames = 0
        self.crc32c = 0
        self._header = header
        self._store = store
        self._on_finish = on_finish
        self._on_end = on_end
        self._ended = False
        self._seconds: list[np.ndarray] = []
        self._spool = tempfile.SpooledTemporaryFile(BUFFER_BYTES, dir=str(store.parent))  # noqa: SIM115

    @property
    def seconds(self) -> np.ndarray:
        return np.concatenate(self._seconds) if self._seconds else np.empty(0, "<f8")

    def append(self, vectors: np.ndarray, seconds: np.ndarray) -> None:
        """Add frames.

        Args:
            vectors: [n, R, C] floats, finite; kept as the store's dtype says.
            seconds: [n] times since the start of the video, never descending.

        Raises:
            StoreError: wrong shapes or values, or no room for the temporary file.
        """
        self._require_open()
        spec, dtype = self._header.spec, self._header.dtype
        with np.errstate(over="ignore"):
            floats = np.asarray(vectors, decoded_dtype(dtype))
        times = np.array(seconds, "<f8")
        self._check(floats, (spec.vectors, spec.dims), times)
        if not np.isfinite(floats).all():
            raise self._refused(f"vectors are not finite numbers in {floats.dtype}")
        self._write(encode(floats, dtype), times)

    def append_stored(self, rows: np.ndarray, seconds: np.ndarray) -> None:
        """Add frames as a store of the same dtype keeps them (`FeatureStore.read_stored`).

        Args:
            rows: [n, R, `encoding.stored_values`] of the store's dtype.
            seconds, errors: as in `append`.
        """
        self._require_open()
        times = np.array(seconds, "<f8")
        self._check(rows, self._header.row_shape, times)
        if rows.dtype != self._header.dtype:
            raise self._refused(f"vectors are {rows.dtype}, expected {self._header.dtype}")
        self._write(np.ascontiguousarray(rows), times)

    def _write(self, rows: np.ndarray, times: np.ndarray) -> None:
        try:
            self._spool.write(memoryview(rows.data).cast("B") if rows.size else b"")
        except OSError as error:
            self.abandon()
            raise StoreError(
                f"{self._store}: no room for the temporary file of video {self.id!r} beside "
                f"it ({error.strerror}); free disk space and run again"
            ) from error
        self.crc32c = crc32c(rows, self.crc32c)
        if len(times):
            self._seconds.append(times)
        self.frames += len(rows)

    def finish(self, note: str = "") -> VideoRecord:
        """The video is complete; the next commit makes it visible and durable.

        Raises:
            StoreError: no frames were appended, or the disk is full or failed.
        """
        self._require_open()
        if not self.frames:
            raise self._refused("it has no frames; record it with fail() instead")
        self.crc32c = crc32c(self.seconds, self.crc32c)
        try:
            return self._on_finish(self, note)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Drop the video; what the store held of it before stays."""
        if not self._ended:
            self._ended = True
            self._on_end(self.id)
            with suppress(OSError):  # of a full disk: closing flushes what did not fit before
                self._spool.close()

    def slabs(self, rows: int) -> Iterator[tuple[int, np.ndarray]]:
        """(first frame, stored rows of n frames) over the whole video, `rows` frames at a time."""
        self._spool.seek(0)
        for start in range(0, self.frames, rows):
            data = self._spool.read(min(rows, self.frames - start) * self._header.row_bytes)
            shape = (-1, *self._header.row_shape)
            yield start, np.frombuffer(data, self._header.dtype).reshape(shape)

    def _check(self, vectors: np.ndarray, row: tuple[int, int], times: np.ndarray) -> None:
        if vectors.ndim != 3 or vectors.shape[1:] != row:
            raise self._refused(
                f"vectors are {vectors.shape}, expected (frames, {row[0]}, {row[1]})"
            )
        if times.shape != vectors.shape[:1]:
            raise self._refused(f"{times.shape} times for {len(vectors)} frames")
        last = self._seconds[-1][-1:] if self._seconds else times[:0]
        line = np.concatenate([last, times])
        if not np.isfinite(line).all() or (np.diff(line) < 0).any():
            raise self._refused("times must be finite and never descend")

    def _require_open(self) -> None:
        if self._ended:
            raise self._refused("it is finished or abandoned already")

    def _refused(self, what: str) -> StoreError:
        return StoreError(f"{self._store}: video {self.id!r}: {what}")
