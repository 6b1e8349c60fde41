"""OpenVINO in place of TensorFlow: the same features, checked at each start, and never needed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.config import ExtractConfig
from pipeline.default_model import default_model_dir
from pipeline.errors import InputError
from pipeline.nets.backbones import registry
from pipeline.nets.backend import network_threads
from pipeline.nets.extractor import feature_net, openvino_engine
from pipeline.nets.extractor.feature_net import FeatureNet
from pipeline.nets.extractor.openvino_engine import EngineError, OpenVinoNet
from pipeline.nets.formats.loader import load_model
from pipeline.user_cache import cache_folder
from tests import thin_backbone
from tests.messages import assert_names, raises

WITH_OPENVINO = pytest.mark.skipif(
    not openvino_engine.installed(), reason="the extra `cpu` is not installed"
)
CORE = openvino_engine.installed() and import_module("openvino").Core
SIDE = 8


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "visil-index" / "openvino"


class Means:
    """Descriptors [B, 1, 3]: a frame's mean colour, of length 1; as a graph of OpenVINO."""

    def __init__(self, factor: float = 1.0) -> None:
        self.conversions, self.factor = 0, np.float32([factor, 1, 1])

    def graph(self) -> object:
        return None

    def reference(self, frames: np.ndarray) -> np.ndarray:
        self.conversions += 1
        means = frames.astype(np.float32).mean((1, 2), keepdims=True)[:, :, 0] + 1
        means = means * self.factor
        return means / np.linalg.norm(means, axis=-1, keepdims=True)

    def start(self, precision: str = "float32") -> OpenVinoNet:
        return OpenVinoNet(
            ("means",), (4, SIDE), self.graph, self.reference, 2, precision=precision
        )


@pytest.fixture
def means(monkeypatch):
    """Its conversion is drawn by hand, so that no TensorFlow is needed."""
    openvino = pytest.importorskip("openvino")
    from openvino import opset13 as ov

    def convert(_):
        frames = ov.parameter([-1, SIDE, SIDE, 3], np.uint8)
        mean = ov.reduce_mean(ov.convert(frames, "f32"), [1, 2], keep_dims=True)
        row = ov.squeeze(ov.add(mean, np.float32(1)), [1])
        return openvino.Model([ov.normalize_l2(row, [2], 1e-12, "add")], [frames])

    monkeypatch.setattr(openvino, "convert_model", convert)
    return Means()


def pictures(count):
    return np.random.default_rng(1).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


@pytest.mark.parametrize("count", [0, 1, 4, 11])
def test_any_number_of_frames(means, count):
    frames = pictures(count)
    found = means.start()(frames)
    assert found.dtype == np.float32 and found.shape == (count, 1, 3)
    np.testing.assert_allclose(found, means.reference(frames), atol=1e-6)


def test_a_conversion_is_kept_and_checked_at_each_start(means, cache):
    first = means.start()(pictures(3))
    assert means.conversions == 1
    assert np.array_equal(means.start()(pictures(3)), first)
    assert means.conversions == 1
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:50] + b"x" + b[51:], lambda b: b""]
)
def test_a_damaged_conversion_is_made_again(means, cache, damage):
    first = means.start()(pictures(3))
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert np.array_equal(means.start()(pictures(3)), first)
    assert means.conversions == 2
    means.start()
    assert means.conversions == 2


def test_old_conversions_are_removed(means, cache):
    means.start()
    for i in range(20):
        (cache / f"{i:02}.net").write_bytes(b"old")
        os.utime(cache / f"{i:02}.net", (i, i))
    OpenVinoNet(("another",), (1, SIDE), means.graph, means.reference, 1)
    names = {path.name for path in cache.iterdir()}
    assert len(names) == 8 and "19.net" in names and "00.net" not in names


