"""Reads one side of a comparison in blocks, each a block ahead of its use."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import numpy as np

from ..errors import StorageError, StoreError
from .read_plan import Piece, ReadPlan

Loaded = TypeVar("Loaded")
# Blocks on their way over a network besides the one that is read. More of them share the network
# and the server, so that the next one comes later.
_BLOCKS_AHEAD = 2


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

    @property
    def ahead_bytes(self) -> int:
        """Bytes that `prefetch` keeps until they are read; 0: nothing is gained by it."""

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
        self._prefetch(block)
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

    def _prefetch(self, block: Sequence[Piece]) -> None:
        self.source.prefetch([(piece.video, piece.start, piece.stop) for piece in block])

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
        if not blocks:
            return
        with self._fetching(blocks) as fetched, ThreadPoolExecutor(1, "read-ahead") as pool:

            def read_and_load(number: int) -> Loaded:
                fetched(number)
                return load(self.read(blocks[number]))

            pending = pool.submit(read_and_load, 0)
            for i, block in enumerate(blocks):
                begin = time.perf_counter()
                loaded = pending.result()
                wait_seconds = time.perf_counter() - begin
                if i + 1 < len(blocks):
                    pending = pool.submit(read_and_load, i + 1)
                yield block, loaded, wait_seconds

    @contextmanager
    def _fetching(self, blocks: Sequence[list[Piece]]) -> Iterator[Callable[[int], None]]:
        """Let a network send the blocks that follow the one that is read, several at a time.

        Returns:
            To be called with the number of each block before it is read.
        """
        ahead = self._blocks_ahead(blocks)
        if not ahead:
            yield lambda _: None
            return
        pool = ThreadPoolExecutor(ahead, "fetch-ahead")
        pending: deque[Future[None]] = deque()

        def fetched(number: int) -> None:
            if pending:
                pending.popleft().result()
            else:  # the first comes alone: nothing can be done before it is there
                self._prefetch(blocks[number])
            for following in blocks[number + 1 + len(pending) : number + 1 + ahead]:
                pending.append(pool.submit(self._prefetch, following))

        try:
            yield fetched
        finally:
            pool.shutdown(cancel_futures=True)

    def _blocks_ahead(self, blocks: Sequence[list[Piece]]) -> int:
        """How many blocks besides the one that is read; what is fetched has to stay until then."""
        kept = self.source.ahead_bytes
        row_bytes = self.source.dtype.itemsize * int(np.prod(self.source.row_shape))
        largest = row_bytes * max(sum(piece.frames for piece in block) for block in blocks)
        return max(0, min(_BLOCKS_AHEAD, kept // max(1, largest) - 1))


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
