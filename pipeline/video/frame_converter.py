"""A decoded frame -> the network's square picture.

As in the published loader: colours as FFmpeg converts them by default (matrix and range as tagged
in the stream), turned upright as the display matrix says, alpha dropped, sample aspect ratio
ignored. Mirrored display matrices are honoured too, which OpenCV does not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from ..errors import VideoError
from ..image.resize import resize_crop
from ..records import Preprocess
from .container import AV_ERRORS, reason_text
from .hwaccel import PLANAR
from .orientation import Matrix, Orientation


class PictureMaker:
    """Keeps the converter's tables from one frame of a video to the next.

    Args:
        preprocess: sizes and method of scaling.
        decoder: that the frames are from, see `side_data.Orientation`.
    """

    def __init__(self, preprocess: Preprocess, decoder: str) -> None:
        self._preprocess, self._orientation = preprocess, Orientation(decoder)
        self._reformatter, self._to_planes = VideoReformatter(), VideoReformatter()

    def __call__(self, frame: Any) -> np.ndarray:
        """uint8 RGB [crop, crop, 3] of an `av.VideoFrame`.

        Raises:
            VideoError: unsupported, a pixel format or size that cannot be converted; too_large, as
                memory ran out.
        """
        try:
            matrix = self._orientation.of(frame)
            return resize_crop(upright(self._rgb(frame), matrix), self._preprocess)
        except (*AV_ERRORS, MemoryError) as error:
            size = f"{frame.width}x{frame.height} {frame.format.name}"
            reason = "too_large" if isinstance(error, MemoryError) else "unsupported"
            raise VideoError(
                reason, f"cannot convert {size} frames: {reason_text(error)}"
            ) from error

    def shown_size(self, frame: Any) -> tuple[int, int]:
        """Width and height in pixels after turning it upright."""
        a, b, c, d = self._orientation.of(frame)
        turned = abs(b) + abs(c) > abs(a) + abs(d)
        return (frame.height, frame.width) if turned else (frame.width, frame.height)

    def _rgb(self, frame: Any) -> np.ndarray:
        """uint8 [H, W, 3]; rows may be padded."""
        if frame.format.name in PLANAR:  # so that the same conversion follows as in software
            # With more threads FFmpeg gives varying values for 16 bits and odd widths.
            frame = self._to_planes.reformat(frame, format=PLANAR[frame.format.name], threads=1)
        try:
            rgb = self._convert(frame)
        except AV_ERRORS:  # a reserved colour space in the tags: the commonest one then
            rgb = self._convert(frame, src_colorspace=Colorspace.ITU601)
        plane = rgb.planes[0]
        rows = np.frombuffer(plane, np.uint8)[: rgb.height * plane.line_size]
        rows = rows.reshape(rgb.height, plane.line_size)[:, : rgb.width * 3]
        return rows.reshape(rgb.height, rgb.width, 3)

    def _convert(self, frame: Any, **options: Any) -> Any:
        return self._reformatter.reformat(
            frame, format="rgb24", interpolation=Interpolation.BICUBIC, threads=1, **options
        )


def upright(image: np.ndarray, matrix: Matrix) -> np.ndarray:
    """The image as shown, for turns by whole quarters and mirrors.

    Args:
        image: [H, W, C].
        matrix: (a, b, c, d) of x' = a x + c y, y' = b x + d y, with y pointing down; the upper
            left of the container's display matrix. Only signs and which are large count.
    """
    a, b, c, d = matrix
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, a, d = image.transpose(1, 0, 2), c, b
    if a < 0:
        image = image[:, ::-1]
    if d < 0:
        image = image[::-1]
    return image
