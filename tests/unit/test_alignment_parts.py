"""Parts of the alignment: runs, insets, whether the query is decidable, refinement."""

import itertools

import numpy as np
import pytest

from pipeline.alignment import EndWindow, Segment, align, fold_insets, refine
from pipeline.alignment.evidence import Evidence, levels_of
from pipeline.alignment.likeness import Lines, best_shift, likeness
from pipeline.alignment.runs import best_runs
from pipeline.alignment.timeline import Timeline
from tests.alignments import samples, similarities


def test_the_best_run_equals_a_search_through_all_runs():
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (200, 9))
    counts = rng.integers(1, 10, 200)
    runs = best_runs(values, counts, 0.7)
    for line, count in enumerate(counts):
        scores = {
            (f, last): values[line, f : last + 1].sum() - 0.7 * (f > 0) - 0.7 * (last < count - 1)
            for f, last in itertools.combinations_with_replacement(range(count), 2)
        }
        best = max(scores, key=lambda run: scores[run])
        assert runs.score[line] == pytest.approx(scores[best])
        assert (runs.first[line], runs.last[line]) == best


def test_likeness_is_interpolated_between_samples_and_low_beyond_the_query():
    matrix = np.array([[0.2, 0.4], [0.6, 0.8], [0.4, 0.2]], np.float32)
    query, database = Timeline.of_video(samples(3)), Timeline.of_video(samples(2))
    lines = Lines(np.ones(4), np.array([0.0, -0.75, 5.0, 1.0]))
    found = likeness(matrix, query, database, np.arange(2), lines)
    # The last line leaves the query with its first frame, another one with both.
    last = (0.1 + 0.4) / 2
    assert found == pytest.approx([0.5, ((0.2 + 3 * 0.6) / 4 + (0.8 + 3 * 0.2) / 4) / 2, 0.1, last])


def test_many_lines_are_compared_block_by_block(monkeypatch):
    rng = np.random.default_rng(2)
    matrix = rng.uniform(0, 1, (30, 900)).astype(np.float32)
    query, database = Timeline.of_video(samples(30)), Timeline.of_video(samples(900))
    lines = Lines(rng.uniform(0.5, 2, 25), rng.uniform(0, 800, 25))
    whole = likeness(matrix, query, database, np.arange(5, 900), lines)
    monkeypatch.setattr("pipeline.alignment.likeness._BLOCK_LINES", 10)
    assert likeness(matrix, query, database, np.arange(5, 900), lines).tolist() == whole.tolist()


def test_frames_of_another_segment_are_no_place_for_a_second_one():
    matrix = np.full((20, 4), 0.5, np.float32)
    matrix[2:6], matrix[12:16] = 0.82, 0.8
    query, database = Timeline.of_video(samples(20)), Timeline.of_video(samples(4))
    segment = Segment(8, 12, 0, 4, 0.5)
    taken = np.zeros(20, bool)
    assert best_shift(matrix, query, database, segment, taken) == pytest.approx(-6, abs=0.2)
    taken[2:6] = True
    assert best_shift(matrix, query, database, segment, taken) == pytest.approx(4, abs=0.2)


def test_evidence_of_single_cells_equals_that_of_the_matrix():
    matrix = np.random.default_rng(1).uniform(0, 1, (30, 40)).astype(np.float32)
    evidence = Evidence(matrix)
    evidence.take_out(np.arange(3, 7), np.arange(10, 15))
    rows, columns = (x.ravel() for x in np.indices(matrix.shape))
    again = evidence.at(rows, columns, levels_of(matrix)).reshape(matrix.shape)
    inside = np.zeros(matrix.shape, bool)
    inside[3:7, 10:15] = True
    assert again[~inside] == pytest.approx(evidence.cells[~inside], abs=1e-6)
    assert (again[inside] == -1).all()
    assert (evidence.cells[inside] <= -1).all()


def test_insets_count_for_the_frames_at_their_times():
    matrix = np.array(
        [[0.1, 0.2, 0.3, 0.9], [0.1, 0.1, 0.1, 0.1], [0.5, 0.1, 0.4, 0.6]], np.float32
    )
    folded, query, database = fold_insets(
        matrix, (np.array([0.0, 1.0, 0.9]), 2), (np.array([0.0, 1.0, 2.0, 1.0]), 3)
    )
    assert query.tolist() == [0, 1]
    assert database.tolist() == [0, 1, 2]
    assert folded == pytest.approx(np.array([[0.1, 0.9, 0.3], [0.5, 0.6, 0.4]]))
    assert matrix[0, 1] == np.float32(0.2)


def test_insets_of_a_matrix_that_does_not_fit_are_refused():
    with pytest.raises(ValueError, match="shape"):
        fold_insets(np.zeros((2, 2), np.float32), (np.zeros(3), 2), (np.zeros(2), 2))


