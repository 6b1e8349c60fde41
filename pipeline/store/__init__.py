"""Feature stores: HDF5 (`.h5`) and Zarr v3 (`.zarr`) behind one contract; see docs/STORE.md."""

from pipeline.store.base import FeatureStore
from pipeline.store.copy import copy_store
from pipeline.store.factory import create_or_append, open_store, open_writer, read_spec
from pipeline.store.video_check import VideoCheck
from pipeline.store.video_writer import VideoWriter
from pipeline.store.writer import StoreWriter

__all__ = [
    "FeatureStore",
    "StoreWriter",
    "VideoCheck",
    "VideoWriter",
    "copy_store",
    "create_or_append",
    "open_store",
    "open_writer",
    "read_spec",
]
