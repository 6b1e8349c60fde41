"""Samples of some parts of a video, as stage one would take them at a finer rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..config import MAX_PIXELS
from ..errors import VideoError
from ..records import Preprocess
from .frame_converter import FrameConverter
from .sampling import MAX_STEP
from .seeking import SeekingReader


class PartDecoder:
    """Decodes parts of one video; has the interface of `VideoDecoder`.

    Iterating yields (seconds, image): the picture on screen at every k / fps that lies in a part,
    uint8 RGB [crop, crop, 3], converted as by `VideoDecoder`. A frame that appears half a frame
    later still counts, as in `sampling`.

    Args:
        path: the file.
        preprocess: sizes and method of scaling.
        fps: pictures per second.
        parts: path -> (first, end) in seconds of each part, ascending, without overlap.
        tick: called for every packet, to show progress.
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
        parts: Mapping[str, Sequence[tuple[float, float]]],
        tick: Callable[[], None] = lambda: None,
        max_pixels: int = MAX_PIXELS,
        **options: object,
    ) -> None:
        self._fps, self._parts = fps, parts[path]
        self._reader = SeekingReader(path, preprocess.resize, tick, max_pixels)
        self.source = self._reader.source
        self._converter = FrameConverter(preprocess, self._reader.decoder)
        self._tolerance = min(0.499 * min(self._reader.step, MAX_STEP), 0.25 / fps)
        self.note = ""

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        count = 0
        try:
            for first, end in self._parts:
                last, image = None, None
                for seconds, frame in self._samples(first, end):
                    if frame is not last or image is None:
                        last, image = frame, self._converter(frame)
                    count += 1
                    yield seconds, image
        finally:
            self._reader.close()
        if not count:
            raise VideoError("no_frames", "none of its packets gave a frame")

    def _samples(self, first: float, end: float) -> Iterator[tuple[float, Any]]:
        """Yield (k / fps, the frame on screen then)."""
        latest, gone = None, 0.0
        k = math.ceil(first * self._fps - 1e-6)
        for time, frame in self._reader.decode_from(first):
            appears = time - self._tolerance
            if latest is None:  # nothing is known of what was on screen before
                k = max(k, math.ceil(appears * self._fps - 1e-6))
            while latest is not None and k / self._fps < min(appears, end):
                yield k / self._fps, latest
                k += 1
            latest, gone = frame, appears + self._reader.step
            if appears >= end:
                return
        while latest is not None and k / self._fps < min(gone, end):
            yield k / self._fps, latest
            k += 1
