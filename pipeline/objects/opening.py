"""Folder or bucket, by the way it is written."""

from __future__ import annotations

import re
from pathlib import Path, PosixPath

from .base import ObjectStore
from .folder import FolderObjects

_URL = re.compile(r"(s3a?|gs|az|abfss?|https?)://(?=[^/])", re.IGNORECASE)


class UrlPath(PosixPath):
    """A URL where a path is expected, for messages and comparisons; no file has it."""

    def __str__(self) -> str:
        scheme, _, rest = super().__str__().partition(":")
        return f"{scheme}://{rest.lstrip('/')}"

    def __fspath__(self) -> str:
        return str(self)

    def resolve(self, strict: bool = False) -> UrlPath:
        """Itself: no link leads elsewhere."""
        return self


def is_url(path: str | Path) -> bool:
    """Whether this names an object or a bucket, and no file; a plain path never does."""
    return bool(_URL.match(str(path)))


def storage_path(path: str | Path) -> Path:
    """The path of a folder or of a bucket; a URL stays one when it is printed."""
    if isinstance(path, UrlPath):
        return path
    return UrlPath(path) if is_url(path) else Path(path)


def open_objects(path: str | Path) -> ObjectStore:
    """The objects in a folder, or below the URL of a bucket.

    Raises:
        InputError: object storage needs a library that is not installed, or does not know the URL.
    """
    root = storage_path(path)
    if isinstance(root, UrlPath):
        from .bucket import BucketObjects

        return BucketObjects(str(root), root)
    return FolderObjects(root)
