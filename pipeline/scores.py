"""Pure bookkeeping between pieces and scores: which pairs share a batch, what a video's score is.

The Chamfer similarity of two videos is the mean over query outputs of the maximum over target
outputs (ViSiL, ICCV 2019, equation 4). Pieces give maxima over parts of the target; the maximum
of those, then the mean over all query outputs, is the same number. Similarities of unit vectors
lie in [-1, 1], and are kept there where float16 storage has made a vector a little too long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.blocks import Geometry, Piece, bucket

_Placed = tuple[tuple[int, int, int, int], Piece]


@dataclass(frozen=True)
class PairBatch:
    """Pairs of pieces that are computed together.

    Attributes:
        windows: [B, 8] int32 as `nets.pairs.PairScorer.maxima` takes them.
        rows, columns: shape all are padded to.
        queries, targets: the pieces of each pair.
    """

    windows: np.ndarray
    rows: int
    columns: int
    queries: list[Piece]
    targets: list[Piece]


@dataclass
class _Unfinished:
    """Maxima so far of a pair of videos of which at least one has several pieces."""

    remaining: int
    rows: np.ndarray
    columns: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))


class PairScores:
    """Turns maxima of pieces into scores of videos.

    Args:
        queries, targets: all pieces of each side.
        geometry: of the similarity network.
        symmetric: average both directions.
    """

    def __init__(
        self,
        queries: Sequence[Piece],
        targets: Sequence[Piece],
        geometry: Geometry,
        symmetric: bool,
    ) -> None:
        self._stride = geometry.stride
        self._symmetric = symmetric
        self._query_pieces = np.bincount([p.video for p in queries])
        self._target_pieces = np.bincount([p.video for p in targets])
        self._query_frames = _lengths(queries)
        self._target_frames = _lengths(targets)
        self._unfinished: dict[tuple[int, int], _Unfinished] = {}

    def batches(
        self, queries: Sequence[Piece], targets: Sequence[Piece], max_pairs: int, max_cells: int
    ) -> Iterator[PairBatch]:
        """All pairs of two blocks, in batches of like shape.

        A batch has at most `max_pairs` pairs and `max_cells` padded matrix entries, but at
        least one pair.
        """
        by_columns = self._grouped(targets)
        for rows, query_group in self._grouped(queries):
            for columns, target_group in by_columns:
                size = max(1, min(max_pairs, max_cells // (rows * columns)))
                q = np.repeat(np.arange(len(query_group)), len(target_group))
                t = np.tile(np.arange(len(target_group)), len(query_group))
                q_windows = np.array([w for w, _ in query_group], np.int32)
                t_windows = np.array([w for w, _ in target_group], np.int32)
                for at in range(0, len(q), size):
                    qs, ts = q[at : at + size], t[at : at + size]
                    yield PairBatch(
                        np.concatenate([q_windows[qs], t_windows[ts]], axis=1),
                        rows,
                        columns,
                        [query_group[i][1] for i in qs],
                        [target_group[i][1] for i in ts],
                    )

    def _grouped(self, pieces: Sequence[Piece]) -> list[tuple[int, list[_Placed]]]:
        """Pieces of a block by padded length, each with its half of a window."""
        groups: dict[int, list[_Placed]] = {}
        at = 0
        for piece in pieces:
            window = (at, piece.frames, *piece.outputs(self._stride))
            groups.setdefault(bucket(piece.frames), []).append((window, piece))
            at += piece.frames
        return sorted(groups.items())

    def add(
        self,
        batch: PairBatch,
        by_row: np.ndarray,
        by_column: np.ndarray | None,
        table: np.ndarray,
    ) -> None:
        """Take in the maxima of a batch and write the scores that are complete into the table.

        Args:
            by_row: [B, rows / stride] float32; by_column: [B, columns / stride] or None.
            table: [query videos, database videos] float32.
        """
        single = np.array(
            [
                self._query_pieces[q.video] == 1 == self._target_pieces[t.video]
                for q, t in zip(batch.queries, batch.targets, strict=True)
            ]
        )
        if single.any():
            q = [p.video for p, s in zip(batch.queries, single, strict=True) if s]
            t = [p.video for p, s in zip(batch.targets, single, strict=True) if s]
            score = _masked_mean(by_row[single], batch.windows[single, 3])
            if by_column is not None:
                other = _masked_mean(by_column[single], batch.windows[single, 7])
                score = (score + other) / 2
            table[q, t] = np.clip(score, -1, 1)
        for i in np.flatnonzero(~single):
            column = None if by_column is None else by_column[i]
            self._add_part(batch.queries[i], batch.targets[i], by_row[i], column, table)

    def _add_part(
        self,
        query: Piece,
        target: Piece,
        by_row: np.ndarray,
        by_column: np.ndarray | None,
        table: np.ndarray,
    ) -> None:
        key = query.video, target.video
        pair = self._unfinished.get(key)
        if pair is None:
            pair = self._unfinished[key] = _Unfinished(
                int(self._query_pieces[key[0]] * self._target_pieces[key[1]]),
                np.full(self._query_frames[key[0]] // self._stride, -np.inf, np.float32),
                np.full(self._target_frames[key[1]] // self._stride, -np.inf, np.float32),
            )
        _raise_to(pair.rows, query, by_row, self._stride)
        if by_column is not None:
            _raise_to(pair.columns, target, by_column, self._stride)
        pair.remaining -= 1
        if pair.remaining == 0:
            score = pair.rows.mean(dtype=np.float64)
            if self._symmetric:
                score = (score + pair.columns.mean(dtype=np.float64)) / 2
            table[key] = np.clip(score, -1, 1)
            del self._unfinished[key]


def _raise_to(maxima: np.ndarray, piece: Piece, values: np.ndarray, stride: int) -> None:
    begin, end = piece.outputs(stride)
    part = maxima[piece.first // stride : piece.first // stride + end - begin]
    np.maximum(part, values[begin : begin + len(part)], out=part)


def _masked_mean(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    inside = np.arange(values.shape[1])[None, :] < counts[:, None]
    return np.where(inside, values, 0).sum(axis=1, dtype=np.float64) / counts


def _lengths(pieces: Sequence[Piece]) -> np.ndarray:
    lengths = np.zeros(max(p.video for p in pieces) + 1, np.int64)
    for piece in pieces:
        lengths[piece.video] = max(lengths[piece.video], piece.last)
    return lengths
