"""Blocks of one side are on their way over a network while an earlier one is compared."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.errors import StorageError
from pipeline.search.read_plan import Piece, ReadPlan
from pipeline.search.reader import BlockReader
from tests.messages import raises

BLOCK_BYTES = 4 * 2 * 3  # four frames of two int8 descriptors of three values


class Remote:
    """A `FeatureSource` whose frames hold the number of their video; it notes what is asked."""

    dtype = np.dtype(np.int8)
    row_shape = 2, 3
    lengths = np.full(6, 4)

    def __init__(self, ahead_bytes: int, broken: int = -1) -> None:
        self.ahead_bytes, self._broken = ahead_bytes, broken
        self.asked: list[int] = []
        self.unread: set[int] = set()
        self.most_unread = 0
        self._lock = threading.Lock()

    def prefetch(self, wanted: Sequence[tuple[int, int, int]]) -> None:
        ((video, _, _),) = wanted
        if video == self._broken:
            raise StorageError("s3://bucket/db: no connection to the server; check the network")
        with self._lock:
            self.asked.append(video)
            self.unread.add(video)
            self.most_unread = max(self.most_unread, len(self.unread))

    def read(self, video: int, start: int, stop: int, out: np.ndarray, *, checksum: bool) -> None:
        assert video in self.asked
        with self._lock:
            self.unread.discard(video)
        out[:] = video


def reader(source: Remote) -> BlockReader:
    pieces = [Piece(video, 0, 4, 0, 4) for video in range(6)]
    return BlockReader(source, ReadPlan(pieces, [[piece] for piece in pieces]))


def read(source: Remote) -> list[int]:
    blocks = reader(source).load_ahead(lambda vectors: int(vectors[0, 0, 0]))
    return [loaded for _, loaded, _ in blocks]


@pytest.mark.parametrize(("kept_blocks", "most"), [(0, 1), (1, 1), (2, 2), (100, 3)])
def test_blocks_come_in_order_and_within_what_is_kept(kept_blocks: int, most: int) -> None:
    source = Remote(kept_blocks * BLOCK_BYTES)
    assert read(source) == [0, 1, 2, 3, 4, 5]
    assert source.most_unread <= most
    # Of those that came ahead, each asks once more when it is read, and finds itself at hand.
    assert len(source.asked) == (12 if most > 1 else 6)


def test_the_first_block_comes_alone() -> None:
    """With others beside it, it would come later, and nothing can be done before it is there."""
    source = Remote(100 * BLOCK_BYTES)
    blocks = reader(source).load_ahead(lambda _: list(source.asked))
    assert next(blocks)[1][0] == 0
    blocks.close()


def test_a_network_that_fails_ends_the_search() -> None:
    source = Remote(100 * BLOCK_BYTES, broken=3)
    blocks = reader(source).load_ahead(lambda vectors: int(vectors[0, 0, 0]))
    found = [next(blocks)[1] for _ in range(3)]
    with raises(StorageError, "s3://bucket/db", remedy="check the network"):
        next(blocks)
    assert found == [0, 1, 2]
