"""One video on its way into a store.

A video is collected in memory, and beyond 16 MiB in a temporary file without a name beside the
store. So memory stays bounded however long the video is, and a killed process leaves nothing
behind. Frames of insets arrive between the frames of the video itself and are stored behind them,
so each inset is collected separately in the same way.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..errors import StoreError
from ..quantization import dequantized_dtype, quantize
from ..records import SourceInfo, VideoRecord
from .base import crc32c
from .header import Header
from .limits import Limits


class VideoWriter:
    """One video on its way into a store; made by `StoreWriter.begin`.

    Attributes:
        id: of the video.
        source: where it came from.
        place: position in the order of ids, or None: behind all others.
        frames: appended so far.
        insets: frames of each inset so far.
        seconds: [frames] float64, their times, those of insets behind the others'.
        crc32c: over vectors and times; 0 until it is finished.
    """

    def __init__(
        self,
        video_id: str,
        source: SourceInfo,
        header: Header,
        store: Path,
        limits: Limits,
        *,
        on_finish: Callable[[VideoWriter, str], VideoRecord],
        on_end: Callable[[str], object],
        place: int | None = None,
        spool_folder: Path | None = None,
    ) -> None:
        self.id = video_id
        self.source = source
        self.place = place
        self.crc32c = 0
        self._header = header
        self._store = store
        self._limits = limits
        self._on_finish = on_finish
        self._on_end = on_end
        self._ended = False
        self._spool_folder = spool_folder or store.parent
        self._parts = {0: _Part(self._spool_folder, limits.buffer_bytes)}

    @property
    def frames(self) -> int:
        return sum(part.frames for part in self._parts.values())

    @property
    def insets(self) -> tuple[int, ...]:
        return tuple(part.frames for part in self._ordered()[1:])

    @property
    def seconds(self) -> np.ndarray:
        times = [t for part in self._ordered() for t in part.seconds]
        return np.concatenate(times) if times else np.empty(0, "<f8")

    def append(self, vectors: np.ndarray, seconds: np.ndarray, inset: int = 0) -> None:
        """Add frames.

        Args:
            vectors: [n, R, C] floats, finite; kept as the store's dtype says.
            seconds: [n] times since the start of the video, never descending within the video
                itself and within each inset.
            inset: 0 for frames of the video itself, else which of its insets they are.

        Raises:
            StoreError: wrong shapes or values, or no room for the temporary file.
        """
        self._require_open()
        spec, dtype = self._header.spec, self._header.dtype
        with np.errstate(over="ignore"):
            floats = np.asarray(vectors, dequantized_dtype(dtype))
        times = np.array(seconds, "<f8")
        self._check(floats, (spec.descriptors, spec.dims), times, inset)
        if not np.isfinite(floats).all():
            raise self._refused(f"vectors are not finite numbers in {floats.dtype}")
        self._write(quantize(floats, dtype), times, inset)

    def append_stored(self, rows: np.ndarray, seconds: np.ndarray, inset: int = 0) -> None:
        """Add frames as a store of the same dtype keeps them (`FeatureStore.read_stored`).

        Args:
            rows: [n, R, `quantization.stored_values`] of the store's dtype.
            seconds, inset, errors: as in `append`.
        """
        self._require_open()
        times = np.array(seconds, "<f8")
        self._check(rows, self._header.row_shape, times, inset)
        if rows.dtype != self._header.dtype:
            raise self._refused(f"vectors are {rows.dtype}, expected {self._header.dtype}")
        self._write(np.ascontiguousarray(rows), times, inset)

    def _write(self, rows: np.ndarray, times: np.ndarray, inset: int) -> None:
        if not len(rows):
            return
        try:
            if inset not in self._parts:
                self._parts[inset] = _Part(self._spool_folder, self._limits.buffer_bytes)
            part = self._parts[inset]
            part.spool.write(memoryview(rows.data).cast("B") if rows.size else b"")
        except OSError as error:
            self.abandon()
            raise self._no_room(error) from error
        part.crc32c = crc32c(rows, part.crc32c)
        if len(times):
            part.seconds.append(times)
        part.frames += len(rows)

    def finish(self, note: str = "") -> VideoRecord:
        """The video is complete; the next commit makes it visible and durable.

        Raises:
            StoreError: no frames were appended, or the disk is full or failed.
        """
        self._require_open()
        if not self._parts[0].frames:
            raise self._refused("it has no frames; record it with fail() instead")
        try:
            self.crc32c = self._whole_crc32c()
            return self._on_finish(self, note)
        finally:
            self.abandon()

    def _whole_crc32c(self) -> int:
        """Compute the checksum of the vectors of all parts in order, then of the times."""
        crc, row_bytes = self._parts[0].crc32c, self._header.row_bytes
        try:
            for part in self._ordered()[1:]:
                for rows in part.slabs(self._limits.slab_rows(row_bytes) * row_bytes):
                    crc = crc32c(np.frombuffer(rows, np.uint8), crc)
        except OSError as error:
            raise self._no_room(error) from error
        return crc32c(self.seconds, crc)

    def _no_room(self, error: OSError) -> StoreError:
        return StoreError(
            f"{self._store}: no room for the temporary file of video {self.id!r} in "
            f"{self._spool_folder} ({error.strerror}); free disk space and run again"
        )

    def abandon(self) -> None:
        """Drop the video; what the store held of it before stays."""
        if not self._ended:
            self._ended = True
            self._on_end(self.id)
            for part in self._parts.values():
                with suppress(OSError):  # of a full disk: closing flushes what did not fit before
                    part.spool.close()

    def slabs(self, rows: int) -> Iterator[tuple[int, np.ndarray]]:
        """(first frame, stored rows of n frames) over the whole video, `rows` frames at a time."""
        parts = self._ordered()
        for part in parts:
            part.spool.seek(0)
        at, shape = 0, (-1, *self._header.row_shape)
        for start in range(0, self.frames, rows):
            data = b""
            while len(data) < min(rows, self.frames - start) * self._header.row_bytes:
                more = parts[at].spool.read(rows * self._header.row_bytes - len(data))
                data, at = data + more, at + (not more)
            yield start, np.frombuffer(data, self._header.dtype).reshape(shape)

    def _ordered(self) -> list[_Part]:
        """The video itself first."""
        return [self._parts[inset] for inset in sorted(self._parts)]

    def _check(
        self, vectors: np.ndarray, row: tuple[int, int], times: np.ndarray, inset: int
    ) -> None:
        if vectors.ndim != 3 or vectors.shape[1:] != row:
            raise self._refused(
                f"vectors are {vectors.shape}, expected (frames, {row[0]}, {row[1]})"
            )
        if times.shape != vectors.shape[:1]:
            raise self._refused(f"{times.shape} times for {len(vectors)} frames")
        earlier = self._parts[inset].seconds if inset in self._parts else []
        last = earlier[-1][-1:] if earlier else times[:0]
        line = np.concatenate([last, times])
        if not np.isfinite(line).all() or (np.diff(line) < 0).any():
            raise self._refused("times must be finite and never descend")

    def _require_open(self) -> None:
        if self._ended:
            raise self._refused("it is finished or abandoned already")

    def _refused(self, what: str) -> StoreError:
        return StoreError(f"{self._store}: video {self.id!r}: {what}")


class _Part:
    """Frames of the video itself, or of one inset."""

    def __init__(self, folder: Path, buffer_bytes: int) -> None:
        self.frames = 0
        self.crc32c = 0
        self.seconds: list[np.ndarray] = []
        self.spool = tempfile.SpooledTemporaryFile(buffer_bytes, dir=str(folder))  # noqa: SIM115

    def slabs(self, size: int) -> Iterator[bytes]:
        """Read all of its bytes, `size` at a time."""
        self.spool.seek(0)
        while data := self.spool.read(size):
            yield data
