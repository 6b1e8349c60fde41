"""`pipeline/evaluation`: files, results of any form, missing videos, ties, lists, the commands."""

from __future__ import annotations

import json
import pickle
import struct

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.evaluation import descriptors, evaluate
from pipeline.evaluation.files import SourceFile
from pipeline.evaluation.lists import benchmark_lists
from pipeline.evaluation.ranking import Hits, average_precision, mean, without_missing
from pipeline.evaluation.results import FoundSegment, read_results
from tests.command import run
from tests.messages import assert_output, raises


@pytest.fixture
def written(tmp_path):
    """Writes a file of text, bytes or JSON; gives its path."""

    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


class Runs:
    def __reduce__(self):
        return eval, ("1/0",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_of_sets_is_read(written, protocol):
    content = {"a": {"x", "y"}, "b": [1, 2.5, None, True], "c": ({"é"}, ())}
    path = written("a.pickle", pickle.dumps(content, protocol))
    assert SourceFile.read(path).unpickled() == content


@pytest.mark.parametrize("content", [
    pickle.dumps(Runs(), 4),
    pickle.dumps(Runs(), 2),
    pickle.dumps(np.arange(3), 4),
    b"cos\nsystem\n(S'true'\ntR.",
    b"(ios\nsystem\n.",
    b"\x80\x04\x95\x05\x00",
    b"\x80\x02Nr" + struct.pack("<I", 1 << 31) + b".",  # a place that would take gigabytes
    b"",
], ids=["eval-4", "eval-2", "numpy", "global", "inst", "cut", "place", "empty"])  # fmt: skip
def test_another_pickle_is_refused_and_not_run(written, content):
    path = written("bad.pickle", content)
    with raises(InputError, path, "pickle"):
        SourceFile.read(path).unpickled()


FORMS = {
    "a.json": {"q": {"x": 0.5, "y": -0.25}, "r": {}},
    "a.csv": "query_id,ref_id,score\nq,x,0.5\nq,y,-0.25\n",
    "a.jsonl": '{"query_id": "q", "database_id": "x", "score": 0.5}\n\n'
    '{"query_id": "q", "database_id": "y", "score": -0.25}\n',
    "b.json": {
        "info": {"top_k": 2, "threshold": None},
        "matches": {"q": {"x": {"score": 0.5, "segments": []}, "y": {"score": -0.25}}},
    },
}


@pytest.mark.parametrize("name", FORMS)
def test_all_forms_of_scores(written, name):
    results = read_results(SourceFile.read(written(name, FORMS[name])))
    assert results.names == ["x", "y"]
    assert results.rows["q"].scores.tolist() == [0.5, -0.25]
    assert results.limits == ({"top_k": 2} if name == "b.json" else {})


def test_all_forms_of_segments(written):
    box = (1.0, 4.0, 10.0, 13.5)
    named = dict(zip(("query_start", "query_end", "ref_start", "ref_end"), box, strict=True))
    ours = {k.replace("ref", "database"): v for k, v in named.items()} | {"score": 0.9}
    forms = {
        "a.csv": "score,ref_end,query_id,ref_id,query_start,query_end,ref_start\n"
        "0.9,13.5,q,x,1,4,10\n0.3,,q,y,,,\n",
        "a.jsonl": json.dumps(
            {"query_id": "q", "database_id": "x", "score": 0.9, "segments": [ours]}
        )
        + '\n{"query_id": "q", "database_id": "y", "score": 0.3, "segments": []}',
        "a.json": {"q": {"x": {"score": 0.9, "segments": [named | {"score": 0.9}]},
                         "y": {"score": 0.3, "segments": []}}},
    }  # fmt: skip
    for name, content in forms.items():
        results = read_results(SourceFile.read(written(name, content)))
        assert results.segments == {("q", "x"): [FoundSegment(box, 0.9)], ("q", "y"): []}
        assert results.rows["q"].scores.tolist() == [0.9, 0.3]
    boxes = written("v.json", {"q-x": [[1, 10, 4, 13.5, 0.9]], "q-y": []})
    assert read_results(SourceFile.read(boxes)).by_pair == {"q-x": [box], "q-y": []}


@pytest.mark.parametrize(("name", "content", "named"), [
    ("a.json", '{"q": {"x": NaN}}', "'x'"),
    ("a.json", {"q": {"x": "high"}}, "'x'"),
    ("a.json", '{"q": {"x": 1, "x": 2}}', "'x' is there twice"),
    ("a.json", '{"q": {}, "q": {}}', "'q' is there twice"),
    ("a.json", '{"q": {"x": 1}', "JSON"),
    ("a.json", "[1]", "forms"),
    ("a.json", {"q-r": [[1, 2]]}, "four numbers"),
    ("a.json", {"q": {**{f"v{i}": 0.5 for i in range(100)}, "x": float("inf")}}, "'x'"),
    ("a.csv", "query_id,score\nq,1\n", "ref_id"),
    ("a.csv", "query_id,ref_id,score\nq,x\n", "line 2"),
    ("a.csv", "query_id,ref_id,score\nq,x,nan\n", "line 2"),
    ("a.csv", "query_id,ref_id,score,query_start\nq,x,1,2\n", "four times"),
    ("a.jsonl", '{"query_id": "q", "database_id": "x", "score": 1}\n' * 2, "line 2"),
    ("a.jsonl", '{"query_id": 1, "database_id": "x", "score": 1}\n', "query_id"),
    ("a.parquet", b"PAR1", "CSV"),
    ("a.json", b"\xff\xfe", "UTF-8"),
])  # fmt: skip
def test_results_that_cannot_be_used_are_refused(written, name, content, named):
    path = written(name, content)
    with raises(InputError, path, named):
        read_results(SourceFile.read(path))


def test_many_scores_are_read_as_few_are(written):
    scores = {f"v{i}": i / 128 for i in range(200)}
    results = read_results(SourceFile.read(written("a.json", {"q": scores, "r": {"v1": 1}})))
    assert [results.names[v] for v in results.rows["q"].videos] == list(scores)
    assert results.rows["q"].scores.tolist() == list(scores.values())


def hits(scores, relevant, total=None):
    relevant = np.array(relevant, bool)
    return Hits.of(np.array(scores, float), relevant, total or int(relevant.sum()))


def test_ties_as_steps_do_not_depend_on_the_order():
    one, other = hits([2, 1, 1], [0, 1, 0]), hits([2, 1, 1], [0, 0, 1])
    assert average_precision(one) == average_precision(other) == pytest.approx(1 / 3)
    assert average_precision(one, "file") == 1 / 2
    assert average_precision(other, "file") == 1 / 3


def test_missing_videos_counted_and_left_out():
    found, absent = hits([3, 2, 1], [1, 0, 1], total=4), hits([], [], total=2)
    assert average_precision(found) == pytest.approx((1 + 2 / 3) / 4)
    assert mean([found, absent]) == pytest.approx((1 + 2 / 3) / 8)
    assert mean(without_missing([found, absent])) == pytest.approx((1 + 2 / 3) / 2)


TABLE = "query_id,ref_id,query_start,query_end,ref_start,ref_end\nq,x,0,10,5,15\nr,y,0,4,0,4\n"


def test_a_benchmark_of_ones_own(written):
    table = written("pairs.csv", TABLE)
    results = written(
        "found.csv",
        "query_id,ref_id,score,query_start,query_end,ref_start,ref_end\n"
        "q,x,0.9,0,10,5,15\nq,z,0.5,1,2,1,2\n",
    )
    report = evaluate("own", [table], [results])
    tasks = {task.name: task for task in report.evaluation.tasks}
    (mean_ap, micro) = tasks["pairs"].figures
    assert (mean_ap.counted["steps"], mean_ap.left_out["steps"]) == (0.5, 1.0)
    assert (micro.counted["steps"], micro.left_out["steps"]) == (0.5, 1.0)
    assert (tasks["pairs"].relevant, tasks["pairs"].missing) == (1, 1)
    figures = {f.name: f.counted["steps"] for f in tasks["segments (VCSL)"].figures}
    assert figures["recall"] == pytest.approx(0.5, abs=1e-6)
    assert figures["precision"] == pytest.approx(0.5, abs=1e-6)
    assert tasks["matching track"].figures[0].counted["steps"] == pytest.approx(10 / 14)
    assert (report.evaluation.queries.scored, report.evaluation.queries.missing) == (1, 1)


def test_a_query_is_a_match_of_itself_where_the_table_says_so(written):
    results = written("r.json", {"a": {"a": 0.9, "b": 0.8}, "c": {"c": 0.7, "b": 0.6}})
    table = written("pairs.csv", "query_id,ref_id\na,a\nc,b\n")
    (task,) = evaluate("own", [table], [results]).evaluation.tasks
    assert [f.counted["steps"] for f in task.figures] == [1.0, pytest.approx((1 + 2 / 3) / 2)]
    assert task.missing == 0


def test_boxes_alone_need_a_table_with_times(written):
    boxes = written("v.json", {"q-x": [[0, 5, 10, 15]]})
    report = evaluate("own", [written("pairs.csv", TABLE)], [boxes])
    assert [task.name for task in report.evaluation.tasks] == ["segments (VCSL)"]
    bare = written("bare.csv", "query_id,ref_id\nq,x\n")
    with raises(InputError, "times"):
        evaluate("own", [bare], [boxes])


FIVR = {"a": {"ND": ["x"], "IS": ["y", "a"]}, "b": {"DA": ["x"]}}
IDS = "a\nb\nx\ny\n-z\n"
SCORES = {"a": {"x": 0.9, "y": 0.1, "-z": 0.5, "b": 0}, "b": {"x": 0.2, "y": 0.3, "-z": 0, "a": 0}}


@pytest.fixture
def fivr(written):
    return [written("annotation.json", FIVR), written("youtube_ids.txt", IDS)]


def test_the_command_prints_what_was_missing_and_why_figures_do_not_compare(written, fivr):
    results = written("found.json", {"a": {"x": 0.9, "-z": 0.5}})
    output = run("evaluate", "-b", "fivr-200k", "-a", fivr[0], "-a", fivr[1], results)
    assert_output(output, "queries:", "1 scored, 1 missing")
    assert_output(output, "videos:", "2 scored, 3 missing")
    assert_output(output, "ISVR", "mAP", "0.3333", "1.0000")
    assert_output(output, SourceFile.read(fivr[0]).sha256)
    assert_output(output, "3 videos", "no score")
    assert_output(output, fivr[0], "none of the published")


def test_the_command_as_json(written, fivr):
    results = written("found.json", SCORES)
    output = run("evaluate", "-b", "FIVR-200K", "-a", fivr[0], "-a", fivr[1], "--json", results)
    report = json.loads(output)
    figure = report["tasks"]["DSVR"]["figures"]["mAP"]["missing_counted"]
    assert figure == {"ties_free": 1.0, "file_order": 1.0}
    assert report["tasks"]["DAVR"]["figures"]["mAP"]["missing_counted"]["ties_free"] == 0.5
    assert report["queries"] == {"scored": 2, "missing": 0}
    assert [len(a["sha256"]) for a in report["annotation"]] == [64, 64]
    assert len(report["reasons"]) == 2  # both files are none of the published ones


def test_cut_results_are_told(written, fivr):
    whole = evaluate("fivr-200k", fivr, [written("whole.json", SCORES)]).evaluation
    assert not [r for r in whole.reasons if "top" in r]
    few = written("few.json", {"a": {"x": 0.9}, "b": {"y": 0.3, "a": 0.1, "-z": 0, "b": 1}})
    assert any("top-k" in r for r in evaluate("fivr-200k", fivr, [few]).evaluation.reasons)
    written("few.json.info.json", {"top_k": 3, "threshold": 0.5})
    cut = evaluate("fivr-200k", fivr, [few]).evaluation.reasons
    assert any("top_k 3" in r for r in cut)
    assert any("threshold 0.5" in r for r in cut)


@pytest.mark.parametrize(("name", "annotation", "named"), [
    ("imdb", "annotation.json", "FIVR-200K"),
    ("FIVR-200K", "annotation.json", "youtube_ids.txt"),
    ("FIVR-5K", "annotation.json", "fivr.pickle"),
    ("EVVE", "annotation.json", "pickle"),
    ("CC_WEB_VIDEO", "annotation.json", "pickle"),
    ("SVD", "annotation.json", "test_groundtruth"),
    ("VCDB", "annotation.json", "label_file.json"),
    ("VCSL", "annotation.json", "label_file.json"),
    ("VSC2022", "annotation.json", "query_id"),
    ("own", "annotation.json", "table"),
    ("FIVR-200K", "no.json", "no.json"),
])  # fmt: skip
def test_a_wrong_annotation_is_refused_with_the_right_one_named(
    written, tmp_path, name, annotation, named
):
    written("annotation.json", {"a": {"ND": ["x"]}})
    with raises(InputError, named):
        evaluate(name, [tmp_path / annotation], [written("found.json", SCORES)])


def test_lists_of_queries_and_database(written, fivr, tmp_path):
    for name in ("a.mp4", "deep/x.webm", "-z.mkv", "deep/b"):
        written(f"videos/{name}", "")
    folder, lists = tmp_path / "videos", tmp_path / "lists"
    arguments = ("benchmark-list", "fivr-200k", "-a", fivr[0], "-a", fivr[1], "-o", lists)
    output = run(*arguments, "--videos", folder, code=3)
    assert_output(output, "no file for 1 video")
    assert_output(output, "  y")
    queries = (lists / "FIVR-200K_queries.txt").read_text()
    assert queries == f"a\t{folder}/a.mp4\nb\t{folder}/deep/b\n"
    database = (lists / "FIVR-200K_database.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in database] == ["-z", "a", "b", "x"]


def test_a_pattern_says_where_the_id_is(written, tmp_path):
    table = written("pairs.csv", "query_id,ref_id\n1/1_1_Y,b\n")
    for name in ("1/1_1_Y.flv", "title b-b.mp4", "x/film-b.mp4"):
        written(f"videos/{name}", "")
    folder = tmp_path / "videos"
    plain = benchmark_lists("own", [table], folder)
    assert dict(plain.queries) == {"1/1_1_Y": folder / "1/1_1_Y.flv"}
    assert plain.missing == ["b"]
    found = benchmark_lists("own", [table], folder, "*/film-{id}.*")
    assert dict(found.database) == {"b": folder / "x/film-b.mp4"}
    dashes = written("dashes.csv", "query_id,ref_id\n-b,x-\n")
    for name in ("y/a title--b.mp4", "y/a-title-x-.mp4"):
        written(f"videos/{name}", "")
    lists = benchmark_lists("own", [dashes], folder, "*/*-{id}.*")
    assert dict(lists.queries) == {"-b": folder / "y/a title--b.mp4"}
    assert dict(lists.database) == {"x-": folder / "y/a-title-x-.mp4"}
    with raises(InputError, "film", remedy="{id}"):
        benchmark_lists("own", [table], folder, "film")
    with raises(InputError, tmp_path / "none", remedy="--videos"):
        benchmark_lists("own", [table], tmp_path / "none")


def test_the_descriptor_search_in_blocks_is_exhaustive(tmp_path, monkeypatch):
    """The best 3 frame pairs a query, then the best 2 video pairs a query, of 5 queries."""
    dice = np.random.default_rng(3)
    sides = []
    for name, videos in (("q", 5), ("r", 11)):
        ids = np.repeat([f"{name}{n}" for n in range(videos)], 4)
        features = dice.standard_normal((4 * videos, 8)).astype(np.float32)
        np.savez(tmp_path / f"{name}.npz", video_ids=ids, features=features)
        sides.append((ids, features))
    (query_ids, queries), (reference_ids, references) = sides
    table = queries @ references.T
    chosen = np.argsort(-table, axis=None)[:15]
    best = {}
    for place in chosen:
        row, column = np.unravel_index(place, table.shape)
        pair = str(query_ids[row]), str(reference_ids[column])
        best[pair] = max(best.get(pair, -np.inf), float(table[row, column]))
    expected = dict(sorted(best.items(), key=lambda item: -item[1])[:10])
    monkeypatch.setattr(descriptors, "_BLOCK", 3)
    files = [SourceFile.read(tmp_path / f"{name}.npz") for name in "qr"]
    found, _, _ = descriptors.best_pairs(*files, frame_pairs=3, video_pairs=2)
    assert list(found) == list(expected)
    assert list(found.values()) == pytest.approx(list(expected.values()))


def test_other_features_are_refused(tmp_path):
    np.savez(tmp_path / "q.npz", video_ids=np.array(["a"]), features=np.ones((1, 4), np.float32))
    np.savez(tmp_path / "r.npz", video_ids=np.array(["b"]), features=np.ones((1, 5), np.float32))
    np.savez(tmp_path / "x.npz", video_ids=np.array(["b"]), features=np.full((1, 4), np.nan))
    q, r, x = (SourceFile.read(tmp_path / f"{name}.npz") for name in "qrx")
    for file, named in ((r, "5"), (x, "finite")):
        with raises(InputError, file.path, named):
            descriptors.best_pairs(q, file, frame_pairs=1, video_pairs=1)
