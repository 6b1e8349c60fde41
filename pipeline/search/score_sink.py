"""Where the scores of stage two go: into a whole table, or only those that may be selected.

A search for the best matches of half a million videos cannot keep the scores of all pairs. There
the scores that can no longer be selected are dropped as they come. What is left is a little more
than what is selected, and `output.match_tables` selects from it as from a whole table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from ..output.score_table import unnamed_file
from ..output.selection import Selection
from ..output.sparse_scores import SCORE, Chunk, SparseScores
from .limits import Limits


class ScoreSink(Protocol):
    """Takes in the scores of pairs of videos, in any order.

    A pair may come several times, for its insets or the mirrored query; its largest score counts.
    """

    @property
    def columns(self) -> int:
        """Columns of the table."""

    def begin_block(self, complete: int) -> None:
        """Announce a block: once its scores are in, all columns below `complete` are complete."""

    def put(self, rows: np.ndarray, columns: np.ndarray, scores: np.ndarray) -> None:
        """Take in scores.

        Args:
            rows, columns: intp [n], of the table.
            scores: float32 [n].
        """


class DenseScores:
    """Puts all scores into a table.

    Args:
        table: float32 [rows, columns], -inf, C-contiguous.

    Raises:
        ValueError: the table is not contiguous.
    """

    def __init__(self, table: np.ndarray) -> None:
        if not table.flags.c_contiguous:
            raise ValueError("the table of scores is not contiguous")
        self._flat = table.reshape(-1)
        self.columns: int = table.shape[1]

    def begin_block(self, complete: int) -> None:
        """Do nothing: every place of the table is there from the start."""

    def put(self, rows: np.ndarray, columns: np.ndarray, scores: np.ndarray) -> None:
        """Take in scores; see `ScoreSink`. NaN, as damaged features give, wins and stays."""
        with np.errstate(invalid="ignore"):
            np.maximum.at(self._flat, rows * self.columns + columns, scores)


class RestScores:
    """Keeps the rest scores of some columns, see `aggregation`.

    Args:
        table: float32 [rows, len(chosen)], -inf: that is what pairs without a rest score keep.
        chosen: int64, the columns, ascending.
        columns: of the whole table.
        match: outputs above it match.

    Attributes:
        table, match: as given.
    """

    def __init__(self, table: np.ndarray, chosen: np.ndarray, columns: int, match: float) -> None:
        self.table, self.match = table, match
        self._place = np.full(columns, -1, np.int64)
        self._place[chosen] = np.arange(len(chosen))

    def put(self, rows: np.ndarray, columns: np.ndarray, scores: np.ndarray) -> None:
        """Take in rest scores; of a pair that comes several times the largest counts."""
        places = self._place[columns]
        known = places >= 0
        np.maximum.at(self.table, (rows[known], places[known]), scores[known])

    def leave_out(self, rows: np.ndarray, columns: np.ndarray) -> None:
        """Forget the rest scores of damaged videos; bool [rows] and [columns of the table]."""
        self.table[rows] = -np.inf
        self.table[:, columns[self._place >= 0]] = -np.inf


class WatchedScores:
    """Passes all scores on to another sink, and those of some columns to a table as well.

    Args:
        sink: takes in all scores.
        sample: takes in those of its columns.
    """

    def __init__(self, sink: ScoreSink, sample: RestScores) -> None:
        self._sink, self._sample = sink, sample
        self.columns = sink.columns

    def begin_block(self, complete: int) -> None:
        """Announce a block; see `ScoreSink`."""
        self._sink.begin_block(complete)

    def put(self, rows: np.ndarray, columns: np.ndarray, scores: np.ndarray) -> None:
        """Take in scores; see `ScoreSink`."""
        self._sample.put(rows, columns, scores)
        self._sink.put(rows, columns, scores)


class BestScores:
    """Keeps the scores that a selection may select, and drops the others as they come.

    Args:
        selection: with top_k or a threshold.
        shape: (rows, columns) of the table: queries and database videos.
        sound: gives, for a range of columns of which all features were read, bool: the video is
            not damaged. Scores of a damaged one must not displace others.
        level: float32 [rows], is subtracted from the scores; None for nothing.
        folder: for a file, where more scores reach a threshold than memory is for; None keeps all
            in memory.
        in_memory_bytes: that memory.
        pending_scores: see `Limits`.
    """

    def __init__(
        self,
        selection: Selection,
        shape: tuple[int, int],
        sound: Callable[[int, int], np.ndarray],
        *,
        level: np.ndarray | None = None,
        folder: str | Path | None = None,
        in_memory_bytes: int = 1 << 28,
        pending_scores: int = Limits.pending_scores,
    ) -> None:
        self._selection, self._sound_range = selection, sound
        self.columns = shape[1]
        self._level, self._folder = level, folder
        self._pending_scores = pending_scores
        self._max_pending = in_memory_bytes // SCORE.itemsize
        # A lower score cannot be among the best of its query any more.
        self._min_scores = np.full(shape[0], -np.inf, np.float32)
        self._kept = np.empty(0, SCORE)
        self._pending: list[np.ndarray] = []
        self._pending_count = 0
        self._spilled: list[Chunk] = []
        self._bad: dict[int, tuple[int, float]] = {}
        self._first = self._complete = 0
        self._sound = np.empty(0, bool)
        self._held: list[np.ndarray] = []

    def begin_block(self, complete: int) -> None:
        """Take in what was held back of columns that this block completes."""
        self._first, self._complete = self._complete, complete
        self._sound = self._sound_range(self._first, complete)
        held, self._held = self._held, []
        for entries in held:
            self._sort_out(entries)

    def put(self, rows: np.ndarray, columns: np.ndarray, scores: np.ndarray) -> None:
        """Take in scores; see `ScoreSink`."""
        entries = np.empty(len(rows), SCORE)
        entries["row"], entries["column"] = rows, columns
        entries["score"] = scores if self._level is None else scores - self._level[rows]
        self._sort_out(entries)

    def finish(self) -> SparseScores:
        """All scores that may be selected."""
        self._compact()
        return SparseScores(
            [*self._spilled, Chunk.of(self._kept, len(self._min_scores))], self._bad
        )

    def _sort_out(self, entries: np.ndarray) -> None:
        """Hold back what is not complete, leave out damaged videos, keep what may be selected."""
        complete = entries["column"] < self._complete
        if not complete.all():  # whether such a video is damaged is known once all of it was read
            self._held.append(entries[~complete])
            entries = entries[complete]
        entries = entries[self._sound[entries["column"] - self._first]]
        finite = np.isfinite(entries["score"])
        if not finite.all():
            self._note_bad(entries[~finite])
            entries = entries[finite]
        may_be = self._selection.reaches(entries["score"])
        may_be &= entries["score"] >= self._min_scores[entries["row"]]
        entries = entries[may_be]
        if len(entries):
            self._pending.append(entries)
            self._pending_count += len(entries)
            if self._pending_count >= max(self._pending_scores, len(self._kept) // 2):
                self._compact()

    def _note_bad(self, entries: np.ndarray) -> None:
        for row, column, score in entries.tolist():
            if row not in self._bad or column < self._bad[row][0]:
                self._bad[row] = column, score

    def _compact(self) -> None:
        """Cut every row to its best; or move what reaches a threshold into a file."""
        entries = np.concatenate([self._kept, *self._pending])
        self._pending, self._pending_count = [], 0
        self._kept = np.empty(0, SCORE)  # frees memory for what follows
        if self._selection.top_k is not None:
            self._kept = self._best(entries, self._selection.top_k)
        elif len(entries) > self._max_pending and self._folder is not None:
            chunk = Chunk.of(entries, len(self._min_scores))
            self._spilled.append(replace(chunk, entries=_in_file(chunk.entries, self._folder)))
        else:
            self._kept = entries

    def _best(self, entries: np.ndarray, top_k: int) -> np.ndarray:
        """The best of each row, ties as listed, sorted by row."""
        entries = entries[np.lexsort((-entries["score"], entries["column"], entries["row"]))]
        repeats = np.zeros(len(entries), bool)  # the same pair with a lower score
        same = (entries[name][1:] == entries[name][:-1] for name in ("row", "column"))
        repeats[1:] = np.logical_and(*same)
        if repeats.any():
            entries = entries[~repeats]
        # By row and score; the sort is stable, so ties stay in the order of columns.
        entries = entries[np.lexsort((-entries["score"], entries["row"]))]
        begin = np.searchsorted(entries["row"], entries["row"])
        rank = np.arange(len(entries)) - begin
        last = entries[rank == top_k - 1]
        self._min_scores[last["row"]] = last["score"]
        return entries[rank < top_k]


def _in_file(entries: np.ndarray, folder: str | Path) -> np.ndarray:
    """The entries in an unnamed file."""
    mapped = unnamed_file(folder, SCORE, (len(entries),))
    mapped[:] = entries
    return mapped
