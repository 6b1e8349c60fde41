"""Feature store in a Zarr v3 directory; each array lies in as few files as can be.

    zarr.json              root group; attribute "store": the header
    features/KEY/zarr.json array as `pipeline.encoding` keeps it; attributes "id", "seconds"
    features/KEY/c.K.0.0   its K-th chunk, raw little-endian bytes; a short video has one
    manifest/zarr.json     an empty array, so that Zarr tools take the folder for their own
    manifest/log.jsonl     the log of `manifest.py`

An array is written under a key that no record has ever named, synced, and only then named in
the log. What the log does not name is deleted by the next writer, unless a reader is there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np

from pipeline.store.base import FeatureStore
from pipeline.store.disk import O_BINARY, Disk, pread_into
from pipeline.store.header import Header, named_errors, not_a_store, read_header
from pipeline.store.keys import printable
from pipeline.store.locks import WriterLock, lock_exclusive, lock_shared, unlock
from pipeline.store.manifest import Entry, parse
from pipeline.store.video_writer import BUFFER_BYTES, VideoWriter
from pipeline.store.writer import StoreWriter

CHUNK_BYTES = 4 << 20  # of a video that is too long for one chunk
_SYNC_THREADS = 16
_ABOUT = "the manifest of this feature store is the file log.jsonl in this folder"


class ZarrStore(FeatureStore):
    """See `FeatureStore`. Needs no Zarr library: chunks are read as the plain files they are."""

    def __init__(self, path: Path) -> None:
        with named_errors(path):
            header = _load_header(path)
            self._log = os.open(_log_path(path), os.O_RDONLY | O_BINARY)
            try:
                lock_shared(self._log)  # held until close: keeps writers from clearing up
                index, _ = parse(_read_all(self._log), str(path))
            except BaseException:
                os.close(self._log)
                raise
        self._features = f"{os.path.abspath(path)}/features"
        super().__init__(path, header, index)

    def close(self) -> None:
        if self._log >= 0:
            os.close(self._log)
            self._log = -1

    def _read_rows(self, entry: Entry, start: int, buffer: memoryview) -> int:
        size, done = self._header.row_bytes * entry.rows, 0
        position = start * self._header.row_bytes
        while done < len(buffer):
            chunk, offset = divmod(position + done, size)
            part = buffer[done : done + size - offset]
            if _read_part(f"{self._features}/{entry.key}/c.{chunk}.0.0", part, offset) < len(part):
                break
            done += len(part)
        return done

    def _read_seconds(self, entry: Entry) -> np.ndarray:
        return np.array(self._metadata(entry)["attributes"]["seconds"], "<f8")

    def _metadata(self, entry: Entry) -> dict[str, Any]:
        with open(f"{self._features}/{entry.key}/zarr.json", encoding="utf-8") as file:
            value: dict[str, Any] = json.load(file)
        return value

    def _check_layout(self) -> list[str]:
        found = ((video_id, self._check_video(e)) for video_id, e in self._index.videos.items())
        return [f"{video_id}: {problem}" for video_id, problem in found if problem]

    def _check_video(self, entry: Entry) -> str:
        try:
            value = self._metadata(entry)
            chunk = value["chunk_grid"]["configuration"]["chunk_shape"]
            same = (value["shape"], value["data_type"], chunk) == (
                [entry.frames, *self._frame_shape],
                self.dtype.name,
                [entry.rows, *self._frame_shape],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            return f"array features/{entry.key} cannot be read ({error})"
        return "" if same else f"array features/{entry.key} is not what the manifest says"


def zarr_header(path: Path) -> Header:
    """What the store says of itself; its manifest, which may be long, is not read."""
    with named_errors(path):
        return _load_header(path)


class ZarrWriter(StoreWriter):
    """See `StoreWriter`; `lock` is held already."""

    def __init__(self, path: Path, lock: WriterLock, disk: Disk) -> None:
        import zarr  # late: readers do without, and it takes a while

        with named_errors(path):
            header = _load_header(path)
            self._log_fd = os.open(_log_path(path), os.O_RDWR | O_BINARY)
            try:
                data = _read_all(self._log_fd)
                index, self._log_size = parse(data, str(path))
                if self._log_size < len(data):
                    disk.truncate(self._log_fd, self._log_size)
                self._group = zarr.open_group(path / "features", mode="r+", zarr_format=3)
            except BaseException:
                os.close(self._log_fd)
                raise
        self._disk = disk
        self._unsynced: list[str] = []
        super().__init__(path, lock, header, index)
        names = os.listdir(path / "features")
        self._collect_garbage(names)
        # What a killed writer left is still there if a reader is: its names are not free.
        for name in names:
            self._keys.note(name)

    @classmethod
    def create(cls, path: Path, lock: WriterLock, header: Header, disk: Disk) -> Self:
        """Make an empty store, visible only when it is whole, and open it."""
        temporary = path.with_name(path.name + ".new")
        with named_errors(path):
            shutil.rmtree(temporary, ignore_errors=True)
            _create_folder(temporary, header)
            for file in sorted(temporary.rglob("*"), reverse=True):
                disk.sync_path(file)
            disk.sync_path(temporary)
            disk.replace(temporary, path)
            disk.sync_path(path.parent)
        return cls(path, lock, disk)

    def _store(self, key: str, video: VideoWriter) -> tuple[int, tuple[int, ...]]:
        rows = _chunk_rows(video.frames, self.header.row_bytes)
        tail = self.header.row_shape
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
            os.close(self._log_fd)

    def _collect_garbage(self, names: Iterable[str] | None = None) -> None:
        """Delete arrays that the log does not name, unless a reader may still want them.

        Args:
            names: what is in the features folder; None lists it.
        """
        if not lock_exclusive(self._log_fd, patience=0):
            return
        try:
            current = {entry.key for entry in self._index.videos.values()} | {"zarr.json"}
            listed = os.listdir(self.path / "features") if names is None else names
            for name in set(listed) - current:
                _remove(self.path / "features" / name)
            # Zarr's own temporary files, where it was killed while it wrote them.
            for file in (*self.path.glob("*.partial"), *self.path.glob("*/*.partial")):
                _remove(file)
        finally:
            unlock(self._log_fd)


def _chunk_rows(frames: int, row_bytes: int) -> int:
    """Frames a chunk: all of a short video; else even pieces, so that the last is nearly full."""
    if frames * row_bytes <= BUFFER_BYTES:
        return frames
    pieces = -(-frames * row_bytes // CHUNK_BYTES)
    return -(-frames // pieces)


def _create_folder(path: Path, header: Header) -> None:
    import zarr

    root = zarr.create_group(path, zarr_format=3, attributes={"store": header.as_json()})
    root.create_group("features")
    root.create_array(
        "manifest", shape=(0,), chunks=(1,), dtype="uint8", attributes={"about": _ABOUT}
    )
    _log_path(path).touch()


def _log_path(path: Path) -> Path:
    return path / "manifest" / "log.jsonl"


def _load_header(path: Path) -> Header:
    root, log = path / "zarr.json", _log_path(path)
    if not root.is_file() or not log.is_file():
        raise not_a_store(str(path))
    value = json.loads(root.read_text(encoding="utf-8"))
    return read_header(value.get("attributes", {}).get("store"), str(path))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _read_all(fd: int) -> bytes:
    data = bytearray(os.fstat(fd).st_size)
    return bytes(memoryview(data)[: pread_into(fd, memoryview(data), 0)])


def _read_part(path: str, buffer: memoryview, offset: int) -> int:
    fd = os.open(path, os.O_RDONLY | O_BINARY)
    try:
        return pread_into(fd, buffer, offset)
    finally:
        os.close(fd)
