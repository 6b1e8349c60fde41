"""The candidate index of a store in a bucket: objects beside the log, and a copy on this machine.

    candidates/00000017-<attempt>/header.json   each version in a folder of its own, put last
    candidates/00000017-<attempt>/rows-1.bin    the files that it names, see `file`

The number is that of the log entry that the version was made from. Versions are never changed, so
the copy of one never has to be compared with the bucket again; it lies in the user's cache.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from ..errors import StorageError
from ..objects import ObjectInfo, ObjectStore, is_url, open_objects
from ..store import FeatureStore
from ..store.parts.local_parts import CACHE_VARIABLE
from ..store.parts.upkeep import DAY
from ..user_cache import cache_folder
from .file import BUCKET_FOLDER, HEADER, ORIGIN, check_files, index_folder, read_header

_RANGE_BYTES = 64 << 20


def local_index(store: FeatureStore) -> Path:
    """Where the files of a store's index are on this machine; they are fetched if need be.

    Returns:
        A folder, which does not exist if there is no index.

    Raises:
        StorageError: the bucket cannot be reached, or there is no room.
        DamagedIndexError: what was fetched is not what its header says.
    """
    if not is_url(store.path):
        return index_folder(store.path)
    objects, copies = open_objects(store.path), _copies(store)
    headers = _headers(objects)
    if not headers:
        return copies / "none"
    folder = copies / headers[-1].name.split("/")[1]
    if not folder.is_dir():
        _fetch(objects, headers[-1].name, folder, str(store.path))
    return folder


def publish(store: FeatureStore, folder: Path) -> None:
    """Put an index into the bucket, as the newest version, and delete versions of earlier days.

    Args:
        folder: of the index, made from this state of the store.
    """
    objects = open_objects(store.path)
    version = f"{BUCKET_FOLDER}/{store.seal.groups:08}-{secrets.token_hex(8)}"
    header = read_header(folder)
    assert header is not None
    for name, _, _ in header.files.values():
        objects.put_file(f"{version}/{name}", folder / name)
    objects.put_if_absent(f"{version}/{HEADER}", (folder / HEADER).read_bytes())
    found = objects.list(BUCKET_FOLDER)
    now = max(info.modified for info in found)
    for info in found:  # others may read, or still be putting, a version of today
        if info.modified < now - DAY:
            objects.delete(info.name)


def _headers(objects: ObjectStore) -> list[ObjectInfo]:
    """The headers of all versions, the newest last."""
    found = [info for info in objects.list(BUCKET_FOLDER) if info.name.endswith(f"/{HEADER}")]
    return sorted(found, key=lambda info: (info.name.split("/")[1][:8], info.modified, info.name))


def _copies(store: FeatureStore) -> Path:
    """The folder of all copies of a store's index."""
    given = os.environ.get(CACHE_VARIABLE, "")
    base = Path(given) if given else cache_folder("candidates")
    return base / f"{hashlib.sha256(str(store.path).encode()).hexdigest()[:16]}.candidates"


def _fetch(objects: ObjectStore, header_name: str, folder: Path, store: str) -> None:
    """Copy a version; it gets its name once it is whole and checked."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as temporary:
            copy = Path(temporary, "copy")
            copy.mkdir()
            (copy / ORIGIN).write_text(store, encoding="utf-8")
            _copy_object(objects, header_name, copy / HEADER)
            header = read_header(copy)
            assert header is not None
            for name, _, _ in header.files.values():
                name = Path(name).name
                _copy_object(objects, f"{header_name.rpartition('/')[0]}/{name}", copy / name)
            check_files(copy, header)
            with suppress(FileExistsError, OSError):  # another process fetched it as well
                copy.rename(folder)
        for other in folder.parent.iterdir():  # another process may be about to open one of today
            if other != folder and other.stat().st_mtime < time.time() - DAY:
                shutil.rmtree(other, ignore_errors=True)
    except OSError as error:
        raise StorageError(
            f"{folder.parent}: {error.strerror or error}; a candidate index is copied there: make "
            f"room and allow writing, or name another folder in {CACHE_VARIABLE}"
        ) from error


def _copy_object(objects: ObjectStore, name: str, path: Path) -> None:
    size = objects.size(name)
    with open(path, "wb") as file:
        for start in range(0, size or 0, _RANGE_BYTES):
            (data,) = objects.get_ranges(name, [(start, min(start + _RANGE_BYTES, size or 0))])
            file.write(data)
