"""Whole pictures of short clips of a video, for training; the two stages do not use it."""

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
    open_container,
    rate_or_zero,
    reason_text,
    source_info,
)
from .frame_converter import turn_upright
from .orientation import Orientation
from .sampling import nominal_rate


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
        self._short_side, self._fps, self._tick = preprocess.resize, fps, tick
        self._container = open_container(path, max_pixels=max_pixels)
        self._stream = choose_stream(self._container, path, max_pixels)[0]
        self.source = source_info(path, self._container, self._stream)
        self._segments = clip_segments(self.source.duration, length, max_clips)
        rate = nominal_rate(
            rate_or_zero(self._stream.guessed_rate), rate_or_zero(self._stream.average_rate)
        )
        self._step = 1.0 / rate
        self._orientation = Orientation(self._stream.codec_context.name)
        self._size: tuple[int, int] | None = None
        self.note = ""

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        count = 0
        try:
            for first, end in self._segments:
                for seconds, frame in self._held_frames(first, end):
                    count += 1
                    yield seconds, self._picture(frame)
        finally:
            self._container.close()
        if not count:
            raise VideoError("no_frames", "none of its packets gave a frame")

    def _held_frames(self, first: float, end: float) -> Iterator[tuple[float, Any]]:
        latest, count = None, 0
        for time, frame in self._decode_from(first):
            while latest is not None and first + count / self._fps < min(time, end) - 1e-6:
                yield first + count / self._fps, latest
                count += 1
            latest = frame
            if time >= end - 1e-6:
                return
        if latest is not None and first + count / self._fps < end - 1e-6:
            yield first + count / self._fps, latest

    def _decode_from(self, first: float) -> Iterator[tuple[float, Any]]:
        """Yield (seconds since the start, frame) from the keyframe before `first`."""
        base = self._stream.time_base
        origin = float((self._stream.start_time or 0) * base) if base else 0.0
        if first > 0:
            try:
                self._container.seek(int((first + origin) * av.time_base))
            except AV_ERRORS:
                return  # the file cannot seek: only its start is used
        time = first - self._step
        for packet in self._container.demux(self._stream):
            self._tick()
            try:
                frames = packet.decode()
            except AV_ERRORS:
                continue
            for frame in frames:
                has_time = frame.pts is not None and base
                time = float(frame.pts * base) - origin if has_time else time + self._step
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
        return np.ascontiguousarray(
            turn_upright(small.to_ndarray(), self._orientation.matrix(frame))
        )
