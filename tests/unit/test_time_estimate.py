"""How long a search will take is said once, from the second block on."""

import pytest

from pipeline.search import time_estimate
from pipeline.search.time_estimate import TimeEstimate, rounded_time


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    times = [0.0]
    monkeypatch.setattr(time_estimate.time, "monotonic", lambda: times[0])
    return times


def run(clock, share):
    said, told = [], []
    estimate = TimeEstimate(lambda *work: told.append(work), said.append, 2000.0, share)
    for second, done in ((7.0, 100), (8.0, 300), (9.0, 500)):
        clock[0] = second
        estimate.tell(done, 100_300)
    assert told == [(100, 100_300), (300, 100_300), (500, 100_300)]
    return said


def test_the_second_block_tells_how_long_all_pairs_take(clock):
    (line,) = run(clock, 0.01)  # 200 units a second, 2,000 pairs of frames each
    assert line.startswith("about 8 minutes for all pairs, at 0.4 million pairs of frames a second")
    assert "--candidates 100 about 5 seconds" in line


@pytest.mark.parametrize("share", [None, 0.9])
def test_candidates_are_proposed_only_where_they_help(clock, share):
    assert "--candidates" not in run(clock, share)[0]


def test_short_work_is_not_announced(clock):
    said = []
    estimate = TimeEstimate(lambda *work: None, said.append, 1.0, 0.1)
    for second, done in ((1.0, 100), (2.0, 300), (3.0, 500)):
        clock[0] = second
        estimate.tell(done, 600)
    assert said == []


def test_a_time_has_no_more_digits_than_an_estimate_has():
    assert [rounded_time(s) for s in (1, 119, 120, 7200, 200_000)] == [
        "1 seconds", "119 seconds", "2 minutes", "2 hours", "2 days",
    ]  # fmt: skip
