"""Stage two on a cluster: actors hold model and queries, and score ranges of the database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ..config import CompareConfig
from ..output.selection import Selection
from ..output.sparse_scores import SCORE
from ..scratch import scratch_folder
from ..search.candidate_search import Candidates, CandidateScorer, CandidateScores, join_scores
from ..search.collection_candidates import frame_products, score_video
from ..search.collection_pairs import (
    BlockPairs,
    BlockScorer,
    CollectionWork,
    VideoPairs,
    VideoWork,
    WorkProgress,
)
from ..search.engine import pair_scorer
from ..search.limits import Limits
from ..search.request import SearchRequest
from ..search.run import check_queries, needs_sample, score_shard
from ..search.shards import ShardScores
from ..search.video_set import VideoSet
from ..workflow import open_video_set
from .board import Board
from .extracting import ClusterOptions, full_path
from .ray_engine import run_board

if TYPE_CHECKING:
    from ..nets.model.model import Model

MIN_VIDEOS, SHARDS = 64, 256  # videos of a shard at least; shards at most, about
MOST_QUERIES = 32  # with candidates, of a shard

Range = tuple[int, int]
Work = TypeVar("Work")


@dataclass(frozen=True)
class SetOrigin:
    """A set of videos as another machine can open it.

    Attributes:
        stores: (id prefix, path) of each.
        ids: of the videos.
        contents: bytes of the stores that are single files here and are sent along, by path.
        published: see `store.open_store`.
    """

    stores: Sequence[tuple[str, str]]
    ids: Sequence[str]
    contents: dict[str, bytes]
    published: str | None = None

    @classmethod
    def of(cls, videos: VideoSet, config: CompareConfig, *, send: bool) -> SetOrigin:
        """Where a set comes from.

        Args:
            config: of the search.
            send: its single files go along, as queries are few.
        """
        stores = [(prefix, full_path(path)) for prefix, path in videos.origins()]
        files = [Path(path) for _, path in stores if send and Path(path).is_file()]
        contents = {str(path): path.read_bytes() for path in files}
        return cls(stores, videos.ids, contents, config.published_features)

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
        return open_video_set(stack, stores, self.ids, published=self.published)


@dataclass(frozen=True)
class ScoreJob:
    """What all actors of a search share.

    Attributes:
        queries, database, mirrored: the sets.
        model: adapted already, where that was asked for.
        config, selection: of the search.
        level: see `search.run.table_level`.
        sampled: see `search.run.score_shard`.
    """

    queries: SetOrigin
    database: SetOrigin
    mirrored: SetOrigin | None
    model: Model
    config: CompareConfig
    selection: Selection
    level: np.ndarray | None
    sampled: bool

    def __call__(self) -> ShardScorer:
        """The worker of an actor."""
        return ShardScorer(self)


class ShardScorer:
    """Keeps stores, model and network open over many ranges, or queries."""

    def __init__(self, job: ScoreJob) -> None:
        self._level, self._sampled, self._stack = job.level, job.sampled, ExitStack()
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
        self._candidates: CandidateScorer | None = None

    def run(self, payload: Range | list[Candidates]) -> ShardScores | CandidateScores:
        """Score the columns [first, last), or some queries against their candidates."""
        if isinstance(payload, tuple):
            return score_shard(
                self._request, *payload, self._level, scorer=self._scorer, sampled=self._sampled
            )
        if self._candidates is None:
            check_queries(self._request)
            self._candidates = CandidateScorer(self._request, self._scorer, level=self._level)
        parts = [self._candidates.score(query) for query in payload]
        return replace(
            join_scores(parts),
            damaged_queries=self._request.queries.damage_by_number(),
            damaged_database=self._request.database.damage_by_number(),
        )


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
    """Keeps stores, model and network open over many blocks, or videos, of a collection."""

    def __init__(self, job: PairJob) -> None:
        self._stack = ExitStack()
        self._collection = collection = job.collection.open(self._stack)
        self._request = SearchRequest(
            collection, collection, job.model, job.config, selection=job.selection
        )
        self._scorer = pair_scorer(self._request)
        self._blocks = BlockScorer(self._request, self._scorer, job.order, job.limits)

    def run(self, payload: Range | list[VideoWork]) -> BlockPairs | list[VideoPairs]:
        """Score the sorted videos [first, last) with themselves and all that follow.

        Or score videos with those that each is to be compared with.
        """
        if isinstance(payload, tuple):
            pairs = self._blocks.score(range(*payload))
            return replace(pairs, damaged=self._collection.damage_by_number())
        found = [score_video(self._request, self._scorer, work) for work in payload]
        none, scores = np.empty(0, np.intp), np.empty(0, np.float32)
        damaged = self._collection.damage_by_number()
        return [*found, VideoPairs(none, none, scores, damaged)]


def pairs_on_cluster(
    request: SearchRequest, work: CollectionWork, progress: WorkProgress, cluster: ClusterOptions
) -> list[BlockPairs]:
    """Score all blocks of a collection on the actors of a cluster; see `DistributePairs`.

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
    job = _pair_job(request, work.order, work.limits)
    run_board(board, job, cluster.actors, cluster.address)
    return found


