"""Measures how well a head finds copies of other clips than its own, with stage two's code."""

from __future__ import annotations

import numpy as np

from ..metrics import mean_average_precision
from ..nets.model.frame_weights import output_weights
from ..nets.model.model import Model
from ..nets.similarity.pair_scorer import PairScorer
from ..short_videos import padded_length, repeat_to_min
from .pair_sampler import ClipFeatures

_PAIRS = 512  # in one run of the comparator
_QUERIES = 32  # clips that are multiplied with all copies at once

FrameWeights = tuple[np.ndarray | None, np.ndarray | None]


def truth(clips: list[ClipFeatures], same: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(relevant, counted), bool [clips, copies of all clips].

    Copies of clips that show the same, and copies that are set in the query's own video, do not
    count.
    """
    owner = np.repeat(np.arange(len(clips)), [len(clip.copies) for clip in clips])
    hosts = np.array([host for clip in clips for host in clip.hosts])
    videos = np.array([clip.video for clip in clips])
    relevant = np.arange(len(clips))[:, None] == owner
    counted = relevant | ~(same[:, owner] | (videos[:, None] == hosts))
    return relevant, counted


class Validation:
    """Clips as queries, copies of all of them as the database.

    Args:
        clips: not used in training.
        same: bool [N, N] of `pair_sampler.same_content`.
        symmetric: average both directions of Chamfer.
    """

    def __init__(self, clips: list[ClipFeatures], same: np.ndarray, symmetric: bool) -> None:
        self._queries = [repeat_to_min(clip.clean) for clip in clips]
        self._targets = [repeat_to_min(copy) for clip in clips for copy in clip.copies]
        self._truth = truth(clips, same)
        self._function = "symmetric_chamfer" if symmetric else "chamfer"

    def __call__(self, weights: Model) -> float:
        """mAP with this attention and comparator."""
        return mean_average_precision(self.scores(weights), *self._truth)

    def scores(self, weights: Model) -> np.ndarray:
        """float32 [queries, copies]."""
        scorer = PairScorer(weights, self._function, "float32")
        shared = weights.layout.shared
        targets = scorer.place_targets(np.concatenate(self._targets)[:, :shared])
        columns = _halves(self._targets, weights)
        table = np.empty((len(self._queries), len(self._targets)), np.float32)
        for start in range(0, len(self._queries), _QUERIES):
            part = self._queries[start : start + _QUERIES]
            queries = scorer.place_queries(np.concatenate(part))
            matrix = scorer.frame_matrix(queries, targets)
            frame_weights = scorer.fetched_weights(queries), scorer.fetched_weights(targets)
            rows = _halves(part, weights)
            for row, half in enumerate(rows):
                for at in range(0, len(columns), _PAIRS):
                    batch = columns[at : at + _PAIRS]
                    scores = self._query_scores(scorer, matrix, half, batch, frame_weights)
                    table[start + row, at : at + _PAIRS] = scores
        return table

    def _query_scores(
        self,
        scorer: PairScorer,
        matrix: object,
        half: np.ndarray,
        columns: np.ndarray,
        frame_weights: FrameWeights,
    ) -> np.ndarray:
        """Scores of one query with a batch of copies."""
        count = len(columns)
        columns = columns[np.minimum(np.arange(_PAIRS), count - 1)]  # always the same shape
        windows = np.concatenate([np.repeat(half[None], _PAIRS, axis=0), columns], axis=1)
        rows, cols = (-(-max(map(len, s)) // 4) * 4 for s in (self._queries, self._targets))
        row_maxima, column_maxima = scorer.fetched(
            scorer.maxima(matrix, windows, rows, cols, frame_weights)
        )
        scores = _means(row_maxima, windows[:, :4], rows, frame_weights[0])
        if column_maxima is not None:
            back = _means(column_maxima, windows[:, 4:], cols, frame_weights[1])
            scores = (scores + back) / 2
        return scores[:count]


def _halves(parts: list[np.ndarray], weights: Model) -> np.ndarray:
    """[n, 4] int32: first frame, frames, first output, end of outputs (see `PairScorer.maxima`)."""
    lengths = np.array([padded_length(len(part)) for part in parts])
    outputs = lengths // 4 if weights.comparator else lengths
    starts = np.cumsum(lengths) - lengths
    return np.stack([starts, lengths, 0 * lengths, outputs], axis=1).astype(np.int32)


def _means(
    maxima: np.ndarray, halves: np.ndarray, padded: int, frame_weights: np.ndarray | None
) -> np.ndarray:
    """Means over the outputs that count, weighted where frames are; `padded` frames a clip."""
    counted = np.arange(maxima.shape[1]) < halves[:, 3:]
    if frame_weights is None:
        return np.asarray(np.where(counted, maxima, 0).sum(axis=1) / halves[:, 3])
    weights = output_weights(halves, padded, padded // maxima.shape[1], frame_weights)
    return np.asarray(np.where(counted, maxima * weights, 0).sum(axis=1) / weights.sum(axis=1))
