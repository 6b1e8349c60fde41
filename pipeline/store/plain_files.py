"""Files of a store and beside it, opened so that no link leads to somebody else's file."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from ..errors import StoreError
from .disk import O_BINARY

# Windows has neither; its links need rights that uploads do not have. Without O_NONBLOCK the open
# of a named pipe waits for its other end.
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)


def open_regular(path: Path, flags: int) -> int:
    """A descriptor of the regular file at `path`, which may be a link; OSError if there is none.

    Raises:
        StoreError: it is a pipe, a device or the like.
    """
    fd = os.open(path, flags | O_BINARY | _NO_WAIT)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise StoreError(f"{path}: no regular file; give the path of a feature store")
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_beside(path: Path, flags: int) -> int:
    """A descriptor of a file that this program keeps beside a store; it is made with 0644.

    Raises:
        OSError: none is there, or it cannot be opened.
        StoreError: it is a link, or no file of this program's; nothing was changed.
    """
    try:
        fd = os.open(path, flags | O_BINARY | _NO_LINKS | _NO_WAIT, 0o644)
    except OSError as error:
        if path.is_symlink() or error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise _foreign(path) from error
        raise
    found = os.fstat(fd)
    # A second name of somebody's file is a link as well; no name at all is one just removed.
    if not stat.S_ISREG(found.st_mode) or (
        found.st_nlink > 1 and flags & (os.O_RDWR | os.O_WRONLY)
    ):
        os.close(fd)
        raise _foreign(path)
    return fd


def beside(store: Path, suffix: str) -> Path:
    """The path of a store's own name and `suffix`; of its target where `store` is a link.

    One store has one lock and one journal, under whatever name it is opened.
    """
    file = Path(os.path.realpath(store)) if store.is_symlink() else store
    return file.with_name(file.name + suffix)


def _foreign(path: Path) -> StoreError:
    return StoreError(
        f"{path}: a link or no plain file where this program keeps its own; nothing was changed. "
        "See where it leads, then remove it"
    )
