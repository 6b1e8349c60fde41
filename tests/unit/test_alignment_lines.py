"""Alignment by lines on matrices with known matches: places, speeds, several at once, bounds."""

import time

import numpy as np
import pytest

from pipeline.alignment import Segment, align
from tests.alignments import samples, similarities


def ends(segment):
    return [
        segment.query_start,
        segment.query_end,
        segment.database_start,
        segment.database_end,
    ]


def found(query_seconds, database_seconds, matches, fps=1.0, method="lines", **options):
    query, database = samples(query_seconds, fps), samples(database_seconds, fps)
    matrix = similarities(query, database, matches, **options)
    return align(
        matrix,
        query,
        database,
        query_duration=query_seconds,
        database_duration=database_seconds,
        method=method,
    )


@pytest.mark.parametrize("method", ["lines", "hough"])
@pytest.mark.parametrize(
    "match",
    [(0, 20, 0, 20), (0, 12, 30, 42), (4, 9, 50, 55), (3.3, 7.5, 22.4, 26.6)],
    ids=["whole", "embedded", "excerpt", "between samples"],
)
def test_one_match_is_found_to_half_a_sample(method, match):
    (segment,) = found(20, 60 if match[3] > 20 else 20, [match], method=method)
    assert ends(segment) == pytest.approx(match, abs=0.6)
    assert 0.6 < segment.score <= 0.85


@pytest.mark.parametrize("shift", [0.0, 0.25, 0.4, 0.6])
def test_the_offset_is_found_to_a_fraction_of_a_sample(shift):
    query, database = samples(30), samples(90)
    matrix = similarities(query, database, [(0, 30, 20 + shift, 50 + shift)])
    (segment,) = align(matrix, query, database, query_duration=30, database_duration=90)
    assert segment.database_start - segment.query_start == pytest.approx(20 + shift, abs=0.12)


@pytest.mark.parametrize("slope", [0.5, 0.7, 1.4, 2.0])
def test_other_speeds_are_found(slope):
    (segment,) = found(20, 60, [(2, 18, 15, 15 + 16 * slope)])
    assert segment.slope == pytest.approx(slope, rel=0.08)
    step = max(slope, 1 / slope)  # seconds of one side between two samples of the other
    assert ends(segment) == pytest.approx([2, 18, 15, 15 + 16 * slope], abs=0.75 * step)


@pytest.mark.parametrize("slope", [0.5, 0.6, 1.7, 2.0])
def test_a_whole_video_at_another_speed_leads_from_corner_to_corner(slope):
    (segment,) = found(24, 24 * slope, [(0, 24, 0, 24 * slope)])
    assert ends(segment) == pytest.approx([0, 24, 0, 24 * slope], abs=1e-6)


def test_parts_in_another_order_are_segments_of_their_own():
    truth = [(0, 6, 12, 18), (6, 12, 6, 12), (12, 18, 0, 6)]
    segments = sorted(found(18, 18, truth), key=lambda s: s.query_start)
    assert len(segments) == 3
    for segment, match in zip(segments, truth, strict=True):
        assert ends(segment) == pytest.approx(match, abs=0.7)


def test_an_insertion_into_frames_that_are_all_alike_cuts_the_match():
    query, database = samples(20), samples(23)
    truth = [(0, 10, 0, 10), (10, 20, 13, 23)]
    matrix = similarities(query, database, truth, fall=0.1)
    matrix = np.maximum(matrix, np.float32(0.66))  # all frames of the query are alike
    matrix[:, 10:13] = 0.1  # the insertion
    segments = align(matrix, query, database, query_duration=20, database_duration=23)
    assert len(segments) == 2
    for segment, match in zip(sorted(segments, key=lambda s: s.query_start), truth, strict=True):
        assert ends(segment) == pytest.approx(match, abs=0.6)


@pytest.mark.parametrize("start", [0.5, 4.0, 7.5])
def test_in_a_query_that_hardly_moves_a_match_lies_where_its_frames_are_most_alike(start):
    query, database = samples(12), samples(40)
    matrix = np.full((12, 40), 0.1, np.float32)
    beside = np.abs(database[20:24] - 20 - (query[:, None] - start))
    matrix[:, 20:24] = 0.85 - 0.01 * beside  # a slow pan
    (segment,) = align(matrix, query, database, query_duration=12, database_duration=40)
    assert not segment.query_decidable
    assert ends(segment)[2:] == pytest.approx([19.5, 23.5], abs=0.2)
    offset = segment.database_start - segment.query_start
    assert offset == pytest.approx(20 - start, abs=0.6)


def test_a_query_that_stands_still_has_one_segment_in_its_middle():
    matrix = np.full((12, 40), 0.1, np.float32)
    matrix[:, 20:24] = 0.85
    (segment,) = align(matrix, samples(12), samples(40), query_duration=12, database_duration=40)
    assert not segment.query_decidable
    assert ends(segment) == pytest.approx([4, 8, 19.5, 23.5], abs=0.3)


