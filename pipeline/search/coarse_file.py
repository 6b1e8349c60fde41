"""Coarse vectors kept in a file, so that a database is read once and not anew for each search.

The file is derived from stores and students and can be deleted at any time. A vector belongs to a
stored video by the video's id and checksum, so one file serves several stores, and a video that was
stored anew gets a new vector.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..atomic import atomic_write
from ..errors import InputError
from .video_set import VideoSet

if TYPE_CHECKING:
    from ..nets.model.student import Student

_VERSION = 1
_KEY = "<u8"

Kept = dict[int, tuple[np.ndarray, float]]  # key of a video -> its vector and its index


def read_kept(path: Path, students: str) -> Kept:
    """The vectors in a file; none if there is no file yet.

    Args:
        students: of `students_name`.

    Raises:
        InputError: it cannot be read, is another file, or was made by other students.
    """
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(file["about"].tobytes())
            keys, vectors, indices = file["keys"], file["vectors"], file["indices"]
        if about["version"] != _VERSION or not (len(keys) == len(vectors) == len(indices)):
            raise ValueError("it is of another version, or cut short")
        known = about["students"]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: no file of coarse vectors ({error}); delete it, or give another --vectors"
        ) from error
    if known != students:
        raise InputError(f"{path}: was made by other students; give another --vectors")
    pairs = zip(vectors, indices.tolist(), strict=True)
    return dict(zip(keys.tolist(), pairs, strict=True))


def write_kept(path: Path, students: str, vectors: Mapping[int, tuple[np.ndarray, float]]) -> None:
    """Write the file anew.

    Raises:
        InputError: it cannot be written.
    """
    buffer = io.BytesIO()
    about = json.dumps({"version": _VERSION, "students": students}).encode()
    np.savez(
        buffer,
        about=np.frombuffer(about, np.uint8),
        keys=np.array(list(vectors), _KEY),
        vectors=np.stack([vector for vector, _ in vectors.values()]),
        indices=np.array([index for _, index in vectors.values()]),
    )
    try:
        with atomic_write(path) as out:
            out.write(buffer.getbuffer())
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error}; give another --vectors") from error


def students_name(coarse: Student, selector: Student | None) -> str:
    """SHA-256 (hex) of the students' weights."""
    digest = hashlib.sha256()
    for student in (coarse, selector):
        for name, array in sorted(student.arrays.items() if student else ()):
            digest.update(f"{name} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array, "<f4").data)
    return digest.hexdigest()


def video_keys(videos: VideoSet) -> list[int]:
    """A number for each video that changes when its features do."""
    keys = []
    for number in range(len(videos)):
        store, own_id = videos.stored(number)
        checksum = store.checksum(own_id)
        if not checksum:  # of a published file: its time and size, which a store does not need
            state = os.stat(store.path)
            checksum = f"{state.st_mtime_ns} {state.st_size}"
        text = f"{own_id}\0{checksum}\0{store.frames(own_id)}\0{store.spec.fingerprint}"
        hashed = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        keys.append(int.from_bytes(hashed, "little"))
    return keys
