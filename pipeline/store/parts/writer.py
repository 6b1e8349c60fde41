"""Adds to a store of sealed parts; any number of writers at once, on any machines."""

from __future__ import annotations

import json
import secrets
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import StorageError, StoreError
from ...objects import TEMPORARY, ObjectStore, is_url, open_objects
from ...records import VideoRecord
from ...scratch import scratch_folder
from ..disk import Disk
from ..header import Header
from ..interrupts import interrupts_held
from ..limits import LIMITS, Limits
from ..locks import WriterLock
from ..manifest import Entry
from ..video_writer import VideoWriter
from ..writer import StoreWriter
from .log import (
    CHECKPOINT_ENTRIES,
    CHECKPOINTS,
    HEADER,
    LOG,
    PARTS,
    Part,
    entry_data,
    entry_name,
    load,
    read_tail,
    write_checkpoint,
)
from .reader import parts_header

if TYPE_CHECKING:
    from ..hdf5 import Hdf5Writer

# A part is sealed once it has so many videos or bytes, or so long after its first video.
SEALED_VIDEOS, SEALED_BYTES, SEALED_SECONDS = 64, 256 << 20, 300.0
# An uploaded part that waits longer for its log entry could be taken for an orphan.
_UPLOAD_SECONDS = 3600.0
# The last is the candidate index, see `candidates.bucket_index`.
_OWN = (HEADER, TEMPORARY, f"{PARTS}/", f"{LOG}/", f"{CHECKPOINTS}/", "candidates/")


_checked: set[str] = set()  # stores whose servers are known to refuse a second put


def _require_conditions(path: Path, objects: ObjectStore) -> None:
    """Refuse a server that puts an object although there is one; once in each process.

    What is put is the header as it is there, so nothing changes where it is put.

    Raises:
        StoreError: the server does.
    """
    if str(path) in _checked:
        return
    data = objects.get(HEADER)
    if data is not None and objects.put_if_absent(HEADER, data):
        raise StoreError(
            f"{path}: this object storage replaces objects although it is told not to "
            "(If-None-Match: *), so writers could lose each other's videos without a word; no "
            "video was stored; use a server that knows such conditions, or a folder (--store "
            "NAME.parts)"
        )
    _checked.add(str(path))


@dataclass(frozen=True)
class _Pending:
    """A line of the next log entry."""

    op: str
    id: str
    line: str


class _NoLock:
    """Nothing is locked: the log decides."""

    def release(self) -> None:
        """Do nothing."""


