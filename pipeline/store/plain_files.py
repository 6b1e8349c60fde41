"""Files of a store and beside it, opened so that no link leads to somebody else's file."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from ..atomic import O_BINARY
from ..errors import StoreError
from .disk import O_NONBLOCK

_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)  # not on Windows; links there need rights of their own


def open_regular(path: Path, flags: int) -> int:
    """A descriptor of the regular file at `path`, which may be a link; OSError if there is none.

    Raises:
        StoreError: it is a pipe, a device or the like.
    """
    fd = os.open(path, flags | O_BINARY | O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise StoreError(f"{path}: no regular file; give the path of a feature store")
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_own(path: Path, flags: int) -> int:
    """A descriptor of a file that a store consists of, or keeps beside it; it is made with 0644.

    Raises:
        OSError: none is there, or it cannot be opened.
        StoreError: it is a symbolic link, or no plain file; nothing was changed.
    """
    try:
        fd = os.open(path, flags | O_BINARY | O_NONBLOCK | _NO_LINKS, 0o644)
    except OSError as error:
        if path.is_symlink() or error.errno in (errno.ENXIO, errno.EISDIR):
            raise foreign(path) from error
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise foreign(path)
    return fd


def open_beside(path: Path, flags: int) -> int:
    """Open as `open_own` does, but no file with a second name for writing.

    Copies of a whole store made of second names are usual; beside a store one is somebody's file.
    """
    fd = open_own(path, flags)
    # No name at all is one just removed.
    if os.fstat(fd).st_nlink > 1 and flags & (os.O_RDWR | os.O_WRONLY):
        os.close(fd)
        raise foreign(path)
    return fd


def beside(store: Path, suffix: str) -> Path:
    """The path of a store's own name and `suffix`; of its target where `store` is a link.

    One store has one lock and one journal, under whatever name it is opened.
    """
    file = Path(os.path.realpath(store)) if store.is_symlink() else store
    return file.with_name(file.name + suffix)


def linked(path: Path) -> StoreError:
    """The error for a symbolic link where a writer would write, in a store or beside it."""
    return StoreError(
        f"{path}: a symbolic link; nothing is written through links in a store or beside it, and "
        "where it leads to was left alone: remove the link, or put what it leads to in its place"
    )


def in_the_way(path: Path) -> StoreError:
    """The error for something foreign where a new store is put together."""
    return StoreError(
        f"{path}: in the way of making a store, and not the rest of such an attempt; move it "
        "away or delete it, then run the same command again"
    )


def foreign(path: Path) -> StoreError:
    """The error for a link, a pipe or the like where a store keeps a file of its own."""
    return StoreError(
        f"{path}: a link or no plain file where this program keeps its own (a symbolic link is not "
        "followed); nothing was changed. See where it leads, then remove it"
    )
