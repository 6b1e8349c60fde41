"""The files of a Zarr store other than its arrays: header, manifest, seal, unfinished work."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from ..atomic import O_BINARY
from ..errors import StoreError
from .checks import strict_json
from .disk import O_NONBLOCK, Disk, pread_into
from .header import Header, not_a_store, read_header
from .keys import are_keys
from .plain_files import foreign, in_the_way, linked, open_own
from .seal import SEAL_BYTES, Seal, no_seal, read_seal, whole_file

_ABOUT = "the manifest of this feature store is the file log.jsonl in this folder"
_HEADER_BYTES = 16 << 20  # at most
_FOLDERS = {"features", "manifest"}
_FILES = {"zarr.json", "features/zarr.json", "manifest/zarr.json", "manifest/log.jsonl"}
# What the Zarr library writes a metadata file under before it renames it.
_TEMPORARY = re.compile(r"zarr\.[0-9a-f]{32}\.partial")
_DENSE = 64 << 20  # a log beyond that is read only if the disk holds a good part of it


def log_path(path: Path) -> Path:
    return path / "manifest" / "log.jsonl"


def load_header(path: Path) -> Header:
    root = path / "zarr.json"
    if not root.is_file() or not log_path(path).is_file():
        raise not_a_store(str(path))
    value = strict_json(read_text(root, _HEADER_BYTES))
    return read_header(value.get("attributes", {}).get("store"), str(path))


def read_text(path: str | Path, max_bytes: int) -> str:
    """A small text file. Raises OSError; ValueError: longer than `max_bytes`, or no UTF-8."""
    fd = os.open(path, os.O_RDONLY | O_BINARY | O_NONBLOCK)
    with open(fd, "rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"{path} is longer than {max_bytes} bytes")
    return data.decode("utf-8")


def require_no_links(path: Path) -> None:
    """Raises StoreError if what a writer or zarr opens is not in this folder itself, or a pipe."""
    for name in sorted(_FILES | _FOLDERS):
        if (path / name).is_symlink():
            raise linked(path / name)
        if name in _FILES and (path / name).exists() and not (path / name).is_file():
            raise foreign(path / name)


def create_folder(path: Path, header: Header) -> None:
    """Make an empty store at a path where nothing is, or the rest of such an attempt.

    Raises:
        StoreError: something else is there.
    """
    import zarr

    _clear_attempt(path)
    path.mkdir()
    root = zarr.create_group(path, zarr_format=3, attributes={"store": header.as_json()})
    root.create_group("features")
    root.create_array(
        "manifest", shape=(0,), chunks=(1,), dtype="uint8", attributes={"about": _ABOUT}
    )
    log_path(path).touch()
    (path / "manifest" / "seal").write_bytes(whole_file(Seal()))


class SealFile:
    """The seal as a writer keeps it; of a store from before seals it is made when first written."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path = path / "manifest" / "seal"
        self._disk = disk
        exists = os.path.lexists(self._path)
        self._fd = open_own(self._path, os.O_RDWR) if exists else -1

    def write(self, seal: Seal) -> None:
        """Say that the log, which is synced, has got this far. Not synced, see `seal.py`."""
        if self._fd < 0:
            self._make(seal)
        else:
            self._disk.pwrite(self._fd, *seal.slot())

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _make(self, seal: Seal) -> None:
        temporary = self._path.with_name("seal.new")
        self._fd = open_own(temporary, os.O_RDWR | os.O_CREAT)
        self._disk.pwrite(self._fd, whole_file(seal), 0)
        self._disk.fsync(self._fd)
        self._disk.install(temporary, self._path)


class Unfinished:
    """The keys that writers have begun arrays under, one JSON string a line.

    A key is written before its array is made, so that the next writer knows a killed one's work
    from what somebody else put there. It is not synced: after a power failure a key may be
    missing, and then its array is left alone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path / "manifest" / "unfinished.jsonl"
        self._fd = -1
        self.keys: set[str] = unfinished_keys(path)

    def add(self, key: str) -> None:
        if self._fd < 0:
            self._fd = open_own(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(self._fd, b"\n")  # ends what a kill may have cut short
        os.write(self._fd, json.dumps(key).encode() + b"\n")
        self.keys.add(key)

    def clear(self) -> None:
        """Nothing unfinished is left."""
        self.close()
        if self.keys:
            self._path.unlink(missing_ok=True)
            self.keys = set()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def unfinished_keys(path: Path) -> set[str]:
    """The keys that a writer, at work or killed, has begun and not cleared away."""
    file = path / "manifest" / "unfinished.jsonl"
    try:
        lines = read_text(file, 1 << 30).split("\n")
    except (OSError, ValueError):
        return set()
    return {key for line in lines[:-1] if (key := _key_in(line))}


def remove_temporary_files(path: Path) -> None:
    """Delete the Zarr library's temporary files that a killed writer left beside the groups.

    A Zarr tool warns of such a file. Only the one writer of a store may call this.
    """
    for folder in ("", "features"):
        with os.scandir(path / folder) as items:
            left = [i.path for i in items if _TEMPORARY.fullmatch(i.name)]
        for file in left:
            if os.path.isfile(file) and not os.path.islink(file):
                os.unlink(file)


def _key_in(line: str) -> str:
    try:
        key: Any = json.loads(line)
        return key if isinstance(key, str) and are_keys([key]) else ""
    except (ValueError, RecursionError):
        return ""


def _clear_attempt(path: Path) -> None:
    """Delete what a kill left of making a store, which is known by its few names."""
    if path.is_symlink():
        raise linked(path)
    if not path.exists():
        return
    if not path.is_dir() or not _is_attempt(path):
        raise in_the_way(path)
    shutil.rmtree(path)


def _is_attempt(path: Path) -> bool:
    names = _FILES | _FOLDERS | {"manifest/seal"}
    for folder, folders, files in os.walk(path):
        for name in folders + files:
            item = Path(folder, name)
            inside = item.relative_to(path).as_posix()
            unfinished = inside.rpartition("/")[0] in {"", *_FOLDERS} and name.endswith(".partial")
            if item.is_symlink() or not (inside in names or unfinished):
                return False
    return True


def load_seal(path: Path, header: Header) -> Seal | None:
    """Read the seal; None for a store of a version without seals. Raises StoreError."""
    try:
        fd = os.open(path / "manifest" / "seal", os.O_RDONLY | O_BINARY | O_NONBLOCK)
    except FileNotFoundError:
        if header.sealed:
            raise no_seal(str(path)) from None
        return None
    with open(fd, "rb") as file:
        return read_seal(file.read(SEAL_BYTES), str(path))


def read_log(fd: int, path: Path) -> bytes:
    """The whole log in an open file. Raises StoreError: it is a hole of many gigabytes."""
    status = os.fstat(fd)
    blocks = getattr(status, "st_blocks", None)
    if status.st_size > _DENSE and blocks is not None and blocks * 512 < status.st_size // 64:
        raise StoreError(
            f"{path}: the manifest is damaged: {status.st_size} bytes, nearly all of them a hole; "
            "copy the store again from where it came from, or extract the features again"
        )
    data = bytearray(status.st_size)
    return bytes(memoryview(data)[: pread_into(fd, memoryview(data), 0)])
