"""Single small pictures of a video at given seconds, and pictures as JPEG files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np

from ..config import MAX_PIXELS
from ..errors import VideoError
from ..records import Preprocess
from .seeking import SeekingReader

_FORWARD_SECONDS = 4.0  # up to here it is as fast to decode on as to seek
_EARLY = 1e-3  # seconds that a frame may begin after the second at which it is asked for
_QUALITIES = (7, 11, 16, 23, 31)  # of 2, the best, to 31


class StillDecoder:
    """Decodes the pictures on screen at some seconds of a video; has `VideoDecoder`'s interface.

    Iterating yields (second, image): uint8 RGB [H, W, 3], whole, upright, its shorter side at most
    `preprocess.resize`. A second behind the end gives the last picture.

    Args:
        path: the file.
        preprocess: only `resize` is used; the picture is neither cropped nor enlarged.
        fps: has no effect.
        seconds: of each path the seconds since its first frame, ascending.
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
        seconds: Mapping[str, Sequence[float]],
        tick: Callable[[], None] = lambda: None,
        max_pixels: int = MAX_PIXELS,
        **options: object,
    ) -> None:
        self._seconds = seconds[path]
        self._reader = SeekingReader(path, preprocess.resize, tick, max_pixels)
        self.source = self._reader.source
        self.note = ""

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        cursor = _Cursor(self._reader)
        count = 0
        try:
            for second in self._seconds:
                frame = cursor.frame_at(second)
                if frame is not None:
                    count += 1
                    yield second, self._reader.picture(frame)
        finally:
            self._reader.close()
        if not count:
            raise VideoError("no_frames", "none of its packets gave a frame")


class _Cursor:
    """Moves through a video, forwards."""

    def __init__(self, reader: SeekingReader) -> None:
        self._reader = reader
        self._frames = reader.decode_from(0.0)
        self._shown: tuple[float, Any] | None = None
        self._next: tuple[float, Any] | None = None

    def frame_at(self, second: float) -> Any:
        """The frame on screen at a second, not before that of the last call; None: no frame."""
        if second > (self._shown[0] if self._shown else 0.0) + _FORWARD_SECONDS:
            self._frames, self._next = self._reader.decode_from(second), None
            before, self._shown = self._shown, None
        else:
            before = None
        while self._next is None or self._next[0] <= second + _EARLY:
            self._shown = self._next or self._shown
            self._next = next(self._frames, None)
            if self._next is None:
                break
        # A file with a wrong index may seek too far, or nowhere.
        nearest = self._shown or self._next or before
        self._shown = self._shown or before
        return nearest and nearest[1]


def encode_jpeg(
    image: np.ndarray, short_side: int | None = None, max_bytes: int | None = None
) -> bytes:
    """Encode a small picture.

    Args:
        image: uint8 RGB [H, W, 3].
        short_side: pixels that it is reduced to, an even number; None leaves it as it is.
        max_bytes: the quality is lowered until the file is not larger; None: one good quality.

    Returns:
        The content of a JPEG file.
    """
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    width, height = frame.width, frame.height
    if short_side is not None and short_side < min(width, height):
        factor = short_side / min(width, height)
        width, height = (2 * round(side * factor / 2) for side in (width, height))
    picture = frame.reformat(width, height, "yuvj420p", interpolation="AREA", threads=1)
    picture.pts = 0
    for quality in _QUALITIES:
        content = _encoded(picture, quality)
        if max_bytes is None or len(content) <= max_bytes:
            break
    return content


def _encoded(picture: Any, quality: int) -> bytes:
    encoder: Any = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height = picture.width, picture.height
    encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, 1)
    encoder.options = {"qmin": str(quality), "qmax": str(quality), "huffman": "optimal"}
    packets = [*encoder.encode(picture), *encoder.encode(None)]
    return b"".join(bytes(packet) for packet in packets)
