"""Feature store in one HDF5 file, kept whole by the transactions of `transaction.py`.

    /             attribute "store": the header as JSON
    /manifest     uint8 [bytes], the log of `manifest.py`
    /features/KEY vectors as `pipeline.quantization` keeps them, contiguous; attribute "id"
    /seconds/KEY  float64 [T], contiguous
    /removed/...  the same two groups for what was replaced or removed

Arrays never move and their space is never given to anything else, so a reader that knows
their byte offsets from the manifest reads them without HDF5, even while a writer is at work.
Header and manifest are read without HDF5 as well (`hdf5_layout.py`): no file that somebody else
made, and no damaged one, gets into the library in a reader's process.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from itertools import chain
from pathlib import Path

import numpy as np

from ..errors import StoreError
from ..quantization import dequantize
from .base import FeatureStore
from .disk import Disk, advise_reads, pread_into, pread_parts
from .hdf5_guard import check_layout, note_sound, note_sound_file, require_sound
from .hdf5_layout import SIGNATURE, Hdf5Layout, file_end
from .header import Header, named_errors, not_a_store, read_header
from .interrupts import interrupts_held
from .journal import clear_journal, pending_pages
from .keys import printable
from .limits import LIMITS, Limits
from .locks import WriterLock, lock_shared, unlock
from .manifest import Entry, Index, damaged, parse
from .plain_files import in_the_way, linked, open_regular
from .seal import Seal, no_seal
from .transaction import OverlayFile, TransactionalFile
from .video_writer import VideoWriter
from .writer import StoreWriter

_MANIFEST_CHUNK = 32 << 10
_EMPTY_BYTES = 1 << 20  # at most, of a store without videos
# Superblock version 2: the later one has a mark "open for writing" that outlives a kill.
_LIBVER = ("v108", "latest")


class Hdf5Store(FeatureStore):
    """See `FeatureStore`."""

    def __init__(self, path: Path, limits: Limits = LIMITS) -> None:
        with named_errors(path):
            self._fd = open_regular(path, os.O_RDONLY)
            try:
                lock_shared(self._fd)
                header, index, _ = _load(path, self._fd)
                unlock(self._fd)
            except BaseException:
                os.close(self._fd)
                raise
        super().__init__(path, header, index, limits)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def prefetch(self, wanted: Iterable[tuple[str, int, int]]) -> None:
        """Ask the system to read these soon: scattered ones by several requests at a time."""
        places = ((self._entry(video_id).at[0], start, stop) for video_id, start, stop in wanted)
        size = self.frame_bytes
        advise_reads(self._fd, [(at + a * size, (b - a) * size) for at, a, b in places])

    def read_descriptors(
        self, video_id: str, frames: Sequence[int] | np.ndarray, first: int, last: int
    ) -> np.ndarray:
        """As every store does; bytes of other descriptors and frames are not read."""
        at = self._entry(video_id).at[0]
        stored = np.empty((len(frames), last - first, *self._frame_shape[1:]), self.dtype)
        size = stored[:1].nbytes
        at += first * (self.frame_bytes // self._frame_shape[0])
        buffer = memoryview(stored.reshape(-1).view(np.uint8).data)
        offsets = (at + np.asarray(frames, np.int64) * self.frame_bytes).tolist()
        try:
            done = pread_parts(self._fd, buffer, size, offsets)
        except OSError as error:
            raise self._damaged(video_id, str(error)) from error
        if done < len(buffer):
            raise self._damaged(video_id, "the file ends too early")
        return dequantize(stored, self.spec.dims)

    def _read_rows(self, entry: Entry, start: int, buffer: memoryview) -> int:
        return pread_into(self._fd, buffer, entry.at[0] + start * self._header.row_bytes)

    def _read_seconds(self, entry: Entry) -> np.ndarray:
        seconds = np.empty(entry.frames, "<f8")
        size = pread_into(self._fd, memoryview(seconds.data).cast("B"), entry.at[1])
        return seconds[: size // seconds.itemsize]

    def _check_layout(self) -> list[str]:
        tail = self._frame_shape
        expected = [(i, e.key, (e.frames, *tail), e.at) for i, e in self._index.videos.items()]
        return check_layout(self.path, self._fd, expected, self._limits.check_seconds)


def hdf5_header(path: Path) -> Header:
    """Read the header alone; the manifest may be long."""
    with named_errors(path):
        fd = open_regular(path, os.O_RDONLY)
        try:
            lock_shared(fd)
            return _header(_layout(path, fd)[0], path)
        finally:
            os.close(fd)


def is_store(path: Path) -> bool:
    """Whether a file has the header of a store that can be read."""
    try:
        hdf5_header(path)
    except StoreError:
        return False
    return True


class Hdf5Writer(StoreWriter):
    """See `StoreWriter`; `lock` is held already."""

    def __init__(self, path: Path, lock: WriterLock, disk: Disk, limits: Limits = LIMITS) -> None:
        import h5py  # late: readers do without

        with named_errors(path):
            self._fd = open_regular(path, os.O_RDWR)
            try:
                # A store that this program cannot read is refused before anything is changed.
                header, index, size = _load(path, self._fd)
                require_sound(path, self._fd, len(index.videos), limits.check_seconds)
                self._transaction = TransactionalFile(path, self._fd, file_end, disk, limits)
                with interrupts_held():
                    self._file = h5py.File(self._transaction, "r+", libver=_LIBVER)
            except BaseException:
                os.close(self._fd)
                raise
        self._log_size = size
        super().__init__(path, lock, header, index, limits)

    @staticmethod
    def create(path: Path, header: Header, disk: Disk) -> None:
        """Make an empty store, visible only when it is whole; the caller holds its lock."""
        temporary = path.with_name(path.name + ".new")
        with named_errors(path):
            _create_file(temporary, header)
            disk.sync_path(temporary)
            clear_journal(path, disk)  # of a store that was here before
            disk.install(temporary, path)
            note_sound_file(path)

    def _store(self, key: str, video: VideoWriter) -> tuple[int, tuple[int, ...]]:
        shape = (video.frames, *self.header.row_shape)
        with interrupts_held():
            vectors = self._file["features"].create_dataset(key, shape, self.dtype)
            vectors.attrs["id"] = printable(video.id)
        for start, slab in video.slabs(self._limits.slab_rows(self.header.row_bytes)):
            with interrupts_held():
                vectors[start : start + len(slab)] = slab
            self._transaction.check()  # else a full disk's rest of a long video goes to memory
        with interrupts_held():
            seconds = self._file["seconds"].create_dataset(key, data=video.seconds)
        self._transaction.check()
        return video.frames, (vectors.id.get_offset(), seconds.id.get_offset())

    def _retire(self, entry: Entry) -> None:
        # Not deleted: HDF5 would hand the space out again under the eyes of older readers.
        for name in ("features", "seconds"):
            with interrupts_held():
                self._file.move(f"{name}/{entry.key}", f"removed/{name}/{entry.key}")

    def _commit(self, group: bytes) -> None:
        start = self._log_size
        with interrupts_held():
            manifest = self._file["manifest"]
            manifest.resize((start + len(group),))
            manifest[start:] = np.frombuffer(group, np.uint8)
            self._index.seal = self._index.seal.after(group)
            manifest.attrs.modify("seal", np.array(astuple(self._index.seal), "<u8"))
            self._file.flush()
            # Held here too: an interrupted commit would leave its journal to the next writer.
            self._transaction.commit()
        self._log_size += len(group)

    def _release(self) -> None:
        with interrupts_held():
            try:
                self._transaction.finish()
                self._file.close()
                note_sound(self._fd)
            finally:
                os.close(self._fd)


def _create_file(path: Path, header: Header) -> None:
    import h5py  # late: readers do without

    _clear_attempt(path)
    # Strategy "none": freed space is forgotten, never handed out again. Mode "x" follows no link.
    with (
        interrupts_held(),
        h5py.File(path, "x", libver=_LIBVER, fs_strategy="none", locking=False) as file,
    ):
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
    if not SIGNATURE.startswith(head):
        raise in_the_way(path)
    path.unlink()


def _layout(path: Path, fd: int) -> tuple[Hdf5Layout, int]:
    """The file's own parts, with a commit that waits in the journal laid over it; and its end."""
    pages, end = pending_pages(path, fd, file_end)
    size = os.fstat(fd).st_size
    if size < end:
        raise StoreError(
            f"{path}: truncated, {size} bytes of {end}; copy it again from where it came from"
        )
    return Hdf5Layout(OverlayFile(fd, end, pages).read_at, end), end


