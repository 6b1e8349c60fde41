"""A second look at a file that gave no picture: is there a better reason than invalid data?"""

from __future__ import annotations

import re
from contextlib import suppress

import av
import av.logging

from pipeline.errors import VideoError
from pipeline.video.source import AV_ERRORS, open_container, video_stream

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
    if size := _refused_size(path, max_pixels):
        detail = f"pictures of {size} pixels, more than {max_pixels} (--max_pixels)"
        return VideoError("too_large", detail)
    if _is_animated_webp(path):
        version = av.ffmpeg_version_info
        return VideoError("unsupported", f"animated WebP, which FFmpeg {version} does not decode")
    return error


def _refused_size(path: str, max_pixels: int) -> str:
    """Width x height of a picture that decoders refuse for its size; empty if they refuse none."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture(True) as log, suppress(VideoError, *AV_ERRORS):
            _decode_some(path, max_pixels)
    finally:
        av.logging.set_level(level)
    found = (_TOO_LARGE.search(text) for _, _, text in log)
    return next((match[1] for match in found if match), "")


def _decode_some(path: str, max_pixels: int) -> None:
    with open_container(path, max_pixels=max_pixels) as container:
        stream = video_stream(container, path)
        for _, packet in zip(range(_LOOK), container.demux(stream), strict=False):
            with suppress(*AV_ERRORS):
                packet.decode()


def _is_animated_webp(path: str) -> bool:
    with open(path, "rb") as file:
        head = file.read(21)
    extended = head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X"
    return extended and len(head) == 21 and bool(head[20] & _ANIMATED)
