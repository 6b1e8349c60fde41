"""Python does what the command does: videos or stores on either side, with progress."""

from pathlib import Path

import pytest

from pipeline import compute_similarity
from pipeline.config import CompareConfig, ExtractConfig
from pipeline.errors import InputError, PipelineWarning
from pipeline.records import VideoRef
from pipeline.store import open_store
from pipeline.workflow import Comparison, VideoSource
from tests import clips
from tests.e2e.test_mirrored import Signed, pixel_model, scene
from tests.messages import raises

CONFIG = ExtractConfig(workers=1, batch_size=4, dtype="float32")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    pictures = {"q": scene(1), "mirror": [p[:, ::-1] for p in scene(1)], "other": scene(2)}
    return {k: clips.write(folder / f"{k}.mp4", v, rate=1) for k, v in pictures.items()}


@pytest.fixture(autouse=True)
def pixels(monkeypatch):
    monkeypatch.setattr("pipeline.nets.formats.loader.load_model", lambda *_: pixel_model())
    monkeypatch.setattr("pipeline.api._network", lambda *_: Signed())


def test_every_form_of_both_sides_gives_the_same(videos, tmp_path):
    database = {k: videos[k] for k in ("mirror", "other")}
    seen = []
    kept = tmp_path / "d.zarr"
    want = compute_similarity(
        {"q": videos["q"]}, database, extract_config=CONFIG, database_store=kept,
        progress=lambda *counts: seen.append(counts),
    )  # fmt: skip
    assert seen[-1] == (2, 2) and want["q"]["mirror"] < 0.5
    with open_store(kept) as store:
        assert store.ids == ["mirror", "other"]
    (tmp_path / "q.txt").write_text(f"q\t{videos['q']}\n")
    for queries in (tmp_path / "q.txt", [VideoRef("q", str(videos["q"]))]):
        found = compute_similarity(queries, kept, extract_config=CONFIG)
        assert found["q"] == pytest.approx(want["q"], abs=1e-6)
    found = compute_similarity(
        {"q": videos["q"]}, Path(videos["q"]).parent, extract_config=CONFIG, top_k=1
    )
    assert list(found["q"]) == ["q.mp4"]


def test_queries_are_mirrored_on_the_way(videos, tmp_path):
    sides = {"q": videos["q"]}, {"mirror": videos["mirror"]}
    found = compute_similarity(*sides, extract_config=CONFIG, mirror_queries=True)
    assert found["q"]["mirror"] > 0.95
    kept = tmp_path / "q.h5"
    compute_similarity(*sides, extract_config=CONFIG, query_store=kept)
    with pytest.raises(InputError, match="--mirrored_query_store"):
        compute_similarity(kept, sides[1], mirror_queries=True)


def test_a_video_that_cannot_be_used_is_warned_of_and_has_no_scores(videos, tmp_path):
    queries = {"gone": tmp_path / "gone.mp4", "q": videos["q"]}
    with pytest.warns(PipelineWarning, match=r"left out: gone: missing"):
        found = compute_similarity(queries, {"other": videos["other"]}, extract_config=CONFIG)
    assert list(found) == ["gone", "q"] and found["gone"] == {}


def test_what_excludes_each_other_is_refused(tmp_path):
    store, listed = VideoSource([("", "d.h5")]), VideoSource((), [VideoRef("a", "a.mp4")])
    for settings, named, remedy in (
        ({"output_file": "d.h5"}, "d.h5", "input"),
        ({"max_fpr": 0.1, "background": [("", "b.h5")]}, "background", "give a threshold"),
        ({"mirror_queries": True}, "mirror", "--mirrored_query_store"),
    ):
        with raises(InputError, named, remedy=remedy):
            Comparison(store, store, **settings)
    with pytest.raises(InputError, match="kept in one store"):
        Comparison(listed, store, mirrored=[("", "m.h5"), ("", "n.h5")])
    with pytest.raises(InputError, match="at most one store"):
        VideoSource([("", "d.h5"), ("", "e.h5")], listed.videos)
    with pytest.raises(InputError, match="are given"):
        compute_similarity("q.h5", "d.h5", query_store=tmp_path / "k.h5")


def test_a_listed_query_in_the_background_is_refused_before_decoding(videos, tmp_path):
    store = tmp_path / "b.h5"
    compute_similarity(
        {"q": videos["q"]}, {"other": videos["other"]}, extract_config=CONFIG, database_store=store
    )
    absent = {"other": tmp_path / "absent.mp4"}  # decoding it would warn
    with raises(InputError, store, "'other'", remedy="unrelated to all queries"):
        compute_similarity(
            absent, store, background=store, config=CompareConfig(background_top_k=1)
        )
