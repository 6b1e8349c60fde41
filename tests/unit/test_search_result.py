"""What a search gives, as rows and as a table for people."""

import sys
from dataclasses import replace
from itertools import pairwise

import pytest

from pipeline.alignment.segment import Segment
from pipeline.errors import PipelineError
from pipeline.output.match import Match
from pipeline.output.result_info import ResultInfo
from pipeline.output.result_text import clock, table_lines
from pipeline.output.search_result import SearchResult, Verdict
from pipeline.records import Failure, SourceInfo

INFO = ResultInfo("test model", "0" * 64, {})
WHOLE = Segment(0.0, 61.2, 3598.0, 3661.0, 0.9)
UNSURE = Segment(2.0, 4.0, 1.0, 3.0, 0.8, query_decidable=False)


VERDICT = Verdict(0.5, 0.001)


def result(*matches, verdict=VERDICT, **rest):
    paths = {match.database_id: f"/videos/{match.database_id}.mp4" for match in matches}
    return SearchResult(("q", "r"), matches, verdict, INFO, paths, **rest)


BOTH = result(
    Match("q", "copy", 0.91, (WHOLE, UNSURE)), Match("q", "other", 0.12, ()),
    Match("r", "copy", 0.6, (UNSURE,)),
    failures={"r": Failure("r", "empty", "r.mp4: has no bytes", SourceInfo("r.mp4"))},
)  # fmt: skip


def test_times_are_minutes_and_seconds_and_hours_beyond_one():
    assert [clock(s) for s in (0, 59.4, 59.6, 3599, 3600, 36_061)] == [
        "00:00", "00:59", "01:00", "59:59", "1:00:00", "10:01:01",
    ]  # fmt: skip


def test_the_table_has_a_line_for_each_match_and_one_for_its_path():
    failed = BOTH.failures
    lines = list(table_lines(result(*BOTH.matches[:2], failures=failed)))
    assert lines == [
        "query q",
        "rank  score  verdict   in the query    in the video      id",
        "   1  0.910  match     00:00 to 01:01  59:58 to 1:01:01  copy",
        "      /videos/copy.mp4",
        "   2  0.120  no match  -               -                 other",
        "      /videos/other.mp4",
        "",
        "query r",
        "      could not be used: empty: r.mp4: has no bytes",
        "",
        "match: plain score of 0.5000 or more; at most 0.001 of unrelated pairs reach it",
    ]


def test_long_ids_have_a_line_of_their_own_and_the_rest_fits_in_80_columns():
    name = "archive/" + "x" * 50
    lines = list(table_lines(result(Match("q", name, -0.1, (UNSURE,)))))
    assert f"      {name}" in lines
    assert all(len(line) <= 80 for line in lines if name not in line)
    assert any("~00:02 to 00:04" in line for line in lines)
    assert lines[-1].startswith("~: the query stands still")


def test_columns_that_hold_nothing_are_left_out():
    plain = result(Match("q", "copy", 0.9), verdict=Verdict(reason="there is no calibration"))
    lines = list(table_lines(plain))
    assert lines[1:3] == ["rank  score  id", "   1  0.900  copy"]
    assert lines[-1] == "no verdicts: there is no calibration"
    assert "      no stored video reaches the threshold" in lines


def test_rows_have_ranks_verdicts_and_paths():
    rows = BOTH.to_dicts()
    assert [(r["query_id"], r["rank"], r["is_match"]) for r in rows] == [
        ("q", 1, True), ("q", 2, False), ("r", 1, True),
    ]  # fmt: skip
    assert rows[0]["path"] == "/videos/copy.mp4" and len(rows[0]["segments"]) == 2
    assert rows[2]["segments"][0]["query_decidable"] is False
    assert "segments" not in result(Match("q", "copy", 0.9)).to_dicts()[0]
    assert "3 matches, 2 reach 0.5000, best 0.9100 'copy', 1 queries failed" in repr(BOTH)


class Pandas:
    """Stands in for the package, which is not installed everywhere."""

    @staticmethod
    def DataFrame(rows, columns):
        return columns, rows


def test_a_data_frame_has_the_first_segment_in_columns(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", Pandas)
    columns, rows = BOTH.to_pandas()
    assert set(rows[0]) == set(columns)
    assert (rows[0]["segments"], rows[0]["query_end"], rows[0]["segment_score"]) == (2, 61.2, 0.9)
    assert rows[1]["segments"] == 0 and "query_end" not in rows[1]
    columns, rows = result(Match("q", "copy", 0.9)).to_pandas()
    assert list(rows[0]) == columns and "segments" not in columns


def test_without_pandas_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(PipelineError, match=r"pip install pandas.*to_dicts"):
        BOTH.to_pandas()


def test_matches_of_one_query():
    assert [match.database_id for match in BOTH.of("q")] == ["copy", "other"]
    assert BOTH.of("nobody") == [] and len(BOTH) == 3
    assert all(a.query_id <= b.query_id for a, b in pairwise(BOTH))


def test_a_verdict_may_be_above_a_level_of_each_query():
    near, far = Match("q", "copy", 0.69), Match("r", "copy", 0.69)
    verdict = Verdict(0.5, 0.001, normalized=True, levels={"q": 0.2, "r": 0.1})
    assert (verdict.of(near), verdict.of(far)) == (False, True)
    text = " ".join(table_lines(result(near, far, verdict=verdict)))
    assert "match: score of 0.6000 to 0.7000, by query, or more" in text
    assert "1 reach 0.5000 above the level" in repr(result(near, far, verdict=verdict))
    one = replace(verdict, levels={"q": 0.2})
    assert "match: score of 0.7000 or more" in " ".join(table_lines(result(near, verdict=one)))
