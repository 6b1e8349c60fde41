"""Results in every format, read back with what people read them with."""

import csv
import json
import os
import sys

import numpy as np
import pytest

from pipeline.alignment.segment import Segment
from pipeline.errors import InputError, PipelineError
from pipeline.output.match import Match, rounded_score
from pipeline.output.row_writers import ParquetWriter
from pipeline.output.writers import check_result_file, format_of, open_writer
from tests.messages import raises
from tests.results import INFO

FIRST = Segment(1.0, 9.5, 0.25, 8.75, 0.8125)
SECOND = Segment(11.00049, 14.0, 20.0, 26.0, 0.7, query_decidable=False)
HOSTILE = ["a,b", 'say "x"', "-q", "=1+1", "é 日本", " space ", "\x1b[31m", "tab\there", "a;b|c"]
MATCHES = {
    "q1": [Match("q1", "d1", 0.987654321, (FIRST, SECOND), True), Match("q1", "d2", 0.5, ())],
    "lost": [],
    "q-2": [Match("q-2", "d1", -0.0000001, (FIRST,))],
}
COLUMNS = ["query_id", "ref_id", "query_start", "query_end", "ref_start", "ref_end", "score"]


def plain(matches):
    return {q: [Match(m.query_id, m.database_id, m.score) for m in ms] for q, ms in matches.items()}


def write(path, matches, **options):
    with open_writer(path, INFO, **options) as writer:
        for query_id, found in matches.items():
            writer.write(query_id, found)
    return writer


def read_csv(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def info_of(path):
    return json.loads((path.parent / f"{path.name}.info.json").read_text())


def hostile():
    return {q: [Match(q, d, 0.5) for d in HOSTILE] for q in HOSTILE}


def test_json_is_the_originals_and_one_file(tmp_path):
    writer = write(tmp_path / "r.json", plain(MATCHES))
    assert (writer.written, writer.queries, writer.unmatched) == (3, 3, ["lost"])
    assert (tmp_path / "r.json").read_text() == (
        '{\n "q1": {\n  "d1": 0.987654,\n  "d2": 0.5\n },\n "lost": {},\n'
        ' "q-2": {\n  "d1": 0.0\n }\n}\n'
    )
    write(tmp_path / "none.json", {})
    assert (tmp_path / "none.json").read_text() == "{\n}\n"
    assert sorted(os.listdir(tmp_path)) == ["none.json", "r.json"]


def test_scores_are_rounded_as_numpy_rounds_them():
    scores = np.random.default_rng(0).uniform(-2, 2, 20_000).astype(np.float32)
    scores = np.concatenate([scores, np.arange(-40, 40, dtype=np.float32) / 64e5])
    want = np.round(scores.astype(np.float64), 6) + 0.0
    assert [repr(rounded_score(s)) for s in scores.tolist()] == [repr(w) for w in want.tolist()]


def test_json_with_segments_has_its_info_within(tmp_path):
    write(tmp_path / "r.json", MATCHES, segments=True)
    read = json.loads((tmp_path / "r.json").read_text())
    assert os.listdir(tmp_path) == ["r.json"]
    assert read["info"]["model"] == "a model" and read["info"]["max_fpr"] == 0.001
    assert list(read["matches"]) == list(MATCHES) and read["matches"]["lost"] == {}
    found = read["matches"]["q1"]
    assert found["d2"] == {"score": 0.5, "mirrored": False, "segments": []}
    assert found["d1"]["score"] == 0.987654 and found["d1"]["mirrored"] is True
    assert found["d1"]["segments"] == [
        {"query_start": 1.0, "query_end": 9.5, "database_start": 0.25, "database_end": 8.75,
         "score": 0.8125, "query_decidable": True},
        {"query_start": 11.0, "query_end": 14.0, "database_start": 20.0, "database_end": 26.0,
         "score": 0.7, "query_decidable": False},
    ]  # fmt: skip


def test_json_lines_are_matches(tmp_path):
    path = tmp_path / "r.jsonl"
    write(path, MATCHES, segments=True)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["query_id"], line["database_id"]) for line in lines] == [
        ("q1", "d1"), ("q1", "d2"), ("q-2", "d1"),
    ]  # fmt: skip
    assert lines[0]["segments"][1]["query_decidable"] is False and lines[1]["segments"] == []
    write(path, plain(MATCHES))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[1] == {"query_id": "q1", "database_id": "d2", "score": 0.5}
    write(path, hostile())
    lines = [json.loads(line) for line in path.read_text().split("\n")[:-1]]
    assert [(x["query_id"], x["database_id"]) for x in lines] == [
        (q, d) for q in HOSTILE for d in HOSTILE
    ]


