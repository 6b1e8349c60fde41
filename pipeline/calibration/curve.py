"""What a score means: how often unrelated videos reach it. Pure numpy.

The scores of unrelated pairs, sorted, give for every false positive rate the score that this share
of the pairs reaches. In another collection more pairs may reach it. So the score is raised to one
that was high enough in most resamples of groups of videos (`bootstrap`). A model carries a few of
these points. Between them the score is interpolated linearly over the logarithm of the rate, as
tails of scores are nearly straight there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np

from ..checks import number, numbers, record, text, whole
from ..errors import InputError
from .bootstrap import MIN_GROUPS, min_groups, upper_scores

MAX_WHOLE = 2**53  # largest whole number in a calibration
MIN_PAIRS = 100
CONFIDENCE = 0.99
NOT_NORMALIZED = "none"
_MIN_COUNT = 5  # fewer pairs above a score say nothing of other collections
_STEPS = (5, 2, 1)  # rates 0.5, 0.2, 0.1, 0.05, ...
# Fields that model descriptions know by another name.
_STORED_NAMES = {"query_descriptors": "query_vectors"}


@dataclass(frozen=True, kw_only=True)
class CalibrationKey:
    """The way of comparing that a calibration is valid for.

    Attributes:
        similarity_function, dims, fps, sampling: as in the model and the stores.
        binary: which side's stores hold signs alone, which lowers scores: "none", "queries",
            "database" or "both".
        query_descriptors: further descriptors of a query frame, which raise scores; None where an
            earlier version did not record it.
        insets: largest number of insets at a time that were detected in the database, which
            raises scores; 0 for none.
        query_insets: the same number for queries whose insets were compared, too.
        adapted: whether the model was adapted to the database (`nets.similarity.adaptation`).
        normalization: see `CompareConfig.normalization`; descriptions without it mean "none".
    """

    similarity_function: str
    dims: int
    fps: float
    sampling: str
    binary: str = "none"
    query_descriptors: int | None = None
    insets: int = 0
    query_insets: int = 0
    adapted: bool = False
    normalization: str = NOT_NORMALIZED

    def __post_init__(self) -> None:
        """Check the type of each field: `dims: "512"` in a file would equal no 512.

        Raises:
            ValueError: naming the field.
        """
        for key in ("similarity_function", "sampling", "binary", "normalization"):
            text(f"calibration: {key}", getattr(self, key))
        number("calibration: fps", self.fps)
        for key, minimum in (("dims", 1), ("insets", 0), ("query_insets", 0)):
            whole(f"calibration: {key}", getattr(self, key), minimum, MAX_WHOLE)
        if self.query_descriptors is not None:
            whole("calibration: query_descriptors", self.query_descriptors, 0, MAX_WHOLE)
        if not isinstance(self.adapted, bool):
            raise ValueError(f"calibration: adapted is {self.adapted!r}, expected true or false")

    def differences(self, **used: Any) -> list[str]:
        """List what is compared otherwise than calibrated: `"dims: 512 calibrated, 256 here"`.

        Fewer query descriptors or insets are no difference: unrelated videos score lower with
        them, so no more pairs pass than the rate allows.

        Args:
            used: fields of the way in use; what is left out is not compared.
        """
        values = asdict(self)
        recorded = values["query_descriptors"]
        if recorded is None or used.get("query_descriptors", 0) < recorded:
            used.pop("query_descriptors", None)
        for key in ("insets", "query_insets"):
            if used.get(key, 0) <= values[key]:
                used.pop(key, None)
        return [
            f"{key}: {values[key]} calibrated, {value} here"
            for key, value in used.items()
            if values[key] != value
        ]


@dataclass(frozen=True, kw_only=True)
class Calibration(CalibrationKey):
    """Scores that unrelated pairs reach, for one way of comparing.

    Attributes:
        pairs: number of unrelated pairs.
        rates: descending from 1 to 5 / pairs (to 1 / pairs where there is no confidence).
        scores: what at most that share of the pairs reaches, ascending.
        confidence: share of the resamples in which they are high enough; None for the quantiles of
            the pairs themselves, as earlier versions wrote them.
        groups: number of groups of videos that were resampled, on the side that has fewer.
    """

    pairs: int
    rates: tuple[float, ...]
    scores: tuple[float, ...]
    confidence: float | None = None
    groups: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("calibration: pairs", self.pairs, 0, MAX_WHOLE)
        if self.groups is not None:
            whole("calibration: groups", self.groups, 0, MAX_WHOLE)
        if self.confidence is not None:
            number("calibration: confidence", self.confidence)
        for key in ("rates", "scores"):
            values = numbers(f"calibration: {key}", getattr(self, key))
            object.__setattr__(self, key, values)
        self._check_curve()

    def _check_curve(self) -> None:
        rates, scores = np.array(self.rates), np.array(self.scores)
        if self.pairs < 1 or len(rates) != len(scores) or len(rates) < 2:
            raise ValueError(
                f"calibration of {self.pairs} pairs has {len(rates)} rates and {len(scores)} scores"
            )
        if not (np.diff(rates) < 0).all() or not 0 < rates[-1] <= rates[0] <= 1:
            raise ValueError("calibration rates do not descend from 1 or less to more than 0")
        if not (np.diff(scores) >= 0).all():  # false for NaN as well
            raise ValueError("calibration scores do not ascend")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """A calibration out of a model description.

        Args:
            values: as `as_json` gives them; earlier versions had fewer.

        Raises:
            ValueError, TypeError: a field is missing, unknown, or of another type.
        """
        names = {stored: name for name, stored in _STORED_NAMES.items()}
        named = {names.get(key, key): value for key, value in values.items()}
        return record("calibration", cls, named)

    def as_json(self) -> dict[str, Any]:
        """The fields under the names that model descriptions have for them.

        `normalization` is there only where scores are normalised: versions without it read the
        other calibrations.
        """
        values = asdict(self)
        if self.normalization == NOT_NORMALIZED:
            del values["normalization"]
        return {_STORED_NAMES.get(name, name): value for name, value in values.items()}

    @property
    def key(self) -> CalibrationKey:
        """The way of comparing alone."""
        return CalibrationKey(**{f.name: getattr(self, f.name) for f in fields(CalibrationKey)})

    def threshold(self, rate: float, chances: int = 1) -> float:
        """The score that at most this share of unrelated pairs reaches, by the calibration.

        Args:
            rate: more than 0 and less than 1.
            chances: scores of each pair, of which the best counts. Each may then reach it so many
                times less often, which is enough whether the scores are alike or not.

        Raises:
            InputError: not between 0 and 1, or rarer than the pairs can tell.
        """
        if not 0 < rate < 1:
            raise InputError(f"max_fpr is {rate:g}, expected more than 0 and less than 1")
        rarest = self.rates[-1] * chances
        if rate < rarest * (1 - 1e-9):
            raise InputError(
                f"max_fpr is {rate:g}, but the model was calibrated on {self.pairs} unrelated "
                f"pairs, which tell nothing below {rarest:.2g}: ask for more, or calibrate "
                "it on a larger collection (visil-index calibrate)"
            )
        logs = np.log10(self.rates[::-1])
        return float(np.interp(math.log10(rate / chances), logs, self.scores[::-1]))


def fit(
    table: np.ndarray,
    key: CalibrationKey,
    row_groups: Sequence[str],
    column_groups: Sequence[str],
    confidence: float = CONFIDENCE,
) -> Calibration:
    """Fit a calibration to the scores of unrelated pairs.

    Args:
        table: float [Q, D], NaN for pairs that may be related; at least `MIN_PAIRS` scores.
        key: how the scores were made.
        row_groups, column_groups: group of each query and of each database video, see
            `upper_scores`.
        confidence: share of the resamples in which no more than a rate may reach its score.

    Raises:
        InputError: too few pairs or groups, or the confidence is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence:g}, expected more than 0 and less than 1")
    descending = -np.sort(-table[~np.isnan(table)].astype(np.float64))
    pairs, groups = len(descending), min_groups(row_groups, column_groups)
    _check_counts(pairs, groups)
    counts = _counts(pairs)
    rates = [n / pairs for n in counts]
    quantiles = descending[np.array(counts) - 1]
    upper = upper_scores(table, row_groups, column_groups, rates, confidence)
    return Calibration(
        **asdict(key),
        pairs=pairs,
        rates=tuple(rates),
        scores=tuple(np.maximum(quantiles, upper).tolist()),
        confidence=confidence,
        groups=groups,
    )


def _check_counts(pairs: int, groups: int) -> None:
    if pairs < MIN_PAIRS:
        raise InputError(
            f"{pairs} unrelated pairs are too few to calibrate, expected {MIN_PAIRS} or more: "
            "give larger stores"
        )
    if groups < MIN_GROUPS:
        raise InputError(
            f"{groups} groups of videos on one side are too few to calibrate, expected "
            f"{MIN_GROUPS} or more: give more different queries and database videos (what is "
            "in the database may be a query as well)"
        )


def _counts(pairs: int) -> list[int]:
    """Numbers of pairs above the calibrated scores, descending: all, a half, a fifth, ..."""
    counts = {pairs, _MIN_COUNT}
    for exponent in range(1, math.ceil(math.log10(pairs)) + 1):
        counts.update(round(step * pairs / 10**exponent) for step in _STEPS)
    return sorted((n for n in counts if n >= _MIN_COUNT), reverse=True)
