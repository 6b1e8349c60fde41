"""Collects frames of many videos in batches; all but the last batch are full.

Batches cross video boundaries: a video of 3 frames shares its batch with its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Slot:
    """A run of consecutive frames of one video inside a batch.

    Attributes:
        index: position of the video in the list of videos to decode.
        count: number of frames, at least 1.
        seconds: [count] float64, times of the frames.
        inset: 0 for frames of the video itself, else the number of its inset.
    """

    index: int
    count: int
    seconds: np.ndarray
    inset: int = 0


@dataclass(frozen=True)
class FrameBatch:
    """Input of one run of the network.

    Attributes:
        images: uint8 [B, H, W, 3]; rows from `valid` on are zero.
        slots: the videos of the first `valid` rows, in order; their counts sum to `valid`.
        valid: number of rows with a frame, 1 to B; less than B only in the last batch.
    """

    images: np.ndarray = field(repr=False)
    slots: tuple[Slot, ...]
    valid: int


class Batcher:
    """Collects frames; the frames of a video stay in order.

    Args:
        size: B, frames per batch.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"batch size is {size}, expected 1 or more")
        self._size = size
        self._images: np.ndarray | None = None
        self._slots: list[Slot] = []
        self._filled = 0

    def add(
        self, index: int, seconds: np.ndarray, images: np.ndarray, inset: int = 0
    ) -> list[FrameBatch]:
        """Take frames of one video; returns the batches that they complete.

        Args:
            index: position of the video in the list.
            seconds: [n] float64.
            images: uint8 [n, H, W, 3], copied. H and W are the same in every call.
            inset: 0, or the number of the inset.

        Raises:
            ValueError: the frames have another size than before, or the two n differ.
        """
        self._check(seconds, images)
        done, batches = 0, []
        while done < len(images):
            if self._images is None:
                self._images = np.empty((self._size, *images.shape[1:]), np.uint8)
            count = min(self._size - self._filled, len(images) - done)
            self._images[self._filled : self._filled + count] = images[done : done + count]
            times = np.array(seconds[done : done + count])
            self._slots.append(Slot(index, count, times, inset))
            self._filled += count
            done += count
            if self._filled == self._size:
                batches.append(self._take())
        return batches

    def flush(self) -> list[FrameBatch]:
        """Return the last batch, padded with zeros; none if no frame waits."""
        if not self._filled:
            return []
        assert self._images is not None
        self._images[self._filled :] = 0
        return [self._take()]

    def _take(self) -> FrameBatch:
        assert self._images is not None
        batch = FrameBatch(self._images, tuple(self._slots), self._filled)
        self._images, self._slots, self._filled = None, [], 0
        return batch

    def _check(self, seconds: np.ndarray, images: np.ndarray) -> None:
        if images.ndim != 4 or images.dtype != np.uint8 or len(seconds) != len(images):
            raise ValueError(
                f"{len(seconds)} times for {images.dtype} frames {images.shape}, "
                "expected uint8 [n, H, W, 3]"
            )
        if self._images is not None and images.shape[1:] != self._images.shape[1:]:
            raise ValueError(f"frames are {images.shape[1:]}, so far {self._images.shape[1:]}")
