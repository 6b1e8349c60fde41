"""Groups of duplicates: who belongs together, how they relate, what could go, how it is written."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from pipeline.config import DuplicatesConfig
from pipeline.deduplicate import DuplicateSearch
from pipeline.errors import InputError, PipelineError
from pipeline.output.duplicates import (
    COLUMNS,
    DuplicateGroup,
    DuplicateReport,
    GroupMember,
    Relation,
    Stretch,
    check_duplicates_file,
    write_duplicates,
)
from pipeline.output.result_info import ResultInfo
from pipeline.records import SourceInfo
from pipeline.search.collection_pairs import PairsAbove, RowBlocks
from pipeline.search.duplicates import (
    VideoFacts,
    connected_groups,
    coverages,
    covered_share,
    decide,
    keep_order,
    relation_kind,
)
from tests.messages import raises


def test_chains_are_one_group_and_lonely_videos_are_in_none():
    assert connected_groups([]) == []
    assert connected_groups([(5, 3), (9, 7), (3, 1), (8, 9)]) == [[1, 3, 5], [7, 8, 9]]
    assert connected_groups([(2, 1), (4, 3), (1, 4), (1, 2)]) == [[1, 2, 3, 4]]
    chain = [(i + 1, i) for i in reversed(range(5000))]
    assert connected_groups(chain) == [list(range(5001))]


def facts(*rows):
    """`(frames, width, height, size, mtime)` of videos 0, 1, ..."""
    return {
        i: VideoFacts(frames, SourceInfo("p", size, mtime, "", width, height))
        for i, (frames, width, height, size, mtime) in enumerate(rows)
    }


def test_the_video_to_keep_is_first_and_ties_are_as_listed():
    videos = facts(
        (10, 640, 360, 500, 0),
        (10, 1280, 720, 400, 30),
        (12, 320, 180, 900, 20),
        (10, 1280, 720, 450, 20),
        (12, 320, 180, 900, 40),
    )
    assert keep_order(videos, "longest") == [2, 4, 3, 1, 0]
    assert keep_order(videos, "largest") == [3, 1, 0, 2, 4]
    assert keep_order(videos, "oldest") == [2, 3, 1, 4, 0]  # the time of 0 is unknown
    assert keep_order(videos, "first") == [0, 1, 2, 3, 4]
    assert keep_order({v: videos[v] for v in (4, 2)}, "first") == [2, 4]


def test_a_second_that_is_covered_twice_counts_once():
    assert covered_share([], 10) == 0
    assert covered_share([(6, 8), (0, 4), (2, 5)], 10) == pytest.approx(0.7)
    assert covered_share([(0, 4), (1, 2)], 8) == pytest.approx(0.5)
    assert covered_share([(-1, 20)], 10) == 1


def test_a_still_video_shows_no_more_seconds_than_it_has():
    stretches = [Stretch(0, 19, 0, 24, 0.7)]  # fits at any speed
    assert coverages(stretches, 19, 24, decidable=True) == (1, 1)
    assert coverages(stretches, 19, 24, decidable=False) == pytest.approx((1, 19 / 24))
    turned = [Stretch(0, 24, 0, 19, 0.7)]
    assert coverages(turned, 24, 19, decidable=False) == pytest.approx((19 / 24, 1))


@pytest.mark.parametrize("own, other, kind", [
    (0.9, 0.8, "copy"),
    (0.9, 0.79, "contained in"),
    (0.1, 1.0, "contains"),
    (0.5, 0.1, "overlap"),
    (0.0, 0.0, "unlocated"),
])  # fmt: skip
def test_relations_follow_from_what_is_covered(own, other, kind):
    assert relation_kind(own, other, 0.8) == kind


def relations(**kinds):
    """What tells relations like `b_a="copy"`: video 1 is a copy of video 0; and what was asked."""
    asked = []

    def relate(video, other):
        asked.append((video, other))
        kind = kinds["abcdef"[video] + "_" + "abcdef"[other]]
        return Relation(kind, "abcdef"[other], 0.9, 1.0, 1.0)

    return relate, asked


def links(*pairs):
    found = {}
    for first, second, score in pairs:
        found.setdefault(first, {})[second] = score
        found.setdefault(second, {})[first] = score
    return found


def test_only_a_video_that_is_shown_by_one_that_stays_could_be_removed():
    relate, asked = relations(b_a="copy", c_a="contains")
    decided = decide([0, 1, 2], links((0, 1, 0.9), (0, 2, 0.8), (1, 2, 0.7)), relate)
    assert [(video, stays) for video, stays, _ in decided] == [(0, True), (1, False), (2, True)]
    assert decided[0][2] is None and decided[2][2].kind == "contains"
    assert asked == [(1, 0), (2, 0)]  # 1 does not stay, so nothing is asked about it


def test_the_end_of_a_chain_stays_when_its_only_partner_goes():
    relate, _ = relations(b_a="copy")
    decided = decide([0, 1, 2], links((0, 1, 0.9), (1, 2, 0.9)), relate)
    assert [stays for _, stays, _ in decided] == [True, False, True]
    assert decided[2][2] is None


def test_what_one_video_does_not_show_another_one_may():
    relate, asked = relations(b_a="overlap", c_a="overlap", c_b="contained in")
    decided = decide([0, 1, 2], links((0, 1, 0.9), (0, 2, 0.8), (1, 2, 0.7)), relate)
    assert asked == [(1, 0), (2, 0), (2, 1)]
    assert not decided[2][1] and decided[2][2].other == "b"
    relate, _ = relations(b_a="overlap", c_a="overlap", c_b="unlocated")
    decided = decide([0, 1, 2], links((0, 1, 0.9), (0, 2, 0.8), (1, 2, 0.85)), relate)
    assert decided[2][1] and decided[2][2].other == "b"  # the better score


def test_each_pair_is_kept_once_with_its_best_score():
    sink = PairsAbove(0.5, ["a", "b", "c", "d"])

    def put(*entries):
        rows, columns, scores = zip(*entries, strict=True)
        sink.put(np.array(rows), np.array(columns), np.array(scores, np.float32))

    put((0, 0, 1.0), (0, 1, 0.6), (1, 0, 0.9), (0, 2, 0.49), (1, 1, 1.0), (0, 3, 0.5))
    put((0, 1, 0.7), (0, 1, 0.2))  # an inset of the same videos
    assert sink.columns == 4
    sink.begin_rows(2)
    assert sink.columns == 2
    put((0, 1, 0.75), (1, 0, 0.8))
    first, second, scores = sink.finish()
    assert (first.tolist(), second.tolist()) == ([0, 0, 2], [1, 3, 3])
    np.testing.assert_allclose(scores, [0.7, 0.5, 0.75])
    with raises(PipelineError, "'c'", "'d'", "nan", remedy="verify"):
        put((0, 1, np.nan))


def test_blocks_hold_all_rows_once_and_work_adds_up():
    blocks = RowBlocks(np.array([4, 4, 5, 20, 6]), 9)
    assert list(blocks) == [range(2), range(2, 3), range(3, 4), range(4, 5)]
    assert blocks.total == 8 * 39 + 5 * 31 + 20 * 26 + 6 * 6
    assert blocks.done(range(2), 2) == 64
    assert blocks.done(range(2, 3), 3) == 8 * 39 + 5 * 31
    assert blocks.done(range(4, 5), 1) == blocks.total


def report(**changes):
    source = SourceInfo("/films/ü,1.mp4", 2_000_000, 10**18, "h264", 640, 360, 25.0, 12.0)
    relation = Relation(
        "contained in", "a", 0.9123456789, 1.0, 1 / 3, (Stretch(0, 3.99951, 8, 12, 0.8),), False
    )
    members = (
        GroupMember("a", True, None, source, 12.0),
        GroupMember("x\n=1", False, relation, replace(source, size=-1, mtime_ns=0, width=0), 4.0),
    )
    info = ResultInfo("model", "ab" * 32, {"precision": "auto"}, None, 0.5, 0.001)
    group = DuplicateGroup(members, (("x\n=1", "a", 0.9123456789),))
    values = {"groups": (group,), "videos": 3, "pairs": 3, "info": info}
    return DuplicateReport(**{**values, "keep": "longest", "cover": 0.8, **changes})


def test_json_says_what_stays_and_why(tmp_path):
    write_duplicates(tmp_path / "d.json", report(damaged=("s.h5: 'z' is damaged",)))
    found = json.loads((tmp_path / "d.json").read_text(encoding="utf-8"))
    assert found["removable"] == ["x\n=1"] and found["threshold"] == 0.5
    assert found["model"] == "model" and found["max_fpr"] == 0.001 and found["keep"] == "longest"
    assert found["damaged"] == ["s.h5: 'z' is damaged"] and "top_k" not in found
    (group,) = found["groups"]
    assert group["representative"] == "a" and group["pairs"] == [["x\n=1", "a", 0.912346]]
    stays, goes = group["members"]
    assert stays["action"] == "keep" and stays["relation"] is None and "segments" not in stays
    assert stays["modified"] == "2001-09-09T01:46:40+00:00" and stays["size"] == 2_000_000
    assert goes["action"] == "remove" and goes["relation_to"] == "a" and goes["size"] is None
    assert goes["coverage"] == 1.0 and goes["coverage_of_other"] == 0.3333
    assert goes["decidable"] is False and goes["modified"] is None and goes["width"] is None
    assert goes["segments"] == [
        {"start": 0.0, "end": 4.0, "other_start": 8.0, "other_end": 12.0, "score": 0.8}
    ]
    write_duplicates(tmp_path / "none.json", report(groups=()))
    assert json.loads((tmp_path / "none.json").read_text())["groups"] == []


def test_csv_has_a_row_for_each_video_and_a_file_beside_it(tmp_path):
    write_duplicates(tmp_path / "d.csv", report())
    with open(tmp_path / "d.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [(r["group"], r["action"], r["id"]) for r in rows] == [
        ("1", "keep", "a"),
        ("1", "remove", "x\n=1"),
    ]
    assert rows[0]["path"] == "/films/ü,1.mp4" and rows[0]["relation"] == ""
    assert rows[1]["relation"] == "contained in" and rows[1]["decidable"] == "false"
    info = json.loads((tmp_path / "d.csv.info.json").read_text())
    assert info["threshold"] == 0.5 and info["pairs"] == 3


def test_what_cannot_be_written_or_done_is_refused_before_the_work(tmp_path):
    for name in ("d.txt", "d"):
        with raises(InputError, name, remedy=".json or .csv"):
            check_duplicates_file(tmp_path / name)
    store = tmp_path / "d.h5"
    with raises(InputError, remedy="max_fpr"):
        DuplicateSearch([("", store)], threshold=0.5, max_fpr=0.1)
    with raises(InputError, "no store"):
        DuplicateSearch([], threshold=0.5)
    with raises(InputError, "d.json", "is an input"):
        DuplicateSearch(
            [("", store)],
            threshold=0.5,
            output_file=tmp_path / "d.json",
            other_inputs=[tmp_path / "d.json"],
        )
    for wrong in ({"keep": "newest"}, {"cover": 0}, {"cover": 1.1}):
        with raises(InputError, *wrong):
            DuplicatesConfig(**wrong)
