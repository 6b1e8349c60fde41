"""Feature store in a Zarr v3 directory; each array lies in as few files as can be.

    zarr.json              root group; attribute "store": the header
    features/KEY/zarr.json array as `pipeline.quantization` keeps it; attributes "id", "seconds"
    features/KEY/c.K.0.0   its K-th chunk, raw little-endian bytes; a short video has one
    manifest/zarr.json     an empty array, so that Zarr tools take the folder for their own
    manifest/log.jsonl     the log of `manifest.py`
    manifest/seal          how much of it there is at least, see `seal.py`
    manifest/unfinished.jsonl  keys that a writer has begun; only while or after it worked

An array is written under a key that no record has ever named, synced, and only then named in
the log. What was replaced, removed or begun by a killed writer is deleted by the next writer,
unless a reader is there. The next writer also deletes temporary files of the Zarr library. What
neither the log nor `unfinished.jsonl` has ever named is otherwise left alone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import O_BINARY
from .base import FeatureStore
from .checks import strict_json
from .disk import O_NONBLOCK, Disk, advise_reads, pread_into
from .header import Header, named_errors
from .keys import printable
from .limits import LIMITS, Limits
from .locks import WriterLock, lock_exclusive, lock_shared, unlock
from .manifest import Entry, Index, parse
from .plain_files import open_own
from .video_writer import VideoWriter
from .writer import StoreWriter
from .zarr_layout import (
    SealFile,
    Unfinished,
    create_folder,
    load_header,
    load_seal,
    log_path,
    read_log,
    read_text,
    remove_temporary_files,
    require_no_links,
    unfinished_keys,
)

_SYNC_THREADS = 16
_METADATA_BYTES = 1 << 20, 64  # at most: of an array's zarr.json, and more for each frame
_OPEN_FLAGS = os.O_RDONLY | O_BINARY | O_NONBLOCK
_NAMED = 5  # unknown arrays whose names a note lists


class ZarrStore(FeatureStore):
    """See `FeatureStore`. Needs no Zarr library: chunks are read as the plain files they are."""

    def __init__(self, path: Path, limits: Limits = LIMITS) -> None:
        with named_errors(path):
            header = load_header(path)
            self._log = os.open(log_path(path), _OPEN_FLAGS)
            try:
                lock_shared(self._log)  # held until close: keeps writers from clearing up
                index, _ = _load_index(path, header, self._log)
            except BaseException:
                os.close(self._log)
                raise
        self._features = f"{os.path.abspath(path)}/features"
        super().__init__(path, header, index, limits)

    def close(self) -> None:
        if self._log >= 0:
            os.close(self._log)
            self._log = -1

    def prefetch(self, wanted: Iterable[tuple[str, int, int]]) -> None:
        """Ask the system to read these soon: several files at a time."""
        for video_id, start, stop in wanted:
            entry = self._entry(video_id)
            size = self._header.row_bytes * entry.rows
            first, last = start * self._header.row_bytes, stop * self._header.row_bytes
            for chunk in range(first // size, -(-last // size)):
                begin, end = max(first, chunk * size), min(last, (chunk + 1) * size)
                # A file that is gone is told of when it is read.
                with suppress(OSError):
                    _advise_part(self._chunk(entry, chunk), begin - chunk * size, end - begin)

    def _chunk(self, entry: Entry, number: int) -> str:
        return f"{self._features}/{entry.key}/c.{number}.0.0"

    def _read_rows(self, entry: Entry, start: int, buffer: memoryview) -> int:
        size, done = self._header.row_bytes * entry.rows, 0
        position = start * self._header.row_bytes
        while done < len(buffer):
            chunk, offset = divmod(position + done, size)
            part = buffer[done : done + size - offset]
            if _read_part(self._chunk(entry, chunk), part, offset) < len(part):
                break
            done += len(part)
        return done

    def _read_seconds(self, entry: Entry) -> np.ndarray:
        return np.array(self._metadata(entry)["attributes"]["seconds"], "<f8")

    def _metadata(self, entry: Entry) -> dict[str, Any]:
        fixed, per_frame = _METADATA_BYTES
        file = f"{self._features}/{entry.key}/zarr.json"
        value: dict[str, Any] = strict_json(read_text(file, fixed + per_frame * entry.frames))
        return value

    def _check_layout(self) -> list[str]:
        results = ((video_id, self._check_video(e)) for video_id, e in self._index.videos.items())
        problems = [f"{video_id}: {problem}" for video_id, problem in results if problem]
        return problems + self._check_unknown()

    def _check_unknown(self) -> list[str]:
        try:
            names = _array_names(self.path)
        except OSError as error:
            return [f"the folder features cannot be read ({error})"]
        # In this order: a writer at work notes a key before it makes the array.
        unknown = names - set(self._index.keys) - unfinished_keys(self.path)
        return [f"array features/{name} is not in the manifest" for name in sorted(unknown)]

    def _check_video(self, entry: Entry) -> str:
        try:
            value = self._metadata(entry)
            chunk = value["chunk_grid"]["configuration"]["chunk_shape"]
            same = (value["shape"], value["data_type"], chunk) == (
                [entry.frames, *self._frame_shape],
                self.dtype.name,
                [entry.rows, *self._frame_shape],
            )
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            return f"array features/{entry.key} cannot be read ({error})"
        return "" if same else f"array features/{entry.key} is not what the manifest says"


def zarr_header(path: Path) -> Header:
    """Read the header alone; the manifest may be long."""
    with named_errors(path):
        return load_header(path)


class ZarrWriter(StoreWriter):
    """See `StoreWriter`; `lock` is held already."""

    def __init__(self, path: Path, lock: WriterLock, disk: Disk, limits: Limits = LIMITS) -> None:
        import zarr  # late: readers do without, and it takes a while

        with named_errors(path):
            require_no_links(path)
            header = load_header(path)
            self._log_fd = open_own(log_path(path), os.O_RDWR)
            try:
                index, self._log_size = _load_index(path, header, self._log_fd)
                self._unfinished = Unfinished(path)
                if self._log_size < os.fstat(self._log_fd).st_size:
                    disk.truncate(self._log_fd, self._log_size)
                self._group = zarr.open_group(path / "features", mode="r+", zarr_format=3)
                self._seal = SealFile(path, disk)
            except BaseException:
                os.close(self._log_fd)
                raise
        self._disk = disk
        self._unsynced: list[str] = []
        super().__init__(path, lock, header, index, limits)
        with named_errors(path):
            remove_temporary_files(path)
        names = set(os.listdir(path / "features"))
        self._note_unknown()
        self._collect_garbage(names)
        # What a killed writer left is still there if a reader is: its names are not free.
        for name in names:
            self._keys.note(name)

    @staticmethod
    def create(path: Path, header: Header, disk: Disk) -> None:
        """Make an empty store, visible only when it is whole; the caller holds its lock."""
        temporary = path.with_name(path.name + ".new")
        with named_errors(path):
            create_folder(temporary, header)
            for file in sorted(temporary.rglob("*"), reverse=True):
                disk.sync_path(file)
            disk.sync_path(temporary)
            disk.install(temporary, path)

    def _store(self, key: str, video: VideoWriter) -> tuple[int, tuple[int, ...]]:
        rows = _chunk_rows(video.frames, self.header.row_bytes, self._limits)
        tail = self.header.row_shape
        self._unfinished.add(key)
        array = self._group.create_array(
            key,
            shape=(video.frames, *tail),
            chunks=(rows, *tail),
            dtype=self.dtype,
            filters=None,
            compressors=None,
            chunk_key_encoding={"name": "default", "separator": "."},
            attributes={"id": printable(video.id), "seconds": video.seconds.tolist()},
            config={"write_empty_chunks": True},
        )
        for start, slab in video.slabs(rows):
            array[start : start + len(slab)] = slab
        self._unsynced.append(key)
        return rows, ()

    def _retire(self, entry: Entry) -> None:
        """The log alone tells; the files go when a writer finds no reader there."""

    def _commit(self, group: bytes) -> None:
        if self._unsynced:
            # Many at once: the file system then makes them durable together.
            with ThreadPoolExecutor(_SYNC_THREADS) as pool:
                list(pool.map(self._sync_array, self._unsynced))
            self._disk.sync_path(self.path / "features")
        self._disk.pwrite(self._log_fd, group, self._log_size)
        self._disk.fsync(self._log_fd)
        self._log_size += len(group)
        self._index.seal = self._index.seal.after(group)
        self._seal.write(self._index.seal)
        self._unsynced = []

    def _sync_array(self, key: str) -> None:
        folder = self.path / "features" / key
        for file in folder.iterdir():
            self._disk.sync_path(file)
        self._disk.sync_path(folder)

    def _release(self) -> None:
        try:
            if self._error is None:
                self._collect_garbage()
        finally:
            self._unfinished.close()
            self._seal.close()
            os.close(self._log_fd)

    def _note_unknown(self) -> None:
        """Arrays that no writer's record names: of a damaged manifest, or put there by hand."""
        recorded = {*self._index.keys, *self._unfinished.keys}
        if unknown := sorted(_array_names(self.path) - recorded):
            named = ", ".join(map(repr, unknown[:_NAMED])) + ", ..." * (len(unknown) > _NAMED)
            self.notes.append(
                f"{self.path}: {len(unknown)} arrays in features/ are not in the manifest "
                f"({named}) and were left alone; `verify` names all: delete them by hand if nobody "
                "needs them"
            )

    def _collect_garbage(self, names: Iterable[str] | None = None) -> None:
        """Delete arrays of this program that are no longer current, or were never finished.

        Nothing happens while a reader is there, who may still want them.

        Args:
            names: what is in the features folder; None lists it.
        """
        if not lock_exclusive(self._log_fd, patience=0):
            return
        try:
            current = {entry.key for entry in self._index.videos.values()}
            begun = {*self._index.keys, *self._unfinished.keys}
            listed = os.listdir(self.path / "features") if names is None else names
            for name in begun.difference(current).intersection(listed):
                _remove(self.path / "features" / name)
            self._unfinished.clear()
        finally:
            unlock(self._log_fd)


def _load_index(path: Path, header: Header, log: int) -> tuple[Index, int]:
    # The seal first: the log may grow in between, and is never shorter than its seal.
    seal = load_seal(path, header)
    return parse(read_log(log, path), str(path), seal)


def _array_names(path: Path) -> set[str]:
    """Names of folders in the features folder, links to such included."""
    with os.scandir(path / "features") as items:
        return {item.name for item in items if item.name[0] != "." and item.is_dir()}


def _chunk_rows(frames: int, row_bytes: int, limits: Limits) -> int:
    """Frames a chunk: all of a short video; else even pieces, so that the last is nearly full."""
    if frames * row_bytes <= limits.buffer_bytes:
        return frames
    pieces = -(-frames * row_bytes // limits.chunk_bytes)
    return -(-frames // pieces)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)


def _advise_part(path: str, offset: int, size: int) -> None:
    fd = os.open(path, _OPEN_FLAGS)
    try:
        advise_reads(fd, [(offset, size)])
    finally:
        os.close(fd)


def _read_part(path: str, buffer: memoryview, offset: int) -> int:
    fd = os.open(path, _OPEN_FLAGS)
    try:
        return pread_into(fd, buffer, offset)
    finally:
        os.close(fd)
