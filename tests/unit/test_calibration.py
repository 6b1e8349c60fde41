"""Thresholds for false positive rates: exact on the scores they were fitted on."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from pipeline.calibration import Calibration, fit
from pipeline.errors import InputError

MADE = {"similarity_function": "chamfer", "dims": 512, "fps": 1.0, "sampling": "shown-at/1"}
SCORES = np.random.default_rng(0).permutation(np.linspace(0.0, 0.4, 2000)) ** 2
FITTED = fit(SCORES, MADE)


@pytest.mark.parametrize("rate", [0.5, 0.1, 0.01, 0.005, 0.0005])
def test_no_more_than_the_rate_reach_its_threshold(rate):
    assert (FITTED.threshold(rate) <= SCORES).mean() == pytest.approx(rate, abs=1e-9)


def test_between_two_rates_it_is_linear_in_the_logarithm():
    low, high = FITTED.threshold(0.01), FITTED.threshold(0.005)
    assert FITTED.threshold(np.sqrt(0.01 * 0.005)) == pytest.approx((low + high) / 2)
    rates = np.geomspace(0.9, 0.0005, 50)
    assert (np.diff([FITTED.threshold(r) for r in rates]) > 0).all()


@pytest.mark.parametrize("rate", [0, 1, -0.1, 1.5, float("nan")])
def test_rates_that_are_none(rate):
    with pytest.raises(InputError, match="expected more than 0 and less than 1"):
        FITTED.threshold(rate)


def test_a_rate_rarer_than_the_pairs_can_tell():
    with pytest.raises(InputError, match=r"2000 unrelated pairs.*nothing below 0\.0005.*calibrate"):
        FITTED.threshold(0.0004)


def test_too_few_pairs():
    with pytest.raises(InputError, match="99 unrelated pairs are too few"):
        fit(SCORES[:99], MADE)


def test_what_differs_is_named():
    assert FITTED.differences(**MADE) == []
    assert FITTED.differences(**MADE | {"dims": 256}) == ["dims: 512 calibrated, 256 here"]


def test_equal_scores_are_allowed():
    assert fit(np.zeros(500), MADE).threshold(0.01) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rates": FITTED.rates[::-1]}, "descend"),
        ({"scores": FITTED.scores[::-1]}, "ascend"),
        ({"scores": (float("nan"), *FITTED.scores[1:])}, "ascend"),
        ({"rates": FITTED.rates[1:]}, "rates and"),
        ({"pairs": 0}, "calibration of 0 pairs"),
    ],
)
def test_it_checks_itself(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(FITTED, **changes)


def test_lists_as_json_has_them():
    values = asdict(FITTED)
    again = Calibration(**values | {"rates": list(FITTED.rates), "scores": list(FITTED.scores)})
    assert again == FITTED
