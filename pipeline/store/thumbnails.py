"""Small pictures of stored videos, in a folder beside the store, for reports.

`archive.zarr` has them in `archive.zarr.thumbnails`, a file for each video. A file is replaced as a
whole and names the checksum of the features that it belongs to, so pictures of other features than
those stored are never shown, whatever was killed when. The store is complete without the folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..atomic import atomic_write
from ..errors import StoreError
from ..text import json_text

_FORMAT = 1
_MAX_BYTES = 1 << 30  # of a file: ten days at a picture a second


@dataclass(frozen=True)
class Thumbnails:
    """The pictures of one video.

    Attributes:
        seconds: [N] float64, ascending.
        pictures: N JPEG files.
    """

    seconds: np.ndarray
    pictures: Sequence[bytes]

    def at(self, second: float) -> bytes:
        """The picture that is nearest to a second."""
        return self.pictures[int(np.abs(self.seconds - second).argmin())]


def thumbnail_folder(store: Path) -> Path:
    """Where the pictures of a store are."""
    return store.with_name(f"{store.name}.thumbnails")


def write_thumbnails(store: Path, video_id: str, checksum: str, thumbnails: Thumbnails) -> None:
    """Keep the pictures of a video, in place of earlier ones.

    Args:
        store: path of the store.
        checksum: of the video's features, as in the manifest.

    Raises:
        StoreError: the disk is full, or the folder cannot be written to.
    """
    header = {
        "format": _FORMAT,
        "id": video_id,
        "crc32c": checksum,
        "seconds": thumbnails.seconds.tolist(),
        "bytes": [len(picture) for picture in thumbnails.pictures],
    }
    path = _file(store, video_id)
    try:
        path.parent.mkdir(exist_ok=True)
        with atomic_write(path) as file:
            file.write(json_text(header).encode() + b"\n")
            file.writelines(thumbnails.pictures)
    except OSError as error:
        raise StoreError(f"{path}: cannot write thumbnails: {error.strerror or error}") from error


def read_thumbnails(store: Path, video_id: str, checksum: str) -> Thumbnails | None:
    """The pictures of a video; None if there are none, or those of other features, or damaged ones.

    Args:
        store, checksum: as in `write_thumbnails`.
    """
    try:
        with open(_file(store, video_id), "rb") as file:
            content = file.read(_MAX_BYTES)
        line, _, rest = content.partition(b"\n")
        header = json.loads(line)
        if (header["format"], header["id"], header["crc32c"]) != (_FORMAT, video_id, checksum):
            return None
        seconds = np.asarray(header["seconds"], np.float64)
        ends = np.cumsum(np.asarray(header["bytes"], np.int64))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    starts = np.concatenate([[0], ends[:-1]])
    if seconds.ndim != 1 or seconds.shape != ends.shape or not len(ends) or ends[-1] != len(rest):
        return None
    return Thumbnails(seconds, [rest[a:b] for a, b in zip(starts, ends, strict=True)])


def remove_thumbnails(store: Path, video_id: str) -> None:
    """Remove the pictures of a video, if there are any."""
    with suppress(OSError):
        _file(store, video_id).unlink()
        thumbnail_folder(store).rmdir()  # if it is empty now


def _file(store: Path, video_id: str) -> Path:
    name = hashlib.sha256(video_id.encode("utf-8", "surrogatepass")).hexdigest()
    return thumbnail_folder(store) / f"{name[:32]}.jpgs"
