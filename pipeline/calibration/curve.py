"""What a score means: how often unrelated videos reach it. Pure numpy.

Scores of pairs known to be unrelated, sorted, tell for every false positive rate the score that
this part of them reaches. In another collection more may reach it, so the score is raised to what
was enough in most resamples of groups of videos (`resampling`). A model carries a few of these
points; between them the score is interpolated linearly over the logarithm of the rate, as tails of
scores are nearly straight there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..checks import number, text, whole
from ..errors import InputError
from .bootstrap import LEAST_GROUPS, fewest_groups, upper_scores

MOST = 2**53  # of a whole number in a calibration
LEAST_PAIRS = 100
CONFIDENCE = 0.99
_LEAST_COUNT = 5  # pairs that reach a score; fewer say nothing of other collections
# What makes a way of comparing.
MANNER = (
    "similarity_function",
    "dims",
    "fps",
    "sampling",
    "binary",
    "query_vectors",
    "insets",
    "query_insets",
    "adapted",
)
_STEPS = (5, 2, 1)  # rates 0.5, 0.2, 0.1, 0.05, ...


@dataclass(frozen=True)
class Calibration:
    """Scores that unrelated pairs reach, for one way of comparing.

    Attributes:
        similarity_function, dims, fps, sampling: how the scores were made; for others they mean
            nothing.
        pairs: number of unrelated pairs.
        rates: descending from 1 to 5 / pairs (to 1 / pairs where there is no confidence).
        scores: what at most that part of the pairs reaches, ascending.
        confidence: part of the resamples in which they are high enough; None for the quantiles of
            the pairs themselves, as earlier versions wrote them.
        groups: number of groups of videos that were resampled, on the side that has fewer.
        binary: which side's stores kept signs alone, which lowers scores: "none", "queries",
            "database" or "both".
        query_vectors: further vectors of the queries' frames, which raise scores; None where an
            earlier version did not say.
        insets: how many insets (`video.pip.detector`) at a time had been looked for in the
            database, which raises scores; 0 for none.
        query_insets: how many in queries, where they were searched for, too; raises them as well.
        adapted: whether the model was adapted to the database (`nets.similarity.adaptation`).
    """

    similarity_function: str
    dims: int
    fps: float
    sampling: str
    pairs: int
    rates: tuple[float, ...]
    scores: tuple[float, ...]
    confidence: float | None = None
    groups: int | None = None
    binary: str = "none"
    query_vectors: int | None = None
    insets: int = 0
    query_insets: int = 0
    adapted: bool = False

    def __post_init__(self) -> None:
        self._check_kinds()
        for key in ("rates", "scores"):
            values = tuple(number(f"calibration: {key}", x) for x in getattr(self, key))
            object.__setattr__(self, key, values)
        rates, scores = np.array(self.rates), np.array(self.scores)
        if self.pairs < 1 or len(rates) != len(scores) or len(rates) < 2:
            raise ValueError(
                f"calibration of {self.pairs} pairs has {len(rates)} rates and {len(scores)} scores"
            )
        if not (np.diff(rates) < 0).all() or not 0 < rates[-1] <= rates[0] <= 1:
            raise ValueError("calibration rates do not descend from 1 or less to more than 0")
        if not (np.diff(scores) >= 0).all():  # false for NaN as well
            raise ValueError("calibration scores do not ascend")

    def _check_kinds(self) -> None:
        """What comes from a file may be of any kind; `dims: "512"` would equal no 512."""
        for key in ("similarity_function", "sampling", "binary"):
            text(f"calibration: {key}", getattr(self, key))
        for key, least in (("dims", 1), ("pairs", 0), ("insets", 0), ("query_insets", 0)):
            whole(f"calibration: {key}", getattr(self, key), least, MOST)
        for key in ("groups", "query_vectors"):
            if (value := getattr(self, key)) is not None:
                whole(f"calibration: {key}", value, 0, MOST)
        number("calibration: fps", self.fps)
        if self.confidence is not None:
            number("calibration: confidence", self.confidence)
        if not isinstance(self.adapted, bool):
            raise ValueError(f"calibration: adapted is {self.adapted!r}, expected true or false")

    def threshold(self, rate: float, chances: int = 1) -> float:
        """The score that at most this part of unrelated pairs reaches, by the calibration.

        Args:
            rate: more than 0 and less than 1.
            chances: scores of each pair, of which the best counts. Each may then reach it so much
                more seldom, which is enough whether they are alike or not.

        Raises:
            InputError: not between 0 and 1, or rarer than the pairs can tell.
        """
        if not 0 < rate < 1:
            raise InputError(f"max_fpr is {rate:g}, expected more than 0 and less than 1")
        least = self.rates[-1] * chances
        if rate < least * (1 - 1e-9):
            raise InputError(
                f"max_fpr is {rate:g}, but the model was calibrated on {self.pairs} unrelated "
                f"pairs, which tell nothing below {least:.2g}: ask for more, or calibrate "
                "it on a larger collection (visil-index calibrate)"
            )
        logs = np.log10(self.rates[::-1])
        return float(np.interp(math.log10(rate / chances), logs, self.scores[::-1]))

    def differences(self, **used: Any) -> list[str]:
        """What is compared otherwise than calibrated: `"dims: 512 calibrated, 256 here"`.

        Queries with fewer vectors are none, nor are fewer insets: unrelated videos score lower
        with them, so no more than the rate is let through.
        """
        own = asdict(self)
        if own["query_vectors"] is None or used.get("query_vectors", 0) < own["query_vectors"]:
            used.pop("query_vectors", None)
        for key in ("insets", "query_insets"):
            if used.get(key, 0) <= own[key]:
                used.pop(key, None)
        return [
            f"{key}: {own[key]} calibrated, {value} here"
            for key, value in used.items()
            if own[key] != value
        ]

    def is_alike(self, other: Calibration) -> bool:
        """Whether the other one is for the same way of comparing."""
        return all(getattr(self, key) == getattr(other, key) for key in MANNER)


def fit(
    table: np.ndarray,
    made: Mapping[str, Any],
    rows: Sequence[str],
    columns: Sequence[str],
    confidence: float = CONFIDENCE,
) -> Calibration:
    """A calibration of the scores of unrelated pairs.

    Args:
        table: float [Q, D]; NaN for pairs that may be related. At least `LEAST_PAIRS` others.
        made: all of `MANNER`.
        rows, columns: group of each query and of each database video, see `upper_scores`.
        confidence: part of the resamples in which no more than a rate may reach its score.

    Raises:
        InputError: too few pairs or groups, or the confidence is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence:g}, expected more than 0 and less than 1")
    descending = -np.sort(-table[~np.isnan(table)].astype(np.float64))
    pairs, groups = len(descending), fewest_groups(rows, columns)
    if pairs < LEAST_PAIRS:
        raise InputError(
            f"{pairs} unrelated pairs are too few to calibrate, expected {LEAST_PAIRS} or more: "
            "give larger stores"
        )
    if groups < LEAST_GROUPS:
        raise InputError(
            f"{groups} groups of videos on one side are too few to calibrate, expected "
            f"{LEAST_GROUPS} or more: give more different queries and database videos (what is "
            "in the database may be a query as well)"
        )
    counts = [pairs]
    for exponent in range(1, math.ceil(math.log10(pairs)) + 1):
        counts += [round(step * pairs / 10**exponent) for step in _STEPS]
    counts = sorted({n for n in (*counts, _LEAST_COUNT) if n >= _LEAST_COUNT}, reverse=True)
    rates = [n / pairs for n in counts]
    plain = descending[np.array(counts) - 1]
    scores = np.maximum(plain, upper_scores(table, rows, columns, rates, confidence))
    return Calibration(
        **made,
        pairs=pairs,
        rates=tuple(rates),
        scores=tuple(scores.tolist()),
        confidence=confidence,
        groups=groups,
    )
