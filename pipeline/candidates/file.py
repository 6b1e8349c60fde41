"""The files of a candidate index: a folder beside the store, `archive.zarr.candidates`.

    header.json      what the index was made from, and which files it consists of; replaced as a
                     whole, so that a killed writer leaves the old index
    rows-N.bin       an entry of `ROW` for each video, in the order of their codes
    codes-N.i8       int8 [codes, D], the codes that are compared one by one
    codes-N.f16      float16 [videos, D] in its place: the vectors of a coarse student
    inverted-N.faiss the codes before these, as FAISS keeps them; large indexes only

A file is never changed once a header names it, but codes are added behind the end of `codes-N`
that the header knows. What no header names is removed by the next writer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from ..atomic import atomic_write, sync_file, sync_path
from ..errors import FingerprintMismatchError, StoreError
from ..objects import is_url
from ..store import FeatureStore
from .codes import IndexRule

FORMAT = 1
HEADER = "header.json"
BUCKET_FOLDER = "candidates"  # of a store in a bucket, see `bucket_index`
ORIGIN = "store"  # a file in a copy of an index in a bucket; names the store
CODES_SUFFIX = {"int8": ".i8", "float16": ".f16"}
# fingerprint: of id and checksum; number: the video's place in the store, -1 for one that is gone;
# codes: how many it has.
ROW = np.dtype([("fingerprint", "<u8"), ("number", "<i8"), ("codes", "<i8")])
_CHECK_BYTES = 1 << 24


@dataclass(frozen=True)
class IndexHeader:
    """What an index was made from and what it consists of.

    Attributes:
        digest: of the model that made the features.
        rule: name of the `IndexRule`.
        values: D.
        seal: size, groups and CRC-32 of the store's manifest.
        generation: of the newest files.
        videos, codes: how many, those that are gone included.
        inverted: so many codes, the first ones, are in FAISS's file.
        files: for each kind ("rows", "codes", "inverted") its name, bytes and CRC-32C.
        student: folder of the coarse student that made the codes; empty without one.
    """

    digest: str
    rule: str
    values: int
    seal: tuple[int, int, int]
    generation: int = 0
    videos: int = 0
    codes: int = 0
    inverted: int = 0
    files: dict[str, tuple[str, int, str]] = field(default_factory=dict)
    student: str = ""


class DamagedIndexError(StoreError):
    """A file of the index is not what the header says."""


def index_folder(store: Path) -> Path:
    """Where the candidate index of a store is."""
    if is_url(store):
        return store / BUCKET_FOLDER
    return store.with_name(f"{store.name}.candidates")


def seal_of(store: FeatureStore) -> tuple[int, int, int]:
    """The state of a store's manifest."""
    return store.seal.size, store.seal.groups, store.seal.crc32


def read_header(folder: Path) -> IndexHeader | None:
    """The header of an index; None if there is no index.

    Raises:
        DamagedIndexError: it cannot be read, or is of a newer version.
    """
    try:
        value = json.loads((folder / HEADER).read_bytes())
        text = json.dumps(value["index"], sort_keys=True)
        if value["check"] != f"{google_crc32c.value(text.encode()):08x}":
            raise ValueError("its checksum does not fit")
        if value["format"] != FORMAT:
            raise ValueError(f"it has format {value['format']}, this program reads {FORMAT}")
        fields: dict[str, Any] = value["index"]
        files = {kind: (str(n), int(b), str(c)) for kind, (n, b, c) in fields["files"].items()}
        size, groups, crc32 = fields["seal"]
        return IndexHeader(**fields | {"files": files, "seal": (size, groups, crc32)})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(folder, f"{HEADER} cannot be read ({error})") from error


def made_by_student(folder: Path) -> str:
    """Folder of the coarse student that made an index; empty for another or no index.

    Args:
        folder: of the index.

    Raises:
        DamagedIndexError: there is an index by a coarse student whose header cannot be read.
    """
    try:
        header = read_header(folder)
    except DamagedIndexError:
        if _has_vectors(folder):
            raise
        return ""
    return header.student if header else ""


def write_header(folder: Path, header: IndexHeader) -> None:
    """Put a header in the place of the old one; its files are on disk already."""
    value = asdict(header)
    check = f"{google_crc32c.value(json.dumps(value, sort_keys=True).encode()):08x}"
    with atomic_write(folder / HEADER) as file:
        file.write(
            json.dumps({"format": FORMAT, "index": value, "check": check}, indent=1).encode()
        )


def require_same_rule(header: IndexHeader, store: FeatureStore, rule: IndexRule) -> None:
    """Refuse an index of another model's features, or by another rule.

    Raises:
        FingerprintMismatchError: naming the folder.
    """
    if (header.digest, header.rule) != (store.spec.digest, rule.name):
        raise FingerprintMismatchError(
            f"{index_folder(store.path)}: this candidate index was made of other features, or by "
            f"another model, than is asked for (features {header.digest[:12]}, codes "
            f"{header.rule!r}; expected {store.spec.digest[:12]}, {rule.name!r}): remove the "
            f"folder, then run visil-index index {store.path}"
            f"{' --coarse DIR' if rule.student else ''}"
        )


