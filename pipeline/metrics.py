"""Retrieval metrics: average precision, micro-AP, recall at a false positive rate."""

from __future__ import annotations

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
