"""Decoding on a device (NVDEC and its kin) where one works, in software where none does.

Devices give the same pictures as software, since the standards say what every bit decodes to; they
come in other layouts, which `picture` undoes. Nothing here is touched unless a device is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import av
from av.codec.hwaccel import HWAccel, hwdevices_available

AUTO = ("cuda", "videotoolbox", "vaapi", "qsv", "d3d11va")  # tried in this order
# How devices lay out what software decoders give in planes -> the same in planes.
PLANAR = {
    "nv12": "yuv420p",
    "nv16": "yuv422p",
    "nv24": "yuv444p",
    "p010le": "yuv420p10le",
    "p012le": "yuv420p12le",
    "p016le": "yuv420p16le",
}

_unusable: set[str] = set()  # what has failed in this process, so that it fails once


def open_on_device(wanted: str, open_file: Callable[..., Any]) -> Any:
    """An open container whose decoder uses the device, if that works, else software.

    PyAV falls back by itself where a device does not know the codec, not where there is no device.

    Args:
        wanted: "none", "auto", or a kind of device with or without its number ("cuda:1").
        open_file: `av.open` with all arguments but `hwaccel`.

    Raises:
        Exception: what `open_file` raises without a device.
    """
    failed = set()
    for name in _candidates(wanted):
        kind, _, number = name.partition(":")
        try:
            return open_file(hwaccel=HWAccel(kind, number or None, allow_software_fallback=True))
        except (av.FFmpegError, ValueError, RuntimeError):
            failed.add(name)
    container = open_file()
    _unusable.update(failed)  # it was not the file's fault
    return container


def _candidates(wanted: str) -> list[str]:
    if wanted == "none":
        return []
    built = hwdevices_available()
    names = AUTO if wanted == "auto" else (wanted,)
    return [n for n in names if n not in _unusable and n.partition(":")[0] in built]
