"""The journal of a commit: pages of a file, whole on disk before the first of them is applied.

Layout of `<file>.journal`, little-endian: "VSJOURN1", the file's end before and after (uint64),
the number of pages (uint32); for each page its offset (uint64), its length (uint32) and its
bytes; CRC-32 of all that (uint32). See `transaction.py` for how it is used.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from pipeline.store.disk import O_BINARY, Disk, pread_into
from pipeline.store.locks import lock_exclusive, unlock

PAGE = 4096
_MAGIC = b"VSJOURN1"
_HEAD = struct.Struct("<8sQQI")  # magic, end before, end after, number of pages
_PAGE_HEAD = struct.Struct("<QI")  # offset, length
_TAIL = struct.Struct("<I")  # CRC-32 of everything before

Pages = dict[int, bytearray]  # page number -> bytes from page number * PAGE on
HEAD_BYTES = 64
EndOf = Callable[[bytes], int]  # a file's first HEAD_BYTES -> its end in bytes by its own account


def journal_path(path: Path) -> Path:
    return path.with_name(path.name + ".journal")


def pending_pages(path: Path, fd: int, end_of: EndOf) -> tuple[Pages, int]:
    """The pages of a complete journal that fits the file, and its end; else none.

    The caller holds a lock on `fd`, so no writer is between two states.
    """
    end = end_of(file_head(fd))
    try:
        data = journal_path(path).read_bytes()
    except OSError:
        return {}, end
    if len(data) < _HEAD.size + _TAIL.size or data[: len(_MAGIC)] != _MAGIC:
        return {}, end
    if _TAIL.unpack(data[-_TAIL.size :])[0] != zlib.crc32(data[: -_TAIL.size]):
        return {}, end
    _, before, after, count = _HEAD.unpack_from(data)
    # A journal beside a file that it was not made for (restored from elsewhere) must not apply.
    if end not in (before, after) or os.fstat(fd).st_size < after:
        return {}, end
    return _read_pages(data, count), after


def file_head(fd: int) -> bytes:
    """The first HEAD_BYTES of an open file, or what there is of them."""
    head = bytearray(HEAD_BYTES)
    return bytes(head[: pread_into(fd, memoryview(head), 0)])


def clear_journal(path: Path, disk: Disk) -> None:
    """Remove what is no journal of this file, or the rest of one."""
    disk.unlink(journal_path(path))
    disk.unlink(_temporary(journal_path(path)))


def pack(before: int, after: int, pages: Pages) -> bytes:
    """A journal's content; `before` and `after` are the file's ends in bytes by its own account."""
    parts = [_HEAD.pack(_MAGIC, before, after, len(pages))]
    for number, page in sorted(pages.items()):
        parts += [_PAGE_HEAD.pack(number * PAGE, len(page)), bytes(page)]
    data = b"".join(parts)
    return data + _TAIL.pack(zlib.crc32(data))


def write_journal(path: Path, data: bytes, disk: Disk) -> None:
    """Put a journal beside the file; once this returns, the commit has happened."""
    journal = journal_path(path)
    temporary = _temporary(journal)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | O_BINARY, 0o644)
    try:
        disk.pwrite(fd, data, 0)
        disk.fsync(fd)
    finally:
        os.close(fd)
    disk.replace(temporary, journal)
    disk.sync_path(journal.parent)


def apply_pages(path: Path, fd: int, pages: Pages, disk: Disk, patience: float) -> bool:
    """Copy a journal's pages into the file while no reader looks at its metadata.

    Returns:
        False if a reader was there for `patience` seconds. Then the journal stays, and so
        does the commit: nothing is lost by applying it later.
    """
    if not lock_exclusive(fd, patience):
        return False
    try:
        for number, page in sorted(pages.items()):
            disk.pwrite(fd, page, number * PAGE)
        disk.fsync(fd)
        disk.unlink(journal_path(path))
        disk.sync_path(path.parent)
    finally:
        unlock(fd)
    return True


def _read_pages(data: bytes, count: int) -> Pages:
    pages, at = {}, _HEAD.size
    for _ in range(count):
        offset, length = _PAGE_HEAD.unpack_from(data, at)
        at += _PAGE_HEAD.size
        pages[offset // PAGE] = bytearray(data[at : at + length])
        at += length
    return pages


def _temporary(journal: Path) -> Path:
    return journal.with_name(journal.name + ".new")
