"""Whether what is read of a video is what was stored: its checksum fits, its values can be."""

from __future__ import annotations

import numpy as np

from ..errors import StoreError
from .base import FeatureStore, crc32c

_REMEDY = "extract this video again, or copy the store again from where it came from"

_LARGEST = 2.0


class VideoCheck:
    """Checks one video as it is read; a part that was checked is not checked again.

    A checksum covers a whole video, its times included. So it is carried on from part to part, in
    the order of frames, and the last part tells. One thread at a time may use it.

    Attributes:
        damage: what is wrong, naming store and video; empty as long as nothing is known.
    """

    __slots__ = ("_at", "_crc", "_done", "_id", "_store", "damage")

    def __init__(self, store: FeatureStore, video_id: str) -> None:
        self._store, self._id = store, video_id
        self._at = self._crc = 0
        self._done = False
        self.damage = ""

    def part(self, start: int, stored: np.ndarray, checksum: bool = True) -> None:
        """Take in frames from `start` on, [t, R, C] as the store keeps them.

        Args:
            checksum: compare it, once all frames were taken in in their order.

        Raises:
            StoreError: they are damaged, or another part was.
        """
        self.require()
        if self._done:
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
        """Read all of the video and check it, unless that was done.

        Raises:
            StoreError: it is damaged.
        """
        self.require()
        if self._done:
            return
        self._at = self._crc = 0
        try:
            for start, stored in self._store.slabs(self._id):
                self.part(start, stored, checksum)
        except StoreError as error:
            raise self.note(error) from error

    def require(self) -> None:
        """Raises StoreError if damage is known."""
        if self.damage:
            raise StoreError(self.damage)

    def note(self, error: StoreError) -> StoreError:
        """Keep an error of reading in mind; returns it."""
        self.damage = self.damage or str(error)
        return error

    def fail(self, what: str) -> StoreError:
        """Keep in mind what is wrong; returns the error to raise."""
        return self.note(
            StoreError(f"{self._store.path}: video {self._id!r} is damaged ({what}): {_REMEDY}")
        )

    def _end(self, checksum: bool) -> None:
        if checksum:
            try:
                seconds = self._store.seconds(self._id)
            except StoreError as error:
                raise self.note(error) from error
            if f"{crc32c(seconds, self._crc):08x}" != self._store.checksum(self._id):
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
    most = int(np.array(_LARGEST, stored.dtype).view(f"<u{size}"))
    signed, unsigned = (int(stored.view(f"<{kind}{size}").max()) for kind in "iu")
    return signed <= most and unsigned <= most + (1 << (8 * size - 1))
