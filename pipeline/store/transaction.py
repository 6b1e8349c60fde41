"""A file that changes all at once or not at all, for HDF5 to live in.

HDF5 overwrites its own metadata in place, so a process killed while it writes leaves a file
that no HDF5 library opens. `TransactionalFile` stands between library and disk:

- what is written behind the committed end goes straight to the file: nobody looks there yet;
- what is written before it goes to pages in memory, which later reads see;
- `commit()` syncs the appended part, writes the pages with a checksum to `<file>.journal`,
  renames that into place, copies the pages into the file, syncs, and removes the journal.

Until the rename the old state is what is found, from then on the new one, because whoever
opens the file looks through a complete journal (`journal.pending_pages`), and a writer applies
it. While somebody holds the file open under a lock, as plain HDF5 readers do, applying waits,
not the writer: the journal then grows with the commits.
"""

from __future__ import annotations

import os
from pathlib import Path

from .disk import Disk, pread_into
from .journal import (
    HEAD_BYTES,
    PAGE,
    FileEnd,
    Pages,
    apply_pages,
    clear_journal,
    file_head,
    pack,
    pending_pages,
    write_journal,
)
from .limits import LIMITS, Limits

_EVERYTHING = 1 << 62


class OverlayFile:
    """A read-only Python file object: the file at `fd` with `pages` laid over it."""

    def __init__(self, fd: int, end: int, pages: Pages | None = None) -> None:
        self.fd = fd
        self.pages: Pages = pages or {}
        self.end = end
        self.position = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self.position, os.SEEK_END: self.end}[whence]
        self.position = base + offset
        return self.position

    def tell(self) -> int:
        return self.position

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` from here on; zeros behind the end, as HDF5 expects of a file."""
        view = memoryview(buffer).cast("B")
        done = pread_into(self.fd, view, self.position)
        view[done:] = bytes(len(view) - done)
        first, last = self.position // PAGE, (self.position + len(view) - 1) // PAGE
        for number in range(first, last + 1) if self.pages else ():
            if number in self.pages:
                self._lay_over(view, number)
        self.position += len(view)
        return len(view)

    def read(self, size: int) -> bytes:
        buffer = bytearray(size)
        self.readinto(memoryview(buffer))
        return bytes(buffer)

    def read_at(self, offset: int, size: int) -> bytes:
        self.position = offset
        return self.read(size)

    def _lay_over(self, view: memoryview, number: int) -> None:
        page, offset = self.pages[number], number * PAGE
        start = max(self.position, offset)
        stop = min(self.position + len(view), offset + len(page))
        if start < stop:
            view[start - self.position : stop - self.position] = page[
                start - offset : stop - offset
            ]

    def flush(self) -> None:
        """HDF5's flush is not ours: only `commit` makes anything durable."""


class TransactionalFile(OverlayFile):
    """See the module. The caller holds the store's writer lock.

    Args:
        path: the file.
        fd: it, open for reading and writing.
        file_end: tells its committed end; what lies behind is cut off.

    Raises:
        OSError: what an earlier writer began cannot be completed.
    """

    def __init__(
        self, path: Path, fd: int, file_end: FileEnd, disk: Disk, limits: Limits = LIMITS
    ) -> None:
        pages, end = pending_pages(path, fd, file_end)
        super().__init__(fd, end, pages)
        self.path = path
        self.file_end = file_end
        self.disk = disk
        self.limits = limits
        self.protected = end  # what a reader may look at: below it, only pages in memory change
        self.error: BaseException | None = None
        self.waiting = False  # for readers to go, a commit that only the journal has
        if pages:
            self._apply(self.limits.patience)
        else:
            clear_journal(path, disk)
        disk.truncate(fd, end)

    def write(self, data: bytes | memoryview) -> int:
        """Never raises: HDF5 goes wrong on exceptions out of a callback; `error` keeps it."""
        view = memoryview(data).cast("B")
        try:
            self._write(view, self.position)
        except BaseException as error:
            self.discard(error)
            self._write(view, self.position)
        self.position += len(view)
        self.end = max(self.end, self.position)
        return len(view)

    def truncate(self, size: int) -> int:
        """HDF5 trims or extends the file to `size` bytes; committed bytes stay for `commit`."""
        if self.error is None:
            try:
                self.disk.truncate(self.fd, max(size, self.protected))
            except BaseException as error:
                self.discard(error)
        self.end = size
        return size

    def check(self) -> None:
        """Raise the error that an earlier write met, if any."""
        if self.error is not None:
            raise self.error

    def commit(self) -> None:
        """Make everything written so far the file's state; on return it is durable.

        Raises:
            OSError: the disk is full or failed, now or in an earlier write; the file's state
                is the one before, or, if the journal was complete by then, the one after.
        """
        self.check()
        try:
            self.disk.fsync(self.fd)
            if self.pages:
                before, after = self.file_end(file_head(self.fd)), self.file_end(self._head())
                write_journal(self.path, pack(before, after, self.pages, self.fd), self.disk)
                self.protected = max(self.protected, self.end)
                self._apply(self.limits.patience)
        except BaseException as error:
            self.discard(error)
            raise
        self.protected = max(self.protected, self.end)

    def finish(self) -> None:
        """Drop what is not committed; give a commit that still waits a last chance.

        If that fails too, the next writer applies it.
        """
        failed = self.error is not None
        self.discard()
        if self.waiting and not failed:
            pages, _ = pending_pages(self.path, self.fd, self.file_end)
            apply_pages(self.path, self.fd, pages, self.disk, self.limits.last_patience)

    def discard(self, error: BaseException | None = None) -> None:
        """Let nothing more through to the file; `error` is what `commit` raises from now on.

        HDF5 goes on writing, at the latest when it closes the file. That goes to memory, so
        the library finds what it wrote and the file does not change.
        """
        if self.error is None:
            self.error = error or ValueError("this file's changes were discarded")
            self.protected = _EVERYTHING

    def _apply(self, patience: float) -> None:
        self.waiting = not apply_pages(self.path, self.fd, self.pages, self.disk, patience)
        if not self.waiting:
            self.pages = {}

    def _head(self) -> bytes:
        position, self.position = self.position, 0
        head = self.read(HEAD_BYTES)
        self.position = position
        return head

    def _write(self, view: memoryview, position: int) -> None:
        below = max(0, min(len(view), self.protected - position))
        if below < len(view):
            self.disk.pwrite(self.fd, view[below:], position + below)
        done = 0
        while done < below:
            number, start = divmod(position + done, PAGE)
            page = self._page(number)
            size = min(below - done, len(page) - start)
            page[start : start + size] = view[done : done + size]
            done += size

    def _page(self, number: int) -> bytearray:
        """The page in memory, at first with the file's bytes; it ends at the protected end."""
        page = self.pages.setdefault(number, bytearray())
        missing = min(PAGE, self.protected - number * PAGE) - len(page)
        if missing > 0:
            more = bytearray(missing)
            pread_into(self.fd, memoryview(more), number * PAGE + len(page))
            page += more
        return page
