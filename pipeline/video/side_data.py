"""How a frame is to be turned, read past two faults of PyAV 18.1 that end processes.

It names kinds of side data by a list that falls behind its FFmpeg: Exif (motion JPEG of cameras,
photographs) and the view that a frame of stereoscopic HEVC shows have no name there, and
`VideoFrame.side_data` raises ValueError. The list is completed behind 18.1 (change 2392); until
then, and for what FFmpeg adds next, such kinds are given a name here.

And a description that side data carries is freed twice, by the frame and by the object that shows
it: SIGSEGV, often only when the next video is decoded. Of FFmpeg's decoders only those of PNG give
any, the name of a colour profile; their frames are asked for their rotation alone.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from av.sidedata.sidedata import Type

_DESCRIBING = {"png", "apng"}  # decoders


def _named(kinds: Any, value: object) -> Any:
    """As `enum.Enum._missing_`: the member for a number that has none; None is a ValueError."""
    if not isinstance(value, int):
        return None
    member = object.__new__(kinds)
    member._name_, member._value_ = f"UNKNOWN_{value}", value
    return kinds._value2member_map_.setdefault(value, member)


type.__setattr__(Type, "_missing_", classmethod(_named))


def matrix_of(frame: Any, decoder: str) -> tuple[float, float, float, float]:
    """How an `av.VideoFrame` is to be shown: (a, b, c, d) of `picture.upright`.

    Args:
        decoder: that it is from, a name of FFmpeg's. Of PNG, mirrors are not known.

    Returns:
        the identity where the file tells nothing.
    """
    if decoder in _DESCRIBING:
        angle = np.radians(frame.rotation)  # anticlockwise
        return np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data)[:36])
    return a, b, c, d
