"""What the functions for Python take, and what they refuse before any work."""

import math
import os
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import compute_similarity, extract_features, open_store
from pipeline.api import _network, _refs
from pipeline.config import ExtractConfig
from pipeline.default_model import default_model_dir
from pipeline.errors import InputError
from pipeline.nets.formats.loader import load_model
from pipeline.records import VideoRef
from tests.clips import clip
from tests.pixelnet import PixelNet


@pytest.fixture
def pixels(monkeypatch):
    monkeypatch.setattr("pipeline.nets.formats.loader.load_model", lambda *arguments: None)
    monkeypatch.setattr("pipeline.api._network", lambda *arguments: PixelNet())


def test_networks_are_made_once_and_the_last_two_are_kept(monkeypatch):
    made = []

    def make(weights, precision, batch_size, gpu_id, as_queries):
        made.append((weights.dims, precision, batch_size, gpu_id, as_queries))
        return made[-1]

    monkeypatch.setattr("pipeline.nets.extractor.feature_net.FeatureNet", make)
    monkeypatch.setattr("pipeline.api._networks", {})
    weights = load_model(default_model_dir())
    plain, asked = ExtractConfig(), ExtractConfig(as_queries=True)
    for _ in range(2):
        assert _network(weights, plain, None) == (512, "auto", 32, None, False)
        assert _network(load_model(default_model_dir()), asked, None)[-1]
    assert len(made) == 2
    others = [
        (weights.with_dims(64), plain, None),
        (weights, replace(plain, precision="bfloat16"), None),
        (weights, replace(plain, batch_size=8), None),
        (weights, plain, -1),
        (replace(weights, features_digest="another model's"), plain, None),
        (replace(weights, insets=0), plain, None),
    ]
    for arguments in others:
        _network(*arguments)
    assert len(made) == 2 + len(others)
    _network(*others[-2])
    assert len(made) == 2 + len(others)
    _network(weights, asked, None)
    assert len(made) == 3 + len(others)


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
        _refs(videos, "")
