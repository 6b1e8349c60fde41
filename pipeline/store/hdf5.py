"""Feature store in one HDF5 file, kept whole by the transactions of `transaction.py`.

    /             attribute "store": the header as JSON
    /manifest     uint8 [bytes], the log of `manifest.py`
    /features/KEY vectors as `pipeline.encoding` keeps them, contiguous; attribute "id"
    /seconds/KEY  float64 [T], contiguous
    /removed/...  the same two groups for what was replaced or removed

Arrays never move and their space is never given to anything else, so a reader that knows
their byte offsets from the manifest reads them without HDF5, even while a writer is at work.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Self

import h5py
import numpy as np

from pipeline.errors import StoreError
from pipeline.store.base import FeatureStore
from pipeline.store.disk import O_BINARY, Disk, in_the_way, linked, pread_into
from pipeline.store.header import Header, named_errors, not_a_store, read_header
from pipeline.store.journal import clear_journal, file_head, pending_pages
from pipeline.store.keys import printable
from pipeline.store.locks import WriterLock, lock_shared, unlock
from pipeline.store.manifest import Entry, Index, damaged, parse
from pipeline.store.seal import Seal, no_seal
from pipeline.store.transaction import OverlayFile, TransactionalFile
from pipeline.store.video_writer import VideoWriter
from pipeline.store.writer import StoreWriter

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MANIFEST_CHUNK = 32 << 10
_EMPTY_BYTES = 1 << 20  # at most, of a store without videos
# Superblock version 2: the later one has a mark "open for writing" that outlives a kill.
_LIBVER = ("v108", "latest")


class Hdf5Store(FeatureStore):
    """See `FeatureStore`."""

    def __init__(self, path: Path) -> None:
        with named_errors(path):
            self._fd = os.open(path, os.O_RDONLY | O_BINARY)
            try:
                lock_shared(self._fd)
                with _plain(path, self._fd) as file:
                    header, index, _ = _load(file, path)
                unlock(self._fd)
            except BaseException:
                os.close(self._fd)
                raise
        super().__init__(path, header, index)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _read_rows(self, entry: Entry, start: int, buffer: memoryview) -> int:
        return pread_into(self._fd, buffer, entry.at[0] + start * self._header.row_bytes)

    def _read_seconds(self, entry: Entry) -> np.ndarray:
        seconds = np.empty(entry.frames, "<f8")
        got = pread_into(self._fd, memoryview(seconds.data).cast("B"), entry.at[1])
        return seconds[: got // seconds.itemsize]

    def _check_layout(self) -> list[str]:
        lock_shared(self._fd)
        try:
            with _plain(self.path, self._fd) as file:
                found = [(i, self._check_video(file, e)) for i, e in self._index.videos.items()]
                # Of the file as it is now: a writer may have added to it since.
                unknown = set(file["features"]) - set(_load(file, self.path)[1].keys)
        finally:
            unlock(self._fd)
        problems = [f"{video_id}: {problem}" for video_id, problem in found if problem]
        return problems + [f"dataset /features/{k} is not in the manifest" for k in sorted(unknown)]

    def _check_video(self, file: h5py.File, entry: Entry) -> str:
        shapes = (entry.frames, *self._frame_shape), (entry.frames,)
        for name, shape, offset in zip(("features", "seconds"), shapes, entry.at, strict=True):
            path = f"{name}/{entry.key}"
            # A writer may have replaced it since this reader was opened.
            dataset = file.get(path, file.get(f"removed/{path}"))
            if not isinstance(dataset, h5py.Dataset):
                return f"there is no dataset /{path}"
            if dataset.shape != shape or dataset.id.get_offset() != offset:
                return f"dataset /{path} is not where or what the manifest says"
        return ""


def hdf5_header(path: Path) -> Header:
    """What the store says of itself; its manifest, which may be long, is not read."""
    with named_errors(path):
        fd = os.open(path, os.O_RDONLY | O_BINARY)
        try:
            lock_shared(fd)
            with _plain(path, fd) as file:
                return _header(file, path)
        finally:
            os.close(fd)


class Hdf5Writer(StoreWriter):
    """See `StoreWriter`; `lock` is held already."""

    def __init__(self, path: Path, lock: WriterLock, disk: Disk) -> None:
        with named_errors(path):
            self._fd = os.open(path, os.O_RDWR | O_BINARY)
            try:
                _require_whole(path, self._fd, _end_of(file_head(self._fd)))
                self._transaction = TransactionalFile(path, self._fd, _end_of, disk)
                self._file = h5py.File(self._transaction, "r+", libver=_LIBVER)
            except BaseException:
                os.close(self._fd)
                raise
            try:
                header, index, size = _load(self._file, path)
            except BaseException:
                self._release()
                raise
        self._log_size = size
        super().__init__(path, lock, header, index)

    @classmethod
    def create(cls, path: Path, lock: WriterLock, header: Header, disk: Disk) -> Self:
        """Make an empty store, visible only when it is whole, and open it."""
        temporary = path.with_name(path.name + ".new")
        with named_errors(path):
            _clear_attempt(temporary)
            _create_file(temporary, header)
            disk.sync_path(temporary)
            clear_journal(path, disk)  # of a store that was here before
            disk.replace(temporary, path)
            disk.sync_path(path.parent)
        return cls(path, lock, disk)

    def _store(self, key: str, video: VideoWriter) -> tuple[int, tuple[int, ...]]:
        shape = (video.frames, *self.header.row_shape)
        vectors = self._file["features"].create_dataset(key, shape, self.dtype)
        vectors.attrs["id"] = printable(video.id)
        for start, slab in video.slabs(self.header.slab_rows):
            vectors[start : start + len(slab)] = slab
            self._transaction.check()  # else a full disk's rest of a long video goes to memory
        seconds = self._file["seconds"].create_dataset(key, data=video.seconds)
        self._transaction.check()
        return video.frames, (vectors.id.get_offset(), seconds.id.get_offset())

    def _retire(self, entry: Entry) -> None:
        # Not deleted: HDF5 would hand the space out again under the eyes of older readers.
        for name in ("features", "seconds"):
            self._file.move(f"{name}/{entry.key}", f"removed/{name}/{entry.key}")

    def _commit(self, group: bytes) -> None:
        manifest, start = self._file["manifest"], self._log_size
        manifest.resize((start + len(group),))
        manifest[start:] = np.frombuffer(group, np.uint8)
        self._index.seal = self._index.seal.after(group)
        manifest.attrs.modify("seal", np.array(astuple(self._index.seal), "<u8"))
        self._file.flush()
        self._transaction.commit()
        self._log_size += len(group)

    def _release(self) -> None:
        try:
            self._transaction.finish()
            self._file.close()
        finally:
            os.close(self._fd)


def _create_file(path: Path, header: Header) -> None:
    # Strategy "none": freed space is forgotten, never handed out again.
    with h5py.File(path, "w", libver=_LIBVER, fs_strategy="none", locking=False) as file:
        file.attrs["store"] = json.dumps(header.as_json(), indent=1)
        for name in ("features", "seconds", "removed/features", "removed/seconds"):
            file.create_group(name)
        manifest = file.create_dataset(
            "manifest", (0,), np.uint8, chunks=(_MANIFEST_CHUNK,), maxshape=(None,)
        )
        manifest.attrs["seal"] = np.array(astuple(Seal()), "<u8")


def _clear_attempt(path: Path) -> None:
    """Delete what a kill left of making a store: a small file of our kind, or an empty one.

    Raises:
        StoreError: something else is there.
    """
    if path.is_symlink():
        raise linked(path)
    if not path.exists():
        return
    head = path.read_bytes()[:8] if path.is_file() and path.stat().st_size <= _EMPTY_BYTES else b"?"
    if not _SIGNATURE.startswith(head):
        raise in_the_way(path)
    path.unlink()


@contextmanager
def _plain(path: Path, fd: int) -> Iterator[h5py.File]:
    """The file through HDF5, with a commit that waits in the journal laid over it."""
    pages, end = pending_pages(path, fd, _end_of)
    _require_whole(path, fd, end)
    with h5py.File(OverlayFile(fd, end, pages), "r") as file:
        yield file


def _header(file: h5py.File, path: Path) -> Header:
    if "store" not in file.attrs or "manifest" not in file:
        raise not_a_store(str(path))
    return read_header(json.loads(file.attrs["store"]), str(path))


def _load(file: h5py.File, path: Path) -> tuple[Header, Index, int]:
    header = _header(file, path)
    data = file["manifest"][()].tobytes()
    index, good = parse(data, str(path), _seal(file["manifest"], header, path), offsets=2)
    if good < len(data):  # commits are whole or not at all here
        raise damaged(str(path), f"after byte {good}")
    return header, index, good


def _seal(manifest: h5py.Dataset, header: Header, path: Path) -> Seal | None:
    """What the manifest held at least; None: a store from before seals."""
    if "seal" in manifest.attrs:
        return Seal(*map(int, manifest.attrs["seal"]))
    if header.sealed:
        raise no_seal(str(path))
    return None


def _end_of(head: bytes) -> int:
    """The end of a file in bytes as the superblock in its first bytes tells it."""
    if len(head) < 48 or head[:8] != _SIGNATURE or head[8] != 2 or head[9] != 8:
        raise ValueError("not an HDF5 file of the kind this program writes")
    return int(struct.unpack_from("<Q", head, 28)[0])


def _require_whole(path: Path, fd: int, end: int) -> None:
    size = os.fstat(fd).st_size
    if size < end:
        raise StoreError(
            f"{path}: truncated, {size} bytes of {end}; copy it again from where it came from"
        )
