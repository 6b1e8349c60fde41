"""Pure bookkeeping between pieces and scores: which pairs share a batch, what a video's score is.

The Chamfer similarity of two videos is the mean over query outputs of the maximum over target
outputs (ViSiL, ICCV 2019, equation 4). Pieces give maxima over parts of the target; the maximum
of those, then the mean over all query outputs, is the same number. The other direction likewise.
Similarities of unit vectors lie in [-1, 1], and are kept there where float16 storage has made a
vector a little too long.

Where frames count unequally, the mean is a weighted one; an output's weight is the mean weight of
its own frames. Weights come in block by block; they are remembered only for videos that are cut
into several pieces.

Beside the score a rest score may be computed: the mean over the outputs that match nothing in the
other video. It says how high a pair would score if its videos shared nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..nets.model.frame_weights import output_weights
from .read_plan import Geometry, Piece, bucket
from .score_sink import RestScores, ScoreSink

_SMALL_BATCH = 16  # a batch of fixed size may also be a 16th of it
_LEAST_REST = 0.25  # of a video's outputs that must match nothing, for a rest score


@dataclass(frozen=True)
class _PieceGroup:
    """Pieces of a block that are padded to the same length, as columns.

    Attributes:
        padded: that length.
        windows: [n, 4] int32, a piece's half of a window each.
        videos: [n] intp, the pieces' videos; whole: [n] bool, the piece is all of its video.
        pieces: the n pieces.
        weights: [n, padded / stride] float32, how much each output counts; 0 for those that do
            not. None where all count alike.
    """

    padded: int
    windows: np.ndarray
    videos: np.ndarray
    whole: np.ndarray
    pieces: list[Piece]
    weights: np.ndarray | None


@dataclass(frozen=True)
class PairBatch:
    """Pairs of pieces that are computed together.

    Attributes:
        windows: [S, 8] int32 as `nets.similarity.pair_scorer.PairScorer.maxima` takes them; S is
            B, or more where
            batches have fixed sizes: the rest repeats the last pair.
        rows, columns: shape all are padded to.
        query_group, target_group: where the pieces come from.
        queries, targets: [B] intp, the pieces of each pair in these groups.
    """

    windows: np.ndarray
    rows: int
    columns: int
    query_group: _PieceGroup
    target_group: _PieceGroup
    queries: np.ndarray
    targets: np.ndarray


_Outputs = tuple[np.ndarray, np.ndarray]  # maxima and their weights, [n, outputs] each


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
        function: of `config.SIMILARITY_FUNCTIONS`: one direction, the mean or the larger of both.
        row_index, column_index: intp, row of the table for each video of `queries`, column for
            each of `targets`; several videos may share an entry, see `ScoreSink`. None: the video's
            own number.
        rest: takes rest scores; None computes none.
    """

    def __init__(
        self,
        queries: Sequence[Piece],
        targets: Sequence[Piece],
        geometry: Geometry,
        function: str,
        *,
        row_index: np.ndarray | None = None,
        column_index: np.ndarray | None = None,
        rest: RestScores | None = None,
    ) -> None:
        self._stride = geometry.stride
        self._function = function
        self._rest = rest
        self._query_pieces = np.bincount([p.video for p in queries])
        self._target_pieces = np.bincount([p.video for p in targets])
        self._query_frames = _lengths(queries)
        self._target_frames = _lengths(targets)
        self._query_weights: dict[int, np.ndarray] = {}
        self._target_weights: dict[int, np.ndarray] = {}
        self._unfinished: dict[tuple[int, int], _Unfinished] = {}
        rows, columns = len(self._query_pieces), len(self._target_pieces)
        self._row_index = np.arange(rows) if row_index is None else row_index
        self._column_index = np.arange(columns) if column_index is None else column_index

    def batches(
        self,
        queries: Sequence[Piece],
        targets: Sequence[Piece],
        max_pairs: int,
        max_cells: int,
        *,
        few_shapes: bool = False,
        weights: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
    ) -> Iterator[PairBatch]:
        """All pairs of two blocks, in batches of like shape.

        A batch has at most `max_pairs` pairs and `max_cells` padded matrix entries, but at
        least one pair.

        Args:
            few_shapes: for backends that compile every shape anew: coarser padding, and batches
                filled up to one of two sizes.
            weights: float32 [frames of the block or more], of both blocks; None where all
                frames count alike.
        """
        query_weights, target_weights = weights
        columns = self._grouped(targets, self._target_pieces, few_shapes, target_weights)
        rows = self._grouped(queries, self._query_pieces, few_shapes, query_weights)
        self._remember_weights(rows, self._query_weights, self._query_frames)
        self._remember_weights(columns, self._target_weights, self._target_frames)
        for q in rows:
            for t in columns:
                size = max(1, min(max_pairs, max_cells // (q.padded * t.padded)))
                pairs = len(q.pieces) * len(t.pieces)
                for start in range(0, pairs, size):
                    numbers = np.arange(start, min(start + size, pairs))
                    qs, ts = np.divmod(numbers, len(t.pieces))
                    windows = np.concatenate([q.windows[qs], t.windows[ts]], axis=1)
                    if few_shapes:
                        windows = _filled(windows, size)
                    yield PairBatch(windows, q.padded, t.padded, q, t, qs, ts)

    def _grouped(
        self,
        pieces: Sequence[Piece],
        piece_counts: np.ndarray,
        few_shapes: bool,
        frame_weights: np.ndarray | None,
    ) -> list[_PieceGroup]:
        """Pieces of a block by padded length."""
        by_length: dict[int, list[tuple[tuple[int, int, int, int], Piece]]] = {}
        start = 0
        for piece in pieces:
            window = (start, piece.frames, *piece.outputs(self._stride))
            by_length.setdefault(bucket(piece.frames, few_shapes), []).append((window, piece))
            start += piece.frames
        groups = []
        for padded, members in sorted(by_length.items()):
            videos = np.array([piece.video for _, piece in members], np.intp)
            windows = np.array([window for window, _ in members], np.int32)
            whole = piece_counts[videos] == 1
            weights = None
            if frame_weights is not None:
                weights = output_weights(windows, padded, self._stride, frame_weights)
            group_pieces = [piece for _, piece in members]
            groups.append(_PieceGroup(padded, windows, videos, whole, group_pieces, weights))
        return groups

    def _remember_weights(
        self, groups: Sequence[_PieceGroup], weights: dict[int, np.ndarray], frames: np.ndarray
    ) -> None:
        """Add the weights of outputs of videos that are cut up to `weights`, by video."""
        for group in groups:
            if group.weights is None:
                continue
            for i in np.flatnonzero(~group.whole):
                piece = group.pieces[i]
                outputs = int(frames[piece.video]) // self._stride
                whole = weights.setdefault(piece.video, np.zeros(outputs, np.float32))
                _raise_to(whole, piece, group.weights[i], self._stride)

    def add(
        self,
        batch: PairBatch,
        by_row: np.ndarray,
        by_column: np.ndarray | None,
        sink: ScoreSink,
    ) -> None:
        """Take in the maxima of a batch and pass on the scores that are complete.

        Args:
            by_row: [S, rows / stride] float32; by_column: [S, columns / stride] or None.
            sink: where the scores go.
        """
        q, t = batch.query_group, batch.target_group
        whole = q.whole[batch.queries] & t.whole[batch.targets]
        ready = np.flatnonzero(whole)
        if len(ready):
            score = _mean(by_row[ready], batch.windows[ready, 3], q, batch.queries[ready])
            if by_column is not None:
                back = _mean(by_column[ready], batch.windows[ready, 7], t, batch.targets[ready])
                score = self._both_directions(score, back)
            videos = q.videos[batch.queries[ready]], t.videos[batch.targets[ready]]
            self._pass_on(sink, *videos, score)
            if self._rest is not None:
                forward = _outputs(by_row[ready], batch.windows[ready, 3], q, batch.queries[ready])
                backward = None
                if by_column is not None:
                    counts = batch.windows[ready, 7]
                    backward = _outputs(by_column[ready], counts, t, batch.targets[ready])
                self._pass_on(self._rest, *videos, self._rest_scores(forward, backward))
        for i in np.flatnonzero(~whole):
            column = None if by_column is None else by_column[i]
            self._add_part(batch, int(i), by_row[i], column, sink)

    def _add_part(
        self,
        batch: PairBatch,
        i: int,
        by_row: np.ndarray,
        by_column: np.ndarray | None,
        sink: ScoreSink,
    ) -> None:
        """Take in the maxima of pair `i` of a batch, of which a video has several pieces."""
        query_at, target_at = batch.queries[i], batch.targets[i]
        query = batch.query_group.pieces[query_at]
        target = batch.target_group.pieces[target_at]
        key = query.video, target.video
        pair = self._unfinished.get(key)
        if pair is None:
            pair = self._unfinished[key] = self._new_pair(key, both_ways=by_column is not None)
        _raise_to(pair.rows, query, by_row, self._stride)
        if by_column is not None:
            _raise_to(pair.columns, target, by_column, self._stride)
        pair.remaining -= 1
        if pair.remaining == 0:
            weights = _video_weights(batch.query_group, query_at, self._query_weights)
            forward = _one_row(pair.rows, weights)
            backward = None
            if by_column is not None:
                weights = _video_weights(batch.target_group, target_at, self._target_weights)
                backward = _one_row(pair.columns, weights)
            videos = np.array(key[:1]), np.array(key[1:])
            score = np.average(forward[0], weights=forward[1], axis=1)
            if backward is not None:
                back = np.average(backward[0], weights=backward[1], axis=1)
                score = self._both_directions(score, back)
            self._pass_on(sink, *videos, score)
            if self._rest is not None:
                self._pass_on(self._rest, *videos, self._rest_scores(forward, backward))
            del self._unfinished[key]

    def _new_pair(self, key: tuple[int, int], both_ways: bool) -> _Unfinished:
        query, target = key
        pair = _Unfinished(
            int(self._query_pieces[query] * self._target_pieces[target]),
            np.full(self._query_frames[query] // self._stride, -np.inf, np.float32),
        )
        if both_ways:  # a long video against many queries: most of the memory
            outputs = self._target_frames[target] // self._stride
            pair.columns = np.full(outputs, -np.inf, np.float32)
        return pair

    def _both_directions(self, forward: Any, back: Any) -> Any:
        """One score of the scores of both directions."""
        if self._function == "max_chamfer":
            return np.maximum(forward, back)
        return (forward + back) / 2

    def _rest_scores(self, forward: _Outputs, backward: _Outputs | None) -> np.ndarray:
        """Rest scores of pairs, -inf where nearly all of a video matches."""
        assert self._rest is not None
        rest = _rest_means(*forward, self._rest.match)
        if backward is None:
            return rest
        back = _rest_means(*backward, self._rest.match)
        either = np.isneginf(rest) | np.isneginf(back)
        return np.where(either, -np.inf, self._both_directions(rest, back))

    def _pass_on(
        self,
        sink: ScoreSink | RestScores,
        queries: np.ndarray,
        targets: np.ndarray,
        scores: np.ndarray,
    ) -> None:
        """Pass on the scores of pairs of videos."""
        values = np.where(np.isneginf(scores), scores, np.clip(scores, -1, 1)).astype(np.float32)
        sink.put(self._row_index[queries], self._column_index[targets], values)


def _raise_to(maxima: np.ndarray, piece: Piece, values: np.ndarray, stride: int) -> None:
    begin, end = piece.outputs(stride)
    part = maxima[piece.first // stride : piece.first // stride + end - begin]
    np.maximum(part, values[begin : begin + len(part)], out=part)


def _filled(windows: np.ndarray, size: int) -> np.ndarray:
    """Up to `size` rows, or to a part of it where that is enough; the last is repeated."""
    small = -(-size // _SMALL_BATCH)
    missing = (small if len(windows) <= small else size) - len(windows)
    return np.concatenate([windows, np.repeat(windows[-1:], missing, axis=0)])


def _video_weights(
    group: _PieceGroup, index: int, weights: Mapping[int, np.ndarray]
) -> np.ndarray | None:
    """Weights of all outputs of the video that piece `index` of a group belongs to.

    Args:
        weights: by video, of those that are cut up.
    """
    if group.weights is None:
        return None
    piece = group.pieces[index]
    if not group.whole[index]:
        return weights[piece.video]
    return group.weights[index, : group.windows[index, 3]]


def _mean(
    values: np.ndarray, counts: np.ndarray, group: _PieceGroup, index: np.ndarray
) -> np.ndarray:
    if group.weights is None:
        return _masked_mean(values, counts)
    weights = group.weights[index]
    inside = np.where(weights > 0, values * weights, 0)
    return np.asarray(inside.sum(axis=1, dtype=np.float64) / weights.sum(axis=1, dtype=np.float64))


def _outputs(
    maxima: np.ndarray, counts: np.ndarray, group: _PieceGroup, index: np.ndarray
) -> _Outputs:
    """Maxima of whole videos with their weights; 0 beyond a video's outputs."""
    if group.weights is not None:
        return maxima, group.weights[index]
    return maxima, (np.arange(maxima.shape[1])[None, :] < counts[:, None]).astype(np.float32)


def _one_row(maxima: np.ndarray, weights: np.ndarray | None) -> _Outputs:
    """Maxima of one video and their weights, as of a batch of one."""
    weights = np.ones(len(maxima), np.float32) if weights is None else weights
    return maxima.astype(np.float64)[None], weights[None]


def _rest_means(maxima: np.ndarray, weights: np.ndarray, match: float) -> np.ndarray:
    """Weighted means over the outputs that match nothing.

    Args:
        maxima, weights: [n, outputs]; an output of weight 0 does not count.
        match: an output above it matches.

    Returns:
        Float64 [n]; -inf where less than a quarter of the weight is left.
    """
    left = np.where((weights > 0) & (maxima <= match), weights, 0)
    total = left.sum(axis=1, dtype=np.float64)
    enough = (total > 0) & (total >= _LEAST_REST * weights.sum(axis=1, dtype=np.float64))
    sums = np.where(left > 0, maxima * left, 0).sum(axis=1, dtype=np.float64)
    return np.where(enough, sums / np.where(enough, total, 1), -np.inf)


def _masked_mean(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    inside = np.arange(values.shape[1])[None, :] < counts[:, None]
    return np.where(inside, values, 0).sum(axis=1, dtype=np.float64) / counts


def _lengths(pieces: Sequence[Piece]) -> np.ndarray:
    lengths = np.zeros(max(p.video for p in pieces) + 1, np.int64)
    for piece in pieces:
        lengths[piece.video] = max(lengths[piece.video], piece.last)
    return lengths
