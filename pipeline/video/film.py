"""Chooses the main video stream ("film") of a file, as a player does, and skips cover art.

A stream of one picture is a cover if there is a longer video stream, whatever its flags say. Beside
sound it is one unless it claims to be shown for most of the time. Of several films the default one
is taken, then the longest, then the largest.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any

import av
import av.logging
from av.stream import Disposition

from .ffmpeg_log import ffmpeg_log

_MAX_PACKETS = 2000  # about half a minute of film and sound
_MAX_PACKETS_OF_SONG = 1_000_000  # where a film may start late in a song
_MIN_SHOWN = 0.5  # part of the file's length for which a picture is shown that is no cover
_PICTURES = {"mjpeg", "png", "bmp", "gif", "tiff", "webp", "jpeg2000", "jpegls", "jpegxl", "targa"}


def film_streams(container: Any, reopen: Callable[[], Any]) -> list[Any]:
    """List the video streams that are films, the best one first; there may be none.

    Args:
        container: an open `av` container; its packets are not read.
        reopen: opens the same file again, to read its packets.
    """
    candidates = [
        s for s in container.streams.video if not s.disposition & Disposition.attached_pic
    ]
    doubtful = [s for s in candidates if _may_be_cover(s, container, len(candidates))]
    if doubtful:
        single_pictures = _single_pictures(reopen, {s.index for s in doubtful}, len(candidates) > 1)
        longer_streams = [s for s in candidates if s.index not in single_pictures]
        if longer_streams:
            candidates = longer_streams
        elif container.streams.audio:
            candidates = [
                s for s in candidates if not _is_cover(single_pictures[s.index], s, container)
            ]
    first = container.streams.best("video")
    return sorted(candidates, key=lambda s: (*_rank(s, container), s is not first, s.index))


def choice_note(streams: Sequence[Any]) -> str:
    """Say which of several streams was taken; empty if there is one only."""
    if len(streams) < 2:
        return ""
    best = streams[0]
    context = best.codec_context
    size = f", {context.width}x{context.height}" if context else ""
    return f"stream {best.index} taken{size}, one of {len(streams)} video streams"


def codec_name(container: Any, stream: Any) -> str:
    """Read FFmpeg's name, with the four-letter code, of a codec that it has no decoder for."""
    with ffmpeg_log(av.logging.INFO):
        lines = container.dumps_format().splitlines()
    mark = f"Stream #0:{stream.index}"
    line = next((line for line in lines if line.strip().startswith(mark)), "")
    match = re.search(r"Video: ([^,]*)", line)
    return match[1].strip() if match else "unknown"


def _may_be_cover(stream: Any, container: Any, count: int) -> bool:
    """Tell whether a stream may be a cover, without reading packets."""
    formats = set(container.format.name.split(","))
    counted = "mov" in formats and stream.frames > 1  # in AVI empty packets are counted as well
    if counted or (count == 1 and not container.streams.audio):
        return False
    name = stream.codec_context.name if stream.codec_context else ""
    return count > 1 or name in _PICTURES or bool(formats & {"mov", "matroska"})


def _single_pictures(
    reopen: Callable[[], Any], indexes: set[int], several: bool
) -> dict[int, float]:
    """Map each stream with at most one picture to the seconds that it is shown."""
    counts: Counter[int] = Counter()
    shown = dict.fromkeys(indexes, 0.0)
    container = reopen()
    try:
        max_packets = _MAX_PACKETS if several else _MAX_PACKETS_OF_SONG
        for packet in _first_packets(container, max_packets):
            index = packet.stream_index
            if index in indexes and packet.size:
                counts[index] += 1
                shown[index] = float((packet.duration or 0) * (packet.time_base or 0))
                if all(counts[i] > 1 for i in indexes):
                    break
    finally:
        container.close()
    return {index: shown[index] for index in indexes if counts[index] <= 1}


def _first_packets(container: Any, max_packets: int) -> Iterable[Any]:
    streams = [s for s in container.streams if s.type in ("video", "audio")]
    try:
        for number, packet in enumerate(container.demux(streams)):
            if number >= max_packets:
                return
            yield packet
    except (av.FFmpegError, ValueError, OverflowError, IndexError):
        return  # damage: the packets so far must suffice


def _is_cover(shown: float, stream: Any, container: Any) -> bool:
    """Tell whether a single picture beside sound is a cover."""
    return max(shown, _length(stream)) < _MIN_SHOWN * (container.duration or 0) / av.time_base


def _rank(stream: Any, container: Any) -> tuple[bool, float, int]:
    """Compute a rank; the smallest is the best stream."""
    context = stream.codec_context
    pixels = context.width * context.height if context else 0
    length = _length(stream) or (container.duration or 0) / av.time_base
    default = bool(stream.disposition & Disposition.default)
    return not default, -round(length, 1), -pixels


def _length(stream: Any) -> float:
    """Read the length of a stream in seconds; 0 if the file does not say."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    parts = stream.metadata.get("DURATION", "").rstrip("\0").split(":")  # of Matroska
    try:
        hours, minutes, seconds = (Fraction(part) for part in parts)
    except (ValueError, ZeroDivisionError):
        return 0.0
    return float(hours * 3600 + minutes * 60 + seconds)
