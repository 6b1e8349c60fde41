"""The contract of a feature store for its readers; `hdf5.py` and `zarr_store.py` fulfil it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import google_crc32c
import numpy as np

from ..errors import StoreError
from ..quantization import dequantize, dequantized_dtype
from ..records import Failure, FeatureSpec, VideoFeatures, VideoRecord
from .header import Header
from .limits import LIMITS, Limits
from .manifest import Entry, Index
from .seal import Seal


class FeatureStore(ABC):
    """A store as it was when it was opened, without what a writer commits later.

    Reading is safe from many threads at once. Nothing is ever written, so read-only media do.

    Attributes:
        path: of the store.
        spec: everything that changes the numbers.
        encoding: how descriptors are stored: float16, float32, int8 or binary, see
            `pipeline.quantization`.
        dtype: of the stored array: `<f2`, `<f4`, int8 or uint8.
        frame_bytes: of one frame's vectors, as stored.
        format_version: of the layout.
        provenance: what the store's maker recorded, any JSON.
    """

    def __init__(self, path: Path, header: Header, index: Index, limits: Limits = LIMITS) -> None:
        self.path = path
        self.spec: FeatureSpec = header.spec
        self.dtype: np.dtype = header.dtype
        self.encoding: str = header.encoding
        self.frame_bytes: int = header.row_bytes
        self.format_version: int = header.format_version
        self.provenance: dict[str, Any] = header.provenance
        self._header = header
        self._limits = limits
        self._index = index
        self._frame_shape = header.row_shape

    @property
    def ids(self) -> list[str]:
        """Ids of all stored videos, in listed order; see `StoreWriter.begin`."""
        return list(self._index.videos)

    @property
    def lengths(self) -> np.ndarray:
        """[len(self)] int64, frames of every video in the order of `ids`; no file is touched."""
        return np.array([entry.frames for entry in self._index.videos.values()], np.int64)

    @property
    def places(self) -> dict[str, int]:
        """The place of every stored video in the order of ids, see `StoreWriter.begin`."""
        return {video_id: entry.place for video_id, entry in self._index.videos.items()}

    @property
    def failures(self) -> dict[str, Failure]:
        """Videos whose last attempt failed; one of them may hold older features nevertheless."""
        return self._index.failures

    @property
    def seal(self) -> Seal:
        """The state of the manifest that was read: another one means that videos changed."""
        return self._index.seal

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({str(self.path)!r}, {len(self)} videos, per frame "
            f"{self.encoding} [{self.spec.descriptors}, {self.spec.dims}], fps={self.spec.fps:g})"
        )

    def __len__(self) -> int:
        return len(self._index.videos)

    def __contains__(self, video_id: object) -> bool:
        return video_id in self._index.videos

    def __iter__(self) -> Iterator[str]:
        return iter(self._index.videos)

    def record(self, video_id: str) -> VideoRecord:
        """The manifest's record of one video. Raises StoreError if it is not there."""
        self._entry(video_id)
        return self._index.record(video_id)

    def frames(self, video_id: str) -> int:
        """T of one video; no file is touched. Raises StoreError if it is not there."""
        return self._entry(video_id).frames

    def insets(self, video_id: str) -> tuple[int, ...]:
        """Frames of each inset, the last of `frames`; see `records.VideoRecord`."""
        return self._entry(video_id).insets

    def checksum(self, video_id: str) -> str:
        """CRC-32C (hex) of one video as recorded, over its vectors' and its seconds' bytes.

        Empty where none is recorded, as in published feature files.
        """
        return self._entry(video_id).crc32c

    def seconds(self, video_id: str) -> np.ndarray:
        """[T] float64, the times of one video. Raises StoreError: not there, or damaged."""
        return self._seconds(video_id, self._entry(video_id))

    def read(self, video_id: str) -> VideoFeatures:
        """One whole video with its times, checked against its checksum.

        Returns:
            The video's features; the vectors are floats, as `read_vectors` returns them.

        Raises:
            StoreError: not there, or damaged.
        """
        entry = self._entry(video_id)
        stored = self.read_stored(video_id)
        seconds = self._seconds(video_id, entry)
        if entry.crc32c and crc32c(seconds, crc32c(stored)) != int(entry.crc32c, 16):
            raise self._damaged(video_id, "its checksum does not fit")
        return VideoFeatures(video_id, dequantize(stored, self.spec.dims), seconds)

    def read_vectors(
        self, video_id: str, start: int = 0, stop: int | None = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Read descriptors of frames start..stop of one video as floats, whatever the encoding.

        Arguments and errors are those of `read_stored`, but `out` is of the dtype returned.

        Returns:
            [t, R, C] float16 from a float16 store, else float32. Vectors from int8 and binary
            stores have length 1. This is `out` where that was given.
        """
        if self.dtype.kind == "f":
            return self.read_stored(video_id, start, stop, out)
        vectors = dequantize(self.read_stored(video_id, start, stop), self.spec.dims)
        if out is None:
            return vectors
        _require_fit(out, vectors.shape, dequantized_dtype(self.dtype))
        out[:] = vectors
        return out

    def read_stored(
        self, video_id: str, start: int = 0, stop: int | None = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Read frames start..stop of one video as stored, straight from the file.

        Checksums are left to `verify`, `read` and `checks.VideoCheck`: they cover whole videos.

        Args:
            start, stop: as in a slice; negative or beyond the end means the same as there.
            out: C-contiguous array of the returned shape and dtype to read into; None makes one.

        Returns:
            [t, R, C] of the store's dtype, of a binary store [t, R, ceil(C / 8)]; `out` where
            that was given.

        Raises:
            StoreError: not there, or the file is damaged.
            ValueError: `out` does not fit.
        """
        entry = self._entry(video_id)
        first, last, _ = slice(start, stop).indices(entry.frames)
        shape = (max(0, last - first), *self._frame_shape)
        if out is None:
            try:
                out = np.empty(shape, self.dtype)
            except (MemoryError, ValueError) as error:
                raise self._damaged(video_id, f"no memory for {shape[0]} frames") from error
        else:
            _require_fit(out, shape, self.dtype)
        if out.size:
            buffer = memoryview(out.data).cast("B")
            try:
                done = self._read_rows(entry, first, buffer)
            except FileNotFoundError as error:
                raise self._damaged(video_id, f"{error.filename} is gone") from error
            except OSError as error:
                raise self._damaged(video_id, str(error)) from error
            if done != len(buffer):
                raise self._damaged(video_id, "the file ends too early")
        return out

    def read_descriptors(
        self, video_id: str, frames: Sequence[int] | np.ndarray, first: int, last: int
    ) -> np.ndarray:
        """Read some descriptors of some frames as floats.

        Args:
            frames: numbers of the frames, ascending.
            first, last: descriptors first..last of each frame.

        Returns:
            [n, last - first, C] of `quantization.dequantized_dtype`.

        Raises:
            StoreError: not there, or the file is damaged.
        """
        numbers = np.asarray(frames, np.intp)
        if not len(numbers):
            return np.empty((0, last - first, self.spec.dims), dequantized_dtype(self.dtype))
        start = int(numbers[0])
        stored = self.read_stored(video_id, start, int(numbers[-1]) + 1)
        return dequantize(stored[numbers - start, first:last], self.spec.dims)

    @property
    def ahead_bytes(self) -> int:
        """Bytes that `prefetch` keeps until they are read; 0 where it does nothing."""
        return 0

    def prefetch(self, wanted: Iterable[tuple[str, int, int]]) -> None:  # noqa: B027
        """Read ahead what is read next: of each video the frames start..stop.

        A store over the network makes a few large reads of many small ones; one on a local disk
        tells the system, which then reads several places at a time.

        Args:
            wanted: (id, start, stop), not negative and within the video.

        Raises:
            StoreError: not there, or the storage cannot be reached.
        """

    def slabs(self, video_id: str) -> Iterator[tuple[int, np.ndarray]]:
        """Read one video as stored, a few MiB at a time: (first frame, frames from there).

        Raises:
            StoreError: as `read_stored`.
        """
        rows = self._limits.slab_rows(self.frame_bytes)
        for start in range(0, self.frames(video_id), rows):
            yield start, self.read_stored(video_id, start, start + rows)

    def verify(self, progress: Callable[[int, int], None] | None = None) -> list[str]:
        """Read everything and compare it with the manifest.

        Args:
            progress: called with (videos done, videos in all) after each video.

        Returns:
            One line per problem, naming the video; empty if all is well.
        """
        problems = []
        for done, (video_id, entry) in enumerate(list(self._index.videos.items()), 1):
            try:
                self.record(video_id)
                crc = self._whole_crc32c(video_id, entry)
                if entry.crc32c and crc != int(entry.crc32c, 16):
                    problems.append(f"{video_id}: the checksum does not fit")
            except StoreError as error:
                problems.append(str(error))
            if progress:
                progress(done, len(self))
        return problems + self._check_failures() + self._check_layout()

    def _check_failures(self) -> list[str]:
        try:
            _ = self.failures
        except StoreError as error:
            return [str(error)]
        return []

    @abstractmethod
    def close(self) -> None:
        """Close the file. The store cannot be read after that."""

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
    def _read_rows(self, entry: Entry, start: int, buffer: memoryview) -> int:
        """Fill `buffer` with the bytes of the frames from `start` on; returns bytes read."""

    @abstractmethod
    def _read_seconds(self, entry: Entry) -> np.ndarray:
        """[T] float64; fewer if the file is damaged."""

    @abstractmethod
    def _check_layout(self) -> list[str]:
        """List what a plain HDF5 or Zarr reader would find wrong, one line each."""

    def _entry(self, video_id: str) -> Entry:
        try:
            return self._index.videos[video_id]
        except KeyError:
            raise StoreError(f"{self.path}: holds no video {video_id!r}") from None

    def _seconds(self, video_id: str, entry: Entry) -> np.ndarray:
        try:
            seconds = self._read_seconds(entry)
        except (
            OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError, MemoryError,
        ) as error:  # fmt: skip
            raise self._damaged(video_id, f"its times cannot be read ({error})") from error
        if seconds.shape != (entry.frames,):
            raise self._damaged(video_id, "some of its times are missing")
        return seconds

    def _whole_crc32c(self, video_id: str, entry: Entry) -> int:
        crc = 0
        for _, stored in self.slabs(video_id):
            crc = crc32c(stored, crc)
        return crc32c(self._seconds(video_id, entry), crc)

    def _damaged(self, video_id: str, what: str) -> StoreError:
        return StoreError(
            f"{self.path}: video {video_id!r} cannot be read: {what}; open the store again if it "
            "was changed meanwhile, else copy it again or extract this video again"
        )


def _require_fit(out: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous:
        raise ValueError(f"out is {out.dtype} {out.shape}, expected C-contiguous {dtype} {shape}")


def crc32c(values: np.ndarray, crc: int = 0) -> int:
    """CRC-32C (Castagnoli) of the array's bytes, carried on from `crc`."""
    if not values.size:
        return crc
    # As the array that it is: a copy to `bytes` takes ten times as long as the checksum.
    return google_crc32c.extend(crc, np.ascontiguousarray(values).reshape(-1).view(np.uint8))
