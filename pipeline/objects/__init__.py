"""Objects by name, in a folder or in a bucket, behind one small interface.

A database of sealed parts (`store.parts`) lies in either. What it needs of both is one step that
cannot be done twice: an object is put only if its name is free (`ObjectStore.put_if_absent`).
"""

from __future__ import annotations

from .base import TEMPORARY, ObjectInfo, ObjectStore
from .opening import is_url, open_objects, storage_path

__all__ = ["TEMPORARY", "ObjectInfo", "ObjectStore", "is_url", "open_objects", "storage_path"]