@pytest.mark.parametrize(
    ("fall", "copies", "decidable"),
    [(0.25, 1, True), (0.0, 1, False), (0.25, 3, False)],
    ids=["moving", "still", "looping"],
)
def test_a_query_that_stands_still_or_loops_is_not_decidable(fall, copies, decidable):
    query, database = samples(24), samples(60)
    if fall:
        matches = [(8 * i, 8 * i + 8, 20, 28) for i in range(copies)]
        matrix = similarities(query, database, matches)
    else:
        matrix = similarities(query, database, [(0, 24, 20, 28)], fall=0.0)
    segments = align(matrix, query, database)
    assert segments
    assert all(s.query_decidable == decidable for s in segments)
    assert segments[0].database_start == pytest.approx(20, abs=0.6)
    assert segments[0].database_end == pytest.approx(28, abs=0.6)


TRUTH = (3.3, 9.6, 22.42, 28.72)


def window(around_query, around_database, matches, fps=4.0, seed=1):
    query = samples(around_query + 3, fps, max(0, around_query - 3))
    database = samples(around_database + 3, fps, max(0, around_database - 3))
    return EndWindow(similarities(query, database, matches, seed=seed), query, database)


def test_refinement_finds_ends_at_the_finer_rate():
    query, database = samples(20), samples(60)
    (coarse,) = align(similarities(query, database, [TRUTH]), query, database)
    fine = refine(
        coarse,
        head=window(coarse.query_start, coarse.database_start, [TRUTH]),
        tail=window(coarse.query_end, coarse.database_end, [TRUTH]),
        query_duration=20,
        database_duration=60,
    )
    ends = fine.query_start, fine.query_end, fine.database_start, fine.database_end
    assert ends == pytest.approx(TRUTH, abs=0.2)
    assert fine.score == coarse.score


def test_a_slope_that_the_finer_rate_does_not_show_is_given_up():
    coarse = Segment(2.0, 10.0, 22.3, 28.5, 0.7)  # slope .78 of a match without change of speed
    windows = [window(*end, [TRUTH]) for end in ((2.0, 22.3), (10.0, 28.5))]
    fine = refine(coarse, head=windows[0], tail=windows[1], query_duration=20, database_duration=60)
    assert fine.slope == pytest.approx(1, abs=0.02)
    ends = fine.query_start, fine.query_end, fine.database_start, fine.database_end
    assert ends == pytest.approx(TRUTH, abs=0.3)
    sped = (3.0, 9.0, 22.0, 30.0)
    kept = refine(
        Segment(3.2, 9.2, 22.3, 30.2, 0.7),
        head=window(3.2, 22.3, [sped]),
        tail=window(9.2, 30.2, [sped]),
        query_duration=20,
        database_duration=60,
    )
    assert kept.slope == pytest.approx(8 / 6, abs=0.08)


@pytest.mark.parametrize("off", [-0.6, 0.5])
def test_a_refined_match_lies_where_its_frames_are_most_alike(off):
    times = [(np.arange(first, first + 5, 0.25), np.arange(19.5 + k * 4, 24.5 + k * 4, 0.25))
             for k, first in enumerate((0.5, 4.5))]  # fmt: skip
    windows = []
    for rows, columns in times:
        beside = np.abs(columns - 22 - (rows[:, None] - 3))
        matrix = np.where((columns >= 22) & (columns < 26), 0.9 - 0.03 * beside, 0.1)  # a pan
        windows.append(EndWindow(matrix.astype(np.float32), rows, columns))
    coarse = Segment(3 + off, 7 + off, 22.4, 26.4, 0.88)
    head, tail = windows
    fine = refine(coarse, head=head, tail=tail, query_duration=12, database_duration=60)
    ends = fine.query_start, fine.query_end, fine.database_start, fine.database_end
    assert ends == pytest.approx((3, 7, 22, 26), abs=0.2)


def test_an_end_without_a_window_or_without_a_match_in_it_stays():
    coarse = Segment(3.0, 9.0, 22.0, 28.0, 0.7)
    durations = {"query_duration": 20.0, "database_duration": 60.0}
    assert refine(coarse, **durations) == coarse
    nothing = window(3.0, 22.0, [])
    assert refine(coarse, head=nothing, tail=window(9.0, 28.0, []), **durations) == coarse
    only_tail = refine(coarse, tail=window(9.0, 28.0, [(3.0, 9.3, 22.0, 28.3)]), **durations)
    assert (only_tail.query_start, only_tail.database_start) == (3.0, 22.0)
    assert only_tail.database_end == pytest.approx(28.3, abs=0.2)


def test_a_window_that_does_not_fit_its_times_is_refused():
    coarse = Segment(3.0, 9.0, 22.0, 28.0, 0.7)
    wrong = EndWindow(np.zeros((2, 2), np.float32), np.arange(3.0), np.arange(2.0))
    with pytest.raises(ValueError, match="shape"):
        refine(coarse, head=wrong, query_duration=20, database_duration=60)
