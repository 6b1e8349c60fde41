"""Checks of videos as they are read: the checksum fits, and the values are possible."""

from __future__ import annotations

import threading

import numpy as np

from ..errors import StorageError, StoreError
from .base import FeatureStore, crc32c

_REMEDY = "extract this video again, or copy the store again from where it came from"

_LARGEST = 2.0


class VideoCheck:
    """Checks one video as it is read; a checked part is not checked again.

    A checksum covers a whole video with its times. So it is continued from part to part, in the
    order of frames, and compared after the last part. Several threads may read parts of a video.

    Attributes:
        damage: what is wrong, naming store and video; empty if no damage was found so far.
    """

    __slots__ = ("_at", "_crc", "_done", "_id", "_lock", "_store", "damage")

    def __init__(self, store: FeatureStore, video_id: str) -> None:
        self._store, self._id = store, video_id
        self._at = self._crc = 0
        self._done = False
        self._lock = threading.Lock()
        self.damage = ""

    def part(self, start: int, stored: np.ndarray, checksum: bool = True) -> None:
        """Check frames from `start` on, [t, R, C] as stored.

        Args:
            checksum: compare the checksum after the last frame, if all came in order.

        Raises:
            StoreError: they, or an earlier part, are damaged.
        """
        self.require()
        if self._done:
            return
        with self._lock:
            self._part(start, stored, checksum)

    def _part(self, start: int, stored: np.ndarray, checksum: bool) -> None:
        if self._done:  # by another thread, meanwhile
            return
        new = stored[max(0, self._at - start) :]
        if not are_plausible(new):
            raise self.fail("it holds values that are no numbers, or far above 1")
        if start > self._at:  # not in order; `whole` reads what is between
            return
        if checksum:
            self._crc = crc32c(new, self._crc)
        self._at += len(new)
        if self._at == self._store.frames(self._id):
            self._end(checksum)

    def whole(self, checksum: bool = True) -> None:
        """Read and check the whole video, unless it has been checked.

        Raises:
            StoreError: it is damaged.
        """
        self.require()
        if self._done:
            return
        with self._lock:
            self._at = self._crc = 0
        try:
            for start, stored in self._store.slabs(self._id):
                self.part(start, stored, checksum)
        except StoreError as error:
            raise self.note(error) from error

    @property
    def done(self) -> bool:
        """Nothing is left to check."""
        return self._done or bool(self.damage)

    def require(self) -> None:
        """Raises StoreError if damage was found."""
        if self.damage:
            raise StoreError(self.damage)

    def note(self, error: StoreError) -> StoreError:
        """Remember an error of reading, and return it; a network that fails is no damage."""
        if isinstance(error, StorageError):
            return error
        self.damage = self.damage or str(error)
        return error

    def fail(self, what: str) -> StoreError:
        """Remember what is wrong, and return the error to raise."""
        return self.note(
            StoreError(f"{self._store.path}: video {self._id!r} is damaged ({what}): {_REMEDY}")
        )

    def _end(self, checksum: bool) -> None:
        if checksum:
            try:
                seconds = self._store.seconds(self._id)
            except StoreError as error:
                raise self.note(error) from error
            recorded = self._store.checksum(self._id)
            if recorded and f"{crc32c(seconds, self._crc):08x}" != recorded:
                raise self.fail("its checksum does not fit")
        self._done = True


def are_plausible(stored: np.ndarray) -> bool:
    """Whether all values are finite and at most 2 in size; integers always are.

    Vectors have length 1, so more is damage, and a sum with such a value may become NaN. The bits
    of floats are in the order of their sizes, so two maxima of whole numbers tell, which is 20
    times as fast as `np.isfinite` of float16.
    """
    if stored.dtype.kind != "f" or not stored.size:
        return True
    size = stored.dtype.itemsize
    largest = int(np.array(_LARGEST, stored.dtype).view(f"<u{size}"))
    signed, unsigned = (int(stored.view(f"<{kind}{size}").max()) for kind in "iu")
    return signed <= largest and unsigned <= largest + (1 << (8 * size - 1))
