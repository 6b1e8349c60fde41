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

from pipeline.store.disk import O_BINARY, Disk
from pipeline.store.locks import lock_exclusive, unlock

PAGE = 4096
_MAGIC = b"VSJOURN1"
_HEAD = struct.Struct("<8sQQI")  # magic, end before, end after, number of pages
_PAGE_HEAD = struct.Struct("<QI")  # offset, length
_TAIL = struct.Struct("<I")  # CRC-32 of everything before

Pages = dict[int, bytearray]  # page number -> bytes from page number * PAGE on
EndOf = Callable[[int], int]  # open file -> committed end in bytes, by the file's own account


def journal_path(path: Path) -> Path:
    return path.with_name(path.name + ".journal")


def pending_pages(path: Path, fd: int, end_of: EndOf) -> tuple[Pages, int]:
    """The pages of a complete journal that fits the file, and its end; else none.

    The caller holds a lock on `fd`, so no writer is between two states.
    """
    end = end_of(fd)
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


def recover(path: Path, fd: int, end_of: EndOf, disk: Disk) -> None:
    """Finish the commit that a killed writer had begun, and clear up after it."""
    lock_exclusive(fd)
    try:
        pages, _ = pending_pages(path, fd, end_of)
    finally:
        unlock(fd)
    if pages:
        apply_pages(fd, pages, journal_path(path), disk)
    disk.unlink(journal_path(path))
    disk.unlink(_temporary(journal_path(path)))


def pack(before: int, after: int, pages: Pages) -> bytes:
    """A journal's content; `before` and `after` are the file's ends in bytes by its own account."""
    parts = [_HEAD.pack(_MAGIC, before, after, len(pages))]
    for number, page in sorted(pages.items()):
        parts += [_PAGE_HEAD.pack(number * PAGE, len(page)), bytes(page)]
    data = b"".join(parts)
    return data + _TAIL.pack(zlib.crc32(data))


def write_journal(journal: Path, data: bytes, disk: Disk) -> None:
    """Put a journal in place; once this returns, the commit has happened."""
    temporary = _temporary(journal)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | O_BINARY, 0o644)
    try:
        disk.pwrite(fd, data, 0)
        disk.fsync(fd)
    finally:
        os.close(fd)
    disk.replace(temporary, journal)
    disk.sync_path(journal.parent)


def apply_pages(fd: int, pages: Pages, journal: Path, disk: Disk) -> None:
    """Copy the journal's pages into the file while no reader looks at its metadata."""
    lock_exclusive(fd)
    try:
        for number, page in sorted(pages.items()):
            disk.pwrite(fd, page, number * PAGE)
        disk.fsync(fd)
        disk.unlink(journal)
        disk.sync_path(journal.parent)
    finally:
        unlock(fd)


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
