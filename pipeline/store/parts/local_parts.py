"""Keeps whole parts of a bucket in a local folder, for searches that come again."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from ...atomic import atomic_write
from ...errors import StorageError
from ...objects import ObjectStore, is_url

CACHE_VARIABLE = "VISIL_INDEX_CACHE_DIR"  # of the environment; names the folder
_RANGE_BYTES = 64 << 20


class RangeReader(Protocol):
    """What ranges of parts are read from."""

    def get_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """See `ObjectStore`."""


def part_reader(objects: ObjectStore, size_of: Callable[[str], int]) -> RangeReader:
    """Where parts are read from: the folder that the environment names, for those of a bucket.

    Args:
        size_of: bytes of a part, by its name.
    """
    folder = os.environ.get(CACHE_VARIABLE, "")
    if not folder or not is_url(objects.root):
        return objects
    return LocalParts(objects, Path(folder), size_of)


class LocalParts:
    """Parts of a bucket, each fetched once. A part never changes, so a copy is never out of date.

    A copy has its SHA-256 in a file beside it. Both are compared once in each process, and a copy
    that does not fit is fetched again.

    Args:
        objects: the bucket.
        folder: of the copies; is made when the first one is.
        size_of: see `part_reader`.
    """

    def __init__(self, objects: ObjectStore, folder: Path, size_of: Callable[[str], int]) -> None:
        self._objects, self._size_of = objects, size_of
        self._folder = folder / hashlib.sha256(str(objects.root).encode()).hexdigest()[:16]
        self._checked: set[str] = set()
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}  # by part: several are fetched at a time

    def get_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """See `ObjectStore`.

        Raises:
            StorageError: the bucket cannot be reached, or the folder cannot be written.
        """
        path = self._folder / Path(name).name
        with self._lock:
            lock = self._locks.setdefault(name, threading.Lock())
        try:
            with lock:
                if name not in self._checked and not _fits(path, self._size_of(name)):
                    self._fetch(name, path)
                self._checked.add(name)
            with open(path, "rb") as file:
                found = []
                for start, stop in ranges:
                    file.seek(start)
                    found.append(memoryview(file.read(stop - start)))
                return found
        except OSError as error:
            raise StorageError(
                f"{path}: {error.strerror or error}; make room and allow writing there, or unset "
                f"{CACHE_VARIABLE}"
            ) from error

    def _fetch(self, name: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        size, digest = self._size_of(name), hashlib.sha256()
        with atomic_write(path) as file:
            for start in range(0, size, _RANGE_BYTES):
                span = start, min(start + _RANGE_BYTES, size)
                (data,) = self._objects.get_ranges(name, [span])
                if len(data) != span[1] - start:
                    raise StorageError(f"{self._objects.root}/{name}: shorter than its log says")
                digest.update(data)
                file.write(data)
        with atomic_write(_digest_path(path)) as file:
            file.write(digest.hexdigest().encode())


def _digest_path(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _fits(path: Path, size: int) -> bool:
    """Whether there is a whole copy."""
    try:
        if path.stat().st_size != size:
            return False
        expected = _digest_path(path).read_text(encoding="ascii", errors="replace")
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == expected
    except FileNotFoundError:
        return False
