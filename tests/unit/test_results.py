import json

import numpy as np
import pytest

from pipeline.errors import InputError, PipelineError
from pipeline.output.score_table import ScoreTable, new_score_table
from pipeline.output.selection import Selection
from pipeline.output.target import check_output_file
from tests.messages import raises
from tests.results import write_table

SCORES = np.array([[0.5, -0.25, 1.0, 0.5], [0.1234567, -0.0, 1e-9, 0.75]], np.float32)
QUERIES, DATABASE = ["q/1", "-q 2"], ["a", "b\u00e9", "c", "d"]
TABLE = ScoreTable(QUERIES, DATABASE, SCORES)


def test_json_holds_every_pair_in_listed_order(tmp_path):
    path = tmp_path / "r.json"
    assert write_table(path, TABLE) == 8
    read = json.loads(path.read_text())
    assert list(read) == QUERIES
    assert list(read["q/1"]) == DATABASE
    assert list(read["q/1"].values()) == [0.5, -0.25, 1.0, 0.5]
    assert list(read["-q 2"].values()) == [0.123457, 0.0, 0.0, 0.75]
    assert "-0.0" not in path.read_text().replace("-0.25", "")
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


def test_same_scores_same_bytes_and_long_rows(tmp_path):
    rng = np.random.default_rng(0)
    scores = rng.uniform(-1, 1, (2, 10_000)).astype(np.float32)
    ids = [str(i) for i in range(10_000)]
    for name in "ab":
        write_table(tmp_path / name, ScoreTable(QUERIES, ids, scores))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    read = json.loads((tmp_path / "a").read_text())
    np.testing.assert_allclose(list(read["q/1"].values()), scores[0], atol=5.1e-7)


@pytest.mark.parametrize(
    "top_k, threshold, expected",
    [
        (None, None, [0, 1, 2, 3]),
        (2, None, [2, 0]),
        (3, None, [2, 0, 3]),
        (9, None, [2, 0, 3, 1]),
        (None, 0.5, [0, 2, 3]),
        (1, 0.5, [2]),
        (2, 2.0, []),
    ],
)
def test_select(top_k, threshold, expected):
    assert Selection(top_k, threshold).indices(SCORES[0]).tolist() == expected


def test_a_query_without_match_is_still_there(tmp_path):
    write_table(tmp_path / "r.json", TABLE, Selection(threshold=0.9))
    assert json.loads((tmp_path / "r.json").read_text()) == {"q/1": {"c": 1.0}, "-q 2": {}}


def test_a_query_without_features_is_there_without_scores(tmp_path):
    listed = ["lost", "q/1", "-q 2"]
    write_table(tmp_path / "r.json", TABLE, listed_queries=listed)
    read = json.loads((tmp_path / "r.json").read_text())
    assert list(read) == listed
    assert read["lost"] == {} and len(read["q/1"]) == 4


def test_nan_is_an_error_and_the_old_file_stays(tmp_path):
    path = tmp_path / "r.json"
    path.write_text("old")
    table = new_score_table(2, 4)
    table[0] = 1
    table[1] = np.nan
    with raises(PipelineError, "'-q 2'", "'a'", "nan", remedy="visil-index verify"):
        write_table(path, ScoreTable(QUERIES, DATABASE, table))
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


def test_a_table_too_large_for_memory_lies_on_disk(tmp_path):
    assert not isinstance(new_score_table(10, 10, None, 100), np.memmap)
    table = new_score_table(10, 10, tmp_path, 100)
    assert list(tmp_path.iterdir()) == []
    assert isinstance(table, np.memmap)
    assert (table == -np.inf).all()
    table[3, 4] = 0.5
    assert table[3, 4] == 0.5


def test_output_is_checked_before_the_work(tmp_path):
    with raises(InputError, f"{tmp_path}:", "folder", remedy="--output_file"):
        check_output_file(tmp_path)
    with raises(InputError, "--output_file", "empty", remedy="- for standard output"):
        check_output_file("")
    with raises(InputError, tmp_path / "no" / "r.json", "not exist", remedy="make it first"):
        check_output_file(tmp_path / "no" / "r.json")


def test_the_result_does_not_replace_what_it_is_made_of(tmp_path):
    store = tmp_path / "d.h5"
    store.write_bytes(b"features")
    (tmp_path / "link").symlink_to(store)
    (tmp_path / "other").hardlink_to(store)
    inputs = [tmp_path / "q.txt", store, tmp_path / "new.zarr"]
    for path in (store, tmp_path / "link", tmp_path / "other", tmp_path / "x" / ".." / "new.zarr"):
        with raises(InputError, path, "is an input", remedy="--output_file"):
            check_output_file(path, inputs)
    check_output_file(tmp_path / "d.json", inputs)


def test_behind_a_link_the_file_is_written_and_the_link_stays(tmp_path):
    link, folder = tmp_path / "r.json", tmp_path / "results"
    folder.mkdir()
    link.symlink_to(folder / "today.json")
    check_output_file(link)
    write_table(link, TABLE)
    assert link.is_symlink()
    assert list(json.loads((folder / "today.json").read_text())) == QUERIES
    assert [p.name for p in folder.iterdir()] == ["today.json"]


def test_no_room_for_the_scores_is_an_error_at_once(monkeypatch, tmp_path):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with raises(PipelineError, tmp_path, "No space left", remedy="fewer queries"):
        new_score_table(10, 10, tmp_path, 100)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value"), [("top_k", "3"), ("top_k", 1.5), ("top_k", True), ("threshold", "high")]
)
def test_a_selection_of_the_wrong_type_is_our_own_error(name: str, value: object) -> None:
    with raises(InputError, name, repr(value), "number"):
        Selection(**{name: value})  # type: ignore[arg-type]
