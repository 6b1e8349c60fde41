"""Reads one side of a comparison in blocks, each a block ahead of its use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import numpy as np

from ..errors import StorageError, StoreError
from .read_plan import Piece, ReadPlan

Loaded = TypeVar("Loaded")


class FeatureSource(Protocol):
    """Features of numbered videos; `VideoSet` reads them from stores."""

    @property
    def lengths(self) -> np.ndarray:
        """[V] integers, frames of each video, short ones repeated."""

    @property
    def dtype(self) -> np.dtype: ...

    @property
    def row_shape(self) -> tuple[int, int]:
        """Shape of one frame's descriptors."""

    def prefetch(self, wanted: Sequence[tuple[int, int, int]]) -> None:
        """Announce the (video, start, stop) that are read next; a network reads them together."""

    def read(self, video: int, start: int, stop: int, out: np.ndarray, *, checksum: bool) -> None:
        """Fill `out` [stop - start, *row_shape]; raises StoreError if the video is damaged."""


class BlockReader:
    """The features of one side, block by block.

    Args:
        source: where features come from.
        plan: what is read, in which order.
        descriptors: the first so many descriptors of a frame are given; None gives all.
        checksums: compare those of the videos that are read.
    """

    def __init__(
        self,
        source: FeatureSource,
        plan: ReadPlan,
        *,
        descriptors: int | None = None,
        checksums: bool = True,
    ) -> None:
        self.source, self.plan = source, plan
        self._descriptors, self._checksums = descriptors, checksums

    def read(self, block: Sequence[Piece]) -> np.ndarray:
        """Features of a block, its pieces one after the other.

        A damaged piece is filled with unit vectors, so that the block stays as it was planned; the
        caller takes the scores of its video out of the table.

        Returns:
            [frames of the block, descriptors, C] as the source encodes them.
        """
        total = sum(piece.frames for piece in block)
        vectors = np.empty((total, *self.source.row_shape), self.source.dtype)
        start = 0
        self.source.prefetch([(piece.video, piece.start, piece.stop) for piece in block])
        for piece in block:
            part = vectors[start : start + piece.frames]
            try:
                self.source.read(
                    piece.video, piece.start, piece.stop, part, checksum=self._checksums
                )
            except StorageError:  # no damage: the search ends, as a gap would look like a result
                raise
            except StoreError:
                part[:] = 1 if part.dtype.kind != "f" else part.shape[2] ** -0.5
            start += piece.frames
        return vectors[:, : self._descriptors]

    def read_all(self) -> Iterator[np.ndarray]:
        """All blocks, one after the other."""
        return (self.read(block) for block in self.plan.blocks)

    def load_ahead(
        self, load: Callable[[np.ndarray], Loaded]
    ) -> Iterator[tuple[list[Piece], Loaded, float]]:
        """Blocks, what `load` makes of their features, and the seconds that this was waited for.

        The next block is read and loaded while the caller works on this one.
        """
        yield from self._load_ahead(load, self.plan.blocks)

    def _load_ahead(
        self, load: Callable[[np.ndarray], Loaded], blocks: Sequence[list[Piece]]
    ) -> Iterator[tuple[list[Piece], Loaded, float]]:
        def read_and_load(block: Sequence[Piece]) -> Loaded:
            return load(self.read(block))

        if not blocks:
            return
        with ThreadPoolExecutor(1, "read-ahead") as pool:
            pending = pool.submit(read_and_load, blocks[0])
            for i, block in enumerate(blocks):
                begin = time.perf_counter()
                loaded = pending.result()
                wait_seconds = time.perf_counter() - begin
                if i + 1 < len(blocks):
                    pending = pool.submit(read_and_load, blocks[i + 1])
                yield block, loaded, wait_seconds


class ResidentReader(BlockReader):
    """A reader whose first blocks stay loaded after the first pass, so that later ones are quick.

    Args:
        source, plan, descriptors, checksums: see `BlockReader`.
        resident_blocks: how many blocks stay.
    """

    def __init__(
        self,
        source: FeatureSource,
        plan: ReadPlan,
        *,
        descriptors: int | None = None,
        checksums: bool = True,
        resident_blocks: int = 0,
    ) -> None:
        super().__init__(source, plan, descriptors=descriptors, checksums=checksums)
        self._resident_blocks = resident_blocks
        self._resident: list[Any] = []

    def load_ahead(
        self, load: Callable[[np.ndarray], Loaded]
    ) -> Iterator[tuple[list[Piece], Loaded, float]]:
        """As `BlockReader.load_ahead`; `load` has to be the same in every pass."""
        blocks = self.plan.blocks
        resident = list(self._resident)
        for block, loaded in zip(blocks, resident, strict=False):
            yield block, loaded, 0.0
        for block, loaded, wait_seconds in self._load_ahead(load, blocks[len(resident) :]):
            if len(self._resident) < self._resident_blocks:
                self._resident.append(loaded)
            yield block, loaded, wait_seconds
