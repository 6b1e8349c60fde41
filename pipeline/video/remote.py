"""Videos that are too large to be fetched: read as files from object storage, by URL.

The connection may break for good in the middle. A demuxer takes that for the end of the file, so
whoever decodes asks for `network_error` behind the last frame.
"""

from __future__ import annotations

from typing import Any, BinaryIO, cast

from ..errors import VideoError
from ..inputs import printable_path
from ..objects import is_url
from ..objects.blocks import RemoteFile
from ..objects.fetch import RemoteInfo, RemoteObject
from ..records import SourceInfo

_open: dict[str, RemoteFile] = {}  # one at a time: a process decodes one video


def open_bytes(path: str) -> BinaryIO:
    """Open a file, or an object by its URL, for reading.

    Raises:
        OSError: of a file.
        VideoError: the object is missing, empty or unreachable.
    """
    return cast(BinaryIO, open_remote(path)) if is_url(path) else open(path, "rb")


def open_remote(url: str) -> RemoteFile:
    """A new file of an object; blocks that were read of it before are at hand."""
    if url not in _open:
        _open.clear()
        _open[url] = RemoteFile(RemoteObject(url))
    return _open[url].again()


def remote_source(url: str) -> SourceInfo:
    """URL without query, size, time and ETag of an object; errors as `open_bytes`."""
    open_remote(url)
    return source_of(_open[url].info)


def source_of(info: RemoteInfo) -> SourceInfo:
    """What a store keeps of an object."""
    return SourceInfo(printable_path(info.url), info.size, info.modified_ns, etag=info.etag)


def network_error(path: str) -> VideoError | None:
    """Why reading an object failed since it was opened; None if it did not, and for a file."""
    file = _open.get(path)
    return None if file is None else file.error


def av_source(path: str, end: int | None) -> Any:
    """What `av.open` is given: a URL with its protocol named, or a file object."""
    if is_url(path):
        return open_remote(path)
    # The protocol is named, so that a colon in the path does not name one.
    return "file:" + path if end is None else f"subfile,,start,0,end,{end},,:file:{path}"
