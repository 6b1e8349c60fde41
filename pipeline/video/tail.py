"""Where the content of a file ends that goes on with zeros: a recording that was given room before.

A demuxer reads zeros for minutes a gigabyte and gives no sign of life, so it is not shown them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

LEAST_TAIL = 1 << 20  # bytes of zeros that are worth it
_STEP = 4 << 20  # bytes read at once
_LEFT = 2 << 10  # bytes of zeros that stay, as the last packet may end with some
_FIRST = 64 << 10  # bytes looked at first


def content_end(path: str, tick: Callable[[], None]) -> int | None:
    """The byte behind which a file has zeros only, if they are many; else None.

    Args:
        path: the file.
        tick: called for every few MiB of zeros, as a sign of life.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError):
        return None  # opening it as a video tells why
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size < 2 * LEAST_TAIL:
            return None
        end = _last_content(descriptor, status.st_size, tick) + _LEFT
        return end if end <= status.st_size - LEAST_TAIL else None
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _last_content(descriptor: int, size: int, tick: Callable[[], None]) -> int:
    """The byte behind the last one that is not zero; the size if there is none."""
    end, step = size, _FIRST  # most files end with content, which a short look tells
    while end > 0:
        begin = max(0, end - step)
        if not _is_sparse(descriptor, begin, end):
            data = os.pread(descriptor, end - begin, begin)
            if any(data):
                return begin + len(data.rstrip(b"\0"))
        tick()
        end, step = begin, _STEP
    return size


def _is_sparse(descriptor: int, begin: int, end: int) -> bool:
    """Whether the file system has nothing there, so that it need not be read."""
    if not hasattr(os, "SEEK_DATA"):
        return False
    try:
        return os.lseek(descriptor, begin, os.SEEK_DATA) >= end
    except OSError as error:
        return error.errno == errno.ENXIO  # no content from there on
