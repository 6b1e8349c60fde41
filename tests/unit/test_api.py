"""What the functions for Python take, and what they refuse before any work."""

import math
import os
from pathlib import Path

import pytest

from pipeline import compute_similarity, extract_features, open_store
from pipeline.api import _refs
from pipeline.errors import InputError
from pipeline.records import VideoRef
from tests.clips import clip
from tests.pixelnet import PixelNet


@pytest.fixture
def pixels(monkeypatch):
    monkeypatch.setattr("pipeline.nets.model_dir.load_model", lambda *arguments: None)
    monkeypatch.setattr("pipeline.nets.features.FeatureNet", lambda *arguments: PixelNet())


@pytest.mark.parametrize("kind", [str, Path, os.fsencode])
def test_paths_of_videos_are_text_or_path_objects(tmp_path, pixels, kind):
    path = clip(tmp_path / "a.mp4", 50)
    report = extract_features({"a": kind(path)}, tmp_path / "s.h5")
    assert report.stored == ["a"] and report.complete
    with open_store(tmp_path / "s.h5") as store:
        assert store.record("a").source.path == str(path)


@pytest.mark.parametrize(
    "videos, message",
    [
        ({"a\tb": "a.mp4"}, "holds a tab"),
        ({"": "a.mp4"}, "is empty"),
        ({3: "a.mp4"}, "video id 3 is no text"),
        ({"a": None}, "'a' of None"),
    ],
)
def test_what_is_no_video_is_refused(tmp_path, pixels, videos, message):
    with pytest.raises(InputError, match=message):
        extract_features(videos, tmp_path / "s.h5")
    assert not (tmp_path / "s.h5").exists()


@pytest.mark.parametrize("number", [{"top_k": 0}, {"top_k": -1}, {"threshold": math.nan}])
def test_numbers_that_choose_nothing_are_refused(number):
    with pytest.raises(InputError, match=next(iter(number))):
        compute_similarity("q.h5", "d.h5", **number)


def test_the_result_does_not_replace_a_store(tmp_path):
    for side in ({"mirrored_queries": tmp_path / "m.h5"}, {"background": [tmp_path / "m.h5"]}):
        with pytest.raises(InputError, match="is an input as well"):
            compute_similarity("q.h5", "d.h5", tmp_path / "m.h5", **side)


def test_an_id_given_twice_is_refused():
    videos = [VideoRef("a", "one.mp4"), VideoRef("b", "two.mp4"), VideoRef("a", "three.mp4")]
    with pytest.raises(InputError, match=r"'a' is used twice, for one\.mp4 and three\.mp4"):
        _refs(videos)
