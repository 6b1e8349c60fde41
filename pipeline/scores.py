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

_SMALL_BATCH = 16  # a batch of fixed size may also be a 16th of it


@dataclass(frozen=True)
class _Group:
    """Pieces of a block that are padded to the same length, as columns.

    Attributes:
        padded: that length.
        windows: [n, 4] int32, a piece's half of a window each.
        videos: [n] intp, the pieces' videos; whole: [n] bool, the piece is all of its video.
        pieces: the n pieces.
    """

    padded: int
    windows: np.ndarray
    videos: np.ndarray
    whole: np.ndarray
    pieces: list[Piece]


@dataclass(frozen=True)
class PairBatch:
    """Pairs of pieces that are computed together.

    Attributes:
        windows: [S, 8] int32 as `nets.pairs.PairScorer.maxima` takes them; S is B, or more where
            batches have fixed sizes: the rest repeats the last pair.
        rows, columns: shape all are padded to.
        query_group, target_group: where the pieces come from.
        queries, targets: [B] intp, the pieces of each pair in these groups.
    """

    windows: np.ndarray
    rows: int
    columns: int
    query_group: _Group
    target_group: _Group
    queries: np.ndarray
    targets: np.ndarray


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
        self,
        queries: Sequence[Piece],
        targets: Sequence[Piece],
        max_pairs: int,
        max_cells: int,
        few_shapes: bool = False,
    ) -> Iterator[PairBatch]:
        """All pairs of two blocks, in batches of like shape.

        A batch has at most `max_pairs` pairs and `max_cells` padded matrix entries, but at
        least one pair.

        Args:
            few_shapes: for backends that compile every shape anew: coarser padding, and batches
                filled up to one of two sizes.
        """
        by_columns = self._grouped(targets, self._target_pieces, few_shapes)
        for q in self._grouped(queries, self._query_pieces, few_shapes):
            for t in by_columns:
                size = max(1, min(max_pairs, max_cells // (q.padded * t.padded)))
                pairs = len(q.pieces) * len(t.pieces)
                for at in range(0, pairs, size):
                    which = np.arange(at, min(at + size, pairs))
                    qs, ts = np.divmod(which, len(t.pieces))
                    windows = np.concatenate([q.windows[qs], t.windows[ts]], axis=1)
                    if few_shapes:
                        windows = _filled(windows, size)
                    yield PairBatch(windows, q.padded, t.padded, q, t, qs, ts)

    def _grouped(
        self, pieces: Sequence[Piece], pieces_of: np.ndarray, few_shapes: bool
    ) -> list[_Group]:
        """Pieces of a block by padded length."""
        groups: dict[int, list[tuple[tuple[int, int, int, int], Piece]]] = {}
        at = 0
        for piece in pieces:
            window = (at, piece.frames, *piece.outputs(self._stride))
            groups.setdefault(bucket(piece.frames, few_shapes), []).append((window, piece))
            at += piece.frames
        found = []
        for padded, members in sorted(groups.items()):
            videos = np.array([piece.video for _, piece in members], np.intp)
            windows = np.array([window for window, _ in members], np.int32)
            whole = pieces_of[videos] == 1
            found.append(_Group(padded, windows, videos, whole, [piece for _, piece in members]))
        return found

    def add(
        self,
        batch: PairBatch,
        by_row: np.ndarray,
        by_column: np.ndarray | None,
        table: np.ndarray,
    ) -> None:
        """Take in the maxima of a batch and write the scores that are complete into the table.

        Args:
            by_row: [S, rows / stride] float32; by_column: [S, columns / stride] or None.
            table: [query videos, database videos] float32.
        """
        q, t = batch.query_group, batch.target_group
        whole = q.whole[batch.queries] & t.whole[batch.targets]
        ready = np.flatnonzero(whole)
        if len(ready):
            score = _masked_mean(by_row[ready], batch.windows[ready, 3])
            if by_column is not None:
                score = (score + _masked_mean(by_column[ready], batch.windows[ready, 7])) / 2
            rows, columns = q.videos[batch.queries[ready]], t.videos[batch.targets[ready]]
            table[rows, columns] = np.clip(score, -1, 1)
        for i in np.flatnonzero(~whole):
            column = None if by_column is None else by_column[i]
            query, target = q.pieces[batch.queries[i]], t.pieces[batch.targets[i]]
            self._add_part(query, target, by_row[i], column, table)

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


def _filled(windows: np.ndarray, size: int) -> np.ndarray:
    """Up to `size` rows, or to a part of it where that is enough; the last is repeated."""
    small = -(-size // _SMALL_BATCH)
    missing = (small if len(windows) <= small else size) - len(windows)
    return np.concatenate([windows, np.repeat(windows[-1:], missing, axis=0)])


def _masked_mean(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    inside = np.arange(values.shape[1])[None, :] < counts[:, None]
    return np.where(inside, values, 0).sum(axis=1, dtype=np.float64) / counts


def _lengths(pieces: Sequence[Piece]) -> np.ndarray:
    lengths = np.zeros(max(p.video for p in pieces) + 1, np.int64)
    for piece in pieces:
        lengths[piece.video] = max(lengths[piece.video], piece.last)
    return lengths
