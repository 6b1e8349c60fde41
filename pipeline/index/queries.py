"""From what a user searches for to videos: files, folders, stored ids."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import api
from ..errors import InputError
from ..inputs import printable_path, scan_folder
from ..records import VideoRef
from ..workflow import VideoSource
from .arguments import check, listed_ids, listed_paths

if TYPE_CHECKING:
    from ..search.video_set import VideoSet

_MAX_COMPARED_IDS = 50_000  # in the search for an id that is spelled nearly alike: a second

Queries = str | Path | Mapping[str, str | Path] | Iterable[str | Path | VideoRef]


class QueryFinder:
    """Finds what is searched for: among stored videos by id, or in files.

    Args:
        database: the stored videos.

    Attributes:
        numbers: place of each stored video by its id.
    """

    def __init__(self, database: VideoSet) -> None:
        self._database = database
        self.numbers = {video_id: number for number, video_id in enumerate(database.ids)}

    def stored(self, ids: Any) -> VideoSource:
        """Stored videos by one id or several.

        Raises:
            InputError: no stored video has an id; names one that may be meant.
        """
        chosen = listed_ids(ids)
        for video_id in chosen:
            if video_id not in self.numbers:
                raise InputError(f"no stored video has the id {video_id!r}{self._hint(video_id)}")
        return VideoSource(opened=self._database.subset(chosen))

    def listed(self, videos: Any) -> VideoSource:
        """Files, folders, `VideoRef`s or `{id: path}`.

        Raises:
            InputError: nothing, something else, or a single file that does not exist.
        """
        refs: Sequence[VideoRef]
        if isinstance(videos, Mapping):
            refs = api._refs(videos, "")
        else:
            refs = refs_of(listed_paths(videos))
        if not refs:
            raise InputError("no video given to search for")
        if len(refs) == 1 and not os.path.exists(refs[0].path):
            self._refuse_missing(refs[0])
        return VideoSource(videos=refs)

    def one(self, video: Any, name: str) -> VideoSource:
        """A stored id or a file.

        Args:
            name: of the argument, for messages.

        Raises:
            InputError: neither.
        """
        check(video, name, (str, Path), "the id of a stored video or the path of a file")
        if isinstance(video, str) and video in self.numbers:
            return self.stored(video)
        if os.path.isdir(video):
            raise InputError(f"{video}: is a folder, expected a video or the id of a stored one")
        return self.listed(video)

    def _refuse_missing(self, ref: VideoRef) -> None:
        name = printable_path(ref.path)
        if name in self.numbers:
            hint = "; a stored video has this id: give it as ids (--id)"
        else:
            hint = self._hint(name)
        raise InputError(f"{name}: no such file{hint}")

    def _hint(self, text: str) -> str:
        """The stored id that was probably meant, for a message."""
        ids = self._database.ids
        name = os.path.splitext(os.path.basename(text))[0].lower()
        alike = [
            i for i in ids if name and os.path.splitext(os.path.basename(i))[0].lower() == name
        ]
        if not alike and len(ids) <= _MAX_COMPARED_IDS:
            alike = get_close_matches(text, ids, n=1)
        if alike:
            return f"; did you mean {alike[0]!r}?"
        return f"; the index holds {len(ids)} videos, such as {ids[0]!r} (visil-index info --ids)"


def refs_of(paths: Iterable[str | Path | VideoRef]) -> list[VideoRef]:
    """Files and the videos of folders, each once; the path of a file is its id.

    Raises:
        InputError: a store, a folder without videos, or an id that is used twice.
    """
    refs: dict[str, VideoRef] = {}
    for item in paths:
        if isinstance(item, VideoRef):
            listed: Iterable[VideoRef] = [item]
        elif os.path.isdir(item) and not api._are_stores(item):
            listed = [replace(ref, id=printable_path(ref.path)) for ref in scan_folder(item)]
        else:
            listed = [_file_ref(item)]
        for ref in listed:
            if refs.setdefault(ref.id, ref).path != ref.path:
                raise InputError(f"id {ref.id!r} is used twice; ids must be unique")
    return list(refs.values())


def _file_ref(path: str | Path) -> VideoRef:
    if api._are_stores(path):
        raise InputError(
            f"{path}: is a store, expected videos; the videos of a store are compared by "
            "compute_similarity (visil-index compare --query_store)"
        )
    try:
        return VideoRef(printable_path(str(path)), str(path))
    except ValueError as error:
        raise InputError(f"video {path!r}: {error}; give the path of a file") from error
