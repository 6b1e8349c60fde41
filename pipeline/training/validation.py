"""How well a head finds the copies of clips that it was not trained on; by stage two's own code."""

from __future__ import annotations

import numpy as np

from ..metrics import mean_average_precision
from ..nets.model.frame_weights import output_weights
from ..nets.model.model import Model
from ..nets.similarity.pair_scorer import PairScorer
from ..short_videos import padded_length, repeat_to_min
from .pair_sampler import Views

_PAIRS = 512  # in one run of the comparator
_QUERIES = 32  # clips that are multiplied with all copies at once

FrameWeights = tuple[np.ndarray | None, np.ndarray | None]


def truth(views: list[Views], same: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(relevant, counted), bool [clips, copies of all clips].

    Copies of clips that look the same, and copies that are set in the query's own video, do not
    count.
    """
    owner = np.repeat(np.arange(len(views)), [len(v.copies) for v in views])
    hosts = np.array([host for view in views for host in view.hosts])
    videos = np.array([view.video for view in views])
    relevant = np.arange(len(views))[:, None] == owner
    counted = relevant | ~(same[:, owner] | (videos[:, None] == hosts))
    return relevant, counted


class Validation:
    """Clips as queries, copies of all of them as the database.

    Args:
        views: of the clips; same: bool [N, N] of `samples.alike`.
        symmetric: average both directions of Chamfer.
    """

    def __init__(self, views: list[Views], same: np.ndarray, symmetric: bool) -> None:
        self._queries = [repeat_to_min(view.clean) for view in views]
        self._targets = [repeat_to_min(copy) for view in views for copy in view.copies]
        self._truth = truth(views, same)
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
            of_frames = scorer.fetched_weights(queries), scorer.fetched_weights(targets)
            rows = _halves(part, weights)
            for row, half in enumerate(rows):
                for at in range(0, len(columns), _PAIRS):
                    found = self._one(scorer, matrix, half, columns[at : at + _PAIRS], of_frames)
                    table[start + row, at : at + _PAIRS] = found
        return table

    def _one(
        self,
        scorer: PairScorer,
        matrix: object,
        half: np.ndarray,
        columns: np.ndarray,
        weights: FrameWeights,
    ) -> np.ndarray:
        """Scores of one query with some copies."""
        count = len(columns)
        columns = columns[np.minimum(np.arange(_PAIRS), count - 1)]  # always the same shape
        windows = np.concatenate([np.repeat(half[None], _PAIRS, axis=0), columns], axis=1)
        rows, cols = (-(-max(map(len, s)) // 4) * 4 for s in (self._queries, self._targets))
        by_row, by_column = scorer.fetched(scorer.maxima(matrix, windows, rows, cols, weights))
        scores = _means(by_row, windows[:, :4], rows, weights[0])
        if by_column is not None:
            back = _means(by_column, windows[:, 4:], cols, weights[1])
            scores = (scores + back) / 2
        return scores[:count]


def _halves(parts: list[np.ndarray], weights: Model) -> np.ndarray:
    """[n, 4] int32: first frame, frames, first output, end of outputs (see `PairScorer.maxima`)."""
    lengths = np.array([padded_length(len(part)) for part in parts])
    outputs = lengths // 4 if weights.comparator else lengths
    starts = np.cumsum(lengths) - lengths
    return np.stack([starts, lengths, 0 * lengths, outputs], axis=1).astype(np.int32)


def _means(
    best: np.ndarray, halves: np.ndarray, padded: int, frame_weights: np.ndarray | None
) -> np.ndarray:
    """Means over the outputs that count, weighted where frames are; `padded` frames a clip."""
    counted = np.arange(best.shape[1]) < halves[:, 3:]
    if frame_weights is None:
        return np.asarray(np.where(counted, best, 0).sum(axis=1) / halves[:, 3])
    of_outputs = output_weights(halves, padded, padded // best.shape[1], frame_weights)
    return np.asarray(np.where(counted, best * of_outputs, 0).sum(axis=1) / of_outputs.sum(axis=1))
