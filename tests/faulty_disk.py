"""A disk that stops the world at a chosen step, and may forget what was not synced by then."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

from pipeline.store.disk import Disk

Undo = Callable[[], None]


class Crash(BaseException):
    """The process is dead; nothing it does from now on has any effect."""


class FaultyDisk(Disk):
    """Counts steps, and crashes at number `at`.

    Args:
        at: the step to crash in, from 0; -1 never crashes.
        torn: do the first half of a write before crashing in it.
        power: forget, at the crash, a random part of what was not synced: writes in any
            order, names from the last one backwards.
        seed: of that randomness.
    """

    def __init__(
        self, at: int = -1, torn: bool = False, power: bool = False, seed: int = 0
    ) -> None:
        self.at = at
        self.torn = torn
        self.power = power
        self.steps = 0
        self.dead = False
        self._random = random.Random(seed)
        self._writes: dict[int, list[Undo]] = {}
        self._names: list[Undo] = []

    def pwrite(self, fd: int, data: bytes | bytearray | memoryview, offset: int) -> None:
        data = bytes(data)
        undo = _undo_write(fd, len(data), offset)
        self._writes.setdefault(_inode(fd), []).append(undo)
        if self._reached():
            if self.torn:
                super().pwrite(fd, data[: len(data) // 2], offset)
            self._crash()
        super().pwrite(fd, data, offset)

    def truncate(self, fd: int, size: int) -> None:
        old = os.fstat(fd).st_size
        self._writes.setdefault(_inode(fd), []).append(_undo_write(fd, max(0, old - size), size))
        self._step()
        super().truncate(fd, size)

    def fsync(self, fd: int) -> None:
        self._step()
        self._writes.pop(_inode(fd), None)

    def replace(self, source: Path, target: Path) -> None:
        self._step()
        old = target.read_bytes() if target.is_file() else None

        def undo() -> None:
            os.replace(target, source)
            if old is not None:
                target.write_bytes(old)

        super().replace(source, target)
        self._names.append(undo)

    def unlink(self, path: Path) -> None:
        self._step()
        if path.exists():
            old = path.read_bytes()
            self._names.append(lambda: _write(path, old))
        super().unlink(path)

    def sync_path(self, path: Path) -> None:
        self._step()
        if path.is_dir():
            self._names.clear()

    def _step(self) -> None:
        if self._reached():
            self._crash()

    def _reached(self) -> bool:
        if self.dead:
            raise Crash
        self.steps += 1
        return self.steps - 1 == self.at

    def _crash(self) -> None:
        self.dead = True
        if self.power:
            for undos in self._writes.values():
                for undo in reversed(undos):
                    if self._random.random() < 0.5:
                        undo()
            for undo in self._names[::-1][: self._random.randint(0, len(self._names))]:
                undo()
        raise Crash


def _undo_write(fd: int, length: int, offset: int) -> Undo:
    size = os.fstat(fd).st_size
    # Files opened for writing only are new ones: nothing to put back but their length.
    old = os.pread(fd, length, offset) if offset < size else b""

    def undo() -> None:
        os.pwrite(fd, old, offset)
        os.ftruncate(fd, size)

    return undo


def _inode(fd: int) -> int:
    return os.fstat(fd).st_ino


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