def candidate_pairs_on_cluster(
    request: SearchRequest,
    work: Sequence[VideoWork],
    progress: WorkProgress,
    cluster: ClusterOptions,
) -> list[VideoPairs]:
    """Score videos of a collection with their candidates; see `DistributePairs`.

    Raises:
        InputError, PipelineError: see `score_on_cluster`.
    """
    found: list[VideoPairs] = []
    collection = request.database
    done, total = 0, sum(frame_products(collection, part) for part in work)

    def on_result(parts: list[VideoWork], pairs: list[VideoPairs]) -> None:
        nonlocal done
        found.extend(pairs)
        done += sum(frame_products(collection, part) for part in parts)
        progress(done, total)

    def on_lost(parts: list[VideoWork], why: str) -> None:
        video, none = parts[0][0], np.empty(0, np.intp)
        line = f"{collection.ids[video]}: {_died(why)}"
        found.append(VideoPairs(none, none, np.empty(0, np.float32), {video: line}))

    board: Board[list[VideoWork]] = Board(_half_lists, on_result, on_lost)
    board.add(_dealt(work))
    job = _pair_job(request, np.empty(0, np.intp), Limits())
    if work:
        run_board(board, job, cluster.actors, cluster.address)
    return found


def _pair_job(request: SearchRequest, order: np.ndarray, limits: Limits) -> PairJob:
    origin = SetOrigin.of(request.database, request.config, send=False)
    return PairJob(origin, request.model, request.config, request.selection, order, limits)


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
    run_board(board, _score_job(request, level), cluster.actors, cluster.address)
    return found


def score_candidates_on_cluster(
    request: SearchRequest,
    level: np.ndarray | None,
    chosen: Sequence[Candidates],
    cluster: ClusterOptions,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> list[CandidateScores]:
    """Score queries against their candidates; see `search.shards.Distribute`.

    Args:
        level: see `score_on_cluster`.
        chosen: the candidates of each query, from the whole database.
        tick: called with (queries done, queries).

    Raises:
        InputError, PipelineError: see `score_on_cluster`.
    """
    found: list[CandidateScores] = []
    done = 0

    def on_result(parts: list[Candidates], scores: CandidateScores) -> None:
        nonlocal done
        found.append(scores)
        done += len(parts)
        tick(done, len(chosen))

    def on_lost(parts: list[Candidates], why: str) -> None:
        row = parts[0].row
        line = f"{request.queries.ids[row]}: {_died(why)}"
        found.append(CandidateScores(np.empty(0, SCORE), damaged_queries={row: line}))

    board: Board[list[Candidates]] = Board(_half_lists, on_result, on_lost)
    board.add(_dealt(chosen))
    if chosen:
        run_board(board, _score_job(request, level), cluster.actors, cluster.address)
    return found


def _score_job(request: SearchRequest, level: np.ndarray | None) -> ScoreJob:
    mirrored, config = request.mirrored, request.config
    # Queries of the database are where the database is.
    of_database = {path for _, path in request.database.origins()}
    stored = any(path in of_database for _, path in request.queries.origins())
    return ScoreJob(
        SetOrigin.of(request.queries, config, send=not stored),
        SetOrigin.of(request.database, config, send=False),
        None if mirrored is None else SetOrigin.of(mirrored, config, send=True),
        request.model,
        config,
        request.selection,
        level,
        needs_sample(request),
    )


def _dealt(work: Sequence[Work]) -> list[list[Work]]:
    """Queries, or videos, for one actor at a time."""
    size = min(MOST_QUERIES, max(1, len(work) // SHARDS))
    return [list(work[start : start + size]) for start in range(0, len(work), size)]


def _half_lists(work: list[Work]) -> list[list[Work]]:
    middle = len(work) // 2
    return [work[:middle], work[middle:]] if middle else []


def _died(why: str) -> str:
    return f"every actor that scored it died: {why}"


def _halves(columns: Range) -> list[Range]:
    first, last = columns
    middle = (first + last) // 2
    return [(first, middle), (middle, last)] if middle > first else []
