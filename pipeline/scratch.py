"""Temporary files, and the error where there is no room for them."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from .errors import PipelineError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_PREFIX = "visil-index-"
_LOCK = ".in-use"  # a file in a folder, locked as long as the process that made it lives
_OLD_SECONDS = 24 * 3600


def scratch_file() -> IO[bytes]:
    """Open a file without a name, which is deleted when it is closed.

    Raises:
        PipelineError: no temporary folder can be written to.
    """
    with _named_errors():
        return tempfile.TemporaryFile()


@contextmanager
def scratch_folder() -> Iterator[str]:
    """Make a folder that is removed with its content at the end of the block.

    Folders of processes that were killed more than a day ago are removed first.

    Raises:
        PipelineError: no temporary folder can be written to.
    """
    with _named_errors():
        folder = tempfile.TemporaryDirectory(prefix=_PREFIX)
    with folder as path:
        with _named_errors():
            lock = os.open(os.path.join(path, _LOCK), os.O_CREAT | os.O_WRONLY)
        try:
            _lock(lock)
            _remove_left_over(os.path.dirname(path))
            yield path
        finally:
            os.close(lock)


def _lock(file: int) -> bool:
    """Lock a file until it is closed, as it is when its process dies; False if another one has it.

    A process id would not tell: it may be another process's by now, or one in another container.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_left_over(parent: str) -> None:
    """Remove this user's old folders that no process has locked."""
    if fcntl is None:
        return
    begin = time.time() - _OLD_SECONDS
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            # Whatever cannot be looked at or removed stays: another process may be at it, too.
            with suppress(OSError):
                if entry.name.startswith(_PREFIX) and entry.is_dir(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    if status.st_mtime < begin and status.st_uid == os.getuid():
                        _remove_unlocked(entry.path)


def _remove_unlocked(folder: str) -> None:
    with open(os.path.join(folder, _LOCK), "rb") as lock:
        if _lock(lock.fileno()):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _named_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PipelineError(
            f"cannot make a temporary file: {error.strerror or error}; set the environment "
            "variable TMPDIR to a folder that can be written to and has room"
        ) from error
