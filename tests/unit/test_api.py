"""What the functions for Python take, and what they refuse before any work."""

import ast
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import pipeline
from pipeline import compute_similarity, errors, extract_features, open_store
from pipeline.api import _network, _refs
from pipeline.config import ExtractConfig
from pipeline.default_model import default_model_dir
from pipeline.errors import InputError
from pipeline.nets.formats.loader import load_model
from pipeline.records import VideoRef
from tests.clips import clip
from tests.messages import raises
from tests.pixelnet import PixelNet


@pytest.fixture
def pixels(monkeypatch):
    monkeypatch.setattr("pipeline.nets.formats.loader.load_model", lambda *arguments: None)
    monkeypatch.setattr("pipeline.api._network", lambda *arguments: PixelNet())


def test_networks_are_made_once_and_the_last_two_are_kept(monkeypatch):
    made = []

    def make(weights, precision, batch_size, gpu_id, as_queries, engine):
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
        ({"a": None}, "'a': None is no path"),
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
        with raises(InputError, tmp_path / "m.h5", "is an input", remedy="another name"):
            compute_similarity("q.h5", "d.h5", tmp_path / "m.h5", **side)


def test_an_id_given_twice_is_refused():
    videos = [VideoRef("a", "one.mp4"), VideoRef("b", "two.mp4"), VideoRef("a", "three.mp4")]
    with raises(InputError, "id 'a'", "one.mp4", "three.mp4", remedy="unique"):
        _refs(videos, "")


def test_every_exported_name_is_there_for_users_and_type_checkers():
    tree = ast.parse(Path(pipeline.__file__).read_text(encoding="utf-8"))
    block = next(
        node for node in tree.body if isinstance(node, ast.If) and "TYPE" in ast.dump(node.test)
    )
    typed = {
        alias.name: f".{node.module}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == pipeline._EXPORTS
    assert sorted(typed) == sorted(pipeline.__all__)
    for name in pipeline.__all__:
        assert getattr(pipeline, name).__name__ == name
    assert set(pipeline.__all__) <= set(dir(pipeline))


def test_every_error_is_exported():
    kinds = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.PipelineError)
    }
    assert kinds <= set(pipeline.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with raises(AttributeError, "pipeline", "'extract_feature'"):
        pipeline.extract_feature  # noqa: B018


def test_the_import_alone_loads_nothing():
    code = "import pipeline, sys; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(run.stdout.split()) & {"numpy", "keras", "tensorflow", "h5py", "av", "msgspec"}


def test_objects_say_what_they_are(tmp_path, pixels):
    clip(tmp_path / "a.mp4", 50)
    report = extract_features({"a": tmp_path / "a.mp4"}, tmp_path / "s.h5")
    assert "listed=1, already=0, stored=1, failed=0" in repr(report)
    with open_store(tmp_path / "s.h5") as store:
        spec = PixelNet().spec(1, "")
        size = f"per frame float16 [{spec.descriptors}, {spec.dims}], fps=1"
        assert repr(store) == f"Hdf5Store({str(tmp_path / 's.h5')!r}, 1 videos, {size})"
        shape = [store.frames("a"), spec.descriptors, spec.dims]
        assert repr(store.read("a")) == f"VideoFeatures('a', float16 {shape})"


def test_a_model_says_what_it_is():
    text = repr(load_model(default_model_dir()))
    assert text.startswith("Model('") and len(text) < 250 and ", 512], " in text
    visil = pipeline.ViSiL(similarity_function="symmetric_chamfer", precision="float32")
    assert repr(visil) == f"ViSiL({visil.model.name!r}, symmetric_chamfer, float32)"