def _header(layout: Hdf5Layout, path: Path) -> Header:
    text = layout.header()
    if text is None:
        raise not_a_store(str(path))
    return read_header(json.loads(text), str(path))


def _load(path: Path, fd: int) -> tuple[Header, Index, int]:
    layout, end = _layout(path, fd)
    header, data = _header(layout, path), layout.manifest()
    if data is None:
        raise not_a_store(str(path))
    index, good = parse(data, str(path), _seal(layout, header, path), offsets=2)
    if good < len(data):  # commits are whole or not at all here
        raise damaged(str(path), f"after byte {good}")
    _require_inside(path, index, header.row_bytes, end)
    return header, index, good


def _seal(layout: Hdf5Layout, header: Header, path: Path) -> Seal | None:
    """Read the seal; None for a store of a version without seals."""
    values = layout.seal()
    if values is not None:
        return Seal(*values)
    if header.sealed:
        raise no_seal(str(path))
    return None


def _require_inside(path: Path, index: Index, row_bytes: int, end: int) -> None:
    """Raises StoreError if the manifest names bytes that the file does not have."""
    if not index.videos:
        return
    entries = index.videos.values()
    # Each number is below 2 ** 62, and frames are below 10 ** 9: see `Index.check`.
    frames = np.array([entry.frames for entry in entries], np.int64)
    at = np.array(list(chain.from_iterable([entry.at for entry in entries])), np.int64)
    at = at.reshape(-1, 2)
    inside = (at >= 0).all(axis=1) & (frames >= 1)
    for offsets, size in zip(at.T, (row_bytes, 8), strict=True):
        inside &= offsets <= end - frames * size
    if not inside.all():
        video_id = list(index.videos)[int(np.argmin(inside))]
        raise StoreError(
            f"{path}: the manifest places video {video_id!r} outside of the file; copy the store "
            "again from where it came from, or extract the features again"
        )
