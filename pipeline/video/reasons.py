"""Looks for a better reason than invalid data if a file gave no picture."""

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
    too_large_error,
)
from .ffmpeg_log import ffmpeg_log
from .remote import open_bytes

_MAX_PACKETS = 8  # packets
_TOO_LARGE = re.compile(r"Picture size (\d+x\d+) exceeds")
_ANIMATED = 0x02  # flag of an extended WebP file


def explain_error(error: VideoError, path: str, max_pixels: int) -> VideoError:
    """Return the error, or another one that says more.

    Args:
        error: raised by `VideoDecoder` for a file without a picture.
        path, max_pixels: the arguments of `VideoDecoder`.
    """
    if error.reason not in ("no_frames", "unsupported", "broken"):
        return error
    try:
        size = _refused_size(path, max_pixels)
    except MemoryError as memory:
        return VideoError("too_large", f"{error.detail}: {reason_text(memory)}")
    if size:
        return too_large_error(size, max_pixels)
    if _is_animated_webp(path):
        version = av.ffmpeg_version_info
        return VideoError("unsupported", f"animated WebP, which FFmpeg {version} does not decode")
    return error


def _refused_size(path: str, max_pixels: int) -> str:
    """Find width x height of a picture that decoders refuse for its size; empty if none."""
    with ffmpeg_log() as log:
        _decode_first_packets(path, max_pixels)
    matches = (_TOO_LARGE.search(text) for _, _, text in log)
    return next((match[1] for match in matches if match), "")


def _decode_first_packets(path: str, max_pixels: int) -> None:
    with suppress(VideoError), open_container(path, max_pixels=max_pixels) as container:
        stream, _ = choose_stream(container, path, max_pixels)
        for packet in _first_packets(container.demux(stream)):
            try:
                packet.decode()
            except MemoryError:  # later packets fail because they need this one
                raise
            except AV_ERRORS:
                pass


def _first_packets(packets: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from islice(packets, _MAX_PACKETS)
    except AV_ERRORS:  # the rest of the file cannot be read
        return


def _is_animated_webp(path: str) -> bool:
    with open_bytes(path) as file:
        head = file.read(21)
    extended = head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X"
    return extended and len(head) == 21 and bool(head[20] & _ANIMATED)
