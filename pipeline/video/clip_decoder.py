"""Whole pictures of some stretches of a video, for training; the stages do not use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np

from ..config import MAX_PIXELS
from ..errors import VideoError
from ..records import Preprocess
from .container import (
    AV_ERRORS,
    choose_stream,
    describe,
    number,
    open_container,
    reason_text,
)
from .frame_converter import upright
from .orientation import Orientation
from .sampling import nominal_rate


def stretches(duration: float, length: float, most: int) -> list[tuple[float, float]]:
    """Where a video is cut: up to `most` stretches at even distances, each in its slot's middle.

    Args:
        duration: seconds of the video; 0 where unknown.
        length: seconds of a stretch. A video up to one and a half of it is one stretch.
        most: at least 1.

    Returns:
        (first, end) in seconds, ascending, without overlap.
    """
    if duration <= 1.5 * length:
        return [(0.0, duration or length)]
    count = min(most, int(duration / length))
    slot = duration / count
    starts = [i * slot + (slot - length) / 2 for i in range(count)]
    return [(start, start + length) for start in starts]


class ExcerptDecoder:
    """Decodes the `stretches` of one video; has the interface of `VideoDecoder`.

    Iterating yields (seconds, image): the picture on screen at first + k / fps of each stretch,
    uint8 RGB [H, W, 3], whole, upright, its shorter side at most `preprocess.resize`.

    Args:
        path: the file.
        preprocess: only `resize` counts; the picture is neither cropped nor made larger.
        fps: pictures a second.
        tick: called for every packet, as a sign of life.
        length, most: see `stretches`.
        max_pixels: see `VideoDecoder`.
        how: settings of `VideoDecoder`, which do not count here.

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
        tick: Callable[[], None] = lambda: None,
        length: float = 16.0,
        most: int = 4,
        max_pixels: int = MAX_PIXELS,
        **how: object,
    ) -> None:
        self._short_side, self._fps, self._tick = preprocess.resize, fps, tick
        self._container = open_container(path, max_pixels=max_pixels)
        self._stream = choose_stream(self._container, path, max_pixels)[0]
        self.source = describe(path, self._container, self._stream)
        self._parts = stretches(self.source.duration, length, most)
        rate = nominal_rate(number(self._stream.guessed_rate), number(self._stream.average_rate))
        self._step = 1.0 / rate
        self._orientation = Orientation(self._stream.codec_context.name)
        self._size: tuple[int, int] | None = None
        self.note = ""

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        kept = 0
        try:
            for first, end in self._parts:
                for seconds, frame in self._shown(first, end):
                    kept += 1
                    yield seconds, self._picture(frame)
        finally:
            self._container.close()
        if not kept:
            raise VideoError("no_frames", "none of its packets gave a frame")

    def _shown(self, first: float, end: float) -> Iterator[tuple[float, Any]]:
        latest, count = None, 0
        for time, frame in self._decoded(first):
            while latest is not None and first + count / self._fps < min(time, end) - 1e-6:
                yield first + count / self._fps, latest
                count += 1
            latest = frame
            if time >= end - 1e-6:
                return
        if latest is not None and first + count / self._fps < end - 1e-6:
            yield first + count / self._fps, latest

    def _decoded(self, first: float) -> Iterator[tuple[float, Any]]:
        """(seconds since the start, frame) from the keyframe before `first` on."""
        base = self._stream.time_base
        origin = float((self._stream.start_time or 0) * base) if base else 0.0
        if first > 0:
            try:
                self._container.seek(int((first + origin) * av.time_base))
            except AV_ERRORS:
                return  # cannot be sought: its beginning is all that is used
        time = first - self._step
        for packet in self._container.demux(self._stream):
            self._tick()
            try:
                frames = packet.decode()
            except AV_ERRORS:
                continue
            for frame in frames:
                known = frame.pts is not None and base
                time = float(frame.pts * base) - origin if known else time + self._step
                yield time, frame

    def _picture(self, frame: Any) -> np.ndarray:
        if self._size is None:
            factor = min(1.0, self._short_side / min(frame.width, frame.height))
            self._size = tuple(
                max(2, 2 * round(s * factor / 2)) for s in (frame.width, frame.height)
            )
        try:
            small = frame.reformat(*self._size, format="rgb24", interpolation="AREA", threads=1)
        except AV_ERRORS as error:
            raise VideoError("unsupported", f"cannot convert: {reason_text(error)}") from error
        return np.ascontiguousarray(upright(small.to_ndarray(), self._orientation.of(frame)))
