"""Scores from 0 to 1: the comparator's last layer is scaled.

The losses depend on differences of scores alone, so a trained comparator puts unrelated and equal
clips anywhere. One factor and one summand for all scores keep their order, but above 1, where
scores are clipped, and where similarities also go round the comparator (`comparator.bypass`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..nets.model.model import Model
from .pair_sampler import ClipFeatures
from .validation import Validation

EQUAL_QUANTILE = 0.05  # share of the clips that may score less than 1 against themselves


def scale_scores(
    weights: Model, clips: list[ClipFeatures], same: np.ndarray, symmetric: bool
) -> Model:
    """Scale a model's comparator: half of the unrelated clips score below 0, equal clips 1.

    Args:
        clips: not used in training.
        same: bool [N, N], which clips show the same.
        symmetric: see `PairScorer`.
    """
    if weights.comparator is None:
        return weights
    against_themselves = [
        ClipFeatures(c.video, c.clean, [c.clean], [np.arange(len(c.clean), dtype=np.float32)], [""])
        for c in clips
    ]
    validation = Validation(against_themselves, same, symmetric)
    residual = weights.residual_weight
    table = validation.scores(replace(weights, residual_weight=0.0))
    unrelated, equal = np.median(table[~same]), np.quantile(np.diag(table), EQUAL_QUANTILE)
    if equal - unrelated < 0.1:  # the comparator has learned nothing
        return weights
    low = 0.0  # the comparator's score for unrelated clips, by which they score 0 in all
    if residual:
        mixed = np.median(validation.scores(weights)[~same])
        low = -float(mixed - (1 - residual) * unrelated) / (1 - residual)
    factor = np.float32((1 - low) / (equal - unrelated))
    *hidden, (kernel, bias) = weights.comparator
    last = kernel * factor, bias * factor - np.float32(equal * factor - 1)
    return replace(weights, comparator=(*hidden, last))
