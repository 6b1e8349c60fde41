"""An index that is searched again and again, in Python and by `visil-index search`."""

import csv
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import pipeline
from pipeline import Index, compute_similarity, find_duplicates
from pipeline.calibration.curve import Calibration
from pipeline.config import CompareConfig, ExtractConfig
from pipeline.errors import (
    FingerprintMismatchError,
    InputError,
    PipelineError,
    ReportError,
    StoreError,
    VideoError,
)
from pipeline.extraction.report import ExtractReport
from pipeline.extraction.run import extract_features
from pipeline.index.hosts import Recorder
from pipeline.records import Failure, SourceInfo, VideoRef
from pipeline.store import create_or_append
from tests import clips, command
from tests.e2e.test_mirrored import Signed, pixel_model, scene
from tests.messages import raises

CONFIG = ExtractConfig(workers=1, batch_size=4, dtype="float32")


def calibrated():
    """The model with a calibration by which unrelated pairs stay below 0.5."""
    spec = Signed().spec(1.0, "shown-at/1")
    calibration = Calibration(
        similarity_function="chamfer", dims=spec.dims, fps=1.0, sampling=spec.sampling,
        pairs=100_000, rates=(1.0, 0.01, 0.0001), scores=(-1.0, 0.3, 0.7),
    )  # fmt: skip
    return replace(pixel_model(), calibrations=(calibration,))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """`long` has `a` from second 5 to 10, and other pictures before and after it."""
    folder = tmp_path_factory.mktemp("videos")
    pictures = {name: scene(seed) for seed, name in enumerate(("a", "b", "c", "d"), 1)}
    pictures["long"] = pictures["c"] + pictures["a"] + pictures["d"]
    return {k: clips.write(folder / f"{k}.mp4", v, rate=1) for k, v in pictures.items()}


@pytest.fixture(scope="module")
def store(videos, tmp_path_factory):
    path = tmp_path_factory.mktemp("stores") / "d.zarr"
    refs = [VideoRef(k, str(videos[k])) for k in ("long", "b", "a")]
    assert extract_features(refs, path, Signed(), CONFIG).complete
    return path


@pytest.fixture(autouse=True)
def pixels(monkeypatch):
    monkeypatch.setattr("pipeline.nets.formats.loader.load_model", lambda *_: pixel_model())
    monkeypatch.setattr("pipeline.api._network", lambda *_: Signed())
    monkeypatch.setattr("pipeline.nets.extractor.feature_net.FeatureNet", lambda *_, **__: Signed())


@pytest.fixture
def index(store):
    with Index.open(store, extract_config=CONFIG) as opened:
        yield opened


def test_a_file_is_found_with_its_times(videos, index):
    result = index.search(videos["a"], top_k=2)
    assert result.query_ids == (str(videos["a"]),)
    assert [m.database_id for m in result] == ["long", "a"] or result.matches[0].score > 0.99
    excerpt = next(match for match in result if match.database_id == "long")
    (segment,) = excerpt.segments
    assert segment.query_start == pytest.approx(0, abs=0.6)
    assert segment.query_end == pytest.approx(5, abs=0.6)
    assert segment.database_start == pytest.approx(5, abs=0.6)
    assert segment.database_end == pytest.approx(10, abs=0.6)
    assert result.paths["long"] == str(videos["long"])
    assert "2 matches" in repr(result) and "3 videos" in repr(index)


def test_scores_are_those_of_a_comparison(videos, store, index):
    want = compute_similarity({"q": videos["a"]}, store, extract_config=CONFIG)["q"]
    found = index.search({"q": videos["a"]}, top_k=None, segments=False)
    assert {m.database_id: m.score for m in found} == pytest.approx(want, abs=1e-6)
    assert [m.score for m in found] == sorted(want.values(), reverse=True)
    assert found.matches[0].segments is None
    assert len(index.search(videos["a"], threshold=0.9, segments=False)) == 2


