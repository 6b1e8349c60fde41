"""Whole pictures of short clips of a video, for training; the two stages do not use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..config import MAX_PIXELS
from ..errors import VideoError
from ..records import Preprocess
from .seeking import SeekingReader


def clip_segments(duration: float, length: float, max_clips: int) -> list[tuple[float, float]]:
    """Choose up to `max_clips` segments of a video, evenly spaced, each in the middle of its slot.

    Args:
        duration: seconds of the video; 0 where unknown.
        length: seconds of a segment. A video of up to 1.5 times that is one segment.
        max_clips: largest number of segments, at least 1.

    Returns:
        (first, end) in seconds, ascending, without overlap.
    """
    if duration <= 1.5 * length:
        return [(0.0, duration or length)]
    count = min(max_clips, int(duration / length))
    slot = duration / count
    starts = [i * slot + (slot - length) / 2 for i in range(count)]
    return [(start, start + length) for start in starts]


class ClipDecoder:
    """Decodes the `clip_segments` of one video; has the interface of `VideoDecoder`.

    Iterating yields (seconds, image): the picture on screen at first + k / fps of each segment,
    uint8 RGB [H, W, 3], whole, upright, its shorter side at most `preprocess.resize`.

    Args:
        path: the file.
        preprocess: only `resize` is used; the picture is neither cropped nor enlarged.
        fps: pictures per second.
        tick: called for every packet, to show progress.
        length, max_clips: see `clip_segments`.
        max_pixels: see `VideoDecoder`.
        options: settings of `VideoDecoder`; they have no effect here.

    Raises:
        VideoError: from the constructor if the file cannot be opened as a video; while iterating
            if no frame could be decoded.
    """

    on_device = False

    def __init__(
        self,
        path: str,
        preprocess: Preprocess,
        fps: float,
        *,
        tick: Callable[[], None] = lambda: None,
        length: float = 16.0,
        max_clips: int = 4,
        max_pixels: int = MAX_PIXELS,
        **options: object,
    ) -> None:
        self._fps = fps
        self._reader = SeekingReader(path, preprocess.resize, tick, max_pixels)
        self.source = self._reader.source
        self._segments = clip_segments(self.source.duration, length, max_clips)
        self.note = ""

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        count = 0
        try:
            for first, end in self._segments:
                for seconds, frame in self._held_frames(first, end):
                    count += 1
                    yield seconds, self._reader.picture(frame)
        finally:
            self._reader.close()
        if not count:
            raise VideoError("no_frames", "none of its packets gave a frame")

    def _held_frames(self, first: float, end: float) -> Iterator[tuple[float, Any]]:
        latest, count = None, 0
        for time, frame in self._reader.decode_from(first):
            while latest is not None and first + count / self._fps < min(time, end) - 1e-6:
                yield first + count / self._fps, latest
                count += 1
            latest = frame
            if time >= end - 1e-6:
                return
        if latest is not None and first + count / self._fps < end - 1e-6:
            yield first + count / self._fps, latest
