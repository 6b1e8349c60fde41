"""Opens a file as a video or says exactly why it cannot; describes it by its container."""

from __future__ import annotations

import os
import stat
from fractions import Fraction
from functools import partial
from typing import Any

import av

from ..config import MAX_PIXELS
from ..errors import VideoError
from ..inputs import printable_path
from ..objects import is_url
from ..records import SourceInfo
from . import film, formats
from .encryption import encryption, has_encrypted_track
from .hwaccel import open_on_device
from .remote import av_source, open_bytes, remote_source

# PyAV's errors derive from these; it raises ValueError for values that it does not know.
AV_ERRORS = (av.FFmpegError, ValueError, OverflowError)

# Titles in unknown encodings are no reason to refuse a video; PyAV 19 accepts them and has no such
# argument.
_METADATA: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
)

# Decoders add edges to a picture, and some count the pixels of these as well.
_EDGES = 1 << 16  # pixels
# First bytes (offset, text) of video files, even if no demuxer can open them.
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
    """Describe a file by the file system and its container.

    Width and height are as coded, as the rotation is known only after decoding.

    Raises:
        VideoError: the file cannot be opened as a video.
    """
    container = open_container(path)
    try:
        return source_info(path, container, video_stream(container, path))
    finally:
        container.close()


def file_info(path: str) -> SourceInfo:
    """Read path, size and modification time; size -1 and time 0 if there is no such file."""
    if is_url(path):
        return remote_source(path)
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return SourceInfo(printable_path(path))
    return SourceInfo(printable_path(path), status.st_size, status.st_mtime_ns)


def open_container(
    path: str,
    hwaccel: str = "none",
    max_pixels: int = MAX_PIXELS,
    end: int | None = None,
) -> Any:
    """Open a file as an `av` container.

    No other file is opened, and no decoder makes pictures of more than `max_pixels` pixels.

    Args:
        path: the file.
        hwaccel: see `hwaccel.open_on_device`.
        max_pixels: largest number of pixels of a picture.
        end: position in bytes where the demuxer sees the end of the file; None for its own end.

    Raises:
        VideoError: missing, empty, not_a_video or broken.
    """
    _check_file(path)
    limit = {"max_pixels": str(min(max_pixels + max_pixels // 8 + _EDGES, (1 << 31) - 1))}
    options = formats.OPTIONS | limit
    try:
        opener = partial(av.open, av_source(path, end), options=options, **_METADATA)
        container = open_on_device(hwaccel, opener)
    except AV_ERRORS as error:
        raise _cannot_open(path, error) from error
    if formats.is_image_sequence(container, path):
        container.close()
        raise VideoError("not_a_video", _foreign_format_text(path, formats.IMAGE_SEQUENCE))
    for stream in container.streams.video:
        if stream.codec_context is not None:
            stream.codec_context.options = limit
    return container


def video_stream(container: Any, path: str) -> Any:
    """Choose the main video stream, see `film`.

    Raises:
        VideoError: no_video_stream, encrypted or unsupported.
    """
    return choose_stream(container, path)[0]


def choose_stream(container: Any, path: str, max_pixels: int = MAX_PIXELS) -> tuple[Any, str]:
    """Choose the main video stream, with a note if there are several; see `film`.

    Raises:
        VideoError: no_video_stream, encrypted, unsupported or too_large.
    """
    film_streams = film.film_streams(container, partial(open_container, path))
    if not film_streams:
        raise VideoError("no_video_stream", f"{printable_path(path)}: no video among its streams")
    stream = film_streams[0]
    if protection := encryption(path, container, stream):
        raise _encrypted_error(path, protection)
    if stream.codec_context is None:
        codec = film.codec_name(container, stream)
        detail = f"FFmpeg {av.ffmpeg_version_info} here has no decoder for its codec, {codec}"
        raise VideoError("unsupported", f"{printable_path(path)}: {detail}")
    context = stream.codec_context
    if context.width * context.height > max_pixels:
        raise too_large_error(f"{context.width}x{context.height}", max_pixels)
    context.thread_count = 1  # many videos at once beat many threads on one
    return stream, film.choice_note(film_streams)


def too_large_error(size: str, max_pixels: int) -> VideoError:
    """Make the error for pictures of a size, a text `WIDTHxHEIGHT`."""
    detail = f"pictures of {size} pixels, more than {max_pixels} in all (--max_pixels)"
    return VideoError("too_large", detail)


def source_info(path: str, container: Any, stream: Any) -> SourceInfo:
    """Describe an open file with all fields of `SourceInfo`; width and height are as coded."""
    file, context = file_info(path), stream.codec_context
    return SourceInfo(
        file.path,
        file.size,
        file.mtime_ns,
        codec=context.name,
        width=context.width,
        height=context.height,
        fps=rate_or_zero(stream.average_rate) or rate_or_zero(stream.guessed_rate),
        duration=_duration(container, stream),
    )


def rate_or_zero(rate: Fraction | None) -> float:
    """Convert a frame rate; 0.0 if the container does not say."""
    return float(rate) if rate else 0.0


def reason_text(error: BaseException) -> str:
    """Describe an error in one line without the file name, which the caller adds."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _duration(container: Any, stream: Any) -> float:
    if stream.duration and stream.time_base:
        return max(0.0, float(stream.duration * stream.time_base))
    return max(0.0, (container.duration or 0) / av.time_base)


def _check_file(path: str) -> None:
    name = printable_path(path)
    if is_url(path):
        open_bytes(path).close()  # its errors say what is wrong
        return
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
    name, text = printable_path(path), reason_text(error)
    try:
        # FFmpeg uses the number of this error for damaged files, too; so try to open the file.
        open_bytes(path).close()
    except OSError as open_error:
        return VideoError("missing", f"{name}: {reason_text(open_error)}")
    if format_name := formats.refused_format(path):
        return VideoError("not_a_video", _foreign_format_text(path, format_name))
    if has_encrypted_track(path):
        return _encrypted_error(path, "Common Encryption")
    with open_bytes(path) as file:
        head = file.read(16)
    if any(head[at : at + len(mark)] == mark for at, mark in _SIGNATURES):
        return VideoError("broken", f"{name}: begins as a video, but is cut or damaged ({text})")
    return VideoError("not_a_video", f"{name}: {text}")


def _encrypted_error(path: str, method: str) -> VideoError:
    return VideoError(
        "encrypted", f"{printable_path(path)}: encrypted ({method}); decrypt it first"
    )


def _foreign_format_text(path: str, name: str) -> str:
    return (
        f"{printable_path(path)}: its format ({name}) is not read, as it names other files or "
        "holds no film; list the films themselves"
    )
