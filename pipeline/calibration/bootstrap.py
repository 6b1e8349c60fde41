"""How high scores of unrelated pairs may come in another collection. Pure numpy.

Pairs are not independent: one query that resembles many videos, or one film that is there in many
parts and copies, makes a tail alone. So groups (films, say) are drawn with replacement, not pairs:
a cluster bootstrap (Field & Welsh, J. R. Statist. Soc. B 69, 2007) of both sides of the table (as
Owen, Ann. Appl. Statist. 1, 2007, for crossed samples). Each resample has half as many groups as
the sample. That doubles its variance: one part for the chance in this sample, one for the chance
in another collection of this size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MIN_GROUPS = 10  # on either side
RESAMPLES = 500
_SEED = 0


def min_groups(row_groups: Sequence[str], column_groups: Sequence[str]) -> int:
    """Number of different groups on the side that has fewer."""
    return min(len(set(row_groups)), len(set(column_groups)))


def upper_scores(
    table: np.ndarray,
    row_groups: Sequence[str],
    column_groups: Sequence[str],
    rates: Sequence[float],
    confidence: float,
) -> np.ndarray:
    """Estimate the scores that at most a share of the pairs reaches in most resamples.

    Groups with queries are drawn apart from groups without. A group that is drawn k times stands
    for k groups like it: pairs within it count k times, pairs with a group drawn m times k m times.

    Args:
        table: float [Q, D]; NaN where a pair does not count.
        row_groups, column_groups: group of each query and of each database video; a group may be
            on both sides.
        rates: shares of the pairs.
        confidence: share of the resamples in which the score is high enough.

    Returns:
        float64, one score for each rate; for falling rates they ascend.
    """
    names, number = np.unique([*row_groups, *column_groups], return_inverse=True)
    i, j = np.nonzero(~np.isnan(table))
    order = np.argsort(-table[i, j], kind="stable")
    scores = table[i, j][order].astype(np.float64)
    left, right = number[: len(row_groups)][i[order]], number[len(row_groups) :][j[order]]
    same = np.flatnonzero(left == right)
    has_query = np.isin(np.arange(len(names)), number[: len(row_groups)])
    sides = [side for side in (np.flatnonzero(has_query), np.flatnonzero(~has_query)) if len(side)]
    rng = np.random.default_rng(_SEED)
    resampled = []
    for _ in range(RESAMPLES):
        sample = np.concatenate([rng.choice(side, max(1, len(side) // 2)) for side in sides])
        times = np.bincount(sample, minlength=len(names))
        weights = times[left] * times[right]
        weights[same] = times[left[same]]
        reached = np.cumsum(weights)
        if reached[-1]:
            allowed = np.array(rates) * reached[-1] * (1 + 1e-9)
            last = np.searchsorted(reached, allowed, side="right") - 1
            resampled.append(scores[np.maximum(last, 0)])
    return np.asarray(np.quantile(resampled, confidence, axis=0, method="higher"))
