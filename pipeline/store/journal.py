"""The journal of a commit: pages of a file, whole on disk before the first of them is applied.

Layout of `<file>.journal`, little-endian: "VSJOURN1", the file's end before and after (uint64),
the number of pages (uint32); for each page its offset (uint64), its length (uint32) and its
bytes; what tells the file that it belongs to; CRC-32 of all that (uint32). See `transaction.py` for
how it is used.

What tells the file: the bytes that each page replaces, in the same order, and the CRC-32 (uint32)
of a sample of what was appended. Every byte of the file under a page is the old or the new one,
however far a commit got; in no other file are they. Journals of before that end with the pages.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ..errors import StoreError
from .disk import Disk, pread_into
from .locks import lock_exclusive, unlock
from .plain_files import beside, open_beside

PAGE = 4096
_MAGIC = b"VSJOURN1"
_HEAD = struct.Struct("<8sQQI")  # magic, end before, end after, number of pages
_PAGE_HEAD = struct.Struct("<QI")  # offset, length
_TAIL = struct.Struct("<I")  # CRC-32 of everything before
_SAMPLES = 64
_MAX_BYTES = 1 << 30  # bytes of a journal; thousands of videos in one commit make some MB

Pages = dict[int, bytearray]  # page number -> bytes from page number * PAGE on
HEAD_BYTES = 64
FileEnd = Callable[[bytes], int]  # a file's first HEAD_BYTES -> its end in bytes by its own account


def journal_path(path: Path) -> Path:
    return beside(path, ".journal")


def pending_pages(path: Path, fd: int, file_end: FileEnd) -> tuple[Pages, int]:
    """The pages of the journal beside the file, and the end with them; no pages if none is there.

    The caller holds a lock on `fd`, so no writer is between two states.

    Raises:
        StoreError: the journal is damaged, or belongs to another file: nobody can tell what the
            store lacks without it.
    """
    end = file_end(file_head(fd))
    try:
        journal = open_beside(journal_path(path), os.O_RDONLY)
    except FileNotFoundError:
        return {}, end
    try:
        size = os.fstat(fd).st_size
        content = _read_journal(journal, end, size)
        _require_own(fd, file_end, content)
    except (ValueError, struct.error) as error:
        raise StoreError(
            f"{journal_path(path)}: the journal of a commit that does not fit {path.name} "
            f"({error}). If it came with another store, move it away; else copy the store and its "
            "journal again, together"
        ) from error
    finally:
        os.close(journal)
    return content.pages, content.after


def file_head(fd: int) -> bytes:
    """The first HEAD_BYTES of an open file, or what there is of them."""
    head = bytearray(HEAD_BYTES)
    return bytes(head[: pread_into(fd, memoryview(head), 0)])


def clear_journal(path: Path, disk: Disk) -> None:
    """Remove what is no journal of this file, or the rest of one."""
    disk.unlink(journal_path(path))
    disk.unlink(_temporary(journal_path(path)))


def pack(before: int, after: int, pages: Pages, fd: int) -> bytes:
    """A journal's content.

    Args:
        before, after: the file's ends in bytes by its own account.
        pages: what replaces bytes of the file.
        fd: the file, as it is before the commit, with all that was appended.
    """
    parts = [_HEAD.pack(_MAGIC, before, after, len(pages))]
    for number, page in sorted(pages.items()):
        parts += [_PAGE_HEAD.pack(number * PAGE, len(page)), bytes(page)]
    parts += [_bytes_at(fd, number * PAGE, len(page)) for number, page in sorted(pages.items())]
    parts.append(_TAIL.pack(_sample(fd, before, after, pages)))
    data = b"".join(parts)
    return data + _TAIL.pack(zlib.crc32(data))


def write_journal(path: Path, data: bytes, disk: Disk) -> None:
    """Put a journal beside the file; once this returns, the commit has happened."""
    journal = journal_path(path)
    temporary = _temporary(journal)
    try:
        fd = open_beside(temporary, os.O_WRONLY | os.O_CREAT)
        try:
            os.ftruncate(fd, 0)
            disk.pwrite(fd, data, 0)
            disk.fsync(fd)
        finally:
            os.close(fd)
        disk.install(temporary, journal)
    except BaseException:
        with suppress(OSError):
            disk.unlink(temporary)
        raise


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
        disk.sync_path(journal_path(path).parent)
    finally:
        unlock(fd)
    return True


class _Journal(NamedTuple):
    before: int
    after: int
    pages: Pages
    mark: bytes  # what tells the file


def _read_journal(journal: int, end: int, size: int) -> _Journal:
    """The whole of an open journal.

    Nothing is allocated for more pages than a file of `size` bytes has.
    """
    size_on_disk = os.fstat(journal).st_size
    _, before, after, count = _HEAD.unpack(_bytes_at(journal, 0, _HEAD.size))
    if _bytes_at(journal, 0, len(_MAGIC)) != _MAGIC:
        raise ValueError("it is damaged")
    if end not in (before, after) or not before <= after <= size:
        raise ValueError(f"the file ends at {end} of {size} bytes, not at {before} or {after}")
    max_bytes = count * (_PAGE_HEAD.size + 2 * PAGE) + _HEAD.size + 2 * _TAIL.size
    if count > after // PAGE + 1 or size_on_disk > min(max_bytes, _MAX_BYTES):
        raise ValueError(f"{size_on_disk} bytes for {count} pages")
    data = _bytes_at(journal, 0, size_on_disk)
    if _TAIL.unpack(data[-_TAIL.size :])[0] != zlib.crc32(data[: -_TAIL.size]):
        raise ValueError("it is damaged")
    pages, at = _read_pages(data, count, after)
    return _Journal(before, after, pages, data[at : -_TAIL.size])


def _read_pages(data: bytes, count: int, after: int) -> tuple[Pages, int]:
    """The pages, and where they end; none reaches beyond `after`, so no file grows by them."""
    pages, at = Pages(), _HEAD.size
    for _ in range(count):
        offset, length = _PAGE_HEAD.unpack_from(data, at)
        at += _PAGE_HEAD.size
        if offset % PAGE or not 0 < length <= PAGE or offset + length > after:
            raise ValueError(f"a page of {length} bytes at {offset}")
        pages[offset // PAGE] = bytearray(data[at : at + length])
        at += length
    if at + _TAIL.size > len(data) or len(pages) != count:
        raise ValueError("it is damaged")
    return pages, at


def _require_own(fd: int, file_end: FileEnd, journal: _Journal) -> None:
    """Raises ValueError if the open file is not the one that the journal was made for."""
    head = bytearray(file_head(fd))
    new = journal.pages.get(0, bytearray())[: len(head)]
    head[: len(new)] = new
    if file_end(bytes(head)) != journal.after:
        raise ValueError("it belongs to another file")
    if not journal.mark:  # a journal of before: its ends alone speak for it
        return
    at = 0
    for number, page in sorted(journal.pages.items()):
        old = journal.mark[at : at + len(page)]
        current = _bytes_at(fd, number * PAGE, len(page))
        torn = zip(current, old, page, strict=True)
        if current not in (old, page) and any(n not in (o, p) for n, o, p in torn):
            raise ValueError(f"page {number} belongs to another file")
        at += len(page)
    (sample,) = _TAIL.unpack(journal.mark[at:])
    if sample != _sample(fd, journal.before, journal.after, journal.pages):
        raise ValueError("what was appended belongs to another file")


def _sample(fd: int, before: int, after: int, pages: Pages) -> int:
    """CRC-32 of pieces of what a commit appended, but of those that lie on its pages."""
    crc, step = 0, max(PAGE, (after - before) // _SAMPLES // PAGE * PAGE)
    for offset in range(-(-before // PAGE) * PAGE, after - PAGE + 1, step):
        if offset // PAGE not in pages:
            crc = zlib.crc32(_bytes_at(fd, offset, PAGE), crc)
    return crc


def _bytes_at(fd: int, offset: int, size: int) -> bytes:
    """Bytes of an open file; fewer only where it ends."""
    buffer = bytearray(size)
    return bytes(buffer[: pread_into(fd, memoryview(buffer), offset)])


def _temporary(journal: Path) -> Path:
    return journal.with_name(journal.name + ".new")
