"""Matches out of scores: out of a whole table, or out of the few scores that were kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np

from .match import Match, MatchTable
from .score_table import ScoreTable, score_error
from .selection import Selection
from .sparse_scores import SparseScores


class MatchList(Sequence[Match]):
    """Matches of one query that are made when they are asked for: a query may have millions.

    Args:
        query_id: the query.
        database_ids: ids of all database videos that scores may be of.
        indices: [n] of the matches among these ids.
        scores: [n] float32.
    """

    def __init__(
        self, query_id: str, database_ids: Sequence[str], indices: np.ndarray, scores: np.ndarray
    ) -> None:
        self._query_id, self._ids = query_id, database_ids
        self._indices, self._scores = indices, scores

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Match: ...

    @overload
    def __getitem__(self, index: slice) -> list[Match]: ...

    def __getitem__(self, index: int | slice) -> Match | list[Match]:
        if isinstance(index, slice):
            numbers, scores = self._indices[index].tolist(), self._scores[index].tolist()
            query, ids = self._query_id, self._ids
            return [Match(query, ids[i], s) for i, s in zip(numbers, scores, strict=True)]
        number = int(self._indices[index])
        return Match(self._query_id, self._ids[number], float(self._scores[index]))

    def pairs(self, part: slice) -> Iterator[tuple[str, float]]:
        """(database id, score) of a part, for writers of millions."""
        ids = map(self._ids.__getitem__, self._indices[part].tolist())
        return zip(ids, self._scores[part].tolist(), strict=True)


@dataclass(frozen=True)
class DenseMatches:
    """A `MatchTable` out of the scores of all pairs.

    Attributes:
        table: the scores.
        selection: which of them are matches.
        listed_queries: ids of all listed queries, in their order; one that has no row, because
            its video cannot be used, has no matches. None: the table's.
    """

    table: ScoreTable
    selection: Selection
    listed_queries: Sequence[str] | None = None

    @property
    def query_ids(self) -> Sequence[str]:
        """Ids of all listed queries."""
        return self.table.query_ids if self.listed_queries is None else self.listed_queries

    def matches(self, query_id: str) -> Sequence[Match]:
        """The matches of a query; see `MatchTable`."""
        row = self.table.row(query_id)
        indices = self.selection.indices(row)
        return MatchList(query_id, self.table.sound_database_ids, indices, row[indices])

    def check(self) -> None:
        """Raise PipelineError if a score is not a finite number."""
        for query_id in self.query_ids:
            self.table.row(query_id)


@dataclass(frozen=True)
class SparseMatches:
    """A `MatchTable` out of the few scores that may be selected.

    Attributes:
        all_queries, database_ids: Q and D ids, as the scores count them.
        scores: at least those that `selection` selects.
        selection: which of them are matches.
        sound_queries, sound_database: bool [Q] and [D], False for damaged videos.
        listed_queries: see `DenseMatches`.
    """

    all_queries: Sequence[str]
    database_ids: Sequence[str]
    scores: SparseScores
    selection: Selection
    sound_queries: np.ndarray
    sound_database: np.ndarray
    listed_queries: Sequence[str] | None = None

    @property
    def query_ids(self) -> Sequence[str]:
        """Ids of all listed queries."""
        return self.all_queries if self.listed_queries is None else self.listed_queries

    def matches(self, query_id: str) -> Sequence[Match]:
        """The matches of a query; see `MatchTable`."""
        number = self._numbers.get(query_id)
        if number is None:
            return ()
        self._refuse_bad(query_id, number)
        columns, scores = self.scores.row(number)
        sound = self.sound_database[columns]
        columns, scores = columns[sound], scores[sound]
        indices = self.selection.indices(scores)  # columns ascend, so ties are cut as listed
        return MatchList(query_id, self.database_ids, columns[indices], scores[indices])

    def check(self) -> None:
        """Raise PipelineError if a score is not a finite number."""
        for query_id in self.query_ids if self.scores.bad else ():
            if (number := self._numbers.get(query_id)) is not None:
                self._refuse_bad(query_id, number)

    def _refuse_bad(self, query_id: str, number: int) -> None:
        if number in self.scores.bad:
            column, score = self.scores.bad[number]
            raise score_error(query_id, self.database_ids[column], score)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """Row of each sound query."""
        return {q: i for i, q in enumerate(self.all_queries) if self.sound_queries[i]}


@dataclass(frozen=True)
class WatchedMatches:
    """A `MatchTable` that tells which matches are taken out of it.

    Attributes:
        table: where they come from.
        on_matches: called with the matches of a query.
    """

    table: MatchTable
    on_matches: Callable[[Sequence[Match]], None]

    @property
    def query_ids(self) -> Sequence[str]:
        """Ids of all listed queries."""
        return self.table.query_ids

    def matches(self, query_id: str) -> Sequence[Match]:
        """The matches of a query; see `MatchTable`."""
        matches = self.table.matches(query_id)
        self.on_matches(matches)
        return matches

    def check(self) -> None:
        """Raise what `matches` would raise for any of the queries."""
        self.table.check()


@dataclass(frozen=True)
class OtherMatches:
    """A `MatchTable` without the query itself, for queries that are database videos.

    Attributes:
        table: where the matches come from; it selects one more of each query.
        top_k: of the others; None gives all.
    """

    table: MatchTable
    top_k: int | None

    @property
    def query_ids(self) -> Sequence[str]:
        """Ids of all listed queries."""
        return self.table.query_ids

    def matches(self, query_id: str) -> Sequence[Match]:
        """The matches of a query; see `MatchTable`."""
        matches = self.table.matches(query_id)
        return [match for match in matches if match.database_id != query_id][: self.top_k]

    def check(self) -> None:
        """Raise what `matches` would raise for any of the queries."""
        self.table.check()
