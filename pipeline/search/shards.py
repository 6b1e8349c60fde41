"""Stage two in shards: processes score some columns of the table each, and one merges the scores.

A shard is a range of the database's videos in listed order; with candidates it is a range of the
queries, as a query's candidates are read for it alone. Each gives the scores that may be
selected, so what is merged is small; ties are cut by score, then listed order, as in one process.
Levels of a normalisation and the adaptation are those of the whole database.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..output.match_tables import SparseMatches
from ..output.selection import Selection
from ..output.sparse_scores import Chunk, SparseScores

if TYPE_CHECKING:
    from .candidate_search import Candidates, CandidateScores
    from .request import SearchRequest


@dataclass(frozen=True)
class ShardScores:
    """The scores of one shard that may be selected.

    Attributes:
        first, last: columns [first, last) of the whole table.
        entries: of `sparse_scores.SCORE`, with columns of the whole table.
        bad: for each row with a score that is no finite number, the first such column, the score.
        sound_queries: bool [queries], False for damaged videos.
        sound_database: bool [last - first].
        damaged_queries, damaged_database: what is wrong, by row or column, for each damaged video.
        waited: seconds spent waiting for features.
        rows: it has only the queries [first, last), and their candidates of all columns; None: all.
        sample: float32 [queries, n], scores that tell what is usual for a query; None: not asked.
    """

    first: int
    last: int
    entries: np.ndarray
    bad: dict[int, tuple[int, float]]
    sound_queries: np.ndarray
    sound_database: np.ndarray
    damaged_queries: dict[int, str] = field(default_factory=dict)
    damaged_database: dict[int, str] = field(default_factory=dict)
    waited: float = 0.0
    rows: tuple[int, int] | None = None
    sample: np.ndarray | None = None


@dataclass(frozen=True)
class Distribute:
    """Scores the pairs of a request elsewhere.

    Attributes:
        table: scores all pairs, in shards; told the request and the level of each query (None:
            nothing is subtracted).
        candidates: scores queries against their candidates; told these as well.
    """

    table: Callable[[SearchRequest, np.ndarray | None], Sequence[ShardScores]]
    candidates: Callable[
        [SearchRequest, np.ndarray | None, Sequence[Candidates]], Sequence[CandidateScores]
    ]


@dataclass(frozen=True)
class MergedScores:
    """All shards of a table.

    Attributes:
        scores: at least those that are selected.
        sound_queries, sound_database: bool [queries] and [database].
        damaged_queries, damaged_database: see `ShardScores`.
        waited: seconds of the shard that waited longest.
    """

    scores: SparseScores
    sound_queries: np.ndarray
    sound_database: np.ndarray
    damaged_queries: dict[int, str]
    damaged_database: dict[int, str]
    waited: float = 0.0

    @property
    def damaged(self) -> tuple[str, ...]:
        """A line for each damaged video, once."""
        lines = (*self.damaged_queries.values(), *self.damaged_database.values())
        return tuple(dict.fromkeys(lines))

    def matches(
        self,
        query_ids: Sequence[str],
        database_ids: Sequence[str],
        selection: Selection,
        listed: Sequence[str] | None = None,
    ) -> SparseMatches:
        """The table of matches; see `SparseMatches`."""
        return SparseMatches(
            query_ids,
            database_ids,
            self.scores,
            selection,
            self.sound_queries,
            self.sound_database,
            listed,
        )


def shard_range(videos: int, number: int, count: int) -> tuple[int, int]:
    """Columns [first, last) of shard `number` of `count`, 1 to `count`, of so many videos."""
    return videos * (number - 1) // count, videos * number // count


def merge_shards(shards: Sequence[ShardScores], queries: int, database: int) -> MergedScores:
    """Join the scores of all shards of a table.

    Args:
        shards: in any order.
        queries, database: rows and columns of the table.

    Raises:
        InputError: a column is in no shard or in two; with candidates, a query.
    """
    by_rows = [shard for shard in shards if shard.rows is not None]
    if by_rows and len(by_rows) < len(shards):
        raise InputError("some of the scores are of candidates and some are not")
    if by_rows:
        ordered = sorted(by_rows, key=_rows)
        _require_all([_rows(shard) for shard in ordered], queries, "queries")
        sound_database = np.logical_and.reduce([shard.sound_database for shard in ordered])
    else:
        ordered = sorted(shards, key=lambda shard: shard.first)
        _require_all([(shard.first, shard.last) for shard in ordered], database, "database videos")
        sound_database = np.concatenate([shard.sound_database for shard in ordered])
    bad: dict[int, tuple[int, float]] = {}
    for shard in ordered:
        for row, value in shard.bad.items():
            bad.setdefault(row, value)
    return MergedScores(
        SparseScores([Chunk.of(shard.entries, queries) for shard in ordered], bad),
        np.logical_and.reduce([shard.sound_queries for shard in ordered]),
        sound_database,
        {row: line for shard in ordered for row, line in shard.damaged_queries.items()},
        {column: line for shard in ordered for column, line in shard.damaged_database.items()},
        max(shard.waited for shard in ordered),
    )


def _rows(shard: ShardScores) -> tuple[int, int]:
    assert shard.rows is not None
    return shard.rows


def _require_all(ranges: Sequence[tuple[int, int]], total: int, what: str) -> None:
    """Refuse ranges [first, last), sorted, that leave out some of `total` or have some twice."""
    at = 0
    for first, last in [*ranges, (total, total)]:
        if first != at:
            state = "missing" if first > at else "given twice"
            low, high = sorted((at, first))
            raise InputError(f"the scores of {what} {low + 1} to {high} are {state}")
        at = last