def test_without_a_cache_it_runs_all_the_same(means, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert means.start()(pictures(2)).shape == (2, 1, 3)


def test_other_values_than_those_of_tensorflow_are_refused(means):
    means.factor = np.float32([1.2, 1, 1])
    with pytest.raises(EngineError, match=r"differ from TensorFlow's, cosine 0\.99"):
        means.start()


def test_both_precisions_share_a_conversion(means, monkeypatch):
    import openvino

    precise = means.start()(pictures(3))
    monkeypatch.setattr(openvino, "Core", lambda: core_with(["FP32", "BF16"]))
    coarse = means.start("bfloat16")(pictures(3))
    assert means.conversions == 1
    np.testing.assert_allclose(coarse, precise, atol=0.01)


def test_a_processor_without_bfloat16(means, monkeypatch):
    import openvino

    monkeypatch.setattr(openvino, "Core", lambda: core_with(["FP32", "INT8"]))
    with pytest.raises(EngineError, match="processor does not compute in bfloat16"):
        means.start("bfloat16")
    means.start("float32")


def core_with(capabilities):
    """OpenVINO's core on a processor that is said to have these arithmetics."""
    core = CORE()
    return SimpleNamespace(
        get_property=lambda device, name: capabilities,
        read_model=core.read_model,
        compile_model=core.compile_model,
    )


def test_an_error_of_the_library_names_the_reason(means, monkeypatch):
    import openvino

    def fails(_):
        raise RuntimeError("Check failed:\nno kernel for this processor\n")

    monkeypatch.setattr(openvino, "convert_model", fails)
    with pytest.raises(EngineError, match=r"^no kernel for this processor$"):
        means.start()


@pytest.fixture
def unbuilt(monkeypatch):
    """A network whose Keras layers are not made, and what OpenVINO was asked for."""
    asked: list[tuple] = []

    def start(*arguments, precision):
        asked.append((*arguments, precision))
        return "openvino's"

    monkeypatch.setattr(FeatureNet, "_build", lambda self, model, precision: None)
    monkeypatch.setattr(feature_net, "OpenVinoNet", start)
    monkeypatch.setattr(openvino_engine, "installed", lambda: True)
    return SimpleNamespace(asked=asked, model=load_model(default_model_dir()))


def net(unbuilt, engine, precision="float32", gpu_id=-1):
    return FeatureNet(unbuilt.model, precision, 32, gpu_id, engine=engine)


def test_auto_takes_what_is_installed(unbuilt, monkeypatch):
    taken = net(unbuilt, "auto")
    assert (taken.engine, taken.notes) == ("openvino", ())
    monkeypatch.setattr(openvino_engine, "installed", lambda: False)
    taken = net(unbuilt, "auto")
    assert (taken.engine, taken.notes) == ("keras", ())
    assert ExtractConfig().engine == "auto"


def test_bfloat16_is_computed_where_it_is_asked_for(unbuilt, monkeypatch):
    taken = net(unbuilt, "auto", "bfloat16")
    assert (taken.engine, unbuilt.asked[0][-1]) == ("openvino", "bfloat16")
    # A network for which "auto" means bfloat16 stays with TensorFlow, which is as fast there.
    monkeypatch.setattr(feature_net, "resolve_precision", lambda *_: "bfloat16")
    assert net(unbuilt, "auto", "auto").engine == "keras"


def test_keras_is_taken_where_it_is_asked_for(unbuilt):
    assert net(unbuilt, "keras").engine == "keras" and not unbuilt.asked


def test_what_is_asked_for_in_vain_is_told(unbuilt, monkeypatch):
    assert net(unbuilt, "auto", "float16").notes == ()
    (note,) = net(unbuilt, "openvino", "float16").notes
    assert_names(note, "OpenVINO", "float32 or bfloat16 (--precision)")
    monkeypatch.setattr(openvino_engine, "installed", lambda: False)
    taken = net(unbuilt, "openvino")
    assert_names(taken.notes[0], "OpenVINO", "pip install openvino")
    assert taken.engine == "keras"


def test_a_machine_that_cannot_run_it_falls_back(unbuilt, monkeypatch):
    def fails(*_, **__):
        raise EngineError("no kernel")

    monkeypatch.setattr(feature_net, "OpenVinoNet", fails)
    taken = net(unbuilt, "auto")
    assert taken.engine == "keras"
    assert_names(taken.notes[0], "OpenVINO", "no kernel", "TensorFlow")


def test_an_unknown_engine():
    with raises(InputError, "engine", "'torch'"):
        FeatureNet(load_model(default_model_dir()), engine="torch")


def test_networks_of_other_features_have_other_conversions(unbuilt):
    model = unbuilt.model
    FeatureNet(model, "float32", gpu_id=-1, engine="openvino")
    FeatureNet(model, "float32", gpu_id=-1, as_queries=True, engine="openvino")
    FeatureNet(model.with_dims(64), "float32", gpu_id=-1, engine="openvino")
    other = replace(model, features_digest="another")
    FeatureNet(other, "float32", gpu_id=-1, engine="openvino")
    assert len({openvino_engine._digest(asked[0]) for asked in unbuilt.asked}) == 4


def test_threads_are_those_of_tensorflow(monkeypatch):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "3")
    assert network_threads() == 3
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "0")
    assert network_threads() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("given, starts", [("/there", "/there/visil-index"), ("relative", None)])
