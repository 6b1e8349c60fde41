"""Finds entries of a store whose file is gone. A file on an offline disk is not gone.

A file counts as gone only with evidence that its disk is present: another stored file exists below
the same top folder of the collection, and below the nearest folder that still exists, on the same
device. An unmounted disk leaves an empty folder, or none, and no stored file below it.
"""

from __future__ import annotations

import errno
import ntpath
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

_GONE = (errno.ENOENT, errno.ENOTDIR)
_ADDRESS = re.compile(r"(^|/)[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # also as a path in full
_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")  # see `inputs.printable_path`


@dataclass
class Losses:
    """The state of the file of each entry.

    Attributes:
        present: number of files that exist.
        gone: id -> path, of files that are gone from a disk that is present.
        offline: top folder of the collection -> ids of files below it whose disk may be offline.
        unknown: id -> why, of files that cannot be inspected.
        relative: number of relative paths, which start at the current directory.
    """

    present: int = 0
    gone: dict[str, str] = field(default_factory=dict)
    offline: dict[str, list[str]] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    relative: int = 0


def find_losses(entries: Iterable[tuple[str, str]], gone_folders: Iterable[str] = ()) -> Losses:
    """Look for the file of every entry.

    Args:
        entries: (id, path) of stored videos.
        gone_folders: files that are missing below these count as gone without evidence.
    """
    losses = Losses()
    absent: list[tuple[str, str]] = []
    devices: dict[str, set[int]] = {}
    folders: set[str] = set()
    for video_id, path in entries:
        relative = not os.path.isabs(path)
        losses.relative += relative
        if relative and ntpath.isabs(path):
            losses.unknown[video_id] = f"{path}: a path of another system"
            continue
        folders.add(os.path.dirname(os.path.abspath(path)))
        try:
            status = _file_status(path)
        except (OSError, ValueError) as error:
            losses.unknown[video_id] = f"{path}: {getattr(error, 'strerror', None) or error}"
            continue
        if status is None and _ADDRESS.search(path):
            losses.unknown[video_id] = f"{path}: an address, not a path of a file"
        elif status is None:
            absent.append((video_id, os.path.abspath(path)))
        else:
            losses.present += 1
            _record_device(os.path.abspath(path), status.st_dev, devices)
    common = _common_folder(folders)
    prefixes = [os.path.abspath(folder) + os.sep for folder in gone_folders]
    nearest = lru_cache(1 << 16)(_nearest_folder)
    for video_id, path in absent:
        folder = nearest(os.path.dirname(path))
        top = _top_folder(path, common)
        is_gone = folder and top in devices and _device(folder) in devices.get(folder, ())
        if is_gone or any(path.startswith(folder) for folder in prefixes):
            losses.gone[video_id] = path
        else:
            losses.offline.setdefault(top, []).append(video_id)
    return losses


def _common_folder(folders: set[str]) -> str:
    """Find the folder that all files are below; empty if there is none."""
    try:
        return os.path.commonpath(folders) if folders else ""
    except ValueError:  # several drives
        return ""


def _top_folder(path: str, common: str) -> str:
    """Find the folder of a file right below the common one, or the common one itself."""
    name, _, rest = path.removeprefix(common).lstrip(os.sep).partition(os.sep)
    return os.path.join(common, name) if rest else common


def _file_status(path: str) -> os.stat_result | None:
    """Read the status of a file; None if it is gone.

    Raises:
        OSError: its state is unknown, as for a link to a missing file, whose disk may be offline.
    """
    names = [os.fsencode(path)]
    if _ESCAPE.search(names[0]):  # the name was no text, or looked so
        names.append(_ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), names[0]))
    for name in names:
        try:
            return os.stat(name)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            if os.path.islink(name):
                raise OSError(error.errno, "a link that leads nowhere") from error
    return None


def _record_device(path: str, device: int, devices: dict[str, set[int]]) -> None:
    """Record the device of a file for every folder above it, up to a recorded one."""
    while (folder := os.path.dirname(path)) != path:
        path = folder
        numbers = devices.setdefault(folder, set())
        if device in numbers:
            return
        numbers.add(device)


def _nearest_folder(folder: str) -> str:
    """Find the first folder upwards that exists.

    Returns an empty text if a dangling link is missing or the folder is empty: a disk may be
    mounted there at other times.
    """
    missing = ""
    while not os.path.isdir(folder):
        missing, folder = folder, os.path.dirname(folder)
        if os.path.islink(missing):
            return ""
    try:
        with os.scandir(folder) as entries:
            return folder if next(entries, None) else ""
    except OSError:
        return ""


def _device(folder: str) -> int:
    try:
        return os.stat(folder).st_dev
    except OSError:
        return -1
