"""Reads how frames must be rotated, around two faults of PyAV 18.1 that end processes.

PyAV names kinds of side data by a list that is behind its FFmpeg. Exif (motion JPEG of cameras,
photographs) and the view of a frame of stereoscopic HEVC have no name there, and
`VideoFrame.side_data` raises ValueError. The list is complete after 18.1 (change 2392). Until then,
and for later additions of FFmpeg, such kinds get a name here.

A description in side data is freed twice, by the frame and by the object that shows it: SIGSEGV,
often only when the next video is decoded. Only FFmpeg's decoders of PNG give one, the name of a
colour profile; of their frames only the rotation is read.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from av.sidedata.sidedata import Type

_DESCRIBING = {"png", "apng"}  # decoders
Matrix = tuple[float, float, float, float]


def _add_member(kinds: Any, value: object) -> Any:
    """Make a member for a number that has none, as `enum.Enum._missing_` does."""
    if not isinstance(value, int):
        return None
    member = object.__new__(kinds)
    member._name_, member._value_ = f"UNKNOWN_{value}", value
    return kinds._value2member_map_.setdefault(value, member)


type.__setattr__(Type, "_missing_", classmethod(_add_member))


class Orientation:
    """Reads how the frames of one video must be rotated and mirrored.

    A frame whose side data was read stays in memory until the garbage collector runs, as the two
    refer to each other; of 4K that was 1 GiB in 90 frames. So side data is read for the first frame
    only, and again when the rotation changes, which is known without it.

    Args:
        decoder: FFmpeg's name of the decoder that gives the frames. Mirrors of PNG are not known.
    """

    def __init__(self, decoder: str) -> None:
        self._describing = decoder in _DESCRIBING
        self._matrices: dict[int, Matrix] = {}

    def matrix(self, frame: Any) -> Matrix:
        """Return (a, b, c, d) of `frame_converter.turn_upright` for an `av.VideoFrame`.

        It is the identity if the file does not say.
        """
        rotation: int = frame.rotation  # degrees, anticlockwise
        if rotation not in self._matrices:
            self._matrices[rotation] = self._read(frame, np.radians(rotation))
        return self._matrices[rotation]

    def _read(self, frame: Any, angle: float) -> Matrix:
        if self._describing:
            return np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        data = frame.side_data.get("DISPLAYMATRIX")
        if data is None:
            return 1, 0, 0, 1
        a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data)[:36])
        return a, b, c, d
