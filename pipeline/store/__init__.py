"""Feature stores: HDF5, Zarr v3 and sealed parts behind one contract; see docs/STORE.md."""

from .base import FeatureStore
from .copy import copy_store
from .factory import (
    create_or_append,
    is_parts,
    open_store,
    open_writer,
    read_provenance,
    read_spec,
    store_exists,
)
from .thumbnails import Thumbnails, read_thumbnails, write_thumbnails
from .video_check import VideoCheck
from .video_writer import VideoWriter
from .writer import StoreWriter

__all__ = [
    "FeatureStore",
    "StoreWriter",
    "Thumbnails",
    "VideoCheck",
    "VideoWriter",
    "copy_store",
    "create_or_append",
    "is_parts",
    "open_store",
    "open_writer",
    "read_provenance",
    "read_spec",
    "read_thumbnails",
    "store_exists",
    "write_thumbnails",
]
