"""The pairs of one collection that reach a threshold; each pair is compared once.

Videos are sorted by length. In blocks, as queries, they are compared with themselves and with all
that come later: the shorter video of a pair is its query, whatever the order of the stores is.
Only the pairs that reach the threshold are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import comb
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..output.score_table import score_error
from ..output.sparse_scores import SCORE
from .engine import database_block_frames
from .limits import Limits
from .request import SearchRequest
from .scoring import ScoringLoop
from .video_set import VideoSet

if TYPE_CHECKING:
    from ..nets.similarity.pair_scorer import PairScorer

# Called with (products of frames done, all of them) after each block of features that was read.
WorkProgress = Callable[[int, int], None]
_MIN_PENDING = 1 << 16  # scores that are collected before repeated pairs are looked for
_RESIDENT_BLOCKS = 2  # query blocks that stay on the device, at most
_MIN_BLOCK_FRAMES = 256  # the product of fewer is slow
_MIN_BLOCKS = (
    16  # a block is compared with itself in both orders: a 16th of the work is for nothing
)


@dataclass(frozen=True)
class CollectionPairs:
    """The pairs that reach a threshold.

    Attributes:
        first, second: intp [n], numbers of the videos in the collection. The first is the shorter
            one; of two as long the one that is listed first. No pair occurs twice.
        scores: float32 [n].
        compared: how many pairs were compared.
    """

    first: np.ndarray
    second: np.ndarray
    scores: np.ndarray
    compared: int


@dataclass(frozen=True)
class BlockPairs:
    """The pairs of one block of the sorted videos with all that follow.

    Attributes:
        rows: the block, as places among the sorted videos.
        first, second, scores: see `CollectionPairs`, but places among the sorted videos.
        damaged: what is wrong with each video that another process found to be damaged, by its
            number in the collection.
    """

    rows: range
    first: np.ndarray
    second: np.ndarray
    scores: np.ndarray
    damaged: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CollectionWork:
    """What is to be compared within a collection.

    Attributes:
        order: numbers of the sound videos, sorted by length.
        blocks: of these.
        limits: how much is in memory at once.
    """

    order: np.ndarray
    blocks: RowBlocks
    limits: Limits


@dataclass(frozen=True)
class VideoPairs:
    """The pairs of some videos with others, as far as they reach the threshold.

    Attributes:
        first, second, scores: see `CollectionPairs`.
        damaged: see `BlockPairs`.
    """

    first: np.ndarray
    second: np.ndarray
    scores: np.ndarray
    damaged: dict[int, str] = field(default_factory=dict)


# A video and those that it is compared with: numbers in the collection.
VideoWork = tuple[int, np.ndarray]


@dataclass(frozen=True)
class DistributePairs:
    """Scores the pairs of a collection elsewhere.

    Attributes:
        blocks: scores all pairs; `WorkProgress` is told products of frames, done and all.
        candidates: scores videos with those that the candidate index names.
    """

    blocks: Callable[[SearchRequest, CollectionWork, WorkProgress], Sequence[BlockPairs]]
    candidates: Callable[[SearchRequest, Sequence[VideoWork], WorkProgress], Sequence[VideoPairs]]


def pairs_of_collection(
    request: SearchRequest,
    scorer: PairScorer,
    *,
    progress: WorkProgress | None = None,
    limits: Limits | None = None,
    distribute: DistributePairs | None = None,
) -> CollectionPairs:
    """Score every pair of different videos once and keep those that reach the threshold.

    Damaged videos are left out; the set names them (`VideoSet.damaged`).

    Args:
        request: queries and database are the same set; the selection has a threshold.
        scorer: the request's network, see `engine.pair_scorer`.
        progress: told how far the work is.
        limits: how much is in memory at once.
        distribute: scores the pairs elsewhere.

    Raises:
        InputError: the sets differ, or there is no threshold.
        PipelineError: a score is not a finite number.
        StoreError: all videos are damaged.
    """
    collection, limits = request.database, limits or Limits()
    if request.queries is not collection or request.selection.threshold is None:
        raise InputError("pairs of a collection need a threshold, and one set on both sides")
    collection.check(request.config.checksums)
    collection.require_sound()
    order = videos_by_length(collection)
    lengths = collection.lengths[order]
    blocks = RowBlocks(lengths, _block_frames(int(lengths.sum()), limits))
    work, pairs = CollectionWork(order, blocks, limits), list[BlockPairs]()
    if len(order) > 1 and distribute is not None:
        parts = distribute.blocks(request, work, progress or (lambda done, total: None))
        pairs = sorted(parts, key=lambda part: part.rows.start)
        for part in pairs:
            for number, line in part.damaged.items():
                collection.note_damage(number, line)
    elif len(order) > 1:
        scoring = BlockScorer(request, scorer, order, limits)
        for rows in blocks:
            pairs.append(scoring.score(rows, progress and _teller(progress, blocks, rows)))
    none = np.empty(0, np.intp)
    first = order[np.concatenate([none, *(part.first for part in pairs)])]
    second = order[np.concatenate([none, *(part.second for part in pairs)])]
    scores = np.concatenate([np.empty(0, np.float32), *(part.scores for part in pairs)])
    sound = collection.sound  # damage may have come to light while they were read
    good = sound[first] & sound[second]
    return CollectionPairs(first[good], second[good], scores[good], comb(len(order), 2))


def videos_by_length(collection: VideoSet) -> np.ndarray:
    """Numbers of the sound videos, the shortest first, ties as listed."""
    sound = np.flatnonzero(collection.sound)
    frames = np.array([collection.record(video).own_frames for video in sound.tolist()], np.int64)
    return sound[np.argsort(frames, kind="stable")]


def _block_frames(frames: int, limits: Limits) -> int:
    """Frames of a block of rows, of a collection of so many."""
    wanted = max(_MIN_BLOCK_FRAMES, frames // _MIN_BLOCKS)
    return min(wanted, limits.query_block_frames)


def _teller(progress: WorkProgress, blocks: RowBlocks, rows: range) -> Callable[[int, int], None]:
    """Turn columns of a block that are done into work that is done."""
    return lambda done, _: progress(blocks.done(rows, done), blocks.total)


class BlockScorer:
    """Scores blocks of the sorted videos.

    Args:
        request: see `pairs_of_collection`.
        scorer: the request's network.
        order, limits: see `CollectionWork`.
    """

    def __init__(
        self, request: SearchRequest, scorer: PairScorer, order: np.ndarray, limits: Limits
    ) -> None:
        self._request, self._scorer, self._order, self._limits = request, scorer, order, limits
        ids = request.database.ids
        self._ids = [ids[video] for video in order.tolist()]

    def score(self, rows: range, progress: Callable[[int, int], None] | None = None) -> BlockPairs:
        """Score a block with itself and all that follow; `progress` is told columns."""
        from ..nets.backend import device_scope

        threshold = self._request.selection.threshold
        assert threshold is not None
        sink = PairsAbove(threshold, self._ids)
        sink.begin_rows(rows.start)
        with device_scope(self._request.gpu_id):
            self._fill(rows, sink, progress)
        return BlockPairs(rows, *sink.finish())

    def _fill(
        self, rows: range, sink: PairsAbove, progress: Callable[[int, int], None] | None
    ) -> None:
        config, collection = self._request.config, self._request.database
        queries, row_index = collection.take(self._order[rows.start : rows.stop]).split_insets(
            config.query_insets
        )
        later, column_index = collection.take(self._order[rows.start :]).split_insets()
        loop = ScoringLoop(
            self._scorer,
            self._request.similarity_function,
            config.batch_size,
            int(queries.lengths.sum()) <= _RESIDENT_BLOCKS * self._limits.query_block_frames,
            self._request.gpu_id,
            self._limits,
        )
        loop.fill(
            sink,
            loop.query_reader(queries),
            loop.reader(
                later,
                database_block_frames(config.block_mb, later, self._limits),
                descriptors=later.spec.shared_descriptors,
                checksums=config.checksums,
            ),
            row_index=row_index,
            column_index=column_index,
            progress=progress,
        )


class RowBlocks:
    """Blocks of sorted videos, each compared with all that follow, and how much work that is.

    Args:
        lengths: int64 [V], frames of each video.
        block_frames: frames of a block, at most, unless one video alone has more.

    Attributes:
        total: products of two frames, of all blocks.
    """

    def __init__(self, lengths: np.ndarray, block_frames: int) -> None:
        self._ends = np.concatenate([[0], np.cumsum(lengths)])  # frames before each video
        videos, self._blocks = len(lengths), list[range]()
        while (start := self._blocks[-1].stop if self._blocks else 0) < videos:
            stop = int(np.searchsorted(self._ends, self._ends[start] + block_frames, "right")) - 1
            self._blocks.append(range(start, max(start + 1, stop)))
        parts = [self.work(rows) for rows in self._blocks]
        self._before = dict(zip(self._blocks, np.cumsum([0, *parts]).tolist(), strict=False))
        self.total = sum(parts)

    def __iter__(self) -> Iterator[range]:
        return iter(self._blocks)

    def work(self, rows: range) -> int:
        """Products of frames of a block, or of a part of one."""
        return self._products(rows, len(self._ends) - 1 - rows.start)

    def done(self, rows: range, columns: int) -> int:
        """Products of frames that are done when so many columns of a block are."""
        return int(self._before[rows]) + self._products(rows, columns)

    def _products(self, rows: range, columns: int) -> int:
        ends = self._ends
        frames = int(ends[rows.stop] - ends[rows.start])
        return frames * int(ends[rows.start + columns] - ends[rows.start])


class PairsAbove:
    """A `ScoreSink` that keeps the pairs of a row and a later column that reach a threshold.

    Rows and columns of a block are counted from its first row (`begin_rows`).

    Args:
        threshold: of scores.
        ids: of the sorted videos.
    """

    def __init__(self, threshold: float, ids: list[str]) -> None:
        self._threshold, self._ids = threshold, ids
        self._start = 0
        self._kept = np.empty(0, SCORE)
        self._pending: list[np.ndarray] = []
        self._pending_count = 0

    @property
    def columns(self) -> int:
        """Columns of the block."""
        return len(self._ids) - self._start

    def begin_rows(self, start: int) -> None:
        """Go on with the block whose first row is the sorted video `start`."""
        self._start = start

    def begin_block(self, complete: int) -> None:
        """Do nothing: a pair counts as soon as one of its scores reaches the threshold."""

    def put(self, rows: np.ndarray, columns: np.ndarray, scores: np.ndarray) -> None:
        """Take in scores; see `ScoreSink`."""
        counts = (columns > rows) & ~(scores < self._threshold)  # NaN is not below
        if not counts.any():
            return
        entries = np.empty(int(counts.sum()), SCORE)
        entries["row"] = rows[counts] + self._start
        entries["column"] = columns[counts] + self._start
        entries["score"] = scores[counts]
        bad = np.flatnonzero(~np.isfinite(entries["score"]))
        if len(bad):
            row, column, score = entries[bad[0]].tolist()
            raise score_error(self._ids[row], self._ids[column], score)
        self._pending.append(entries)
        self._pending_count += len(entries)
        if self._pending_count >= max(_MIN_PENDING, len(self._kept)):
            self._compact()

    def finish(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The pairs as numbers of the sorted videos, intp [n] each; and scores float32 [n]."""
        self._compact()
        rows, columns = (self._kept[name].astype(np.intp) for name in ("row", "column"))
        return rows, columns, self._kept["score"].copy()

    def _compact(self) -> None:
        """Keep the best score of each pair: insets may have given it several."""
        entries = np.concatenate([self._kept, *self._pending])
        self._pending, self._pending_count = [], 0
        row, column, score = (entries[name] for name in ("row", "column", "score"))
        entries = entries[np.lexsort((-score, column, row))]
        fresh = np.ones(len(entries), bool)
        for name in ("row", "column"):
            fresh[1:] &= entries[name][1:] == entries[name][:-1]
        fresh[1:] = ~fresh[1:]
        self._kept = entries[fresh]
