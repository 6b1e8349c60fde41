"""Files of a model, read within limits: a model may come from people who mean harm.

Nothing here runs what a file holds: pickled objects are refused by their header, and no name in an
archive becomes a path. What a header declares is compared with the bytes that are there before
memory is taken for it.
"""

from __future__ import annotations

import io
import math
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

MAX_BYTES = 1 << 30  # of an archive's arrays; the largest known model takes 0.4 GiB
MAX_ARRAYS = 10_000
_MAX_SHOWN = 500  # characters of an error
_HEAD = 1 << 16  # bytes of a member that its header lies in
_ENTRY = b"PK\x01\x02"  # starts a member's entry in the list at the end of an archive
_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

Wanted = Callable[[str, tuple[int, ...]], bool]


def read_file(path: Path, max_bytes: int) -> bytes:
    """The content of a regular file.

    Raises:
        OSError: not readable, no regular file (a pipe would block for ever), or more than
            `max_bytes`.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        content: bytes = file.read(max_bytes + 1) if size <= max_bytes else b""
    if size > max_bytes or len(content) > max_bytes:
        raise OSError(f"it has {size} bytes, more than {max_bytes} are not read")
    return content


def open_regular(path: Path) -> Any:
    """A regular file, opened for reading bytes.

    Raises:
        OSError: not readable, or no regular file.
    """
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115  its caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError("it is no regular file")
    return file


def read_arrays(
    content: bytes, wanted: Wanted, max_bytes: int = MAX_BYTES
) -> dict[str, np.ndarray]:
    """Arrays of an npz file, as float32.

    Args:
        content: of the file.
        wanted: called with each array's name and shape before any array is read: whether it is
            read. It raises ValueError for one that must not be there.
        max_bytes: arrays that take more are not read.

    Raises:
        ValueError: no archive of plain floats, or one beyond the limits.
    """
    try:
        return _read(content, wanted, max_bytes)
    except Exception as error:  # zipfile, zlib and numpy raise many kinds for foreign content
        lines = str(error).splitlines() or [type(error).__name__]
        raise ValueError(
            lines[0][:_MAX_SHOWN]
        ) from error  # numpy's further lines advise to allow pickles


def _read(content: bytes, wanted: Wanted, max_bytes: int) -> dict[str, np.ndarray]:
    if content.count(_ENTRY) > MAX_ARRAYS:
        raise ValueError(f"more than {MAX_ARRAYS} members")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        chosen: dict[str, zipfile.ZipInfo] = {}
        seen, total = set(), 0
        for member in archive.infolist():
            name = _name(member)
            if name in seen:
                raise ValueError(f"array {name!r} is there twice")
            seen.add(name)
            shape, size = _header(archive, member)
            if wanted(name, shape):
                chosen[name] = member
                total += size
        if total > max_bytes:
            raise ValueError(f"its arrays take {total} bytes, more than {max_bytes} are not read")
        return {name: _floats(name, archive.read(member)) for name, member in chosen.items()}


def _name(member: zipfile.ZipInfo) -> str:
    if not member.filename.endswith(".npy"):
        raise ValueError(f"member {member.filename!r} is no array")
    if member.flag_bits & _ENCRYPTED:
        raise ValueError(f"member {member.filename!r} is encrypted")
    if member.compress_type not in _METHODS:
        raise ValueError(f"member {member.filename!r} is neither stored nor deflated")
    return member.filename.removesuffix(".npy")


def _header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[tuple[int, ...], int]:
    """Shape, and bytes taken in memory: of the file's or of float32, whichever are more."""
    with archive.open(member) as file:
        head = io.BytesIO(file.read(_HEAD))
    version = npy.read_magic(head)
    if version == (1, 0):
        shape, _, dtype = npy.read_array_header_1_0(head)
    elif version == (2, 0):
        shape, _, dtype = npy.read_array_header_2_0(head)
    else:
        raise ValueError(f"{member.filename}: npy version {version} is unknown")
    if dtype.kind != "f" or dtype.itemsize not in (2, 4, 8):
        raise ValueError(f"{member.filename} holds {dtype}, expected floats of 2, 4 or 8 bytes")
    count = math.prod(shape)
    if any(n < 0 for n in shape) or head.tell() + count * dtype.itemsize != member.file_size:
        raise ValueError(
            f"{member.filename} declares {dtype} {shape}, which {member.file_size} bytes are not"
        )
    return shape, max(member.file_size, 4 * count)


def _floats(name: str, content: bytes) -> np.ndarray:
    with np.errstate(over="ignore"):
        array: np.ndarray = npy.read_array(io.BytesIO(content), allow_pickle=False).astype("f4")
    if not np.isfinite(array).all():
        raise ValueError(f"array {name!r} holds a value that is not finite")
    return array


def _without_waiting(path: str, flags: int) -> int:
    """Opening a pipe that nobody writes to would wait for ever."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
