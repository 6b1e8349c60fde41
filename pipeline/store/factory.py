"""From a path to a store; the extension of the name tells the back end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import InputError, StoreError
from ..program import command
from ..records import FeatureSpec
from .base import FeatureStore
from .disk import Disk
from .header import Header, make_header
from .locks import WriterLock
from .writer import StoreWriter

SUFFIXES = {".h5": "hdf5", ".hdf5": "hdf5", ".zarr": "zarr"}


def open_store(path: str | Path) -> FeatureStore:
    """Open a store for reading; a context manager. Works on read-only media.

    Raises:
        InputError: the extension is none of .h5, .hdf5 and .zarr.
        StoreError: nothing there, not a feature store, damaged, or of a newer version.
    """
    path, reader, _, _ = _backend(path)
    _require_there(path)
    store: FeatureStore = reader(path)
    return store


def read_spec(path: str | Path) -> FeatureSpec:
    """What the features of a store were made with, without reading which videos it has.

    Raises:
        InputError, StoreError: as `open_store`.
    """
    path, _, _, header_of = _backend(path)
    _require_there(path)
    header: Header = header_of(path)
    return header.spec


def open_writer(path: str | Path, disk: Disk | None = None) -> StoreWriter:
    """Open an existing store for writing, to remove from it; a context manager.

    Raises:
        StoreLockedError: another writer is at work.
        InputError, StoreError: as `open_store`.
    """
    path, _, writer, _ = _backend(path)
    _require_there(path)
    path = _without_link(path)
    lock = WriterLock(path)
    try:
        opened: StoreWriter = writer(path, lock, disk or Disk())
    except BaseException:
        lock.release()
        raise
    return opened


def create_or_append(
    path: str | Path,
    spec: FeatureSpec,
    dtype: str | None = "float16",
    provenance: dict[str, Any] | None = None,
    disk: Disk | None = None,
) -> StoreWriter:
    """Open a store for writing, and make it if it is not there; a context manager.

    Args:
        path: .h5, .hdf5 or .zarr.
        spec: what the features to be added are made with.
        dtype: float16, float32, int8 or binary, see `pipeline.quantization`; None takes an existing
            store's, and float16 for a new one.
        provenance: kept with a new store; an existing one keeps its own.
        disk: the file operations; tests pass one that fails.

    Raises:
        FingerprintMismatchError: the store holds features of another spec.
        StoreLockedError: another writer is at work.
        InputError, StoreError: as `open_store`; or another dtype.
    """
    path, _, writer, _ = _backend(path)
    header = make_header(spec, dtype or "float16", provenance)
    path = _without_link(path)
    lock = WriterLock(path)
    try:
        make = (
            (lambda: writer(path, lock, disk or Disk()))
            if path.exists()
            else (lambda: writer.create(path, lock, header, disk or Disk()))
        )
        opened: StoreWriter = make()
    except BaseException:
        lock.release()
        raise
    try:
        header.require_same(opened.header, str(path), any_dtype=dtype is None)
    except BaseException:
        opened.close()
        raise
    return opened


def _backend(path: str | Path) -> tuple[Path, Any, Any, Any]:
    """The path, the classes of reader and writer, and the header's reader; libraries load only
    when needed.
    """
    path = Path(path)
    kind = SUFFIXES.get(path.suffix.lower())
    if kind == "hdf5":
        from .hdf5 import Hdf5Store, Hdf5Writer, hdf5_header

        return path, Hdf5Store, Hdf5Writer, hdf5_header
    if kind == "zarr":
        from .zarr_store import ZarrStore, ZarrWriter, zarr_header

        return path, ZarrStore, ZarrWriter, zarr_header
    raise InputError(f"{path}: a store's name ends in .h5, .hdf5 or .zarr")


def _require_there(path: Path) -> None:
    if not path.exists():
        raise StoreError(f"{path}: no such store; make one with {command('extract')}")


def _without_link(path: Path) -> Path:
    """Where a store is that is named by a link: all writers lock and write in that one place."""
    if not path.is_symlink():
        return path
    if not path.exists():
        raise StoreError(
            f"{path}: a symbolic link to {path.readlink()}, where nothing is; remove the link, or "
            "bring back the store that it leads to"
        )
    return path.resolve()