class PartsWriter(StoreWriter):
    """See `StoreWriter`. Several may be open at once; `superseded` names what others stored first.

    Finished videos are in a part on the local disk. It is sealed after some videos, megabytes or
    minutes, or at the end: then it is uploaded and committed by one log entry.

    Args:
        name: of the job and the shard, for the names of parts.
        sealed_videos: a part is sealed with so many.
    """

    def __init__(
        self,
        path: Path,
        limits: Limits = LIMITS,
        objects: ObjectStore | None = None,
        name: str = "",
        *,
        sealed_videos: int = SEALED_VIDEOS,
    ) -> None:
        self._objects = objects or open_objects(path)
        header = parts_header(path, self._objects)
        if is_url(path):
            _require_conditions(path, self._objects)
        self._state = load(self._objects)
        self._state.check(header.row_bytes)
        self._stack = ExitStack()
        self._scratch = self._stack.enter_context(scratch_folder())
        self._name = name or f"{secrets.token_hex(4)}-0"
        self._sealed_videos = sealed_videos
        self._part: Hdf5Writer | None = None
        self._part_path = Path()
        self._pending: list[_Pending] = []
        self._part_bytes, self._part_begin = 0, 0.0
        self._foreign_puts: set[str] = set()  # ids in entries of others since this was opened
        self._foreign_lines: set[str] = set()
        super().__init__(path, _NoLock(), header, self._state.index.copy(), limits)
        self._spool_folder = Path(self._scratch)

    @staticmethod
    def create(path: Path, header: Header, objects: ObjectStore | None = None) -> None:
        """Put the header of a new store, unless somebody did it just now.

        Raises:
            StoreError: something else is there, or the folder that it is to be in is not.
        """
        objects = objects or open_objects(path)
        if not is_url(path) and not path.parent.is_dir():
            raise StoreError(f"{path}: cannot be made; a new store needs an existing folder")
        foreign = [i for i in objects.list("") if not i.name.startswith(_OWN)]
        if foreign:
            raise StoreError(
                f"{path}: holds {foreign[0].name} and is no store; choose an empty or a new folder"
            )
        objects.put_if_absent(HEADER, json.dumps(header.as_json(), indent=1).encode())

    def commit(self, *, more_follows: bool = False) -> list[str]:
        """See `StoreWriter`."""
        if self._lines and more_follows and not self._is_full():
            return []
        with interrupts_held():
            done = super().commit()
        lost = set(self.superseded)
        return [video_id for video_id in done if video_id not in lost]

    def _is_full(self) -> bool:
        return (
            len(self._pending) >= self._sealed_videos
            or self._part_bytes >= SEALED_BYTES
            or time.monotonic() - self._part_begin >= SEALED_SECONDS
        )

    def _commit(self, group: bytes) -> None:
        """Upload the part and put the log entry; `group` is what a single writer would append."""
        attempt = secrets.token_hex(8)
        path, self._part = self._close_part(), None
        self._refresh(attempt)
        part = Part(0, attempt, "", 0, time.time())
        uploaded = time.monotonic()
        if path is not None and any(pending.op == "put" for pending in self._kept()):
            name = f"{PARTS}/{self._name}-{attempt}.h5"
            self._objects.put_file(name, path)
            part = Part(0, attempt, name, path.stat().st_size, time.time())
        self._put_entry(part, uploaded)
        if path is not None:
            path.unlink()
        self._pending = []
        self._index = self._state.index.copy()
        if self._state.last - self._state.checkpoint >= CHECKPOINT_ENTRIES:
            write_checkpoint(self._objects, self._state)

    def _put_entry(self, part: Part, uploaded: float) -> None:
        """Put the log entry with what no other writer did first.

        The check and the put are one step: the number is free only if nobody committed since the
        log was read.
        """
        while True:
            kept = self._kept()
            if not kept:
                if part.name:  # no entry names it: nobody can need it
                    self._objects.delete(part.name)
                return
            if time.monotonic() - uploaded > _UPLOAD_SECONDS:
                raise StoreError(
                    f"{self.path}: {part.name} waited too long for its log entry and may have been "
                    "swept; run the same command again"
                )
            part = Part(self._state.last + 1, part.attempt, part.name, part.size, time.time())
            lines = [pending.line for pending in kept]
            if self._put(part, lines):
                return

    def _put(self, part: Part, lines: list[str]) -> bool:
        """Put one entry; False if its number was taken by another writer."""
        data = entry_data(part, lines)
        try:
            free = self._objects.put_if_absent(entry_name(part.number), data)
        except StorageError:
            # The connection broke: the server may hold the entry nevertheless.
            if self._refresh(part.attempt):
                return True
            raise
        if free:
            self._state.apply(part, lines)
            return True
        # Also the answer to a second try of our own put, when the first answer was lost.
        return self._refresh(part.attempt)

    def _refresh(self, attempt: str) -> bool:
        """Take in what others committed since; whether an entry is our own `attempt`."""
        own = False
        for part, applied in read_tail(self._objects, self._state):
            if part.attempt == attempt:
                own = True
                continue
            for done in applied:
                self._foreign_lines.add(done.id)
                if done.op != "fail":
                    self._foreign_puts.add(done.id)
        return own

    def _kept(self) -> list[_Pending]:
        """The lines that still hold; a video that another writer put or removed is left to it."""
        kept = []
        for pending in self._pending:
            taken = self._foreign_puts if pending.op == "put" else self._foreign_lines
            if pending.id not in taken:
                kept.append(pending)
            elif pending.id not in self.superseded:
                self.superseded.append(pending.id)
        return kept

    def _finish(self, video: VideoWriter, note: str) -> VideoRecord:
        with interrupts_held():  # half a change would keep the rest from being sealed
            return super()._finish(video, note)

    def _store(self, key: str, video: VideoWriter) -> tuple[int, tuple[int, ...]]:
        if self._part is None:
            self._part = self._open_part()
        self._part_bytes += video.frames * self.header.row_bytes
        return self._part._store(key, video)

    def _log(self, line: str) -> None:
        if not self._pending:
            self._part_begin = time.monotonic()
        applied = self._index.apply(line)
        self._lines.append(line)
        self._pending.append(_Pending(applied.op, applied.id, line))
        if applied.op == "put" and self._part is not None:
            self._part._log(line)

    def _open_part(self) -> Hdf5Writer:
        from ..hdf5 import Hdf5Writer

        self._part_path = Path(self._scratch) / "part.h5"
        lock = WriterLock(self._part_path)
        Hdf5Writer.create(self._part_path, self.header, Disk())
        self._part_bytes = 0
        return Hdf5Writer(self._part_path, lock, Disk(), self._limits)

    def _close_part(self) -> Path | None:
        if self._part is None:
            return None
        self._part.close()
        return self._part_path

    def _retire(self, entry: Entry) -> None:
        """Nothing is to do: the part stays as it is, and the log says what counts."""

    def _release(self) -> None:
        try:
            if self._part is not None:
                self._part.close()
        finally:
            self._stack.close()
