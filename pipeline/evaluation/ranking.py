"""Average precision of rankings with ties and with missing videos. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

# "steps": equal scores count as one step, so no order matters. "file": equal scores stand in the
# order of the file of results, as the published scripts that sort stably have it.
Ties = Literal["steps", "file"]


@dataclass(frozen=True, eq=False)
class Hits:
    """Where the relevant videos stand in a ranking, the best score first.

    Attributes:
        ranks: [M] rank of each, from 0, with equal scores in file order; ascending.
        first, end: [M] the ranks from `first` to before `end` have the same score as this video.
        total: relevant videos of the annotation, with a score or without.
        has_results: whether the query has results at all.
        query: id of the query; "" for a ranking of several queries.
    """

    ranks: np.ndarray
    first: np.ndarray
    end: np.ndarray
    total: int
    has_results: bool = True
    query: str = ""

    @classmethod
    def of(
        cls,
        scores: np.ndarray,
        relevant: np.ndarray,
        total: int,
        *,
        query: str = "",
        has_results: bool = True,
    ) -> Hits:
        """The relevant videos of a ranking.

        Args:
            scores: [N] float, in file order; relevant: [N] bool.
            total: relevant videos of the annotation.
        """
        order = np.argsort(-scores, kind="stable")
        ranks = np.flatnonzero(relevant[order])
        falling = -scores[order]
        own = falling[ranks]
        return cls(
            ranks,
            np.searchsorted(falling, own, side="left"),
            np.searchsorted(falling, own, side="right"),
            total,
            has_results,
            query,
        )

    @property
    def scored(self) -> int:
        """Relevant videos that have a score."""
        return len(self.ranks)


def without_missing(rankings: Sequence[Hits]) -> list[Hits]:
    """The rankings with missing videos left out: of queries that have a relevant score."""
    return [replace(h, total=h.scored) for h in rankings if h.has_results and h.scored]


def average_precision(hits: Hits, ties: Ties = "steps") -> float:
    """Mean over all relevant videos of the precision at their rank; 0 for one without a score.

    With ties as steps it is scikit-learn's `average_precision_score`. NaN if nothing is relevant.
    """
    if not hits.total:
        return float("nan")
    if ties == "file":
        precision = np.arange(1, hits.scored + 1) / (hits.ranks + 1)
    else:
        precision = _found_until(hits) / hits.end
    return float(precision.sum()) / hits.total


def trapezoid_average_precision(hits: Hits, ties: Ties = "steps") -> float:
    """Area below precision over recall by trapezoids, as the authors of EVVE have it.

    Source: Revaud et al., "Event retrieval in large video collections with circulant temporal
    encoding", CVPR 2013, and their script. NaN if nothing is relevant.
    """
    if not hits.total:
        return float("nan")
    if ties == "file":
        before, hits_so_far = np.arange(hits.scored), np.arange(1, hits.scored + 1)
        first, end = hits.ranks, hits.ranks + 1
    else:
        hits_so_far, first, end = _found_until(hits), hits.first, hits.end
        before = np.searchsorted(hits.ranks, first)
    low = np.where(first > 0, before / np.maximum(first, 1), 1.0)
    return float(((low + hits_so_far / end) / 2).sum()) / hits.total


def interpolated_precision(hits: Hits, levels: np.ndarray) -> np.ndarray:
    """Largest precision at each recall level or a higher one, with ties as steps.

    Args:
        hits: of a ranking that holds every relevant video.
        levels: [L] recalls, 0 to 1.
    """
    hits_so_far = _found_until(hits)
    recall, precision = hits_so_far / hits.total, hits_so_far / hits.end
    return np.array([precision[recall >= level].max(initial=0.0) for level in levels])


def mean(
    rankings: Sequence[Hits],
    ties: Ties = "steps",
    *,
    measure: Callable[[Hits, Ties], float] = average_precision,
) -> float:
    """Mean of a measure over the queries that have relevant videos; NaN if there is none."""
    values = [measure(hits, ties) for hits in rankings if hits.total]
    return float(np.mean(values)) if values else float("nan")


def _found_until(hits: Hits) -> np.ndarray:
    """[M] relevant videos that score as high as each or higher."""
    return np.searchsorted(hits.ranks, hits.end)
