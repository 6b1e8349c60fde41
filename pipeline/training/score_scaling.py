"""Scores that begin at 0 and end at 1: the comparator's last layer, scaled.

Losses look at differences, so a trained comparator puts strangers and equals wherever it likes. One
factor and one summand, the same for all scores, change no order but above 1, where they are cut,
and in how much the comparator counts beside what passes it by (`comparator.bypass`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..nets.model.model import Model
from .pair_sampler import Views
from .validation import Validation

EQUAL = 0.05  # part of the clips that may score less than 1 against themselves


def scaled(weights: Model, views: list[Views], same: np.ndarray, symmetric: bool) -> Model:
    """The model with a comparator by which half of unrelated clips score below 0, equal ones 1.

    Args:
        views: of clips that were not trained on; same: bool [N, N], which show the same.
        symmetric: see `PairScorer`.
    """
    if weights.comparator is None:
        return weights
    own = [
        Views(v.video, v.clean, [v.clean], [np.arange(len(v.clean), dtype=np.float32)], [""])
        for v in views
    ]
    validation, residual = Validation(own, same, symmetric), weights.residual_weight
    table = validation.scores(replace(weights, residual_weight=0.0))
    stranger, equal = np.median(table[~same]), np.quantile(np.diag(table), EQUAL)
    if equal - stranger < 0.1:  # one that has learned nothing
        return weights
    low = 0.0  # what the comparator has to give to strangers, so that they score 0 with the rest
    if residual:
        mixed = np.median(validation.scores(weights)[~same])
        low = -float(mixed - (1 - residual) * stranger) / (1 - residual)
    factor = np.float32((1 - low) / (equal - stranger))
    *hidden, (kernel, bias) = weights.comparator
    last = kernel * factor, bias * factor - np.float32(equal * factor - 1)
    return replace(weights, comparator=(*hidden, last))
