"""Thresholds for false positive rates: where they were fitted, and in collections not seen."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.calibration.curve import Calibration, CalibrationKey, fit
from pipeline.errors import InputError
from pipeline.nets.formats import native

USED = {"similarity_function": "chamfer", "dims": 512, "fps": 1.0, "sampling": "shown-at/1"}
KEY = CalibrationKey(**USED)
ROWS, COLUMNS = [f"q{i}" for i in range(20)], [f"d{i}" for i in range(100)]
SCORES = np.random.default_rng(0).permutation(np.linspace(0.0, 0.4, 2000)).reshape(20, 100) ** 2
FITTED = fit(SCORES, KEY, ROWS, COLUMNS)


def collection(seed):
    """Scores of 40 films, a query and 8 copies each; some films look like some others.

    A film's own copies are NaN. Films differ in how alike they are to anything, and all copies of
    one share it.
    """
    rng = np.random.default_rng(seed)
    films = 0.1 * rng.standard_normal((40, 40)) + 0.1 * np.abs(rng.standard_normal((40, 1)))
    films[np.eye(40, dtype=bool)] = np.nan
    return np.repeat(films, 8, axis=1) + 0.02 * rng.standard_normal((40, 320))


FILMS = [f"film {i}" for i in range(40)]
FILMS_OF_COPIES = [film for film in FILMS for _ in range(8)]


def reached(table, score):
    return (table[~np.isnan(table)] >= score).mean()


@pytest.mark.parametrize("rate", [0.5, 0.1, 0.01, 0.005, 0.0025])
def test_no_more_than_the_rate_reach_its_threshold(rate):
    assert reached(SCORES, FITTED.threshold(rate)) <= rate


def test_independent_scores_need_little_more():
    assert reached(SCORES, FITTED.threshold(0.1)) > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.1, 0.01, 0.003])
def test_other_collections_let_no_more_through(rate):
    """What the plain quantile promises holds in half of the collections; this nearly always."""
    plain_held, held = [], []
    for seed in range(12):
        table = collection(seed)
        known = np.sort(table[~np.isnan(table)])[::-1]
        bar = fit(table, KEY, FILMS, FILMS_OF_COPIES).threshold(rate)
        for other in range(100, 110):
            unseen = collection(other)
            plain_held.append(reached(unseen, known[round(rate * len(known)) - 1]) <= rate)
            held.append(reached(unseen, bar) <= rate)
    assert np.mean(plain_held) < 0.7
    assert np.mean(held) > 0.9


def test_more_confidence_asks_for_more():
    table = collection(0)
    bars = [
        fit(table, KEY, FILMS, FILMS_OF_COPIES, confidence).scores
        for confidence in (0.5, 0.9, 0.99)
    ]
    assert (np.diff(bars, axis=0) >= 0).all()
    assert bars[0][3] < bars[1][3] < bars[2][3]


def test_what_belongs_together_counts_as_one():
    """Copies of one film taken for strangers to each other promise too much."""
    table = np.repeat(collection(3), 8, axis=0)
    together = fit(table, KEY, FILMS_OF_COPIES, FILMS_OF_COPIES)
    alone = [f"{side}{i}" for side in "qd" for i in range(320)]
    apart = fit(table, KEY, alone[:320], alone[320:])
    assert (together.groups, apart.groups) == (40, 320)
    assert together.threshold(0.1) > apart.threshold(0.1) + 0.02


def test_the_same_scores_give_the_same_calibration():
    again = fit(SCORES.copy(), KEY, ROWS, COLUMNS)
    assert again == FITTED and (again.groups, again.confidence) == (20, 0.99)


def test_between_two_rates_it_is_linear_in_the_logarithm():
    low, high = FITTED.threshold(0.01), FITTED.threshold(0.005)
    assert FITTED.threshold(np.sqrt(0.01 * 0.005)) == pytest.approx((low + high) / 2)
    rates = np.geomspace(0.9, 0.0025, 50)
    assert (np.diff([FITTED.threshold(r) for r in rates]) >= 0).all()


@pytest.mark.parametrize("rate", [0, 1, -0.1, 1.5, float("nan")])
def test_rates_that_are_none(rate):
    with pytest.raises(InputError, match="expected more than 0 and less than 1"):
        FITTED.threshold(rate)


def test_a_rate_rarer_than_the_pairs_can_tell():
    with pytest.raises(InputError, match=r"2000 unrelated pairs.*nothing below 0\.0025.*calibrate"):
        FITTED.threshold(0.002)


def test_of_several_scores_each_may_reach_it_more_seldom():
    assert FITTED.threshold(0.02, chances=2) == FITTED.threshold(0.01)
    with pytest.raises(InputError, match=r"max_fpr is 0\.004, .*nothing below 0\.005:"):
        FITTED.threshold(0.004, chances=2)
    with pytest.raises(InputError, match=r"max_fpr is 1\.5, expected"):
        FITTED.threshold(1.5, chances=2)


def test_too_few_pairs():
    with pytest.raises(InputError, match="99 unrelated pairs are too few"):
        fit(SCORES[:1, :99], KEY, ROWS[:1], COLUMNS[:99])


def test_too_few_groups():
    with pytest.raises(InputError, match="9 groups of videos on one side are too few"):
        fit(SCORES[:9], KEY, ROWS[:9], COLUMNS)
    with pytest.raises(InputError, match="4 groups"):
        fit(SCORES, KEY, ROWS, [str(i % 4) for i in range(100)])


@pytest.mark.parametrize("confidence", [0, 1, float("nan")])
def test_confidences_that_are_none(confidence):
    with pytest.raises(InputError, match="confidence is"):
        fit(SCORES, KEY, ROWS, COLUMNS, confidence)


def test_what_differs_is_named():
    assert FITTED.differences(**USED) == []
    assert FITTED.differences(**USED | {"dims": 256}) == ["dims: 512 calibrated, 256 here"]


def test_equal_scores_are_allowed():
    assert fit(np.zeros((20, 100)), KEY, ROWS, COLUMNS).threshold(0.01) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rates": FITTED.rates[::-1]}, "descend"),
        ({"scores": FITTED.scores[::-1]}, "ascend"),
        ({"scores": (float("nan"), *FITTED.scores[1:])}, "scores is nan, expected a finite"),
        ({"rates": FITTED.rates[1:]}, "rates and"),
        ({"pairs": 0}, "calibration of 0 pairs"),
    ],
)
def test_it_checks_itself(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(FITTED, **changes)


def test_lists_as_json_has_them():
    values = FITTED.as_json()
    again = Calibration.from_json(
        values | {"rates": list(FITTED.rates), "scores": list(FITTED.scores)}
    )
    assert again == FITTED


def test_calibrations_of_earlier_versions_are_read():
    values = FITTED.as_json()
    del values["confidence"], values["groups"], values["query_vectors"]
    old = Calibration.from_json(values)
    assert old.confidence is None and old.groups is None
    assert old.differences(**USED, query_descriptors=15) == []
    assert old.threshold(0.01) == FITTED.threshold(0.01)


def test_insets_may_be_fewer_than_calibrated_but_not_more():
    made = replace(FITTED, insets=2)
    for fewer in (0, 1, 2):
        assert made.differences(**USED | {"insets": fewer}) == []
    assert made.differences(**USED | {"insets": 3}) == ["insets: 2 calibrated, 3 here"]
    assert made.key == replace(KEY, insets=2) != replace(FITTED, insets=3).key


def test_earlier_versions_did_not_say_how_many_insets():
    """It was as many as the model asks for; a model that asks for none was given two."""
    values = {**FITTED.as_json(), "insets": True, "query_insets": False}
    for model, most in (({"insets": 3}, 3), ({}, 2)):
        (made,) = native._calibrations({**model, "calibration": values})
        assert (made.insets, made.query_insets) == (most, 0)
        assert type(made.insets) is int and not made.adapted


def test_queries_may_have_fewer_looks_than_calibrated_but_not_more():
    made = replace(FITTED, query_descriptors=15)
    assert made.differences(**USED, query_descriptors=15) == []
    assert made.differences(**USED, query_descriptors=0) == []
    assert made.differences(**USED, query_descriptors=16) == [
        "query_descriptors: 15 calibrated, 16 here"
    ]
