"""Is a listed file the one that is stored under its id? Told by path, size and modification time.

A collection may move to another disk, and copying may change times; a file of the same name and
size elsewhere is still taken for the same. Cameras give the same names again and again, so a file
of another folder and another size is not.
"""

from __future__ import annotations

import enum
import ntpath  # takes / and \ for separators: a list may come from another system
import os
import time
from typing import BinaryIO

from ..inputs import printable
from ..records import SourceInfo

State = tuple[int, int]  # size in bytes, modification time in nanoseconds

# What copies cut times down to, in nanoseconds: file systems and archives keep no more.
_GRAINS = (100, 1_000, 1_000_000, 1_000_000_000, 2_000_000_000)
_SAMPLE = 1 << 16  # bytes compared at the start, in the middle and at the end


class Identity(enum.Enum):
    """How a listed file relates to the stored one."""

    SAME = enum.auto()  # size and time are equal, or one of the two cannot be looked at
    MOVED = enum.auto()  # same name and size in another folder, but another time
    CHANGED = enum.auto()  # another size or time in the same folder
    OTHER = enum.auto()  # another size, time or name, and in another folder


def state_of(path: str) -> State | None:
    """Size and time of a file; None if it is not there, or cannot be looked at."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # the second: a name that no file can have here
        return None
    return status.st_size, status.st_mtime_ns


def identity(path: str, stored: SourceInfo) -> Identity:
    """Whether the file at `path` is the one that `stored` tells of.

    A file that is not there is taken as the same: a disk may be offline.
    """
    state = state_of(path)
    if state is None or same_state(state, stored):
        return Identity.SAME
    if _in_same_folder(path, stored.path):
        return Identity.CHANGED
    if (
        state[0] == stored.size
        and not other_name(path, stored)
        and not _unlike_the_stored(path, stored)
    ):
        return Identity.MOVED
    return Identity.OTHER


def same_state(state: State, stored: SourceInfo) -> bool:
    """Whether size and time are those stored; what a store does not know is no difference."""
    if stored.size < 0:
        return True
    return state[0] == stored.size and (
        stored.mtime_ns == 0 or _same_time(state[1], stored.mtime_ns)
    )


def other_name(path: str, stored: SourceInfo) -> bool:
    """Whether the two files have different names, whatever their folders."""
    return ntpath.basename(stored.path) != ntpath.basename(printable(path))


def difference(path: str, stored: SourceInfo) -> str:
    """One line that names both files, with size and time."""
    state = state_of(path) or (-1, 0)
    here = printable(path)
    there = "" if os.path.abspath(here) == os.path.abspath(stored.path) else f"{stored.path}, "
    here = os.path.abspath(here)  # as the stored one is
    return f"{here} has {_told(state)}; stored from {there}{_told((stored.size, stored.mtime_ns))}"


def _told(state: State) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(state[1] // 1_000_000_000))
    return f"{state[0]:,} bytes of {when}"


def _same_time(first: int, second: int) -> bool:
    """Equal, or one is the other cut down to what a file system or an archive keeps."""
    low, high = sorted((first, second))
    return low == high or any(low == high - high % grain for grain in _GRAINS)


def _in_same_folder(path: str, stored: str) -> bool:
    here, there = os.path.abspath(printable(path)), os.path.abspath(stored)
    if os.path.dirname(here) == os.path.dirname(there):
        return True
    try:
        return os.path.samefile(path, there)  # the same folder by another name, as through a link
    except (OSError, ValueError):
        return False


def _unlike_the_stored(path: str, stored: SourceInfo) -> bool:
    """Whether the stored file is still where it was, and its content is another one.

    Some cameras write files of one fixed size, under the same names on every card.
    """
    first = state_of(stored.path)
    if first is None or not same_state(first, stored):
        return False
    try:
        with open(path, "rb") as here, open(stored.path, "rb") as there:
            return _samples(here, stored.size) != _samples(there, stored.size)
    except (OSError, ValueError):
        return False


def _samples(file: BinaryIO, size: int) -> list[bytes]:
    found = []
    for start in (0, size // 2, max(0, size - _SAMPLE)):
        file.seek(start)
        found.append(file.read(_SAMPLE))
    return found
