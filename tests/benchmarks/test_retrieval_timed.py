"""Videos of which every second is known, and the figures of segments on them."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.retrieval.dataset import timed
from benchmarks.retrieval.dataset.plan import Clip
from benchmarks.retrieval.dataset.sources import Source
from benchmarks.retrieval.dataset.timed import Piece, TimedVideo, is_uncounted, matches
from benchmarks.retrieval.studies import segments
from pipeline.alignment import Segment
from tools.clips import Clip as Pixels
from tools.clips import write_clip


def clip(name, frames=100):
    return Clip(name, Source("package", "1", f"{name}.mp4", name, "test"), 40, 40 + frames)


def video(*pieces, category="whole"):
    return TimedVideo("video", category, pieces)


A, B, C = clip("a"), clip("b"), clip("c")


def test_matches_are_the_frames_that_both_show():
    query = video(Piece(B, 0, 50), Piece(A, 0, 100))
    fast = video(Piece(C, 0, 30), Piece(A, 20, 60, speed=2.0))
    assert matches(query, fast) == [(7.0, 11.0, 3.0, 5.0)]
    assert matches(query, video(Piece(C, 0, 30))) == []
    twice = video(Piece(A, 50, 100), Piece(A, 0, 50))
    assert matches(video(Piece(A, 0, 100)), twice) == [(5, 10, 0, 5), (0, 5, 5, 10)]


def test_pairs_that_share_next_to_nothing_or_a_host_are_not_counted():
    query = video(Piece(A, 0, 100))
    assert not is_uncounted(query, video(Piece(A, 90, 100)))
    assert is_uncounted(query, video(Piece(A, 95, 100)))
    assert is_uncounted(query, video(Piece(B, 0, 100, kind="pip_50", host=A)))
    assert not is_uncounted(query, video(Piece(B, 0, 100, kind="pip_50", host=C)))
    later = replace(clip("a_later"), source=A.source)  # another minute of the same film
    assert is_uncounted(query, video(Piece(later, 0, 100)))
    assert is_uncounted(query, video(Piece(C, 0, 50), Piece(B, 0, 100, kind="pip_50", host=later)))


def test_the_plan_holds_what_it_promises():
    clips = [clip(f"clip{i}", 80 + i) for i in range(24)]
    queries, database = timed.plan_timed(clips)
    assert (queries, database) == timed.plan_timed(clips)
    assert len({v.name for v in database}) == len(database)
    asked = [q for q in queries if q.category == "clip"]
    for category, count in timed.COPIES.items():
        copies = [v for v in database if v.category == category]
        assert len(copies) == count * len(asked)
    for each in database:
        if each.category == "excerpt":
            assert each.seconds == pytest.approx(60, abs=0.1)
            query = next(q for q in asked if each.name.startswith(f"{q.name}-"))
            ((first, last, begin, end),) = matches(query, each)
            assert 3 <= last - first <= 5
            assert end - begin == pytest.approx(last - first)
        if each.category == "reordered":
            query = next(q for q in asked if each.name.startswith(f"{q.name}-"))
            assert len(matches(query, each)) > 1
            assert sum(m[1] - m[0] for m in matches(query, each)) == pytest.approx(query.seconds)


def test_a_video_shows_its_pieces_at_their_times(tmp_path):
    (tmp_path / "clips").mkdir()
    for grey, each in ((60, A), (200, B)):
        frames = np.full((100, 240, 320, 3), grey, np.uint8)
        write_clip(tmp_path / "clips" / f"{each.name}.mp4", Pixels(frames, 10.0), "libx264", {})
    shown = timed.render(video(Piece(A, 0, 20), Piece(B, 0, 40, speed=2.0)), tmp_path)
    assert shown.shape == (40, 240, 320, 3)
    assert shown[:20].mean() == pytest.approx(60, abs=3)
    assert shown[20:].mean() == pytest.approx(200, abs=3)


def pair(category="", truth=(), score=0.0, of_clip=True):
    side = segments.Side(np.arange(10.0), 10, 10.0)
    return segments.Pair(
        side,
        side,
        np.zeros((10, 10), np.float32),
        (side.seconds, side.seconds),
        category,
        np.array(truth, float).reshape(-1, 4),
        of_clip,
        score,
    )


def test_overlap_of_boxes_is_that_of_their_areas():
    boxes = np.array([[0.0, 4, 0, 4], [8, 9, 8, 9]])
    assert segments.box_overlap(boxes, np.array([[2.0, 6, 0, 4]])).tolist() == [[8 / 24], [0.0]]


def test_the_bar_lets_one_in_a_thousand_unrelated_pairs_through():
    unrelated = [pair(score=i / 2000) for i in range(2000)]
    pairs = [*unrelated, pair("whole", [[0, 10, 0, 10]], 0.9985)]
    box = np.array([[0.0, 10, 0, 10]])
    bar = segments.threshold_of(pairs, [box] * len(pairs))
    assert sum(p.score > bar for p in unrelated) == 2
    silent = [np.empty((0, 4))] * 2000
    assert segments.threshold_of(pairs, [*silent, box]) == -np.inf


def test_figures_of_a_method_count_marked_pairs_alone():
    truth = [[2.0, 6.0, 2.0, 6.0]]
    pairs = [pair(score=0.5), pair("excerpt", truth, 0.9), pair("excerpt", truth, 0.1)]
    row, *more = segments.rows_by("exact", pairs, lambda p: [Segment(2.0, 6.0, 2.0, 6.0, 0.8)])
    assert not more
    cells = dict(zip(segments.HEADS, row, strict=True))
    assert cells["IoU 0.5"] == "0.500"
    assert cells["excerpt"] == cells["localisation"] == f"{2 / 3:.3f}"
    assert cells["unrelated marked"] == "0.00%"
    assert cells["90 %"] == "0.000"


def test_undecidable_pairs_are_left_out_of_the_second_row():
    truth = [[2.0, 6.0, 2.0, 6.0]]
    pairs = [pair("excerpt", truth, 0.9), pair("excerpt", truth, 0.8), pair()]

    def method(each):
        segment = Segment(2.0, 6.0, 2.0, 6.0, 0.8)
        if each.score == 0.8:
            return [replace(segment, query_end=4.0, database_end=4.0, query_decidable=False)]
        return [segment] if each.category else []

    rows = segments.rows_by("lines", pairs, method)
    assert [row[0] for row in rows] == ["lines", "lines, query decidable"]
    column = segments.HEADS.index("excerpt")
    assert float(rows[0][column]) < 0.8
    assert rows[1][column] == "1.000"


def test_rows_as_marked_use_the_score_of_each_kind():
    matrix = np.where(np.eye(3, dtype=bool), 0.75, 0.1).astype(np.float32)
    side = segments.Side(np.arange(3.0), 3, 3.0)  # 1.25 of evidence needs .717 in three seconds
    weak = replace(pair("whole", [[0, 3, 0, 3]]), query=side, database=side)
    weak = replace(weak, matrix=matrix * 0.9, times=(side.seconds, side.seconds))
    scored = replace(weak, plain_score=0.4, normalized_score=0.4)
    column = segments.HEADS.index("IoU 0.5")
    plain, normalized = segments.rows_as_marked([scored, pair()])
    assert (plain[column], normalized[column]) == ("0.000", "1.000")
