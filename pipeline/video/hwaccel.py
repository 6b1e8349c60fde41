"""Decodes on a device (NVDEC and the like) where one works, else in software.

Devices give the same pictures as software, as the standards define the result for every bit. Their
pixel layouts differ; `frame_converter` converts them. Nothing here runs unless a device is set.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import av
from av.codec.hwaccel import HWAccel, hwdevices_available

AUTO = ("cuda", "videotoolbox", "vaapi", "qsv", "d3d11va")  # tried in this order
# Pixel layouts of devices -> the planar layout of software decoders.
PLANAR = {
    "nv12": "yuv420p",
    "nv16": "yuv422p",
    "nv24": "yuv444p",
    "p010le": "yuv420p10le",
    "p012le": "yuv420p12le",
    "p016le": "yuv420p16le",
}

_unusable: set[str] = set()  # devices that failed in this process, so that each fails only once


def open_on_device(device: str, open_file: Callable[..., Any]) -> Any:
    """Open a container whose decoder uses the device if that works, else software.

    PyAV falls back by itself if a device does not know the codec, but not if there is no device.

    Args:
        device: "none", "auto", or a kind of device with or without its number ("cuda:1").
        open_file: `av.open` with all arguments but `hwaccel`.

    Raises:
        Exception: the error of `open_file` without a device.
    """
    failed = set()
    for name in _candidates(device):
        kind, _, number = name.partition(":")
        try:
            return open_file(hwaccel=HWAccel(kind, number or None, allow_software_fallback=True))
        except (av.FFmpegError, ValueError, RuntimeError):
            failed.add(name)
    container = open_file()
    _unusable.update(failed)  # it was not the file's fault
    return container


def _candidates(device: str) -> list[str]:
    if device == "none":
        return []
    built = hwdevices_available()
    names = AUTO if device == "auto" else (device,)
    return [n for n in names if n not in _unusable and n.partition(":")[0] in built]
