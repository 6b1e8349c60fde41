"""The best run of evidence along each of many lines."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Runs(NamedTuple):
    """The best run of every line; each field [K].

    Attributes:
        score: sum of the run's values less the price of its cuts.
        first, last: place of its first and last value.
    """

    score: np.ndarray
    first: np.ndarray
    last: np.ndarray


def best_runs(values: np.ndarray, counts: np.ndarray, cut_price: float) -> Runs:
    """Find the consecutive values with the largest sum on each line.

    A run that does not begin (end) with the line's first (last) value pays for that cut: copies
    mostly begin and end with a video, so a cut inside wants a reason.

    Args:
        values: float [K, N]; counts: intp [K], how many values of a line there are, from its
            first on, at least 1. The others may hold anything finite.
        cut_price: of each cut, in units of values.
    """
    lines, length = values.shape
    places = np.arange(length)
    sums = np.zeros((lines, length + 1))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    before = sums[:, :-1] + np.where(places > 0, cut_price, 0.0)
    lowest = np.minimum.accumulate(before, axis=1)
    ends_here = places == counts[:, None] - 1
    totals = sums[:, 1:] - lowest - np.where(ends_here, 0.0, cut_price)
    totals[places >= counts[:, None]] = -np.inf
    rows = np.arange(lines)
    last = totals.argmax(axis=1)
    # The first place at which the smallest sum so far was reached is where the run begins.
    first = (before <= lowest[rows, last][:, None]).argmax(axis=1)
    return Runs(totals[rows, last], first, last)
