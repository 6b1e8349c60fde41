"""Feature stores: HDF5 (`.h5`) and Zarr v3 (`.zarr`) behind one contract; see docs/STORE.md."""

from .base import FeatureStore
from .copy import copy_store
from .factory import create_or_append, open_store, open_writer, read_spec
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
    "open_store",
    "open_writer",
    "read_spec",
    "read_thumbnails",
    "write_thumbnails",
]
