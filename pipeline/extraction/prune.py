"""Which entries of a store have lost their file. A disk that is offline is no loss.

A file counts as gone only if there is evidence that its disk is there: another stored file is
there below the same top folder of the collection, and below the nearest folder that still exists,
on the same device. An unmounted disk leaves an empty folder, or none, and no stored file below it.
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
_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")  # see `inputs.printable`


@dataclass
class Losses:
    """Entries by what became of their file.

    Attributes:
        present: how many files are there.
        gone: id -> path, of files that are gone from a disk that is there.
        offline: top folder of the collection -> ids of files below it whose disk may be offline.
        unknown: id -> why, of files that cannot be looked at.
        relative: how many paths are relative, and so start at the current directory.
    """

    present: int = 0
    gone: dict[str, str] = field(default_factory=dict)
    offline: dict[str, list[str]] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    relative: int = 0


def find_losses(entries: Iterable[tuple[str, str]], gone_folders: Iterable[str] = ()) -> Losses:
    """Look for the file of every (id, path).

    Args:
        gone_folders: what is missing below these is gone, without evidence.
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
            status = _look_at(path)
        except (OSError, ValueError) as error:
            losses.unknown[video_id] = f"{path}: {getattr(error, 'strerror', None) or error}"
            continue
        if status is None:
            absent.append((video_id, os.path.abspath(path)))
        else:
            losses.present += 1
            _note_device(os.path.abspath(path), status.st_dev, devices)
    common = _common_folder(folders)
    given = [os.path.abspath(folder) + os.sep for folder in gone_folders]
    nearest = lru_cache(1 << 16)(_nearest_folder)
    for video_id, path in absent:
        folder = nearest(os.path.dirname(path))
        top = _top_folder(path, common)
        there = folder and top in devices and _device(folder) in devices.get(folder, ())
        if there or any(path.startswith(folder) for folder in given):
            losses.gone[video_id] = path
        else:
            losses.offline.setdefault(top, []).append(video_id)
    return losses


def _common_folder(folders: set[str]) -> str:
    """That all files are below; empty if there is none."""
    try:
        return os.path.commonpath(folders) if folders else ""
    except ValueError:  # several drives
        return ""


def _top_folder(path: str, common: str) -> str:
    """The folder right below the common one that a file is in, or the common one."""
    name, _, rest = path.removeprefix(common).lstrip(os.sep).partition(os.sep)
    return os.path.join(common, name) if rest else common


def _look_at(path: str) -> os.stat_result | None:
    """None if it is gone.

    Raises:
        OSError: it cannot be told, as of a link to a file that is gone: its disk may be offline.
    """
    names = [os.fsencode(path)]
    if _ESCAPE.search(names[0]):  # the name was no text, or looked so
        names.append(_ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), names[0]))
    for name in names:
        try:
            return os.stat(name)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            if os.path.islink(name):
                raise OSError(error.errno, "a link that leads nowhere") from error
    return None


def _note_device(path: str, device: int, devices: dict[str, set[int]]) -> None:
    """For every folder above a file that is there, up to one that is known."""
    while (folder := os.path.dirname(path)) != path:
        path = folder
        known = devices.setdefault(folder, set())
        if device in known:
            return
        known.add(device)


def _nearest_folder(folder: str) -> str:
    """The first folder upwards that exists; empty if what is missing is a link that leads nowhere,
    or the folder is empty: a disk may be mounted there at other times."""
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
