"""Finds where the content of a file ends if only zeros follow, as in preallocated recordings.

A demuxer reads zeros for minutes per gigabyte without a packet, so they are hidden from it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

MIN_TAIL = 1 << 20  # bytes of zeros; fewer are left to the demuxer
_STEP = 4 << 20  # bytes read at once
_MARGIN = 2 << 10  # bytes of zeros that stay, as the last packet may end with zeros
_FIRST_STEP = 64 << 10  # bytes read first


def content_end(path: str, tick: Callable[[], None]) -> int | None:
    """Find the position in bytes behind which a file has only zeros; None if there are few.

    Args:
        path: the file.
        tick: called for every few MiB of zeros, to show progress.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError):
        return None  # opening it as a video gives the reason
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size < 2 * MIN_TAIL:
            return None
        end = _last_content(descriptor, status.st_size, tick) + _MARGIN
        return end if end <= status.st_size - MIN_TAIL else None
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _last_content(descriptor: int, size: int, tick: Callable[[], None]) -> int:
    """Find the position behind the last byte that is not zero; the size if all are zero."""
    end, step = size, _FIRST_STEP  # most files end with content, which a short read shows
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
    """Tell whether the file system stores nothing there, so that it need not be read."""
    if not hasattr(os, "SEEK_DATA"):
        return False
    try:
        return os.lseek(descriptor, begin, os.SEEK_DATA) >= end
    except OSError as error:
        return error.errno == errno.ENXIO  # no content from there on