def test_csv_has_a_row_for_each_segment(tmp_path):
    path = tmp_path / "r.csv"
    write(path, MATCHES, segments=True)
    rows = read_csv(path)
    assert list(rows[0]) == COLUMNS and len(rows) == 4
    assert [float(rows[0][name]) for name in COLUMNS[2:]] == [1.0, 9.5, 0.25, 8.75, 0.8125]
    assert [float(rows[1][name]) for name in COLUMNS[2:]] == [11.0, 14.0, 20.0, 26.0, 0.7]
    assert rows[2] == dict(zip(COLUMNS, ["q1", "d2", "", "", "", "", "0.5"], strict=True))
    assert rows[3]["query_id"] == "q-2"


def test_csv_without_segments_has_a_row_for_each_pair(tmp_path):
    path = tmp_path / "r.csv"
    write(path, plain(MATCHES))
    assert path.read_text().splitlines()[:2] == [",".join(COLUMNS), "q1,d1,,,,,0.987654"]
    write(path, hostile())
    assert [(r["query_id"], r["ref_id"]) for r in read_csv(path)] == [
        (q, d) for q in HOSTILE for d in HOSTILE
    ]


def test_parquet_has_the_same_columns_and_its_info_within(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "r.parquet"
    write(path, MATCHES, segments=True)
    table = parquet.read_table(path)
    rows = table.to_pylist()
    assert table.column_names == [*COLUMNS, "pair_score", "mirrored", "query_decidable"]
    assert rows[1] == {
        "query_id": "q1", "ref_id": "d1", "query_start": 11.0, "query_end": 14.0,
        "ref_start": 20.0, "ref_end": 26.0, "score": 0.7, "pair_score": 0.987654,
        "mirrored": True, "query_decidable": False,
    }  # fmt: skip
    assert rows[2]["query_start"] is None and rows[2]["score"] == 0.5
    info = json.loads(parquet.read_metadata(path).metadata[b"visil_index"])
    assert info["threshold"] == 0.25 and info["queries_without_matches"] == ["lost"]
    assert os.listdir(tmp_path) == ["r.parquet"]
    write(path, hostile())
    table = parquet.read_table(path)
    assert table.column_names == COLUMNS and table["query_end"].null_count == len(HOSTILE) ** 2
    assert table["ref_id"].to_pylist() == HOSTILE * len(HOSTILE)
    write(path, {"q": []})
    assert parquet.read_table(path).num_rows == 0


def test_parquet_in_row_groups_and_to_a_stream(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    many = {"q": [Match("q", f"half \udc80 {i}", i / 100) for i in range(35)]}
    with (tmp_path / "out").open("wb") as file:
        write(f"/dev/fd/{file.fileno()}", many, file_format="parquet")
    with (tmp_path / "groups").open("wb") as file:
        writer = ParquetWriter(file, segments=False, group_rows=10)
        for match in many["q"]:
            writer.write("q", [match])
        writer.close()
    for name, groups in (("out", 1), ("groups", 4)):
        found = parquet.ParquetFile(tmp_path / name)
        assert found.num_row_groups == groups
        assert found.read()["score"].to_pylist() == [i / 100 for i in range(35)]
        assert found.read()["ref_id"][1].as_py() == "half \\udc80 1"


def test_vcsl_has_boxes(tmp_path):
    path = tmp_path / "r.vcsl.json"
    write(path, MATCHES, segments=True)
    assert json.loads(path.read_text()) == {
        "q1-d1": [[1.0, 0.25, 9.5, 8.75], [11.0, 20.0, 14.0, 26.0]],
        "q1-d2": [],
        "q-2-d1": [[1.0, 0.25, 9.5, 8.75]],
    }
    clash = {"a-b": [Match("a-b", "c", 1.0, ())], "a": [Match("a", "b-c", 1.0, ())]}
    with raises(PipelineError, "'a-b'", "'a'", "'a-b-c'"):
        write(path, clash, segments=True)
    assert "q1-d1" in json.loads(path.read_text())
    with raises(InputError, path, "VCSL", remedy="give --segments"):
        check_result_file(path)


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl", "r.vcsl.json"])
def test_what_a_format_cannot_hold_lies_beside_it(tmp_path, name):
    path = tmp_path / name
    for _ in range(2):  # the info of an earlier result is replaced
        write(path, MATCHES, segments=True)
        check_result_file(path, segments=True)
    assert sorted(os.listdir(tmp_path)) == [name, f"{name}.info.json"]
    info = info_of(path)
    assert next(iter(info)) == "written_by" and info["written_by"] == "visil-index"
    assert info["model_digest"] == "f" * 64 and info["settings"] == INFO.settings
    assert (info["top_k"], info["threshold"], info["max_fpr"]) == (5, 0.25, 0.001)
    assert (info["queries"], info["matches"]) == (3, 3)
    assert info["queries_without_matches"] == ["lost"]


def test_info_of_the_originals_json_only_where_asked(tmp_path):
    write(tmp_path / "r.json", plain(MATCHES), info_file=tmp_path / "info.json")
    assert json.loads((tmp_path / "info.json").read_text())["format"] == "json"
    assert sorted(os.listdir(tmp_path)) == ["info.json", "r.json"]
    with raises(InputError, "r.json: ", "the result itself", remedy="--info_file"):
        check_result_file(tmp_path / "r.json", info_file=tmp_path / "x" / ".." / "r.json")
    with raises(InputError, tmp_path / "s", "is an input", remedy="--info_file"):
        check_result_file(tmp_path / "r.json", [tmp_path / "s"], info_file=tmp_path / "s")


def test_a_file_of_somebody_else_is_not_replaced(tmp_path):
    (tmp_path / "r.csv.info.json").write_text('{"mine": 1}')
    with raises(InputError, tmp_path / "r.csv.info.json", "earlier", remedy="--info_file"):
        check_result_file(tmp_path / "r.csv")
    check_result_file(tmp_path / "r.csv", info_file=tmp_path / "other.json")


def test_a_broken_off_result_leaves_both_files(tmp_path):
    for name in ("r.csv", "r.jsonl", "r.json", "r.parquet", "r.vcsl.json"):
        folder = tmp_path / name
        folder.mkdir()
        write(folder / name, MATCHES, segments=True)
        before = {path: path.read_bytes() for path in folder.iterdir()}
        with (
            pytest.raises(PipelineError, match="no"),
            open_writer(folder / name, INFO, segments=True) as writer,
        ):
            writer.write("q1", MATCHES["q1"])
            raise PipelineError("no")
        assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_what_was_broken_off_on_a_stream_has_no_end(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    with (
        (tmp_path / "out").open("wb") as file,
        pytest.raises(PipelineError),
        open_writer(f"/dev/fd/{file.fileno()}", INFO, file_format="parquet"),
    ):
        raise PipelineError("no")
    with pytest.raises(Exception, match=r"magic|smaller"):
        parquet.read_metadata(tmp_path / "out")


def test_a_full_disk_replaces_neither_file(tmp_path, monkeypatch):
    path = tmp_path / "r.csv"
    write(path, MATCHES, segments=True)
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.atomic.sync_file", full)
    with raises(PipelineError, path, "No space left"):
        write(path, plain(MATCHES))
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "name, given, want",
    [
        ("r.json", None, "json"), ("R.JSON", None, "json"), ("r.vcsl.json", None, "vcsl"),
        ("r.jsonl", None, "jsonl"), ("a.b.csv", None, "csv"), ("r.parquet", None, "parquet"),
        ("results", None, "json"), (".hidden", None, "json"), ("-", None, "json"),
        ("/dev/stdout", None, "json"), ("-", "csv", "csv"), ("r.txt", "jsonl", "jsonl"),
        ("results", "csv", "csv"),
    ],
)  # fmt: skip
def test_the_name_tells_the_format(name, given, want):
    assert format_of(name, given, segments=True) == want


@pytest.mark.parametrize(
    "name, given, named, remedy",
    [
        ("r.txt", None, ["r.txt: ", "extension .txt;", ".jsonl"], "--format"),
        ("r.json.gz", None, ["r.json.gz: ", "extension .gz;"], "--format"),
        ("r.csv", "json", ["r.csv: ", "is csv", "be json"], "another name"),
        ("r.json", "vcsl", ["r.json: ", "is json", "be vcsl"], "another name"),
        ("-", "xml", ["format is 'xml'"], "csv, json"),
    ],
)
def test_never_another_format_than_the_name_says(name, given, named, remedy):
    with raises(InputError, *named, remedy=remedy):
        format_of(name, given, segments=True)


def test_a_pipe_has_the_format_that_its_name_says(tmp_path):
    for name, want in (("pipe.out", "json"), ("pipe.csv", "csv")):
        os.mkfifo(tmp_path / name)
        assert format_of(tmp_path / name) == want
        check_result_file(tmp_path / name)


def test_parquet_without_pyarrow_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    remedy = "pip install visil-index[parquet]"
    with raises(InputError, tmp_path / "r.parquet", "pyarrow", remedy=remedy):
        check_result_file(tmp_path / "r.parquet")
