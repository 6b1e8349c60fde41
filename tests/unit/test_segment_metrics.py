"""VCSL's rule for segments, against what its own scorer said."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from pipeline.metrics import pair_precision_recall, segment_figures

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden" / "vcsl_segments.json").read_text(encoding="utf-8")
)


def boxes(vcsl):
    """VCSL's order is query start, database start, query end, database end."""
    return np.array(vcsl, np.float64).reshape(-1, 4)[:, [0, 2, 1, 3]]


@pytest.mark.parametrize("case", GOLDEN["by_hand"], ids=lambda c: c["case"])
def test_one_pair_equals_the_original(case):
    precision, recall = pair_precision_recall(boxes(case["predicted"]), boxes(case["labelled"]))
    assert precision == pytest.approx(case["precision"], abs=1e-9)
    assert recall == pytest.approx(case["recall"], abs=1e-9)


def test_many_pairs_equal_the_original():
    pairs = []
    for case in GOLDEN["pairs"]:
        pairs.append(pair_precision_recall(boxes(case["predicted"]), boxes(case["labelled"])))
        assert pairs[-1] == pytest.approx((case["precision"], case["recall"]), abs=1e-9)
    figures = segment_figures(pairs)
    overall = GOLDEN["overall"]
    assert figures.precision == pytest.approx(overall["precision"], abs=1e-9)
    assert figures.recall == pytest.approx(overall["recall"], abs=1e-9)
    assert figures.f1 == pytest.approx(overall["F1"], abs=1e-9)


def test_what_nothing_predicted_and_a_false_alarm_count_for():
    box = [[0.0, 10.0, 20.0, 30.0]]
    missed, alarm = pair_precision_recall([], box), pair_precision_recall(box, [])
    assert missed == (1.0, 0.0)
    assert alarm == (0.0, 1.0)
    figures = segment_figures([missed, alarm])
    assert (figures.precision, figures.recall, figures.f1) == (0.0, 0.0, 0.0)
    assert math.isnan(segment_figures([(1.0, 1.0)]).f1)
