"""How high scores of unrelated pairs may come in another collection. Pure numpy.

Pairs are not independent: one query that resembles many videos, or one film that is there in many
parts and copies, makes a tail alone. So groups (films, say) are drawn with replacement, not pairs:
a cluster bootstrap (Field & Welsh, J. R. Statist. Soc. B 69, 2007) of both sides of the table (as
Owen, Ann. Appl. Statist. 1, 2007, for crossed samples). Each resample is half as large as what is
known. That doubles its variance: one part for the chance in what is known, one for that in
another collection of this size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEAST_GROUPS = 10  # on either side
RESAMPLES = 500
_SEED = 0


def fewest_groups(rows: Sequence[str], columns: Sequence[str]) -> int:
    """Number of different groups on the side that has fewer."""
    return min(len(set(rows)), len(set(columns)))


def upper_scores(
    table: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    rates: Sequence[float],
    confidence: float,
) -> np.ndarray:
    """The score that at most a part of the pairs reaches in most resamples.

    Groups with queries are drawn apart from those without. One drawn k times stands for k groups
    like it: pairs within it count k times, pairs with a group drawn m times k m times.

    Args:
        table: float [Q, D]; NaN where a pair does not count.
        rows, columns: group of each query and of each database video; a group may be on both sides.
        rates: parts of the pairs.
        confidence: part of the resamples in which the score is high enough.

    Returns:
        float64, one score for each rate; those of falling rates ascend.
    """
    names, number = np.unique([*rows, *columns], return_inverse=True)
    i, j = np.nonzero(~np.isnan(table))
    order = np.argsort(-table[i, j], kind="stable")
    scores = table[i, j][order].astype(np.float64)
    left, right = number[: len(rows)][i[order]], number[len(rows) :][j[order]]
    same = np.flatnonzero(left == right)
    asked = np.isin(np.arange(len(names)), number[: len(rows)])
    sides = [side for side in (np.flatnonzero(asked), np.flatnonzero(~asked)) if len(side)]
    rng = np.random.default_rng(_SEED)
    found = []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([rng.choice(side, max(1, len(side) // 2)) for side in sides])
        times = np.bincount(drawn, minlength=len(names))
        weights = times[left] * times[right]
        weights[same] = times[left[same]]
        reached = np.cumsum(weights)
        if reached[-1]:
            allowed = np.array(rates) * reached[-1] * (1 + 1e-9)
            last = np.searchsorted(reached, allowed, side="right") - 1
            found.append(scores[np.maximum(last, 0)])
    return np.asarray(np.quantile(found, confidence, axis=0, method="higher"))
