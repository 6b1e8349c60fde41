"""Converts a decoded frame to the network's square picture.

As in the published loader, FFmpeg converts colours by default (matrix and range as tagged in the
stream), the display matrix turns the picture upright, alpha is dropped and the sample aspect ratio
is ignored. Mirrored display matrices are applied too, which OpenCV does not do.
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


class FrameConverter:
    """Converts the frames of one video and reuses the converter's tables.

    Args:
        preprocess: sizes and method of scaling.
        decoder: name of the decoder that gives the frames, see `orientation.Orientation`.
    """

    def __init__(self, preprocess: Preprocess, decoder: str) -> None:
        self._preprocess, self._orientation = preprocess, Orientation(decoder)
        self._reformatter, self._to_planes = VideoReformatter(), VideoReformatter()

    def __call__(self, frame: Any) -> np.ndarray:
        """Convert an `av.VideoFrame` to uint8 RGB [crop, crop, 3].

        Raises:
            VideoError: unsupported if the pixel format or size cannot be converted; too_large if
                memory ran out.
        """
        try:
            matrix = self._orientation.matrix(frame)
            return resize_crop(turn_upright(self._rgb(frame), matrix), self._preprocess)
        except (*AV_ERRORS, MemoryError) as error:
            size = f"{frame.width}x{frame.height} {frame.format.name}"
            reason = "too_large" if isinstance(error, MemoryError) else "unsupported"
            raise VideoError(
                reason, f"cannot convert {size} frames: {reason_text(error)}"
            ) from error

    def shown_size(self, frame: Any) -> tuple[int, int]:
        """Compute width and height in pixels of the upright frame."""
        a, b, c, d = self._orientation.matrix(frame)
        turned = abs(b) + abs(c) > abs(a) + abs(d)
        return (frame.height, frame.width) if turned else (frame.width, frame.height)

    def _rgb(self, frame: Any) -> np.ndarray:
        """Convert to uint8 RGB [H, W, 3]; rows of the array may be padded."""
        if frame.format.name in PLANAR:  # to get the same conversion as in software
            # With several threads FFmpeg's values vary for 16 bits and odd widths.
            frame = self._to_planes.reformat(frame, format=PLANAR[frame.format.name], threads=1)
        try:
            rgb = self._convert(frame)
        except AV_ERRORS:  # the tags name a reserved colour space: take the commonest one
            rgb = self._convert(frame, src_colorspace=Colorspace.ITU601)
        plane = rgb.planes[0]
        rows = np.frombuffer(plane, np.uint8)[: rgb.height * plane.line_size]
        rows = rows.reshape(rgb.height, plane.line_size)[:, : rgb.width * 3]
        return rows.reshape(rgb.height, rgb.width, 3)

    def _convert(self, frame: Any, **options: Any) -> Any:
        return self._reformatter.reformat(
            frame, format="rgb24", interpolation=Interpolation.BICUBIC, threads=1, **options
        )


def turn_upright(image: np.ndarray, matrix: Matrix) -> np.ndarray:
    """Rotate by multiples of 90 degrees and mirror an image, as its display matrix says.

    Args:
        image: [H, W, C].
        matrix: (a, b, c, d) of x' = a x + c y, y' = b x + d y, with y pointing down; the upper left
            of the container's display matrix. Only the signs and the larger pair count.

    Returns:
        The image, or a view of it.
    """
    a, b, c, d = matrix
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, a, d = image.transpose(1, 0, 2), c, b
    if a < 0:
        image = image[:, ::-1]
    if d < 0:
        image = image[::-1]
    return image
