"""Who may write: a lock file beside the store; and short locks while an index is read.

The operating system drops these locks when their process ends, however it ends, so a lock
file left behind by a killed writer is no obstacle.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from ..errors import StoreError, StoreLockedError
from .plain_files import beside, open_beside

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# What file systems say that have no locks: ENOSYS, EOPNOTSUPP, ENOTSUPP of NFS (no name in
# `errno`), and ENOLCK, EINVAL.
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, 524, errno.ENOLCK, errno.EINVAL)


class WriterLock:
    """The right to write to one store; the file `<store>.lock` while it is held.

    Raises:
        StoreLockedError: another process, or another writer in this one, holds it.
        StoreError: the lock file cannot be made here.
    """

    def __init__(self, store: Path) -> None:
        self.path = beside(store, ".lock")
        self._fd = self._acquire(store)
        # A full disk has no room for it: the lock holds all the same, and what is written to the
        # store next says what is wrong.
        with suppress(OSError):
            os.ftruncate(self._fd, 0)
            os.write(self._fd, f"{os.getpid()} {socket.gethostname()}\n".encode())

    def _acquire(self, store: Path) -> int:
        while True:
            try:
                fd = open_beside(self.path, os.O_RDWR | os.O_CREAT)
            except OSError as error:
                raise StoreError(
                    f"{store}: cannot make the lock file beside it ({error.strerror}); "
                    "writing needs an existing folder with write permission"
                ) from error
            if not _try_lock(fd, store):
                holder = os.read(fd, 200).decode(errors="replace").split()
                os.close(fd)
                raise StoreLockedError(_locked_message(store, holder))
            if _is_file_at(fd, self.path):
                return fd
            os.close(fd)  # its holder removed it between our open and our lock: once more

    def release(self) -> None:
        """Give the right back. Does nothing the second time."""
        if self._fd >= 0:
            if os.name != "nt":  # removed while still held, so nobody can lock a dead file
                self.path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1


def lock_shared(fd: int) -> None:
    """Wait until no writer is changing what this open file holds; `unlock` or close ends it.

    Where the file system has no locks, a reader goes on without: it may then have to be
    started again, but can do no harm.
    """
    if fcntl is not None:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise


def lock_exclusive(fd: int, patience: float) -> bool:
    """Keep readers out of this open file; False if one is there for `patience` seconds.

    Raises:
        StoreError: this file system has no locks.
    """
    deadline = time.monotonic() + patience
    while fcntl is not None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.005)
        except OSError as error:
            raise _no_locks("the store", error) from error
    return True


def unlock(fd: int) -> None:
    """End `lock_shared` or `lock_exclusive`; nothing to do where there are no locks."""
    if fcntl is not None:
        try:
            fcntl.flock(fd, fcntl.LOCK_UN)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise


def _try_lock(fd: int, store: Path) -> bool:
    try:
        if fcntl is not None:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            # A byte far behind the text: Windows forbids others to read a locked byte.
            os.lseek(fd, 4096, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
            os.lseek(fd, 0, os.SEEK_SET)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            os.lseek(fd, 0, os.SEEK_SET)
            return False
        os.close(fd)
        raise _no_locks(str(store), error) from error
    return True


def _no_locks(name: str, error: OSError) -> StoreError:
    return StoreError(
        f"{name}: this file system cannot lock files ({error.strerror}), so two writers could "
        "destroy the store; write it on a local disk and copy it here, or mount this one with locks"
    )


def _is_file_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _locked_message(store: Path, holder: list[str]) -> str:
    who = f"process {holder[0]} on {holder[1]}" if len(holder) == 2 else "another process"
    return (
        f"{store}: {who} is writing to it; wait until that is done, or stop it "
        "(what it has committed stays)"
    )