def test_the_cache_folder(monkeypatch, given, starts):
    monkeypatch.setenv("XDG_CACHE_HOME", given)
    folder = cache_folder("openvino")
    assert folder.is_absolute() and folder.parts[-2:] == ("visil-index", "openvino")
    assert str(folder).startswith(starts or os.path.expanduser("~"))


def some_frames():
    frames = np.random.default_rng(2).integers(0, 256, (5, 28, 28, 3), np.uint8)
    return frames.repeat(8, 1).repeat(8, 2)


def assert_features_of_tensorflow(net):
    frames = some_frames()
    assert net.engine == "openvino", net.notes
    found, keras = net(frames), net._run_keras(frames)
    assert (found * keras).sum(-1).min() > 0.99999
    assert 0 < np.abs(found - keras).max() < 2e-6, "one engine computed both"
    assert np.array_equal(net(frames[3:4]), found[3:4])  # whatever else is in a batch


@WITH_OPENVINO
@pytest.mark.slow
def test_features_are_those_of_tensorflow():
    """The included model; all descriptors of a database frame."""
    model = load_model(default_model_dir())
    net = FeatureNet(model, "float32", 32, -1, engine="openvino")
    assert_features_of_tensorflow(net)
    if "BF16" in CORE().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        coarse = FeatureNet(model, "bfloat16", 32, -1, engine="openvino")
        assert (coarse.engine, coarse.precision) == ("openvino", "bfloat16"), coarse.notes
        cosines = (coarse(some_frames()) * net(some_frames())).sum(-1)
        assert cosines.min() > 0.93 and 0.98 < cosines.mean() < 0.99999


@WITH_OPENVINO
@pytest.mark.slow
def test_query_views_are_those_of_tensorflow(monkeypatch):
    """All descriptors of a query frame, by a backbone of one layer: each view has its own graph."""
    model = load_model(default_model_dir())
    monkeypatch.setattr(registry, "build", thin_backbone.build)
    net = FeatureNet(model, "float32", 32, -1, as_queries=True, engine="openvino")
    assert net.vectors == model.layout.query > model.layout.shared
    assert_features_of_tensorflow(net)


def test_a_store_does_not_know_the_engine(unbuilt):
    """Both make the same features, so either goes on with what the other began."""
    specs = [net(unbuilt, engine).spec(1.0, "shown-at/1") for engine in ("keras", "openvino")]
    assert specs[0] == specs[1]


@WITH_OPENVINO
@pytest.mark.slow
def test_ctrl_c_ends_a_run_with_openvino(tmp_path):
    """A signal between two batches is not swallowed by the library's threads."""
    code = (
        "import numpy as np, openvino\n"
        "from openvino import opset13 as ov\n"
        "from pipeline.nets.extractor.openvino_engine import OpenVinoNet\n"
        "def convert(_):\n"
        "    x = ov.parameter([-1, 8, 8, 3], np.uint8)\n"
        "    m = ov.squeeze(ov.reduce_mean(ov.convert(x, 'f32'), [1, 2], keep_dims=True), [1])\n"
        "    return openvino.Model([ov.normalize_l2(m, [2], 1e-12, 'add')], [x])\n"
        "openvino.convert_model = convert\n"
        "def reference(f):\n"
        "    m = f.astype('f4').mean((1, 2), keepdims=True)[:, :, 0]\n"
        "    return m / np.linalg.norm(m, axis=-1, keepdims=True)\n"
        "net = OpenVinoNet(('x',), (4, 8), lambda: None, reference, 2)\n"
        "print('ready', flush=True)\n"
        "while True: net(np.ones((64, 8, 8, 3), np.uint8))\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode in (-signal.SIGINT, 130, 1) and "KeyboardInterrupt" in errors