def test_several_videos_in_every_form(videos, index, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("a", "b"):
        os.link(videos[name], folder / f"{name}.mp4")
    ids = [str(folder / "a.mp4"), str(folder / "b.mp4")]
    for form in (folder, [folder], ids, [VideoRef(i, i) for i in ids]):
        result = index.search(form, top_k=1, segments=False)
        assert list(result.query_ids) == ids
    assert [m.database_id for m in result][1] == "b"


def test_a_bad_video_among_others_is_named_and_raises_nothing(videos, index, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"nothing")
    result = index.search([bad, tmp_path / "gone.mp4", videos["b"]], top_k=1)
    assert {k: f.reason for k, f in result.failures.items()} == {
        str(bad): "not_a_video", str(tmp_path / "gone.mp4"): "missing",
    }  # fmt: skip
    assert [m.database_id for m in result] == ["b"] and result.of(str(bad)) == []
    assert len(result.query_ids) == 3 and "2 queries failed" in repr(result)
    with pytest.raises(VideoError, match=r"bad\.mp4") as caught:
        index.search(bad)
    assert caught.value.reason == "not_a_video"
    with raises(InputError, "2 videos", bad, "not_a_video"):
        index.search([bad, tmp_path / "gone.mp4"])
    assert index.search(videos["b"], top_k=1).matches[0].database_id == "b"


def test_a_stored_video_finds_others_and_not_itself(index):
    result = index.search(ids="a")
    assert [m.database_id for m in result] == ["long", "b"]
    assert result.matches[0].score > 0.99 and result.query_ids == ("a",)
    assert len(index.search(ids=["a", "b"], top_k=1)) == 2


def test_unknown_names_are_refused_with_the_one_that_was_meant(index, store, tmp_path):
    with raises(InputError, "'lomg'", remedy="did you mean 'long'"):
        index.search(ids=["lomg"])
    with raises(InputError, "'zzz'", "3 videos", remedy="such as 'long'"):
        index.search(ids="zzz")
    with raises(InputError, "a: no such file", remedy="--id"):
        index.search("a")
    with raises(InputError, tmp_path / "long.mp4", "no such file", remedy="did you mean 'long'"):
        index.search(tmp_path / "long.mp4")
    with raises(InputError, store, "is a store"):
        index.search(store)
    with raises(InputError, tmp_path, "no videos"):
        index.search(tmp_path)


def test_what_excludes_each_other_is_refused(videos, index):
    with pytest.raises(InputError, match="either videos or ids"):
        index.search(videos["a"], ids="a")
    with pytest.raises(InputError, match="either videos or ids"):
        index.search()
    with pytest.raises(InputError, match="not both"):
        index.search(ids="a", threshold=0.5, max_fpr=0.1)
    with raises(InputError, "top_k is 0", remedy="expected 1 or more"):
        index.search(ids="a", top_k=0)
    with raises(InputError, "max_fpr", "calibration", remedy="visil-index calibrate"):
        index.search(ids="a", max_fpr=0.01)


@pytest.mark.parametrize(
    "arguments, named",
    [
        ({"videos": 3}, "a video to search for is 3"),
        ({"videos": ["a.mp4", None]}, "a video to search for is None"),
        ({"ids": 3}, "id of a stored video is 3"),
        ({"ids": []}, "ids is empty"),
        ({"ids": "a", "max_fpr": "x"}, "max_fpr is 'x'"),
        ({"ids": "a", "max_fpr": 1.5}, "max_fpr is 1.5"),
        ({"ids": "a", "threshold": 5}, "threshold is 5"),
        ({"ids": "a", "threshold": "x"}, "threshold is 'x'"),
        ({"ids": "a", "segments": "no"}, "segments is 'no'"),
        ({"ids": "a", "refine_segments": True, "video_root": 3}, "video_root is 3"),
        ({"ids": "a", "mirror_queries": True}, "mirror_queries"),
        ({"ids": "a", "report_file": 3}, "report_file is 3"),
        ({"videos": {"v": 3}}, "video 'v': 3 is no path"),
    ],
)
def test_arguments_of_another_type_or_range(index, arguments, named):
    with raises(InputError, named):
        index.search(**arguments)


def test_what_is_no_video_and_no_store_is_refused(store, tmp_path):
    with raises(InputError, "3 is neither videos nor stores", remedy="expected a path"):
        compute_similarity(3, store)
    with raises(InputError, "3 is no store", remedy="expected a path"):
        find_duplicates(3)
    with raises(InputError, "3 is no list of videos", remedy="expected a path"):
        pipeline.extract_features(3, tmp_path / "s.h5")


def test_what_an_index_opens_and_compares_is_checked(index, store, videos):
    for query, database, name in ((None, "a", "query is None"), ("a", 3, "database is 3")):
        with raises(InputError, name, remedy="expected the id of a stored video"):
            index.compare(query, database)
    for stores in ((3,), ([3],), ({"p/": 3},), ({3: store},), ()):
        with raises(InputError, "store", remedy="expected"):
            Index.open(*stores)
    for named in ({"config": "x"}, {"extract_config": 1}, {"model_dir": 3}, {"gpu_id": "x"}):
        with raises(InputError, f"{next(iter(named))} is", remedy="expected"):
            Index.open(store, **named)


def test_a_mirrored_query_and_a_report(videos, index, tmp_path):
    flipped = clips.write(tmp_path / "m.mp4", [p[:, ::-1] for p in scene(1)], rate=1)
    plain = index.search(flipped, top_k=1)
    page = tmp_path / "r.html"
    mirrored = index.search(flipped, top_k=1, mirror_queries=True, report_file=page)
    assert mirrored.matches[0].database_id in ("a", "long")
    assert mirrored.matches[0].score > max(0.99, plain.matches[0].score)
    assert mirrored.matches[0].mirrored and mirrored.matches[0].segments
    assert mirrored.matches[0].database_id in page.read_text()
    with raises(InputError, store_of(index), remedy="--report"):
        index.search(ids="a", report_file=store_of(index) / "r.html")


def store_of(index):
    return index._database.stores[0].path


def test_segments_of_a_search_are_refined(videos, index):
    result = index.search(videos["a"], top_k=3, refine_segments=True)
    excerpt = next(match for match in result if match.database_id == "long")
    assert excerpt.segments and excerpt.segments[0].database_start == pytest.approx(5, abs=0.6)
    assert any("refined" in note for note in result.notes)


def test_a_report_that_fails_leaves_the_result(videos, index, store, tmp_path, monkeypatch):
    def full(path, *_, **__):
        raise PipelineError(f"{path}: No space left on device")

    monkeypatch.setattr("pipeline.match_report.write_report", full)
    page, out = tmp_path / "r.html", tmp_path / "r.json"
    with raises(ReportError, page, "No space left", "the result is complete") as caught:
        index.search(ids="a", report_file=page)
    assert caught.value.result.matches[0].database_id == "long"
    text = command.run("search", "--id", "a", "--index", store, "--report", page, "-o", out, code=1)
    assert "long" in out.read_text() and "rank  score" in text
    assert "error" in text and str(page) in text
    with raises(ReportError, page, f"was written: {out}"):
        compute_similarity(store, store, out, report_file=page)
    with raises(ReportError, page) as caught:
        compute_similarity(store, store, report_file=page)
    assert caught.value.result["a"]["long"] > 0.9


@pytest.mark.parametrize(
    "options, named",
    [
        (("--threshold", 0.5, "--max_fpr", 0.01), "--threshold or --max_fpr"),
        (("--max_fpr", 2), "--max_fpr is 2"),
        (("--no_segments", "--refine_segments"), "--no_segments or --refine_segments"),
        (("--video_root", "x"), "--video_root"),
        (("--mirrored_queries",), "--mirrored_queries"),
        (("--report", "x.png"), "--report"),
        (("--report", "-"), "--report"),
        (("-o", "r.csv", "--report", "r.csv"), "r.csv"),
        (("-o", "r.jsonl", "--report", "no_folder/r.html"), "no_folder"),
        (("-o", "r.xyz"), "give one of these"),
        (("-o", "r.vcsl.json", "--no_segments"), "leave out --no_segments"),
    ],
)
def test_the_command_refuses_options_before_it_opens_a_store(options, named):
    text = command.run("search", "--id", "a", "--index", "missing.zarr", *options, code=2)
    assert named in text and "missing.zarr" not in text
    assert not {"--output_file", "--format", "--info_file"} & set(text.replace(")", " ").split())


def test_verdicts(videos, store, monkeypatch):
    with Index.open(store, extract_config=CONFIG) as index:
        unknown = index.search(videos["b"])
        assert unknown.verdict.threshold is None and "no calibration" in unknown.verdict.reason
        assert unknown.to_dicts()[0]["is_match"] is None
        judged = index.search(videos["b"], threshold=-1.0)
        assert all(row["is_match"] for row in judged.to_dicts()) and len(judged) == 3
    monkeypatch.setattr("pipeline.nets.formats.loader.load_model", lambda *_: calibrated())
    with Index.open(store, extract_config=CONFIG) as index:
        result = index.search(videos["b"])
        assert (result.verdict.threshold, result.verdict.rate) == (pytest.approx(0.5), 0.001)
        assert [row["is_match"] for row in result.to_dicts()] == [True, False, False]
        stricter = index.search(videos["b"], max_fpr=0.0001)
        assert stricter.verdict.threshold == pytest.approx(0.7) and len(stricter) == 3
        with pytest.raises(InputError, match="tell nothing below"):
            index.search(videos["b"], max_fpr=1e-9)


def test_rows_for_tables(videos, index):
    result = index.search({"q": videos["a"], "r": videos["b"]}, top_k=2)
    rows = result.to_dicts()
    assert [(row["query_id"], row["rank"]) for row in rows] == [
        ("q", 1), ("q", 2), ("r", 1), ("r", 2),
    ]  # fmt: skip
    assert rows[2]["database_id"] == "b" and rows[2]["path"] == str(videos["b"])
    assert rows[2]["segments"][0]["query_start"] == pytest.approx(0, abs=0.6)


def test_the_second_search_loads_and_compiles_nothing(videos, store, monkeypatch):
    calls = []

    def counted(owner, name):
        original = getattr(owner, name)

        def run(*arguments, **named):
            calls.append(name)
            return original(*arguments, **named)

        monkeypatch.setattr(owner, name, run)

    from pipeline.nets.formats import loader
    from pipeline.nets.similarity.pair_scorer import PairScorer
    from pipeline.search.video_set import VideoSet

    counted(loader, "load_model")
    counted(PairScorer, "__init__")
    counted(PairScorer, "place_targets")
    counted(VideoSet, "read")
    with Index.open(store, extract_config=CONFIG) as index:
        index.search(videos["a"], segments=False)
        assert calls.count("load_model") == calls.count("__init__") == 1
        assert calls.count("place_targets") == 1 and calls.count("read") == 3 + 1
        calls.clear()
        assert index.search(videos["b"], segments=False).matches[0].database_id == "b"
        assert calls == ["read"], "of the query alone"
        calls.clear()
        index.search(videos["b"])
        assert "__init__" not in calls
    config = CompareConfig(resident_mb=0)
    with Index.open(store, config=config, extract_config=CONFIG) as index:
        want = index.search(videos["a"], segments=False).matches
        calls.clear()
        assert index.search(videos["a"], segments=False).matches == want
        assert calls.count("read") == 3 + 1 and "load_model" not in calls


def test_a_pair_of_files_or_stored_videos(videos, index):
    for sides in (("a", "long"), (videos["a"], "long"), ("a", videos["long"])):
        pair = index.compare(*sides)
        assert pair.matrix.values.shape == (5, 15)
        (segment,) = pair.segments
        assert segment.database_start == pytest.approx(5, abs=0.6)
        assert np.argmax(pair.matrix.values[2]) == 7
    same = index.compare(videos["b"], videos["b"])
    assert np.diag(same.matrix.values) == pytest.approx(np.ones(5), abs=1e-4)
    assert "5 x 5 frames" in repr(same)
    with pytest.raises(InputError, match="no such file"):
        index.compare("a", "nowhere.mp4")
    with pytest.raises(InputError, match="is a folder"):
        index.compare("a", Path(videos["a"]).parent)


def test_threads_wait_for_each_other(videos, index):
    with ThreadPoolExecutor(3) as pool:
        found = pool.map(lambda name: index.search(videos[name], top_k=1), ("b", "a", "b"))
        best = [result.matches[0] for result in found]
    assert [match.database_id for match in best[::2]] == ["b", "b"]
    assert best[1].database_id in ("a", "long") and best[1].score > 0.99


def test_another_error_is_not_taken_for_that_of_a_bad_video():
    refs = [VideoRef(name, f"{name}.mp4") for name in ("bad", "good")]
    report = ExtractReport(failures={"bad": Failure("bad", "empty", "no bytes", SourceInfo("b"))})
    host = SimpleNamespace(extract=lambda *_: report)
    error = InputError("something else")
    for listed, kind in ((refs, InputError), (refs[:1], VideoError)):
        recorder = Recorder(host, None)
        recorder.extract(listed, "s.h5", CONFIG, "")
        assert list(recorder.failures) == ["bad"]
        reason = recorder.reason(error)
        assert type(reason) is kind and (reason is error) == (len(listed) == 2)


def test_stores_that_cannot_be_searched(store, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no store given"):
        Index.open()
    with pytest.raises(StoreError, match=r"none\.h5"):
        Index.open(tmp_path / "none.h5")
    with create_or_append(tmp_path / "empty.h5", Signed().spec(1.0, "shown-at/1")):
        pass
    with raises(InputError, tmp_path / "empty.h5", remedy="extract"):
        Index.open(tmp_path / "empty.h5")
    other = replace(pixel_model(), features_digest="1" * 64)
    monkeypatch.setattr("pipeline.nets.formats.loader.load_model", lambda *_: other)
    with raises(FingerprintMismatchError, store, "'pixels'", remedy="--model_dir"):
        Index.open(store)


def test_a_closed_index_says_so(store):
    index = Index.open({"x/": store})
    assert "x/a" in index and "a" not in index and len(index) == 3
    index.close()
    with pytest.raises(InputError, match="was closed"):
        index.search(ids="x/a")


def test_a_damaged_stored_video_is_left_out_and_named(videos, tmp_path):
    from tests.features import spoil

    path = tmp_path / "d.h5"
    refs = [VideoRef(k, str(videos[k])) for k in ("a", "b")]
    assert extract_features(refs, path, Signed(), CONFIG).complete
    spoil(path, 0.5)
    with Index.open(path, extract_config=CONFIG) as index:
        for _ in range(2):
            result = index.search(videos["a"])
            assert [m.database_id for m in result] == ["b"]
            assert len(result.damaged) == 1 and "'a'" in result.damaged[0]


def test_the_command_prints_a_table_and_writes_a_file(videos, store, tmp_path):
    bad, out = tmp_path / "bad.mp4", tmp_path / "found.csv"
    bad.write_bytes(b"nothing")
    text = command.run(
        "search", videos["a"], "--index", store, "--top_k", 2, "--workers", 1, "--output", out
    )
    lines = text.splitlines()
    assert f"query {videos['a']}" in lines
    assert "rank  score  in the query    in the video    id" in lines
    row = next(line for line in lines if line.endswith("  long"))
    assert "00:00 to 00:05  00:05 to 00:10" in row
    assert f"      {videos['long']}" in lines
    assert any(line.startswith("no verdicts: model 'test model' has no") for line in lines)
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["ref_id"] for row in rows} == {"long", "a"}
    assert float(next(r for r in rows if r["ref_id"] == "long")["ref_start"]) > 4
    text = command.run("search", bad, videos["b"], "--index", store, "--workers", 1, code=3)
    assert "could not be used: not_a_video" in text
    assert "error: not_a_video: " in command.run("search", bad, "--index", store, code=1)


def test_the_command_searches_for_stored_videos(store, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.nets.formats.loader.load_model", lambda *_: calibrated())
    out = tmp_path / "found.jsonl"
    text = command.run("search", "--id", "a", "--index", f"x/={store}", code=2)
    assert "did you mean 'x/a'" in text
    text = command.run("search", "--id", "x/a", "-i", f"x/={store}", "--max_fpr", 0.001, "-o", out)
    assert "match: plain score of 0.5000 or more; at most 0.001 of unrelated pairs" in text
    assert " no match " in text and "x/long" in text
    written = out.read_text()
    assert "x/long" in written and "x/b" not in written
    for arguments in ((), ("a.mp4", "--id", "x/a")):
        command.run("search", *arguments, "--index", store, code=2)
    assert "standard output has the table" in command.run(
        "search", "--id", "a", "--index", store, "-o", "-", code=2
    )
