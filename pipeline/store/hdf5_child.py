"""The process that opens a store's file with the HDF5 library for `hdf5_guard.py`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .disk import pread_into
from .hdf5_layout import Hdf5Layout, file_end
from .journal import PAGE, pending_pages
from .keys import printable
from .manifest import parse
from .plain_files import open_regular
from .transaction import OverlayFile

_GROUPS = ("features", "seconds", "removed/features", "removed/seconds")
_TRIAL = "~trial"  # the key of no video


class ScratchFile(OverlayFile):
    """The file with changes that stay in memory, at least a page each."""

    def write(self, data: bytes | memoryview) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            number, start = divmod(self.position + done, PAGE)
            piece = view[done : done + PAGE - start]
            self._page(number)[start : start + len(piece)] = piece
            done += len(piece)
        self.position += len(view)
        self.end = max(self.end, self.position)
        return len(view)

    def truncate(self, size: int) -> int:
        self.end = size
        return size

    def _page(self, number: int) -> bytearray:
        if len(self.pages.get(number, b"")) < PAGE:
            page = bytearray(PAGE)
            pread_into(self.fd, memoryview(page), number * PAGE)
            content = self.pages.get(number, b"")
            page[: len(content)] = content
            self.pages[number] = page
        return self.pages[number]


def main() -> None:
    """One job as JSON on standard input; a list as JSON on standard output.

    Raises:
        Exception: whatever the library raises; its last line is what is told.
    """
    job = json.load(sys.stdin)
    _limit(job["cpu"], job["memory"])
    path = Path(job["path"])
    fd = open_regular(path, os.O_RDONLY)
    status = os.fstat(fd)
    if [status.st_dev, status.st_ino] != job["name"]:
        raise RuntimeError("it was replaced meanwhile: open it again")
    pages, end = pending_pages(path, fd, file_end)
    if job["task"] == "layout":
        answer = layout_problems(OverlayFile(fd, end, pages), job["videos"])
    else:
        answer = append_problems(ScratchFile(fd, end, pages))
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()
    os._exit(0)  # what the library does with a bad file when it closes is nobody's concern


def _limit(cpu: float, memory: int) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (int(cpu), int(cpu) + 1))
    # macOS does not keep this one.
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def layout_problems(opened: OverlayFile, videos: Sequence[Any]) -> list[str]:
    """List what the library finds wrong: one line for each damaged video."""
    import h5py

    with h5py.File(opened, "r") as file:
        results = [(video[0], _problem(file, *video)) for video in videos]
        stored = set(file["features"])
    problems = [f"{video_id}: {problem}" for video_id, problem in results if problem]
    # Of the file as it is now: a writer may have added to it since the store was opened.
    log = Hdf5Layout(opened.read_at, opened.end).manifest() or b""
    unknown = stored - set(parse(log, "the manifest")[0].keys)
    return problems + [f"dataset /features/{key} is not in the manifest" for key in sorted(unknown)]


def _problem(file: Any, video_id: str, key: str, shape: list[int], at: list[int]) -> str:
    for name, expected, offset in zip(("features", "seconds"), (shape, shape[:1]), at, strict=True):
        name_in_file = _dataset_name(file, name, key)
        if not name_in_file:
            return f"there is no dataset /{name}/{key}"
        dataset = file[name_in_file]
        if dataset.shape != tuple(expected) or dataset.id.get_offset() != offset:
            return f"dataset /{name}/{key} is not where or what the manifest says"
    # It lies elsewhere, and a plain reader asks for it.
    label = file[_dataset_name(file, "features", key)].attrs.get("id")
    return "" if label == printable(video_id) else f"attribute id of /features/{key} is damaged"


def _dataset_name(file: Any, name: str, key: str) -> str:
    """Find the name of a dataset; a writer may have moved it since this store was opened."""
    import h5py

    for place in (f"{name}/{key}", f"removed/{name}/{key}"):
        link = file.get(place, getlink=True)  # looked at first: others lead out of the file
        if isinstance(link, h5py.HardLink) and isinstance(file[place], h5py.Dataset):
            return place
    return ""


def append_problems(opened: ScratchFile) -> list[str]:
    """Do once what a writer does, and walk through every name that it may come upon."""
    import h5py

    with h5py.File(opened, "r+", libver=("v108", "latest")) as file:
        for name in _GROUPS:
            group = file.get(name)
            if not isinstance(file.get(name, getlink=True), h5py.HardLink) or not isinstance(
                group, h5py.Group
            ):
                return [f"there is no group /{name}"]
            sum(1 for _ in group)
        for name in _GROUPS[:2]:
            file[name].create_dataset(_TRIAL, data=0.0).attrs["id"] = "trial"
            file.move(f"{name}/{_TRIAL}", f"removed/{name}/{_TRIAL}")
        manifest = file["manifest"]
        size = manifest.shape[0]
        manifest.resize((size + 1,))
        manifest[size:] = 1
        file.flush()
    return []
