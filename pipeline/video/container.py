"""Open a file as a video, or say exactly why it is none; what its container tells about it."""

from __future__ import annotations

import os
import stat
from fractions import Fraction
from functools import partial
from typing import Any

import av

from ..config import MAX_PIXELS
from ..errors import VideoError
from ..inputs import printable
from ..records import SourceInfo
from . import film, formats
from .encryption import encryption, has_encrypted_track
from .hwaccel import open_on_device

# PyAV's errors derive from these; a ValueError is its answer to values it does not know.
AV_ERRORS = (av.FFmpegError, ValueError, OverflowError)

# Titles in unknown encodings are no reason to refuse a video; PyAV 19 never does and has no such
# argument any more.
_METADATA: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
)

# Decoders put edges around a picture, and some count these as well.
_EDGES = 1 << 16  # pixels
# How files begin that are videos even if no demuxer can open them.
_SIGNATURES = (
    (4, b"ftyp"),
    (4, b"mdat"),
    (4, b"moov"),
    (4, b"wide"),
    (4, b"free"),
    (4, b"skip"),
    (0, b"\x1aE\xdf\xa3"),
    (0, b"RIFF"),
    (0, b"OggS"),
    (0, b"FLV"),
)


def probe(path: str) -> SourceInfo:
    """What the file system and the container say about a file; decodes nothing that is returned.

    Width and height are as coded: only decoded frames tell the rotation.

    Raises:
        VideoError: the file cannot be opened as a video.
    """
    container = open_container(path)
    try:
        return describe(path, container, video_stream(container, path))
    finally:
        container.close()


def file_info(path: str) -> SourceInfo:
    """Path, size and modification time; -1 and 0 where there is no such file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return SourceInfo(printable(path))
    return SourceInfo(printable(path), status.st_size, status.st_mtime_ns)


def open_container(
    path: str,
    hwaccel: str = "none",
    max_pixels: int = MAX_PIXELS,
    end: int | None = None,
) -> Any:
    """An open `av` container; `hwaccel`: see `open_on_device`; `end`: bytes that are shown of it.

    Nothing but this file is opened, and no decoder makes pictures of more than `max_pixels`.

    Raises:
        VideoError: missing, empty, not_a_video or broken.
    """
    _check_file(path)
    limit = {"max_pixels": str(min(max_pixels + max_pixels // 8 + _EDGES, (1 << 31) - 1))}
    options = formats.OPTIONS | limit
    try:
        # With the protocol named, a colon in the path is no protocol.
        url = "file:" + path if end is None else f"subfile,,start,0,end,{end},,:file:{path}"
        opener = partial(av.open, url, options=options, **_METADATA)
        container = open_on_device(hwaccel, opener)
    except AV_ERRORS as error:
        raise _cannot_open(path, error) from error
    if formats.is_row(container, path):
        container.close()
        raise VideoError("not_a_video", _foreign(path, formats.ROW))
    for stream in container.streams.video:
        if stream.codec_context is not None:
            stream.codec_context.options = limit
    return container


def video_stream(container: Any, path: str) -> Any:
    """The stream that is the film, see `film`.

    Raises:
        VideoError: no_video_stream, encrypted or unsupported.
    """
    return choose_stream(container, path)[0]


def choose_stream(container: Any, path: str, max_pixels: int = MAX_PIXELS) -> tuple[Any, str]:
    """The stream that is the film, and a note if there are several; see `film`.

    Raises:
        VideoError: no_video_stream, encrypted, unsupported or too_large.
    """
    films = film.films(container, partial(open_container, path))
    if not films:
        raise VideoError("no_video_stream", f"{printable(path)}: no video among its streams")
    stream = films[0]
    if found := encryption(path, container, stream):
        raise _encrypted(path, found)
    if stream.codec_context is None:
        codec = film.codec_name(container, stream)
        detail = f"FFmpeg {av.ffmpeg_version_info} here has no decoder for its codec, {codec}"
        raise VideoError("unsupported", f"{printable(path)}: {detail}")
    context = stream.codec_context
    if context.width * context.height > max_pixels:
        raise too_large(f"{context.width}x{context.height}", max_pixels)
    context.thread_count = 1  # many videos at once beat many threads on one
    return stream, film.note(films)


def too_large(size: str, max_pixels: int) -> VideoError:
    """The error for pictures of that size, `width x height`."""
    detail = f"pictures of {size} pixels, more than {max_pixels} in all (--max_pixels)"
    return VideoError("too_large", detail)


def describe(path: str, container: Any, stream: Any) -> SourceInfo:
    """`SourceInfo` with all fields; width and height as coded."""
    file, context = file_info(path), stream.codec_context
    return SourceInfo(
        file.path,
        file.size,
        file.mtime_ns,
        codec=context.name,
        width=context.width,
        height=context.height,
        fps=number(stream.average_rate) or number(stream.guessed_rate),
        duration=_duration(container, stream),
    )


def number(rate: Fraction | None) -> float:
    """0.0 for what a container leaves open."""
    return float(rate) if rate else 0.0


def reason_text(error: BaseException) -> str:
    """One line without the file name, which the caller knows better."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _duration(container: Any, stream: Any) -> float:
    if stream.duration and stream.time_base:
        return max(0.0, float(stream.duration * stream.time_base))
    return max(0.0, (container.duration or 0) / av.time_base)


def _check_file(path: str) -> None:
    name = printable(path)
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise VideoError("missing", f"{name}: {reason_text(error)}") from error
    if not stat.S_ISREG(status.st_mode):
        raise VideoError("not_a_video", f"{name}: not a regular file")
    if status.st_size == 0:
        raise VideoError("empty", f"{name}: the file has no content")
    if not os.access(path, os.R_OK):
        raise VideoError("missing", f"{name}: no permission to read it")


def _cannot_open(path: str, error: BaseException) -> VideoError:
    name, text = printable(path), reason_text(error)
    try:
        # FFmpeg has errors of its own with the number of this one, for damaged files.
        open(path, "rb").close()
    except OSError as failed:
        return VideoError("missing", f"{name}: {reason_text(failed)}")
    if found := formats.refused(path):
        return VideoError("not_a_video", _foreign(path, found))
    if has_encrypted_track(path):
        return _encrypted(path, "Common Encryption")
    with open(path, "rb") as file:
        head = file.read(16)
    if any(head[at : at + len(mark)] == mark for at, mark in _SIGNATURES):
        return VideoError("broken", f"{name}: begins as a video, but is cut or damaged ({text})")
    return VideoError("not_a_video", f"{name}: {text}")


def _encrypted(path: str, how: str) -> VideoError:
    return VideoError("encrypted", f"{printable(path)}: encrypted ({how}); decrypt it first")


def _foreign(path: str, name: str) -> str:
    return (
        f"{printable(path)}: its format ({name}) is not read, as it names other files or holds no "
        "film; list the films themselves"
    )
