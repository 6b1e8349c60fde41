"""Opens a video to decode whole pictures of some parts of it; the two stages do not use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np

from ..config import MAX_PIXELS
from ..errors import VideoError
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


class SeekingReader:
    """Seeks in an open video and makes upright RGB pictures of its frames.

    Args:
        path: the file.
        short_side: shorter side of the pictures in pixels, at most.
        tick: called for every packet, to show progress.
        max_pixels: see `VideoDecoder`.

    Attributes:
        source: describes the file.
        decoder: name of the decoder.
        step: seconds per frame.

    Raises:
        VideoError: the file cannot be opened as a video.
    """

    def __init__(
        self,
        path: str,
        short_side: int,
        tick: Callable[[], None] = lambda: None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self._short_side, self._tick = short_side, tick
        self._container = open_container(path, max_pixels=max_pixels)
        self._stream = choose_stream(self._container, path, max_pixels)[0]
        self.source = source_info(path, self._container, self._stream)
        rate = nominal_rate(
            rate_or_zero(self._stream.guessed_rate), rate_or_zero(self._stream.average_rate)
        )
        self.step = 1.0 / rate
        self.decoder: str = self._stream.codec_context.name
        self._orientation = Orientation(self.decoder)
        self._size: tuple[int, int] | None = None

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def decode_from(self, first: float) -> Iterator[tuple[float, Any]]:
        """Yield (seconds since the start, frame) from the keyframe before `first`."""
        base = self._stream.time_base
        origin = float((self._stream.start_time or 0) * base) if base else 0.0
        if first > 0:
            try:
                self._container.seek(int((first + origin) * av.time_base))
            except AV_ERRORS:
                return  # the file cannot seek: only its start is used
        time = first - self.step
        for packet in self._container.demux(self._stream):
            self._tick()
            try:
                frames = packet.decode()
            except AV_ERRORS:
                continue
            for frame in frames:
                has_time = frame.pts is not None and base
                time = float(frame.pts * base) - origin if has_time else time + self.step
                yield time, frame

    def picture(self, frame: Any) -> np.ndarray:
        """Make a picture, uint8 RGB [H, W, 3]; all of a video are of the first one's size.

        Raises:
            VideoError: its pixel format or size cannot be converted.
        """
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
