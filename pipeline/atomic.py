"""Files that are replaced as a whole: whoever opens one sees the old content or all of the new."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

O_BINARY = getattr(os, "O_BINARY", 0)


@contextmanager
def atomic_write(path: Path, mode: str = "wb", **options: Any) -> Iterator[IO[Any]]:
    """Open a new file that takes the place of `path` when the block ends without an error.

    The content is on disk before it gets the name. After an error the old file is as it was, and
    no other file is left; only a killed process leaves a hidden file that ends in `.tmp`. A link
    at `path` is replaced, not followed.

    Args:
        path: file in an existing folder.
        mode, options: as for `open`: "wb", or "w" with an encoding.

    Raises:
        OSError: the file cannot be written.
    """
    # A name that nobody can guess, opened so that no link is followed: others may write here, too.
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | O_BINARY, 0o666)
    try:
        with open(descriptor, mode, **options) as file:
            yield file
            file.flush()
            sync_file(descriptor)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    # A folder may be writable but not readable, and some file systems cannot sync one. The file
    # is whole all the same; a power failure right now could bring the old one back.
    with suppress(OSError):
        sync_path(path.parent)


def sync_file(descriptor: int) -> None:
    """Return when the content of an open file would survive a power failure."""
    try:
        import fcntl

        full = fcntl.F_FULLFSYNC  # type: ignore[attr-defined]  # macOS: fsync stops at the drive's cache
    except (ImportError, AttributeError):
        os.fsync(descriptor)
    else:
        fcntl.fcntl(descriptor, full)


def sync_path(path: Path) -> None:
    """Sync a file by name, or a folder: then the names in it are durable, too."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open a folder; NTFS journals names by itself
    # Windows flushes only what is open for writing.
    descriptor = os.open(path, (os.O_RDWR if os.name == "nt" else os.O_RDONLY) | O_BINARY)
    try:
        sync_file(descriptor)
    finally:
        os.close(descriptor)
