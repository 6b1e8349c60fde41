"""How much memory and time readers and writers of stores take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a store's reader or writer; what is read does not depend on them.

    Attributes:
        buffer_bytes: of one open video in memory, then in a temporary file. A Zarr array of at
            most this size has one chunk.
        chunk_bytes: about this many in a chunk of a larger Zarr array.
        slab_bytes: at a time while a long video is written, checked or copied.
        patience: seconds that a commit waits for readers of an HDF5 file.
        last_patience: the same when the writer is closed.
        check_seconds: processor time of the process that checks an HDF5 file, and a little more
            for each dataset.
    """

    buffer_bytes: int = 16 << 20
    chunk_bytes: int = 4 << 20
    slab_bytes: int = 8 << 20
    patience: float = 0.2
    last_patience: float = 2.0
    check_seconds: float = 20.0

    def slab_rows(self, row_bytes: int) -> int:
        """Frames of a slab, for frames of `row_bytes` bytes as stored."""
        return max(1, self.slab_bytes // row_bytes)


LIMITS = Limits()
