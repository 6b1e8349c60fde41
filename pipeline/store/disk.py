"""The few file operations a commit is made of, each one a step that can be cut short.

They are methods of one small class so that a test can stop the world before, in the middle of
or after any of them, and can throw away what was not yet synced.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from ..atomic import sync_file, sync_path

O_NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # opening a pipe that nobody writes to does not wait
_ADVISED_BYTES = 1 << 20  # Linux forgets what is beyond one request of the disk, often 1.25 MiB
_HAS_PREADV = hasattr(os, "preadv")
_seek_lock = threading.Lock()


class Disk:
    """Operations that change the disk; every one raises OSError as the system does."""

    def pwrite(self, fd: int, data: bytes | bytearray | memoryview, offset: int) -> None:
        """Write all of `data` at `offset` bytes."""
        view = memoryview(data).cast("B")
        while len(view):
            done = _pwrite(fd, view, offset)
            view, offset = view[done:], offset + done

    def fsync(self, fd: int) -> None:
        """Return when the file's content would survive a power failure."""
        sync_file(fd)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def replace(self, source: Path, target: Path) -> None:
        os.replace(source, target)

    def unlink(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def sync_path(self, path: Path) -> None:
        """Sync a file by name, or a folder: then the names in it are durable, too."""
        sync_path(path)

    def install(self, temporary: Path, target: Path) -> None:
        """Give a synced file or folder its name, which is durable once this returns."""
        self.replace(temporary, target)
        self.sync_path(target.parent)


def pread_into(fd: int, buffer: memoryview, offset: int) -> int:
    """Fill `buffer` from `offset` bytes on; safe from many threads at once.

    Returns:
        Bytes read: fewer than asked only at the end of the file.
    """
    size = len(buffer)
    done = _preadv(fd, buffer, offset)
    if done == 0:
        return 0
    while done < size:
        count = _preadv(fd, buffer[done:], offset + done)
        if not count:
            break
        done += count
    return done


def pread_parts(fd: int, buffer: memoryview, size: int, offsets: Sequence[int]) -> int:
    """Fill `buffer` by parts of `size` bytes, one from each offset; as `pread_into`.

    Returns:
        Bytes read up to the end of the first part that the file does not have.
    """
    for start, offset in zip(range(0, len(buffer), size), offsets, strict=True):
        part = buffer[start : start + size]
        # Most parts come at once: a million of these calls is seconds.
        done = os.preadv(fd, (part,), offset) if _HAS_PREADV else 0
        if done < size:
            done = pread_into(fd, part, offset)
            if done < size:
                return start + done
    return len(buffer)


def advise_reads(fd: int, spans: Iterable[tuple[int, int]]) -> None:
    """Tell the system which parts of an open file are read soon; nothing where it cannot be told.

    Args:
        spans: offset and bytes of each part, in any order; neighbours are joined.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    with suppress(OSError):
        for first, size in joined_spans(spans):
            for start in range(first, first + size, _ADVISED_BYTES):
                length = min(_ADVISED_BYTES, first + size - start)
                os.posix_fadvise(fd, start, length, os.POSIX_FADV_WILLNEED)


def joined_spans(spans: Iterable[tuple[int, int]], gap: int = 1 << 18) -> list[tuple[int, int]]:
    """Spans (offset, bytes) by their offsets; those at most `gap` bytes apart become one."""
    joined: list[tuple[int, int]] = []
    for start, size in sorted(spans):
        if joined and start - sum(joined[-1]) <= gap:
            first, length = joined[-1]
            joined[-1] = first, max(length, start + size - first)
        else:
            joined.append((start, size))
    return joined


def _pwrite(fd: int, view: memoryview, offset: int) -> int:
    if hasattr(os, "pwrite"):
        return os.pwrite(fd, view, offset)
    with _seek_lock:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, view)


def _preadv(fd: int, view: memoryview, offset: int) -> int:
    if _HAS_PREADV:
        return os.preadv(fd, (view,), offset)
    with _seek_lock:
        os.lseek(fd, offset, os.SEEK_SET)
        data = os.read(fd, len(view))
    view[: len(data)] = data
    return len(data)
