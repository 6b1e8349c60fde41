"""Where the file of a stored video is now, and whether it is still the one that was stored."""

from __future__ import annotations

import ntpath
import os
from pathlib import Path
from typing import NamedTuple

from .errors import InputError
from .extraction.identity import Identity, file_state, identity
from .records import SourceInfo

_MAX_FOLDERS = 32  # of a stored path that are looked for below the root


class FoundFile(NamedTuple):
    """The file of a video.

    Attributes:
        path: None if it is not at hand.
        reason: then why.
    """

    path: str | None
    reason: str = ""


class SourceFiles:
    """Finds the files that stored videos were made of.

    Args:
        root: folder that stands for the one that moved files were in: of the stored path
            /data/films/a/b.mp4 it is searched for films/a/b.mp4, a/b.mp4 and b.mp4, the longest
            first. None: files are where they were.

    Raises:
        InputError: there is no such folder.
    """

    def __init__(self, root: str | Path | None = None) -> None:
        if root is not None and not Path(root).is_dir():
            raise InputError(f"{root}: is no folder; give the one that the videos are in now")
        self._root = None if root is None else Path(root)

    def find(self, source: SourceInfo) -> FoundFile:
        """The file of a video, judged by name, size and time as in a second run of stage one."""
        if not source.path:
            return FoundFile(None, "the store has no path")
        other = False
        for path in self._candidates(source.path):
            if file_state(path) is None:
                continue
            if identity(path, source) in (Identity.SAME, Identity.MOVED):
                return FoundFile(path)
            other = True
        if other:
            return FoundFile(None, "the file there is not the one that was stored")
        return FoundFile(None, "the file is not there")

    def locate(self, path: str) -> str:
        """Where a file is now that was at `path`; that path itself if it is not found."""
        return next((p for p in self._candidates(path) if os.path.exists(p)), path)

    def _candidates(self, path: str) -> list[str]:
        if self._root is None:
            return [path]
        folders = ntpath.splitdrive(path)[1].replace("\\", "/").split("/")
        names = [name for name in folders if name not in ("", ".", "..")]
        tails = [names[start:] for start in range(max(0, len(names) - _MAX_FOLDERS), len(names))]
        return [path, *(str(self._root.joinpath(*tail)) for tail in tails)]
