"""A second look at a file that gave no picture: is there a better reason than invalid data?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

import av

from ..errors import VideoError
from .container import (
    AV_ERRORS,
    choose_stream,
    open_container,
    reason_text,
    too_large,
)
from .ffmpeg_log import ffmpeg_log

_LOOK = 8  # packets
_TOO_LARGE = re.compile(r"Picture size (\d+x\d+) exceeds")
_ANIMATED = 0x02  # flag of an extended WebP file


def explained(error: VideoError, path: str, max_pixels: int) -> VideoError:
    """The error that a file without a picture ended with, or one that says more.

    Args:
        error: of `VideoDecoder`; path, max_pixels: as given to it.
    """
    if error.reason not in ("no_frames", "unsupported", "broken"):
        return error
    try:
        size = _refused_size(path, max_pixels)
    except MemoryError as memory:
        return VideoError("too_large", f"{error.detail}: {reason_text(memory)}")
    if size:
        return too_large(size, max_pixels)
    if _is_animated_webp(path):
        version = av.ffmpeg_version_info
        return VideoError("unsupported", f"animated WebP, which FFmpeg {version} does not decode")
    return error


def _refused_size(path: str, max_pixels: int) -> str:
    """Width x height of a picture that decoders refuse for its size; empty if they refuse none."""
    with ffmpeg_log() as log:
        _decode_some(path, max_pixels)
    found = (_TOO_LARGE.search(text) for _, _, text in log)
    return next((match[1] for match in found if match), "")


def _decode_some(path: str, max_pixels: int) -> None:
    with suppress(VideoError), open_container(path, max_pixels=max_pixels) as container:
        stream, _ = choose_stream(container, path, max_pixels)
        for packet in _first(container.demux(stream)):
            try:
                packet.decode()
            except MemoryError:  # later packets fail for the lack of this one
                raise
            except AV_ERRORS:
                pass


def _first(packets: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from islice(packets, _LOOK)
    except AV_ERRORS:  # the file cannot be read any further
        return


def _is_animated_webp(path: str) -> bool:
    with open(path, "rb") as file:
        head = file.read(21)
    extended = head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X"
    return extended and len(head) == 21 and bool(head[20] & _ANIMATED)
