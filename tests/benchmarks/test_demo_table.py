"""The demo's verdicts and its table."""

import json
import subprocess
import sys
from pathlib import Path

from tools.demo import calibrated_threshold, read_results, summary, table, times, wrong_verdicts

TRUTH = {"a_crop": ("a",), "b_crop": ("b",), "b_in_a": ("b", "a")}
GOOD = {
    "a": {"a_crop": 0.9, "b_crop": 0.1, "b_in_a": 0.6},
    "b": {"a_crop": 0.2, "b_crop": 0.8, "b_in_a": 0.5},
}


def test_the_threshold_is_the_models_own(tmp_path: Path) -> None:
    made = {"similarity_function": "chamfer", "dims": 8, "fps": 1.0, "sampling": "s"}
    rates, scores = [1.0, 0.1, 0.01, 0.001], [0.0, 0.2, 0.327, 0.5]
    (tmp_path / "m.json").write_text(
        json.dumps(
            {
                "calibration": [
                    made | {"pairs": 5000, "rates": rates, "scores": [0.0] * 4, "adapted": True},
                    made | {"pairs": 5000, "rates": rates, "scores": scores},
                ]
            }
        )
    )
    assert calibrated_threshold(tmp_path / "m.json") == 0.33
    assert 0.2 < calibrated_threshold() < 0.5, "of the shipped model"


def test_right_verdicts() -> None:
    assert wrong_verdicts(GOOD, TRUTH, 0.35) == []
    assert summary(GOOD, TRUTH, 0.35) == (
        "4 of 4 copies above, 2 of 2 unrelated pairs below a threshold of 0.35\n"
        "copies score 0.500 to 0.900, unrelated pairs 0.100 to 0.200"
    )


def test_wrong_verdicts_of_both_kinds() -> None:
    assert wrong_verdicts(GOOD, TRUTH, 0.55) == [("b", "b_in_a")]
    assert wrong_verdicts(GOOD, TRUTH, 0.15) == [("b", "a_crop")]


def test_table_ranks_and_marks() -> None:
    lines = table(GOOD, TRUTH, 0.55)
    assert lines[:5] == [
        "",
        "query a",
        "  a_crop   0.900  copy",
        "  b_in_a   0.600  copy",
        "  b_crop   0.100  unrelated",
    ]
    assert "  b_in_a   0.500  unrelated  WRONG" in lines


def segment(query_start: float, query_end: float, database_start: float) -> dict[str, float]:
    return {
        "query_start": query_start,
        "query_end": query_end,
        "database_start": database_start,
        "database_end": database_start + query_end - query_start,
    }


def test_times_of_the_first_segments() -> None:
    one, two, three = segment(0, 5, 70), segment(5, 9.54, 12), segment(5, 6, 90)
    assert times([]) == ""
    assert times([one]) == "0:00.0-0:05.0 at 1:10.0-1:15.0"
    assert times([one, two, three]) == (
        "0:05.0-0:09.5 at 0:12.0-0:16.5, 0:00.0-0:05.0 at 1:10.0-1:15.0, 1 more"
    )


def test_results_with_segments_have_times_in_the_table(tmp_path: Path) -> None:
    matches = {
        query: {
            copy: {"score": score, "mirrored": False, "segments": []} for copy, score in row.items()
        }
        for query, row in GOOD.items()
    }
    matches["a"]["b_in_a"]["segments"] = [segment(1, 2, 3)]
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"info": {}, "matches": matches}))
    results, segments = read_results(path)
    assert results == GOOD and segments["b", "b_in_a"] == []
    lines = table(results, TRUTH, 0.35, segments)
    assert "  b_in_a   0.600  copy       0:01.0-0:02.0 at 0:03.0-0:04.0" in lines
    assert "  a_crop   0.900  copy" in lines
    path.write_text(json.dumps(GOOD))
    assert read_results(path) == (GOOD, {})


def test_exit_code_tells_wrong_verdicts(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(GOOD))
    (tmp_path / "truth.txt").write_text("".join(f"{k}\t{','.join(v)}\n" for k, v in TRUTH.items()))
    script = Path(__file__).parents[2] / "tools" / "demo.py"
    codes = [
        subprocess.run(
            [sys.executable, script, tmp_path / "results.json", tmp_path, "--threshold", bar],
            capture_output=True,
            check=False,
        ).returncode
        for bar in ("0.35", "0.55")
    ]
    assert codes == [0, 1]
