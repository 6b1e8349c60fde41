"""What a score means: how often unrelated videos reach it. Pure numpy.

Scores of pairs known to be unrelated, sorted, tell for every false positive rate the score that
this part of them reaches. A model carries a few of these points; between them the score is
interpolated linearly over the logarithm of the rate, as tails of scores are nearly straight there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.errors import InputError

LEAST_PAIRS = 100
_STEPS = (5, 2, 1)  # rates 0.5, 0.2, 0.1, 0.05, ...


@dataclass(frozen=True)
class Calibration:
    """Scores that unrelated pairs reach, for one way of comparing.

    Attributes:
        similarity_function, dims, fps, sampling: how the scores were made; for others they mean
            nothing.
        pairs: number of unrelated pairs.
        rates: descending from 1 to 1 / pairs.
        scores: what that part of the pairs reaches, ascending.
    """

    similarity_function: str
    dims: int
    fps: float
    sampling: str
    pairs: int
    rates: tuple[float, ...]
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        for key in ("rates", "scores"):
            object.__setattr__(self, key, tuple(float(x) for x in getattr(self, key)))
        rates, scores = np.array(self.rates), np.array(self.scores)
        if self.pairs < 1 or len(rates) != len(scores) or len(rates) < 2:
            raise ValueError(
                f"calibration of {self.pairs} pairs has {len(rates)} rates and {len(scores)} scores"
            )
        if not (np.diff(rates) < 0).all() or not 0 < rates[-1] <= rates[0] <= 1:
            raise ValueError("calibration rates do not descend from 1 or less to more than 0")
        if not (np.diff(scores) >= 0).all():  # false for NaN as well
            raise ValueError("calibration scores do not ascend")

    def threshold(self, rate: float) -> float:
        """The score that at most this part of unrelated pairs reaches.

        Raises:
            InputError: not between 0 and 1, or rarer than the pairs can tell.
        """
        if not 0 < rate < 1:
            raise InputError(f"max_fpr is {rate:g}, expected more than 0 and less than 1")
        if rate < self.rates[-1] * (1 - 1e-9):
            raise InputError(
                f"max_fpr is {rate:g}, but the model was calibrated on {self.pairs} unrelated "
                f"pairs, which tell nothing below {self.rates[-1]:.2g}: ask for more, or calibrate "
                "it on a larger collection (visil-index calibrate)"
            )
        logs = np.log10(self.rates[::-1])
        return float(np.interp(math.log10(rate), logs, self.scores[::-1]))

    def differences(self, **used: Any) -> list[str]:
        """What is compared otherwise than calibrated: `"dims: 512 calibrated, 256 here"`."""
        own = asdict(self)
        return [
            f"{key}: {own[key]} calibrated, {value} here"
            for key, value in used.items()
            if own[key] != value
        ]


def fit(unrelated: np.ndarray, made: Mapping[str, Any]) -> Calibration:
    """A calibration of the scores of unrelated pairs.

    Args:
        unrelated: float [N], at least `LEAST_PAIRS`.
        made: similarity_function, dims, fps and sampling.

    Raises:
        InputError: too few pairs.
    """
    pairs = len(unrelated)
    if pairs < LEAST_PAIRS:
        raise InputError(
            f"{pairs} unrelated pairs are too few to calibrate, expected {LEAST_PAIRS} or more: "
            "give larger stores"
        )
    descending = np.sort(unrelated.astype(np.float64))[::-1]
    counts = [pairs]
    for exponent in range(1, math.ceil(math.log10(pairs)) + 1):
        counts += [round(step * pairs / 10**exponent) for step in _STEPS]
    counts = sorted({n for n in (*counts, 1) if n >= 1}, reverse=True)
    return Calibration(
        **made,
        pairs=pairs,
        rates=tuple(n / pairs for n in counts),
        scores=tuple(float(descending[n - 1]) for n in counts),
    )
