"""Stage two on a cluster: actors hold model and queries, and score ranges of the database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..config import CompareConfig
from ..output.selection import Selection
from ..output.sparse_scores import SCORE
from ..scratch import scratch_folder
from ..search.collection_pairs import BlockPairs, BlockScorer, CollectionWork, WorkProgress
from ..search.engine import pair_scorer
from ..search.limits import Limits
from ..search.request import SearchRequest
from ..search.run import score_shard
from ..search.shards import ShardScores
from ..search.video_set import VideoSet
from ..workflow import open_video_set
from .board import Board
from .extracting import ClusterOptions, full_path
from .ray_engine import run_board

if TYPE_CHECKING:
    from ..nets.model.model import Model

MIN_VIDEOS, SHARDS = 64, 256  # videos of a shard at least; shards at most, about

Range = tuple[int, int]


@dataclass(frozen=True)
class SetOrigin:
    """A set of videos as another machine can open it.

    Attributes:
        stores: (id prefix, path) of each.
        ids: of the videos.
        contents: bytes of the stores that are single files here and are sent along, by path.
    """

    stores: Sequence[tuple[str, str]]
    ids: Sequence[str]
    contents: dict[str, bytes]

    @classmethod
    def of(cls, videos: VideoSet, send: bool) -> SetOrigin:
        """Where a set comes from.

        Args:
            send: its single files go along, as queries are few.
        """
        stores = [(prefix, full_path(path)) for prefix, path in videos.origins()]
        files = [Path(path) for _, path in stores if send and Path(path).is_file()]
        return cls(stores, videos.ids, {str(path): path.read_bytes() for path in files})

    def open(self, stack: ExitStack) -> VideoSet:
        """The set, which stays open as long as `stack`."""
        folder = Path(stack.enter_context(scratch_folder()))
        stores: list[tuple[str, str | Path]] = []
        for number, (prefix, path) in enumerate(self.stores):
            local: str | Path = path
            if path in self.contents:
                local = folder / f"{number}{Path(path).suffix}"
                local.write_bytes(self.contents[path])
            stores.append((prefix, local))
        return open_video_set(stack, stores, self.ids)


@dataclass(frozen=True)
class ScoreJob:
    """What all actors of a search share.

    Attributes:
        queries, database, mirrored: the sets.
        model: adapted already, where that was asked for.
        config, selection: of the search.
        level: see `search.run.table_level`.
    """

    queries: SetOrigin
    database: SetOrigin
    mirrored: SetOrigin | None
    model: Model
    config: CompareConfig
    selection: Selection
    level: np.ndarray | None

    def __call__(self) -> ShardScorer:
        """The worker of an actor."""
        return ShardScorer(self)


class ShardScorer:
    """Keeps stores, model and network open over many ranges."""

    def __init__(self, job: ScoreJob) -> None:
        self._level, self._stack = job.level, ExitStack()
        mirrored = None if job.mirrored is None else job.mirrored.open(self._stack)
        self._request = SearchRequest(
            job.queries.open(self._stack),
            job.database.open(self._stack),
            job.model,
            job.config,
            mirrored=mirrored,
            selection=job.selection,
        )
        self._scorer = pair_scorer(self._request)

    def run(self, payload: Range) -> ShardScores:
        """Score the columns [first, last)."""
        return score_shard(self._request, *payload, self._level, scorer=self._scorer)


@dataclass(frozen=True)
class PairJob:
    """What all actors of a search for duplicates share.

    Attributes:
        collection: is compared with itself.
        model, config, selection: see `ScoreJob`.
        order, limits: see `CollectionWork`.
    """

    collection: SetOrigin
    model: Model
    config: CompareConfig
    selection: Selection
    order: np.ndarray
    limits: Limits

    def __call__(self) -> PairWorker:
        """The worker of an actor."""
        return PairWorker(self)


class PairWorker:
    """Keeps stores, model and network open over many blocks of a collection."""

    def __init__(self, job: PairJob) -> None:
        self._stack = ExitStack()
        self._collection = collection = job.collection.open(self._stack)
        request = SearchRequest(
            collection, collection, job.model, job.config, selection=job.selection
        )
        self._scorer = BlockScorer(request, pair_scorer(request), job.order, job.limits)

    def run(self, payload: Range) -> BlockPairs:
        """Score the sorted videos [first, last) with themselves and all that follow."""
        pairs = self._scorer.score(range(*payload))
        return replace(pairs, damaged=self._collection.damage_by_number())


def pairs_on_cluster(
    request: SearchRequest, work: CollectionWork, progress: WorkProgress, cluster: ClusterOptions
) -> list[BlockPairs]:
    """Score all blocks of a collection on the actors of a cluster; see `DistributeBlocks`.

    Raises:
        InputError, PipelineError: see `score_on_cluster`.
    """
    found: list[BlockPairs] = []
    ids, blocks = request.database.ids, work.blocks

    def on_result(_: Range, pairs: BlockPairs) -> None:
        found.append(pairs)
        progress(sum(blocks.work(pairs.rows) for pairs in found), blocks.total)

    def on_lost(lost: Range, why: str) -> None:
        video, none = int(work.order[lost[0]]), np.empty(0, np.intp)
        line = f"{ids[video]}: {_died(why)}"
        scores = np.empty(0, np.float32)
        found.append(BlockPairs(range(*lost), none, none, scores, {video: line}))

    board: Board[Range] = Board(_halves, on_result, on_lost)
    board.add((rows.start, rows.stop) for rows in blocks)
    origin = SetOrigin.of(request.database, send=False)
    job = PairJob(origin, request.model, request.config, request.selection, work.order, work.limits)
    run_board(board, job, cluster.actors, cluster.address)
    return found


def score_on_cluster(
    request: SearchRequest,
    level: np.ndarray | None,
    cluster: ClusterOptions,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> list[ShardScores]:
    """Score all shards of a request on the actors of a cluster; see `search.shards.Distribute`.

    Args:
        level: of each query, computed once for the whole database.
        tick: called with (database videos done, database videos).

    Raises:
        InputError: Ray is not installed, or the cluster has no room for an actor.
        PipelineError: no machine can score a shard, as it cannot open a store.
    """
    total = len(request.database)
    found: list[ShardScores] = []

    def on_result(_: Range, scores: ShardScores) -> None:
        found.append(scores)
        tick(sum(shard.last - shard.first for shard in found), total)

    def on_lost(lost: Range, why: str) -> None:
        line = f"{request.database.ids[lost[0]]}: {_died(why)}"
        sound = np.ones(len(request.queries), bool)
        nothing = np.empty(0, SCORE)
        found.append(ShardScores(*lost, nothing, {}, sound, np.zeros(1, bool), {}, {lost[0]: line}))

    board: Board[Range] = Board(_halves, on_result, on_lost)
    size = max(MIN_VIDEOS, total // SHARDS)
    board.add((start, min(start + size, total)) for start in range(0, total, size))
    mirrored = request.mirrored
    # Queries of the database are where the database is.
    of_database = {path for _, path in request.database.origins()}
    stored = any(path in of_database for _, path in request.queries.origins())
    job = ScoreJob(
        SetOrigin.of(request.queries, send=not stored),
        SetOrigin.of(request.database, send=False),
        None if mirrored is None else SetOrigin.of(mirrored, send=True),
        request.model,
        request.config,
        request.selection,
        level,
    )
    run_board(board, job, cluster.actors, cluster.address)
    return found


def _died(why: str) -> str:
    return f"every actor that scored it died: {why}"


def _halves(columns: Range) -> list[Range]:
    first, last = columns
    middle = (first + last) // 2
    return [(first, middle), (middle, last)] if middle > first else []
