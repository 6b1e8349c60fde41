"""Opens stores by path; the extension of the name determines the back end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import InputError, StoreError
from ..objects import is_url, open_objects, storage_path
from ..program import command
from ..records import FeatureSpec
from .base import FeatureStore
from .disk import Disk
from .header import Header, make_header
from .limits import LIMITS, Limits
from .locks import WriterLock
from .writer import StoreWriter

PARTS_SUFFIX = ".parts"
SUFFIXES = {".h5": "hdf5", ".hdf5": "hdf5", ".zarr": "zarr", PARTS_SUFFIX: "parts"}


def open_store(
    path: str | Path, limits: Limits = LIMITS, *, published: str | None = None
) -> FeatureStore:
    """Open a store for reading; a context manager. Works on read-only media.

    Args:
        published: name of the features of an HDF5 file that is no store of this program but a
            published feature file, see `published_layout`; a store is opened as such.

    Raises:
        InputError: the extension is none of .h5, .hdf5, .zarr and .parts; or no features have that
            name.
        StoreError: nothing there, not a feature store, damaged, or of a newer version.
    """
    if is_parts(path):
        from .parts.reader import PartsStore

        return PartsStore(storage_path(path), limits)
    path, reader, _, _ = _backend(path)
    _require_there(path)
    if published is not None and SUFFIXES[path.suffix.lower()] == "hdf5":
        from .hdf5 import is_store
        from .published import PublishedStore

        if not is_store(path):
            return PublishedStore(path, published, limits)
    store: FeatureStore = reader(path, limits)
    return store


def read_spec(path: str | Path) -> FeatureSpec:
    """Read the spec of a store's features, without its manifest.

    Raises:
        InputError, StoreError: as `open_store`.
    """
    return _header(path).spec


def read_provenance(path: str | Path) -> dict[str, Any]:
    """Read what the maker of a store recorded, without its manifest; errors as `read_spec`."""
    return _header(path).provenance


def _header(path: str | Path) -> Header:
    if is_parts(path):
        from .parts.reader import parts_header

        return parts_header(storage_path(path))
    path, _, _, read_header = _backend(path)
    _require_there(path)
    header: Header = read_header(path)
    return header


def open_writer(path: str | Path, disk: Disk | None = None, limits: Limits = LIMITS) -> StoreWriter:
    """Open an existing store for writing, to remove from it; a context manager.

    Raises:
        StoreLockedError: another writer is at work.
        InputError, StoreError: as `open_store`.
    """
    if is_parts(path):
        from .parts.writer import PartsWriter

        return PartsWriter(storage_path(path), limits)
    path, _, writer, _ = _backend(path)
    _require_there(path)
    path = _without_link(path)
    lock = WriterLock(path)
    try:
        opened: StoreWriter = writer(path, lock, disk or Disk(), limits)
    except BaseException:
        lock.release()
        raise
    return opened


def create_or_append(
    path: str | Path,
    spec: FeatureSpec,
    dtype: str | None = "float16",
    provenance: dict[str, Any] | None = None,
    *,
    disk: Disk | None = None,
    limits: Limits = LIMITS,
    name: str = "",
) -> StoreWriter:
    """Open a store for writing, and make it if it is not there; a context manager.

    Args:
        path: ending in .h5, .hdf5, .zarr or .parts, or the URL of a bucket.
        spec: settings of the features to be added.
        dtype: float16, float32, int8 or binary, see `pipeline.quantization`; None takes an existing
            store's, and float16 for a new one.
        provenance: recorded in a new store; an existing one keeps its own.
        disk: the file operations; tests pass one that fails.
        limits: of memory and time.
        name: begins the names of new parts, where a store has parts.

    Raises:
        FingerprintMismatchError: the store holds features of another spec.
        StoreLockedError: another writer is at work.
        InputError, StoreError: as `open_store`; or another dtype.
    """
    header = make_header(spec, dtype or "float16", provenance)
    opened = (
        _parts_writer(storage_path(path), header, limits, name)
        if is_parts(path)
        else _locked_writer(path, header, disk or Disk(), limits)
    )
    try:
        header.require_same(opened.header, str(path), any_dtype=dtype is None)
    except BaseException:
        opened.close()
        raise
    return opened


def is_parts(path: str | Path) -> bool:
    """Whether this names a store of sealed parts: a folder .parts, or the URL of a bucket."""
    return is_url(path) or Path(path).suffix.lower() == PARTS_SUFFIX


def names_store(path: str | Path) -> bool:
    """Whether a path is that of a store, judged by its ending; of a URL, by having none."""
    suffix = Path(path).suffix.lower()
    return suffix in SUFFIXES or (is_url(path) and not suffix)


def store_exists(path: str | Path) -> bool:
    """Whether there is a store; of one in a bucket this is one request."""
    if not is_parts(path):
        return Path(path).exists()
    from .parts.log import HEADER

    return open_objects(path).size(HEADER) is not None


def _parts_writer(path: Path, header: Header, limits: Limits, name: str) -> StoreWriter:
    from .parts.writer import PartsWriter

    if not store_exists(path):
        PartsWriter.create(path, header)
    return PartsWriter(path, limits, name=name)


def _locked_writer(path: str | Path, header: Header, disk: Disk, limits: Limits) -> StoreWriter:
    path, _, writer, _ = _backend(path)
    path = _without_link(path)
    lock = WriterLock(path)
    try:
        if not path.exists():
            writer.create(path, header, disk)
        opened: StoreWriter = writer(path, lock, disk, limits)
    except BaseException:
        lock.release()
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
    raise InputError(
        f"{path}: a store's name ends in .h5, .hdf5, .zarr or .parts, or is the URL of a bucket"
    )


def _require_there(path: Path) -> None:
    if not path.exists():
        raise StoreError(f"{path}: no such store; make one with {command('extract')}")


def _without_link(path: Path) -> Path:
    """Follow a link to a store: all writers lock and write in that one place."""
    if not path.is_symlink():
        return path
    if not path.exists():
        raise StoreError(
            f"{path}: a symbolic link to {path.readlink()}, where nothing is; remove the link, or "
            "bring back the store that it leads to"
        )
    return path.resolve()