def test_unrelated_videos_have_no_segment():
    for seed in range(20):
        assert found(30, 90, [], seed=seed) == []


def test_a_much_weaker_second_match_is_no_segment():
    query, database = samples(20), samples(60)
    strong = similarities(query, database, [(0, 8, 10, 18)])
    weak = similarities(query, database, [(10, 18, 40, 48)])
    matrix = np.maximum(strong, np.minimum(weak, 0.35))
    (segment,) = align(matrix, query, database)
    assert segment.database_start == pytest.approx(10, abs=0.6)


@pytest.mark.parametrize("fps", [2.0, 4.0])
def test_a_finer_rate_finds_finer_ends(fps):
    match = (3.3, 7.6, 22.4, 26.7)
    (segment,) = found(20, 60, [match], fps=fps)
    assert ends(segment) == pytest.approx(match, abs=0.8 / fps)


def test_uneven_times_are_taken_as_they_are():
    rng = np.random.default_rng(5)
    query = np.sort(rng.uniform(0, 20, 24))
    database = np.sort(rng.uniform(0, 60, 70))
    matrix = similarities(query, database, [(5, 17, 30, 42)])
    best = align(matrix, query, database)[0]
    assert ends(best) == pytest.approx([5, 17, 30, 42], abs=1.5)


def test_samples_may_share_a_time():
    query, database = samples(20), samples(20)
    matrix = similarities(query, database, [(0, 20, 0, 20)])
    query[5], database[:] = query[4], 3.0
    for segment in align(matrix, query, database):
        assert 0 <= segment.database_start < segment.database_end <= 5


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (2, 2)])
@pytest.mark.parametrize("value", [0.0, 0.9])
def test_videos_of_few_frames_are_aligned(shape, value):
    matrix = np.full(shape, value, np.float32)
    segments = align(matrix, np.arange(shape[0]), np.arange(shape[1]))
    for segment in segments:
        assert 0 <= segment.query_start < segment.query_end <= shape[0]
        assert 0 <= segment.database_start < segment.database_end <= shape[1]
    if value == 0:
        assert segments == []


def test_segments_lie_within_their_videos_whatever_the_matrix():
    rng = np.random.default_rng(7)
    for _ in range(60):
        rows, columns = rng.integers(1, 50, 2)
        matrix = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
        durations = rows - 0.5, columns - 0.5
        before = matrix.copy()
        segments = align(
            matrix,
            np.arange(rows),
            np.arange(columns),
            query_duration=durations[0],
            database_duration=durations[1],
        )
        assert (matrix == before).all()
        assert len(segments) <= 8
        for s in segments:
            assert -1e-6 <= s.query_start < s.query_end <= durations[0] + 1e-6
            assert -1e-6 <= s.database_start < s.database_end <= durations[1] + 1e-6
            assert -1 <= s.score <= 1


def test_a_minute_in_an_hour_is_quick():
    query, database = samples(60), samples(3600)
    matrix = similarities(query, database, [(10, 30, 2000, 2020), (40, 55, 100, 115)])
    align(matrix, query, database)
    begin = time.process_time()
    assert len(align(matrix, query, database)) == 2
    assert time.process_time() - begin < 0.1  # 4 ms where nothing else runs


def test_frames_that_are_all_alike_take_bounded_time():
    rng = np.random.default_rng(3)
    matrix = (0.8 + 0.02 * rng.standard_normal((1200, 1200))).astype(np.float32)
    begin = time.process_time()
    segments = align(matrix, samples(1200), samples(1200))
    assert time.process_time() - begin < 10
    assert segments[0].query_end - segments[0].query_start > 1000


@pytest.mark.parametrize(
    ("matrix", "query", "database", "options", "message"),
    [
        (np.zeros((2, 3)), [0, 1], [0, 1], {}, "shape"),
        (np.full((1, 1), np.nan), [0], [0], {}, "no number"),
        (np.zeros((2, 1)), [1, 0], [0], {}, "ascend"),
        (np.zeros((0, 1)), [], [0], {}, "N > 0"),
        (np.zeros((1, 1)), [0], [np.inf], {}, "finite"),
        (np.zeros((1, 1)), [0], [0], {"method": "guess"}, "none of lines, hough"),
    ],
)
def test_wrong_input_is_refused(matrix, query, database, options, message):
    with pytest.raises(ValueError, match=message):
        align(matrix, np.array(query, float), np.array(database, float), **options)


def test_a_duration_beyond_belief_is_not_believed():
    query, database = samples(20), samples(20)
    matrix = similarities(query, database, [(0, 20, 0, 20)])
    (segment,) = align(matrix, query, database, query_duration=1e6, database_duration=0.0)
    assert segment.query_end <= 21
    assert segment.database_end <= 20


def test_a_segment_knows_its_slope_and_offset():
    segment = Segment(2.0, 6.0, 10.0, 18.0, 0.5)
    assert (segment.slope, segment.offset) == (2.0, 6.0)
