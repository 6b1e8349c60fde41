"""Which pairs the fine-grained student scores, by DnS's selector, and the scores of all pairs.

DnS (Kordopatis-Zilos et al., IJCV 2022) compares all videos by coarse vectors and sends a share of
each query's pairs to the fine-grained student: those with the highest score of the selector.
"""

from __future__ import annotations

import math

import numpy as np

_ROUNDING = 1e-9  # a share of 0.29 of 100 is 29, which the product of the floats is not


def select_pairs(scores: np.ndarray, share: float) -> np.ndarray:
    """The pairs of each query that are scored by the fine-grained student.

    Args:
        scores: float [Q, N], of the selector (`nets.similarity.selector`).
        share: of the N pairs of each query, 0 to 1; their number is rounded down.

    Returns:
        bool [Q, N]. Of equal scores those of the first videos are taken.

    Raises:
        ValueError: the share is not within 0 and 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}, expected 0 to 1")
    count = math.floor(share * scores.shape[1] + _ROUNDING)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    selected = np.zeros(scores.shape, bool)
    np.put_along_axis(selected, order, True, axis=1)
    return selected


def joined_scores(coarse: np.ndarray, fine: np.ndarray, selected: np.ndarray) -> np.ndarray:
    """Scores of all pairs on the scale that DnS evaluates by.

    Args:
        coarse: float [Q, N], products of the coarse student's vectors.
        fine: float [Q, N] within -1 and 1; only the selected ones are used.
        selected: bool [Q, N], see `select_pairs`.

    Returns:
        float [Q, N]: fine / 2 + 0.5 where selected, else the coarse value.
    """
    return np.where(selected, fine / 2 + 0.5, coarse)
