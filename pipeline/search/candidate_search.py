"""Stage two for candidates: the network scores only a query's candidates.

The candidate index names videos, and of these the best by a quick comparison of all descriptors
are the candidates (`candidate_check`).

A query's candidates are scored for this query alone, as two queries seldom have the same ones. They
are read in the order of their store, and the system is told beforehand which parts that will be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..candidates import CandidateIndex, lookup_threads
from ..output.sparse_scores import SCORE, best_of_each_column
from .candidate_check import FewFrames, checked_videos, named_videos
from .candidate_rules import require_one_rule, rules_to_search
from .engine import SearchEngine, pair_scorer
from .limits import Limits
from .query_sequences import query_sequences
from .request import SearchRequest
from .video_set import VideoSet

if TYPE_CHECKING:
    from ..nets.model.model import Model
    from ..nets.similarity.pair_scorer import PairScorer

Progress = Callable[[int, int], None]
LEVEL_VIDEOS = 500  # a sample for the level of each query
_SEED = 0


class CandidateFinder:
    """The candidate indices of all stores of a database.

    Attributes:
        database: the videos.
        added: how many of them are in no index, so that their codes were read from the store.
        by_frames: the indices hold codes of frames, not vectors of a coarse student.
    """

    def __init__(self, database: VideoSet, model: Model, gpu_id: int | None = None) -> None:
        """Open them.

        Args:
            database: of stores that each have a candidate index.
            model: that made the features.
            gpu_id: of a coarse student, see `nets.backend.device_scope`.

        Raises:
            StoreError: a store has no index, or a damaged one.
            FingerprintMismatchError: an index is of another model's features.
            InputError: an index needs FAISS, which is not installed, or the indices were made by
                several rules.
            ModelError: the coarse student of an index is not where it was.
        """
        self.database = database
        rules = rules_to_search(database.stores, model, database.spec.dims, gpu_id)
        pairs = zip(database.stores, rules, strict=True)
        self._indices = [CandidateIndex(store, rule) for store, rule in pairs]
        require_one_rule(database.stores, rules)
        self.by_frames = not rules[0].student
        self._numbers = database.numbers_in_stores()
        self._allowed = [None if (n >= 0).all() else n >= 0 for n in self._numbers]
        named = zip(self._indices, self._numbers, strict=True)
        self._videos = sum(int((n[index.videos] >= 0).sum()) for index, n in named)
        self.added = sum(index.added for index in self._indices)
        self._note: Callable[[str], None] | None = None

    def tell(self, note: Callable[[str], None]) -> None:
        """Say what a person should know about the indices, now and when a search shows it."""
        self._note = note
        if self.added:
            stores = " ".join(str(store.path) for store in self.database.stores)
            note(
                f"{self.added} videos are not in the candidate index yet, so they were read from "
                f"the store: visil-index index {stores}"
            )

    @property
    def threads(self) -> int:
        """How many threads may look up at once; one where a coarse student computes."""
        alone = any(index.rule.student for index in self._indices)
        return 1 if alone else lookup_threads()

    def columns(self, sequences: VideoSet, count: int) -> np.ndarray:
        """The candidates of a query by codes alone.

        Args:
            sequences: what is searched for the query; the best one counts.
            count: how many, at most.

        Returns:
            Intp [n], numbers of the database's videos, ascending.
        """
        found = self.ranked(sequences, count)
        self.note_few(len(found), count)
        return np.sort(found)

    def ranked(self, sequences: VideoSet, count: int, *, quantised: bool = False) -> np.ndarray:
        """The videos whose codes are most like a query's; arguments as of `columns`.

        Args:
            quantised: see `CandidateIndex.candidates`; where there is only one index.

        Returns:
            Intp [n], numbers of the database's videos, best first.
        """
        best: dict[int, float] = {}
        quantised = quantised and len(self._indices) == 1
        searched = list(zip(self._indices, self._numbers, self._allowed, strict=True))
        for sequence in range(len(sequences)):
            vectors = sequences.vectors(sequence)
            for index, numbers, allowed in searched:
                places, scores = index.candidates(
                    vectors, count, allowed=allowed, quantised=quantised
                )
                columns = numbers[places]
                for column, score in zip(columns.tolist(), scores.tolist(), strict=True):
                    if score > best.get(column, -np.inf):
                        best[column] = score
        ranked = sorted(best, key=lambda column: (-best[column], column))
        return np.array(ranked[:count], np.intp)

    def named(self, sequences: VideoSet, count: int) -> np.ndarray:
        """The videos that a query's candidates are chosen from; arguments as of `columns`.

        Returns:
            Intp [n], numbers of the database's videos, best first.
        """
        if self.by_frames:
            found = self.ranked(sequences, named_videos(count), quantised=True)
        else:
            found = self.ranked(sequences, count)
        self.note_few(len(found), count)
        return found

    def note_few(self, found: int, count: int) -> None:
        """Say once that the indices named fewer videos than were asked for."""
        if self._note and found < min(count, self._videos):
            self._note(
                f"for a query the candidate index named only {found} of {count} videos; the others "
                "were not compared with it: ask for fewer candidates, or search without them"
            )
            self._note = None


@dataclass(frozen=True)
class CandidateScores:
    """The scores of some queries with their candidates.

    Attributes:
        entries: of `sparse_scores.SCORE`, those that may be selected.
        bad: for each row with a score that is no finite number, the first such column, the score.
        damaged_queries, damaged_database: what is wrong, by row or column, for each damaged video.
        waited: seconds spent waiting for features.
    """

    entries: np.ndarray
    bad: dict[int, tuple[int, float]] = field(default_factory=dict)
    damaged_queries: dict[int, str] = field(default_factory=dict)
    damaged_database: dict[int, str] = field(default_factory=dict)
    waited: float = 0.0


class Candidates(NamedTuple):
    """What a query's candidates are chosen from.

    Attributes:
        row: of the query.
        named: intp [n], numbers of the database's videos that the index names, best first.
        wanted: how many of them are scored.
    """

    row: int
    named: np.ndarray
    wanted: int


class CandidateScorer:
    """Scores queries against their candidates.

    Args:
        request: its queries are checked.
        scorer: the request's network, if it was made already; else it is made when it is needed.
        level: float32 [queries], is subtracted from the scores; None for nothing.
        limits: how much is in memory at once.
    """

    def __init__(
        self,
        request: SearchRequest,
        scorer: PairScorer | None = None,
        *,
        level: np.ndarray | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._request, self._level, self._limits = request, level, limits
        self._scorer = scorer
        self._checker: PairScorer | None = None
        self._sequences = dict(_by_query(request))

    def choose(
        self, finder: CandidateFinder, rows: tuple[int, int] | None = None
    ) -> Iterator[Candidates]:
        """What the index names for each query that is not damaged, of all or of [first, last)."""
        assert self._request.candidates is not None
        count = self._request.candidates.of(len(self._request.database))
        first, last = rows or (0, len(self._request.queries))
        for row, sequences in self._sequences.items():
            if first <= row < last:
                yield Candidates(row, finder.named(sequences, count), count)

    def prepare(self) -> None:
        """Make the network, if any query is to be scored; else the first query does."""
        if self._sequences:
            self._scorer = self._scorer or pair_scorer(self._request)

    def score(self, query: Candidates) -> CandidateScores:
        """Score one query against the best of what the index named."""
        request, row, sequences = self._request, query.row, self._sequences[query.row]
        self._scorer = self._scorer or pair_scorer(request)
        self._checker = self._checker or self._scorer.without_comparator()
        columns, checked = check_candidates(
            request, query, sequences, self._checker, limits=self._limits
        )
        entries, waited = score_row(request, sequences, columns, self._scorer, self._limits)
        entries["row"] = row
        if self._level is not None:
            entries["score"] -= self._level[row]
        finite = np.isfinite(entries["score"])
        bad: dict[int, tuple[int, float]] = {}
        if not finite.all():
            first = entries[~finite][0]
            bad[row] = int(first["column"]), float(first["score"])
        entries = entries[finite]
        kept = entries[np.sort(request.selection.indices(entries["score"]))]
        return CandidateScores(kept, bad, waited=checked + waited)


def join_scores(parts: Sequence[CandidateScores]) -> CandidateScores:
    """The scores of all parts together."""
    return CandidateScores(
        np.concatenate([np.empty(0, SCORE), *(part.entries for part in parts)]),
        {row: found for part in parts for row, found in part.bad.items()},
        {row: line for part in parts for row, line in part.damaged_queries.items()},
        {column: line for part in parts for column, line in part.damaged_database.items()},
        sum(part.waited for part in parts),
    )


def score_candidates(
    request: SearchRequest,
    finder: CandidateFinder,
    *,
    level: np.ndarray | None = None,
    limits: Limits | None = None,
    scorer: PairScorer | None = None,
    progress: Progress | None = None,
    rows: tuple[int, int] | None = None,
) -> CandidateScores:
    """Score every query against its candidates.

    Args:
        request: with `candidates`.
        finder: of its database.
        level, limits, scorer: see `CandidateScorer`.
        progress: called with (queries done, queries).
        rows: score the queries [first, last) only.
    """
    own = CandidateScorer(request, scorer, level=level, limits=limits)
    parts = []
    with _one_ahead(own.choose(finder, rows), together=finder.by_frames) as chosen:
        own.prepare()
        for query in chosen:
            parts.append(own.score(query))
            if progress:
                progress(query.row + 1, len(request.queries))
    return join_scores(parts)


@contextmanager
def _one_ahead(queries: Iterator[Candidates], *, together: bool) -> Iterator[Iterator[Candidates]]:
    """Look up each query while the one before it is scored, the first while the network is made.

    Args:
        together: False looks up when it is asked for, as a coarse student takes the same device.
    """
    if not together:
        yield queries
        return
    with ThreadPoolExecutor(1, "look-ahead") as pool:

        def taken(pending: Future[Candidates | None]) -> Iterator[Candidates]:
            while (query := pending.result()) is not None:
                pending = pool.submit(next, queries, None)
                yield query

        yield taken(pool.submit(next, queries, None))


def check_candidates(
    request: SearchRequest,
    query: Candidates,
    sequences: VideoSet,
    scorer: PairScorer,
    *,
    limits: Limits | None = None,
) -> tuple[np.ndarray, float]:
    """A query's candidates: the best, by all descriptors, of the videos that the index names.

    Args:
        request: of the search.
        query: what the index names.
        sequences: what is searched for the query.
        scorer: the request's network, `PairScorer.without_comparator`.
        limits: how much is in memory at once.

    Returns:
        Intp [n], numbers of the database's videos, ascending; and the seconds spent waiting for
        features.
    """
    lengths = request.database.lengths[query.named]
    checked = np.sort(checked_videos(query.named, lengths, query.wanted))
    if len(checked) <= query.wanted:
        return checked, 0.0
    entries, waited = score_row(request, FewFrames(sequences), checked, scorer, limits)
    order = np.argsort(-entries["score"], kind="stable")
    return np.sort(entries["column"][order[: query.wanted]]).astype(np.intp), waited


def score_row(
    request: SearchRequest,
    sequences: VideoSet | FewFrames,
    columns: np.ndarray,
    scorer: PairScorer,
    limits: Limits | None = None,
) -> tuple[np.ndarray, float]:
    """Score one query against some videos of the database.

    Args:
        sequences: what is searched for the query; the best score counts.
        columns: ascending numbers of the videos.

    Returns:
        Entries of `SCORE`, row 0, by column, each once and without damaged videos; and the seconds
        spent waiting for features.
    """
    from ..nets.backend import device_scope

    database = request.database
    columns = columns[database.take(columns).sound] if len(columns) else columns
    if not len(columns):
        return np.empty(0, SCORE), 0.0
    chosen = database.take(columns)
    engine = SearchEngine(request, chosen, limits, scorer=scorer)
    sink = _RowScores(len(columns))
    with device_scope(request.gpu_id):
        waited = engine.loop.fill(
            sink,
            engine.loop.query_reader(sequences),
            engine.reader,
            row_index=np.zeros(len(sequences), np.intp),
            column_index=engine.column_index,
        )
    found, scores = sink.best()
    sound = chosen.sound[found]
    entries = np.zeros(int(sound.sum()), SCORE)
    entries["column"], entries["score"] = columns[found[sound]], scores[sound]
    return entries, waited


def sample_columns(videos: int) -> np.ndarray:
    """A random sample of a database, always the same one.

    Args:
        videos: of the database.

    Returns:
        Intp, ascending, `LEVEL_VIDEOS` of them or all.
    """
    if videos <= LEVEL_VIDEOS:
        return np.arange(videos)
    return np.sort(np.random.default_rng(_SEED).choice(videos, LEVEL_VIDEOS, replace=False))


def _by_query(request: SearchRequest) -> Iterator[tuple[int, VideoSet]]:
    """What is searched for each query, with its row; damaged ones are left out."""
    sequences, rows = query_sequences(request)
    order = np.argsort(rows, kind="stable")
    starts = np.flatnonzero(np.diff(rows[order], prepend=-1))
    for numbers in np.split(order, starts[1:]):
        yield int(rows[numbers[0]]), sequences.take(numbers)


class _RowScores:
    """A `ScoreSink` for one query that keeps all scores."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self._entries: list[np.ndarray] = []

    def begin_block(self, complete: int) -> None:
        """Do nothing: damaged videos are taken out at the end."""

    def put(self, rows: np.ndarray, columns: np.ndarray, scores: np.ndarray) -> None:
        """Take in scores; see `ScoreSink`."""
        entries = np.zeros(len(columns), SCORE)
        entries["column"], entries["score"] = columns, scores
        self._entries.append(entries)

    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """Columns, ascending, and the largest score of each."""
        entries = np.concatenate(self._entries) if self._entries else np.empty(0, SCORE)
        return best_of_each_column(entries)
