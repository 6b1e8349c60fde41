"""Retrieval figures from a table of scores.

A pair of query and database video is relevant or not; some pairs are left out of account.
Where scores tie, what is not relevant counts as the better one, so constant scores gain nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.retrieval.transforms import HARD_KINDS


@dataclass(frozen=True)
class Figures:
    """All in [0, 1].

    Attributes:
        mean_ap: mean over queries of the average precision, as FIVR-200K has it
            (Kordopatis-Zilos et al., IEEE Trans. Multimedia 2019); queries without a relevant
            video do not count.
        micro_ap: average precision of all pairs in one ranking.
        recall_1, recall_01: part of the relevant pairs above the score that 1 % and 0.1 % of
            the other pairs exceed.
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
    """Part of the relevant scores above the threshold that at most `rate` of the others exceed.

    Args:
        scores, relevant: [N]; rate: false positives allowed, 0 to 1.

    Returns:
        NaN if there is nothing relevant or nothing else.
    """
    others = np.sort(scores[~relevant])[::-1]
    if not len(others) or not relevant.any():
        return float("nan")
    allowed = int(rate * len(others))  # so many may lie above; the next one is the threshold
    bar = others[allowed] if allowed < len(others) else -np.inf
    return float((scores[relevant] > bar).mean())


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


def figures_by_kind(scores: np.ndarray, kinds: np.ndarray) -> dict[str, Figures]:
    """Figures of the whole table under "all", of `HARD_KINDS` under "hard", then of each kind.

    For one kind, or for the hard ones, their copies are relevant, unrelated videos are not, and
    copies of other kinds are ignored.

    Args:
        scores: float [Q, D]; kinds: str [Q, D], the kind of copy or "" for unrelated pairs.
    """
    unrelated = kinds == ""
    result = {"all": figures(scores, ~unrelated, np.ones_like(unrelated))}
    alone = {kind: (kind,) for kind in dict.fromkeys(kinds[~unrelated].tolist())}
    for name, some in ({"hard": HARD_KINDS} | alone).items():
        relevant = np.isin(kinds, some)
        result[name] = figures(scores, relevant, relevant | unrelated)
    return result
