"""One pair's heat map as a picture with axes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.alignment.segment import Segment
from pipeline.output.heat_map import LEVELS
from pipeline.output.plot import LONG_SIDE, SHORT_SIDE, plot_matrix, tick_seconds
from tests.unit.test_html_report import decoded_png

MARGINS = np.array([16 + 60, 84 + 36])  # of rows, of columns
GREEN = LEVELS + 3  # the colour of the second segment


def matrix(query: int, database: int) -> SimpleNamespace:
    return SimpleNamespace(
        values=np.zeros((query, database), np.float32),
        query_seconds=np.arange(query, dtype=float),
        database_seconds=np.arange(database, dtype=float),
        query_duration=None,
        database_duration=None,
    )


@pytest.mark.parametrize("query, database, size", [
    (10, 10, (LONG_SIDE, LONG_SIDE)), (3, 4000, (SHORT_SIDE, LONG_SIDE)), (20, 10, (960, 480)),
])  # fmt: skip
def test_axes_are_as_long_as_the_videos_within_limits(query, database, size):
    content = plot_matrix(matrix(query, database), [])
    assert decoded_png(content, colours=LEVELS + 6).shape == tuple(MARGINS + size)


def test_a_segment_is_drawn_from_its_start_to_its_end():
    segments = [Segment(0, 1, 0, 1, 0.9), Segment(2.0, 4.0, 5.0, 9.0, 0.8)]
    pixels = decoded_png(plot_matrix(matrix(10, 10), segments), colours=LEVELS + 6)
    rows, columns = np.nonzero(pixels == GREEN)
    seconds = np.array([rows.min() - 16, rows.max() - 16, columns.min() - 84, columns.max() - 84])
    assert seconds / LONG_SIDE * 10 == pytest.approx([2, 4, 5, 9], abs=0.03)


@pytest.mark.parametrize("total", [0.4, 1, 7.9, 59, 61, 3600, 100_000, 10_000_000])
def test_there_are_a_handful_of_ticks(total):
    ticks = tick_seconds(total)
    assert ticks[0] == 0 and ticks[-1] <= total and len(ticks) <= 9
    assert total < 3 or len(ticks) >= 3
