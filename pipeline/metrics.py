"""Retrieval metrics: average precision, micro-AP, recall at a false positive rate; segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Figures:
    """All in [0, 1].

    Attributes:
        mean_ap: mean over queries of the average precision, as FIVR-200K has it
            (Kordopatis-Zilos et al., IEEE Trans. Multimedia 2019); without queries that have no
            relevant video.
        micro_ap: average precision of all pairs in one ranking.
        recall_1, recall_01: share of the relevant pairs above the score that 1 % and 0.1 % of
            the unrelated pairs exceed.
        pairs: number of relevant pairs.
    """

    mean_ap: float
    micro_ap: float
    recall_1: float
    recall_01: float
    pairs: int


def average_precision(scores: np.ndarray, relevant: np.ndarray) -> float:
    """Mean of the precision at each relevant item of a ranking; both [N]. NaN without any."""
    hits = relevant[np.lexsort((relevant, -scores))]
    ranks = np.flatnonzero(hits) + 1
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks)) if len(ranks) else float("nan")


def recall_at(scores: np.ndarray, relevant: np.ndarray, rate: float) -> float:
    """Share of the relevant scores above the threshold that `rate` of the unrelated exceed.

    Args:
        scores, relevant: [N]; rate: false positives allowed, 0 to 1.

    Returns:
        NaN if there is nothing relevant or nothing else.
    """
    unrelated = np.sort(scores[~relevant])[::-1]
    if not len(unrelated) or not relevant.any():
        return float("nan")
    allowed = int(rate * len(unrelated))  # scores above the threshold; the next one is it
    threshold = unrelated[allowed] if allowed < len(unrelated) else -np.inf
    return float((scores[relevant] > threshold).mean())


def figures(scores: np.ndarray, relevant: np.ndarray, counted: np.ndarray) -> Figures:
    """All figures of a table.

    Args:
        scores: float [Q, D]; relevant, counted: bool [Q, D]; what is not counted is ignored.
    """
    rows = [
        average_precision(row[c], r[c])
        for row, r, c in zip(scores, relevant, counted, strict=True)
        if (r & c).any()
    ]
    pairs, truth = scores[counted], relevant[counted]
    return Figures(
        mean_ap=float(np.mean(rows)) if rows else float("nan"),
        micro_ap=average_precision(pairs, truth),
        recall_1=recall_at(pairs, truth, 0.01),
        recall_01=recall_at(pairs, truth, 0.001),
        pairs=int(truth.sum()),
    )


def mean_average_precision(scores: np.ndarray, relevant: np.ndarray, counted: np.ndarray) -> float:
    """Mean over queries of the mean precision at each copy; where scores tie, copies come last.

    Args:
        scores: float [Q, D].
        relevant, counted: bool [Q, D]; what does not count is left out of the ranking.
    """
    results = []
    for row, right, used in zip(scores, relevant, counted, strict=True):
        hits = right[used][np.lexsort((right[used], -row[used]))]
        ranks = np.flatnonzero(hits) + 1
        if len(ranks):
            results.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    return float(np.mean(results))


# Of segments: rows of query start, query end, database start, database end in seconds.
_Boxes = Sequence[Sequence[float]] | np.ndarray
_LENGTH_EPSILON = 1e-6  # seconds, as the original scorer has it


@dataclass(frozen=True)
class SegmentFigures:
    """How well segments are found, by VCSL's rule; all in [0, 1].

    Attributes:
        precision, recall: means over pairs, see `segment_figures`.
        f1: their harmonic mean.
    """

    precision: float
    recall: float
    f1: float


def pair_precision_recall(predicted: _Boxes, labelled: _Boxes) -> tuple[float, float]:
    """Precision and recall of the segments of one pair of videos, as VCSL's scorer has them.

    On each axis: the predicted seconds that labelled boxes cover, of those boxes that a predicted
    box shares area with, divided by all predicted seconds; both axes multiplied. Recall is the
    same with the roles changed. Source: He et al., "A Large-scale Comprehensive Dataset and
    Copy-overlap Aware Evaluation Protocol for Segment-level Video Copy Detection", CVPR 2022.

    Args:
        predicted, labelled: [N, 4] and [M, 4], each row query start, query end, database start,
            database end; either may be empty. A box that ends before it starts is taken as it is.

    Returns:
        Precision and recall. With nothing predicted precision is exactly 1, with nothing labelled
        recall is.
    """
    ours = np.asarray(predicted, np.float32).reshape(-1, 4)
    truth = np.asarray(labelled, np.float32).reshape(-1, 4)
    if not len(ours) or not len(truth):
        return float(not len(ours)), float(not len(truth))
    return _covered(ours, truth), _covered(truth, ours)


def segment_figures(pairs: Sequence[tuple[float, float]]) -> SegmentFigures:
    """Figures over many pairs, VCSL's overall ones.

    A pair counts for the precision unless its precision is exactly 1, and for the recall unless
    its recall is exactly 1: a pair with nothing predicted counts for the recall alone, a false
    alarm for the precision alone.

    Args:
        pairs: precision and recall of each, see `pair_precision_recall`.

    Returns:
        NaN where no pair counts.
    """
    values = np.asarray(pairs, np.float64).reshape(-1, 2)
    means = [float(c[c != 1].mean()) if (c != 1).any() else float("nan") for c in values.T]
    precision, recall = means
    total = precision + recall
    return SegmentFigures(precision, recall, 2 * precision * recall / total if total else 0.0)


def _covered(boxes: np.ndarray, others: np.ndarray) -> float:
    """Part of the boxes' length that others cover, both axes multiplied; both [N, 4] float32."""
    low = np.maximum(boxes[:, None, ::2], others[None, :, ::2])
    high = np.minimum(boxes[:, None, 1::2], others[None, :, 1::2])
    shares_area = (high > low).all(axis=2)
    result = 1.0
    for axis in (0, 1):
        covered = sum(
            _union(low[i, shares_area[i], axis], high[i, shares_area[i], axis])
            for i in range(len(boxes))
        )
        length = float((boxes[:, 2 * axis + 1] - boxes[:, 2 * axis]).sum())
        result *= covered / (length + _LENGTH_EPSILON)
    return result


def _union(low: np.ndarray, high: np.ndarray) -> float:
    """Length of the union of intervals, [N] each."""
    total, reached = 0.0, -np.inf
    for i in np.argsort(low, kind="stable"):
        total += max(0.0, float(high[i]) - max(float(low[i]), reached))
        reached = max(reached, float(high[i]))
    return total
