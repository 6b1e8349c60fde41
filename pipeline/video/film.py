"""Which of a file's streams is the film: what a player would show, and no picture of a cover.

A track of one picture is a cover beside a longer video track, whatever its flags say, and beside
sound, unless it claims to be shown for most of it. Of several films it is the default one, then the
longest, then the largest.
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

_LOOK = 2000  # packets, about half a minute of film and sound
_LOOK_LONG = 1_000_000  # where a song may have a film behind its first picture
_SHOWN = 0.5  # of the file's length, for which a picture is shown that is no cover
_PICTURES = {"mjpeg", "png", "bmp", "gif", "tiff", "webp", "jpeg2000", "jpegls", "jpegxl", "targa"}


def films(container: Any, reopen: Callable[[], Any]) -> list[Any]:
    """The video streams that are films, the best one first; may be none.

    Args:
        container: an open `av` container; nothing is read of it.
        reopen: gives another one of the same file, to be read.
    """
    found = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    doubtful = [s for s in found if _may_be_cover(s, container, len(found))]
    if doubtful:
        single = _single(reopen, {s.index for s in doubtful}, len(found) > 1)
        long = [s for s in found if s.index not in single]
        if long:
            found = long
        elif container.streams.audio:
            found = [s for s in found if not _is_cover(single[s.index], s, container)]
    first = container.streams.best("video")
    return sorted(found, key=lambda s: (*_rank(s, container), s is not first, s.index))


def note(streams: Sequence[Any]) -> str:
    """What to tell of `films`: empty for one, else which was taken."""
    if len(streams) < 2:
        return ""
    best = streams[0]
    context = best.codec_context
    size = f", {context.width}x{context.height}" if context else ""
    return f"stream {best.index} taken{size}, one of {len(streams)} video streams"


def codec_name(container: Any, stream: Any) -> str:
    """What FFmpeg calls the codec of a stream that it has no decoder for, with its four letters."""
    with ffmpeg_log(av.logging.INFO):
        lines = container.dumps_format().splitlines()
    mark = f"Stream #0:{stream.index}"
    line = next((line for line in lines if line.strip().startswith(mark)), "")
    named = re.search(r"Video: ([^,]*)", line)
    return named[1].strip() if named else "unknown"


def _may_be_cover(stream: Any, container: Any, count: int) -> bool:
    """Cheap facts leave it open."""
    formats = set(container.format.name.split(","))
    counted = "mov" in formats and stream.frames > 1  # in AVI empty packets are counted as well
    if counted or (count == 1 and not container.streams.audio):
        return False
    name = stream.codec_context.name if stream.codec_context else ""
    return count > 1 or name in _PICTURES or bool(formats & {"mov", "matroska"})


def _single(reopen: Callable[[], Any], wanted: set[int], several: bool) -> dict[int, float]:
    """Of the wanted streams those with at most one picture -> seconds that it is shown."""
    seen: Counter[int] = Counter()
    shown = dict.fromkeys(wanted, 0.0)
    container = reopen()
    try:
        for packet in _read(container, wanted, _LOOK if several else _LOOK_LONG):
            index = packet.stream_index
            if index in wanted and packet.size:
                seen[index] += 1
                shown[index] = float((packet.duration or 0) * (packet.time_base or 0))
                if all(seen[i] > 1 for i in wanted):
                    break
    finally:
        container.close()
    return {index: shown[index] for index in wanted if seen[index] <= 1}


def _read(container: Any, wanted: set[int], most: int) -> Iterable[Any]:
    streams = [s for s in container.streams if s.type in ("video", "audio")]
    try:
        for number, packet in enumerate(container.demux(streams)):
            if number >= most:
                return
            yield packet
    except (av.FFmpegError, ValueError, OverflowError, IndexError):
        return  # damage: what is known so far has to do


def _is_cover(shown: float, stream: Any, container: Any) -> bool:
    """Of a single picture beside sound."""
    return max(shown, _length(stream)) < _SHOWN * (container.duration or 0) / av.time_base


def _rank(stream: Any, container: Any) -> tuple[bool, float, int]:
    """The smaller, the better."""
    context = stream.codec_context
    pixels = context.width * context.height if context else 0
    length = _length(stream) or (container.duration or 0) / av.time_base
    default = bool(stream.disposition & Disposition.default)
    return not default, -round(length, 1), -pixels


def _length(stream: Any) -> float:
    """Seconds that the file claims for a stream; 0 if it does not."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    parts = stream.metadata.get("DURATION", "").rstrip("\0").split(":")  # of Matroska
    try:
        hours, minutes, seconds = (Fraction(part) for part in parts)
    except (ValueError, ZeroDivisionError):
        return 0.0
    return float(hours * 3600 + minutes * 60 + seconds)
