"""Reading the published file without PyTorch, and folding batch norm."""

import io
import pickle
import struct
import sys
import types
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ModelError
from pipeline.nets.backbones.efficientnet_lite0 import array_shapes, build, tap_channels
from tools.convert_efficientnet_lite0 import BATCH_NORM_EPSILON, fold, read_pth

MAGIC = 0x1950A86A20F9469CFC6C


class Storage:
    """Named in a pickle by a persistent id; its bytes follow all pickles."""

    def __init__(self, key: str, array: np.ndarray) -> None:
        self.key, self.values = key, array.ravel("K")


class Tensor:
    """Pickles as PyTorch's tensors did before version 1.6: a view that starts at value 1."""

    def __init__(self, storage: Storage, array: np.ndarray, rebuild: object) -> None:
        strides = tuple(stride // array.itemsize for stride in array.strides)
        self.call = rebuild, (storage, 1, array.shape, strides, False, OrderedDict())

    def __reduce__(self):
        return self.call


@pytest.fixture
def fake_torch(monkeypatch):
    """Just enough of the module names that pickles of tensors hold."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2():
        raise AssertionError("only its name is pickled")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return torch, utils


def write_pth(path: Path, arrays: dict[str, np.ndarray], fake_torch) -> None:
    """The old serialisation: five pickles, then every storage, here with one value before."""
    torch, utils = fake_torch
    storages = {name: Storage(str(i), array) for i, (name, array) in enumerate(arrays.items())}

    class Pickler(pickle.Pickler):
        def persistent_id(self, item):
            if isinstance(item, Storage):
                return "storage", torch.FloatStorage, item.key, "cpu", item.values.size + 1, None
            return None

    buffer = io.BytesIO()
    for value in (MAGIC, 1001, {"little_endian": True}):
        pickle.dump(value, buffer, 2)
    rebuild = utils._rebuild_tensor_v2
    tensors = OrderedDict((n, Tensor(storages[n], a, rebuild)) for n, a in arrays.items())
    Pickler(buffer, 2).dump(tensors)
    pickle.dump([storage.key for storage in storages.values()], buffer, 2)
    for storage in storages.values():
        buffer.write(struct.pack("<q", storage.values.size + 1))
        buffer.write(np.float32(-1).tobytes() + storage.values.tobytes())
    path.write_bytes(buffer.getvalue())


def test_read_pth(tmp_path, fake_torch):
    rng = np.random.default_rng(0)
    arrays = {
        "a.weight": rng.normal(size=(4, 3, 2, 2)).astype(np.float32),
        "turned": rng.normal(size=(5, 2)).astype(np.float32).T,
    }
    write_pth(tmp_path / "x.pth", arrays, fake_torch)
    found = read_pth(tmp_path / "x.pth")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_read_pth_runs_no_foreign_code(tmp_path):
    buffer = io.BytesIO()
    for value in (MAGIC, 1001, {}, print):
        pickle.dump(value, buffer, 2)
    (tmp_path / "x.pth").write_bytes(buffer.getvalue())
    with pytest.raises(pickle.UnpicklingError, match=r"print has no place"):
        read_pth(tmp_path / "x.pth")


def test_read_pth_refuses_other_files(tmp_path):
    (tmp_path / "x.pth").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ValueError, match="form before version"):
        read_pth(tmp_path / "x.pth")


def test_folded_convolution_equals_convolution_and_batch_norm():
    rng = np.random.default_rng(1)
    state = {
        "c.weight": rng.normal(size=(6, 5, 1, 1)).astype(np.float32),
        "n.weight": rng.uniform(0.5, 2, 6).astype(np.float32),
        "n.bias": rng.normal(size=6).astype(np.float32),
        "n.running_mean": rng.normal(size=6).astype(np.float32),
        "n.running_var": rng.uniform(0.001, 2, 6).astype(np.float32),
    }
    x = rng.normal(size=(7, 5))
    y = x @ state["c.weight"][:, :, 0, 0].T
    y = (y - state["n.running_mean"]) / np.sqrt(state["n.running_var"] + BATCH_NORM_EPSILON)
    y = y * state["n.weight"] + state["n.bias"]
    kernel, bias = fold(state, "c", "n")
    np.testing.assert_allclose(x @ kernel[:, :, 0, 0].T + bias, y, rtol=1e-5, atol=1e-6)


def test_shapes_are_those_of_the_published_network():
    shapes = array_shapes()
    assert len(shapes) == 98
    assert sum(int(np.prod(s)) for s in shapes.values()) == 3_350_000
    assert tap_channels(["block_02", "block_04", "block_10", "block_15", "head"]) == (
        24, 40, 112, 320, 1280,
    )  # fmt: skip


def test_wrong_arrays_and_taps_are_named():
    arrays = {name: np.zeros(shape, np.float32) for name, shape in array_shapes().items()}
    with pytest.raises(ModelError, match="no layer 'block_16'"):
        build(arrays, ["block_16"], 224)
    bad = {**arrays, "head/bias": np.zeros(3, np.float32)}
    with pytest.raises(ModelError, match=r"'head/bias' has shape \(3,\), expected \(1280,\)"):
        build(bad, ["head"], 224)
    del arrays["stem/kernel"]
    with pytest.raises(ModelError, match="lack the array 'stem/kernel'"):
        build(arrays, ["head"], 224)