def map_file(folder: Path, header: IndexHeader, kind: str) -> np.ndarray:
    """The bytes of a file of the index, memory-mapped; nothing is read yet.

    Raises:
        DamagedIndexError: it is gone or too short.
    """
    name, size, _ = header.files[kind]
    path = folder / Path(name).name
    try:
        if path.stat().st_size < size:
            raise damaged(folder, f"{name} has {path.stat().st_size} bytes, expected {size}")
        if size == 0:
            return np.empty(0, np.uint8)
        return np.memmap(path, np.uint8, "r", shape=(size,))
    except OSError as error:
        raise damaged(folder, f"{name} cannot be read ({error.strerror})") from error


def read_rows(folder: Path, header: IndexHeader) -> np.ndarray:
    """The videos of an index, checked.

    Returns:
        Of `ROW`, one a video.

    Raises:
        DamagedIndexError: the file is not what the header says.
    """
    stored = np.array(map_file(folder, header, "rows"))
    if checksum(stored) != header.files["rows"][2] or stored.nbytes != header.videos * ROW.itemsize:
        raise damaged(folder, f"{header.files['rows'][0]} has another checksum or size")
    rows = stored.view(ROW)
    if int(rows["codes"].sum()) != header.codes:
        raise damaged(folder, f"its videos have {int(rows['codes'].sum())} codes")
    return rows


def check_files(folder: Path, header: IndexHeader) -> None:
    """Read all files of an index and compare their checksums.

    Raises:
        DamagedIndexError: one does not fit.
    """
    for kind, (name, _, crc) in header.files.items():
        if checksum(map_file(folder, header, kind)) != crc:
            raise damaged(folder, f"the checksum of {name} does not fit")


def checksum(values: np.ndarray, crc: int = 0) -> str:
    """CRC-32C (hex) of bytes, continued from `crc`."""
    for start in range(0, len(values), _CHECK_BYTES):
        crc = google_crc32c.extend(crc, np.ascontiguousarray(values[start : start + _CHECK_BYTES]))
    return f"{crc:08x}"


def write_file(path: Path, content: np.ndarray) -> tuple[str, int, str]:
    """Write a new file; returns its name, bytes and checksum."""
    values = np.ascontiguousarray(content).reshape(-1).view(np.uint8)
    with atomic_write(path) as file:
        file.write(values.data)
    return path.name, values.nbytes, checksum(values)


def append_to_file(
    path: Path, known: tuple[str, int, str], content: np.ndarray
) -> tuple[str, int, str]:
    """Add bytes behind the known end of a file; what a killed writer left there is overwritten.

    Returns:
        Its name, bytes and checksum from now on.
    """
    name, size, crc = known
    values = np.ascontiguousarray(content).reshape(-1).view(np.uint8)
    with open(path, "r+b") as file:
        file.truncate(size)
        file.seek(size)
        file.write(values.data)
        file.flush()
        sync_file(file.fileno())
    return name, size + values.nbytes, checksum(values, int(crc, 16))


def remove_unnamed(folder: Path, header: IndexHeader) -> None:
    """Remove files of earlier generations and of killed writers."""
    named = {HEADER, *(name for name, _, _ in header.files.values())}
    for path in _own_files(folder):
        if path.name not in named:
            with suppress(OSError):
                path.unlink()
    with suppress(OSError):
        sync_path(folder)


def _own_files(folder: Path) -> Sequence[Path]:
    """Files that an index may have, by their names: nothing else is ever removed."""
    codes = [f"codes-*{suffix}" for suffix in CODES_SUFFIX.values()]
    patterns = ("rows-*.bin", *codes, "inverted-*.faiss", ".*.tmp")
    return [path for pattern in patterns for path in folder.glob(pattern) if path.is_file()]


def damaged(folder: Path, what: str) -> DamagedIndexError:
    """The error for an index that cannot be used."""
    store = os.fspath(folder).removesuffix(".candidates")
    with suppress(OSError):  # a copy of an index in a bucket
        store = (folder / ORIGIN).read_text(encoding="utf-8")
    command = f"visil-index index {store}"
    if _has_vectors(folder):
        command += " --coarse DIR"
    return DamagedIndexError(
        f"{folder}: the candidate index is damaged: {what}; {command} makes it anew"
    )


def _has_vectors(folder: Path) -> bool:
    """Whether an index is one of a coarse student, also where its header cannot be read."""
    return any(folder.glob(f"codes-*{CODES_SUFFIX['float16']}"))
