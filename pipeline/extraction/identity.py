"""Tells whether a listed file is the one stored under its id, by path, size and time.

A collection may move to another disk, and copying may change times; so a file of the same name and
size in another folder counts as the same. Cameras reuse file names; so a file of another size in
another folder does not. An object has an ETag, which changes with its content.
"""

from __future__ import annotations

import enum
import ntpath  # takes / and \ for separators: a list may come from another system
import os
import time
from typing import BinaryIO

from ..errors import VideoError
from ..inputs import printable_path
from ..objects import is_url
from ..objects.fetch import RemoteObject, without_query
from ..records import SourceInfo

FileState = tuple[int, int]  # size in bytes, modification time in nanoseconds

# Steps of file times in nanoseconds; file systems and archives round down to these.
_GRAINS = (100, 1_000, 1_000_000, 1_000_000_000, 2_000_000_000)
_SAMPLE = 1 << 16  # bytes compared at the start, in the middle and at the end


class Identity(enum.Enum):
    """How a listed file relates to the stored one."""

    SAME = enum.auto()  # size and time are equal, or one of the files cannot be inspected
    MOVED = enum.auto()  # same name and size in another folder, but another time
    CHANGED = enum.auto()  # another size or time in the same folder
    OTHER = enum.auto()  # another size, time or name, and in another folder


def file_state(path: str) -> FileState | None:
    """Read size and time of a file; None if it is missing or cannot be inspected."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: no file can have this name here
        return None
    return status.st_size, status.st_mtime_ns


def identity(path: str, stored: SourceInfo) -> Identity:
    """Tell whether the file at `path` is the stored one.

    A missing file counts as the same: its disk may be offline.
    """
    state = file_state(path)
    if state is None or is_same_state(state, stored):
        return Identity.SAME
    if _in_same_folder(path, stored.path):
        return Identity.CHANGED
    if (
        state[0] == stored.size
        and not has_other_name(path, stored)
        and not _content_differs(path, stored)
    ):
        return Identity.MOVED
    return Identity.OTHER


def object_changed(url: str, stored: SourceInfo) -> bool:
    """Tell whether an object has another ETag than when it was stored; asks the server.

    Where there is no ETag, size and time are compared. An object that cannot be read counts as the
    same, and so does another URL under this id, as objects are copied to other buckets.
    """
    if not is_url(url) or without_query(url) != stored.path:
        return False
    try:
        info = RemoteObject(url).info
    except VideoError:
        return False
    if info.etag and stored.etag:
        return info.etag != stored.etag
    return not is_same_state((info.size, info.modified_ns), stored)


def is_same_state(state: FileState, stored: SourceInfo) -> bool:
    """Tell whether size and time are as stored; unknown values count as equal."""
    if stored.size < 0:
        return True
    return state[0] == stored.size and (
        stored.mtime_ns == 0 or _same_time(state[1], stored.mtime_ns)
    )


def has_other_name(path: str, stored: SourceInfo) -> bool:
    """Tell whether the two files have different names, whatever their folders."""
    return ntpath.basename(stored.path) != ntpath.basename(printable_path(path))


def describe_difference(path: str, stored: SourceInfo) -> str:
    """Describe both files in one line, with size and time."""
    state = file_state(path) or (-1, 0)
    here = printable_path(path)
    there = "" if os.path.abspath(here) == os.path.abspath(stored.path) else f"{stored.path}, "
    here = os.path.abspath(here)  # as the stored path is
    before = _describe_state((stored.size, stored.mtime_ns))
    return f"{here} has {_describe_state(state)}; stored from {there}{before}"


def _describe_state(state: FileState) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(state[1] // 1_000_000_000))
    return f"{state[0]:,} bytes of {when}"


def _same_time(first: int, second: int) -> bool:
    """Tell whether two times are equal, or equal after rounding down by a file system."""
    low, high = sorted((first, second))
    return low == high or any(low == high - high % grain for grain in _GRAINS)


def _in_same_folder(path: str, stored: str) -> bool:
    here, there = os.path.abspath(printable_path(path)), os.path.abspath(stored)
    if os.path.dirname(here) == os.path.dirname(there):
        return True
    try:
        return os.path.samefile(
            path, there
        )  # the same folder under another name, as through a link
    except (OSError, ValueError):
        return False


def _content_differs(path: str, stored: SourceInfo) -> bool:
    """Tell whether the stored file is still in place and has other content.

    Some cameras write files of one fixed size, with the same names on every card.
    """
    first = file_state(stored.path)
    if first is None or not is_same_state(first, stored):
        return False
    try:
        with open(path, "rb") as here, open(stored.path, "rb") as there:
            return _samples(here, stored.size) != _samples(there, stored.size)
    except (OSError, ValueError):
        return False


def _samples(file: BinaryIO, size: int) -> list[bytes]:
    samples = []
    for start in (0, size // 2, max(0, size - _SAMPLE)):
        file.seek(start)
        samples.append(file.read(_SAMPLE))
    return samples
