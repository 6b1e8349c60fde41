"""How frames are to be turned, read past two faults of PyAV 18.1 that end processes.

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
Matrix = tuple[float, float, float, float]


def _named(kinds: Any, value: object) -> Any:
    """As `enum.Enum._missing_`: the member for a number that has none; None is a ValueError."""
    if not isinstance(value, int):
        return None
    member = object.__new__(kinds)
    member._name_, member._value_ = f"UNKNOWN_{value}", value
    return kinds._value2member_map_.setdefault(value, member)


type.__setattr__(Type, "_missing_", classmethod(_named))


class Orientation:
    """How the frames of one video are to be turned.

    A frame whose side data was asked for is kept until the garbage collector comes by, as it and
    the answer refer to one another: of 4K that was a GiB in 90 frames. So it is asked for with the
    first frame, and when the rotation changes, which can be had without.

    Args:
        decoder: that the frames are from, a name of FFmpeg's. Of PNG, mirrors are not known.
    """

    def __init__(self, decoder: str) -> None:
        self._describing = decoder in _DESCRIBING
        self._known: dict[int, Matrix] = {}

    def of(self, frame: Any) -> Matrix:
        """(a, b, c, d) of `picture.upright` for an `av.VideoFrame`.

        The identity where the file tells nothing.
        """
        rotation: int = frame.rotation  # degrees, anticlockwise
        if rotation not in self._known:
            self._known[rotation] = self._read(frame, np.radians(rotation))
        return self._known[rotation]

    def _read(self, frame: Any, angle: float) -> Matrix:
        if self._describing:
            return np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        data = frame.side_data.get("DISPLAYMATRIX")
        if data is None:
            return 1, 0, 0, 1
        a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data)[:36])
        return a, b, c, d
