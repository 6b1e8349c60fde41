"""Retrieval figures from a table of scores.

A pair of query and database video is relevant or not; some pairs are left out of account.
Where scores tie, what is not relevant counts as the better one, so constant scores gain nothing.
"""

from __future__ import annotations

import numpy as np

from benchmarks.retrieval.dataset.transforms import HARD_KINDS
from pipeline.metrics import Figures, figures


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
