"""Weight files of PyTorch: both layouts give the same arrays, and hostile files run nothing."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ModelError
from pipeline.nets.formats.torch_file import read_weight_file
from tests import torch_layout as torch
from tests.messages import raises

RNG = np.random.default_rng(0)
KEY = "attention.context_vector.weight"
ZEROS = b"\0" * 2048
FINE = torch.tensor("0", 512, (1, 512), (512, 1))
AGAIN = "fetch the file again"
MKDIR = torch.name("os", "mkdir") + b"(" + torch.text("EXECUTED") + b"tR"


def values() -> dict[str, np.ndarray]:
    return {"a.weight": RNG.normal(size=(3, 4)).astype("f4"), "a.bias": np.arange(3, dtype="f4")}


def put(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    return path


def of(value: bytes) -> bytes:
    """The pickle of a state dict with one value, given as instructions."""
    return b"\x80\x02}(" + torch.text(KEY) + value + b"u."


@pytest.mark.parametrize("write", [torch.saved, torch.saved_before])
def test_a_state_dict_and_what_training_code_adds(tmp_path: Path, write) -> None:
    state = values()
    args = torch.Namespace({"dims": 512, "path": None, "rate": 0.5, "name": "x", "on": True})
    moments = {0: {"step": np.array(1.0, "f4"), "average": state["a.bias"]}}
    optimizer = {"state": moments, "groups": [{"betas": (0.9, 1), "params": [0, 1]}]}
    whole = {"model": torch.State(state), "optimizer": optimizer, "args": args, "global_step": 3}
    found = read_weight_file(put(tmp_path, write(whole)))
    assert found.settings == args.values
    assert found.arrays.keys() == state.keys()
    for name, array in state.items():
        assert found.arrays[name].dtype == np.float32
        np.testing.assert_array_equal(found.arrays[name], array)
    plain = read_weight_file(put(tmp_path, write(torch.State(state))))
    np.testing.assert_array_equal(plain.arrays["a.weight"], state["a.weight"])


@pytest.mark.parametrize("write", [torch.saved, torch.saved_before])
def test_strides_offsets_and_shared_storages_count(tmp_path: Path, write) -> None:
    base = np.arange(24, dtype="f4").reshape(4, 6)
    state = {"columns": base.T, "part": base[1:3, 2:5], "every_second": base[:, ::2], "all": base}
    found = read_weight_file(put(tmp_path, write(state))).arrays
    for name, array in state.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("write", [torch.saved, torch.saved_before])
def test_types_parameters_and_the_prefix_of_several_gpus(tmp_path: Path, write) -> None:
    arrays = {k: np.array([[0, 1], [1, 0]], k) for k in ("f2", "f8", "i8", "i4", "b1")}
    state = {f"module.{k}": v for k, v in arrays.items()}
    state["module.parameter"] = torch.Parameter(np.ones(3, "f4"))
    found = read_weight_file(put(tmp_path, write(torch.State(state)))).arrays
    assert found.keys() == {*arrays, "parameter"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == ("f4" if name.startswith("f") else name)


def test_bfloat16_is_the_upper_half_of_a_float(tmp_path: Path) -> None:
    exact = np.array([1.5, -2.0, 0.0, 96.0], "f4")
    kind = torch.name("torch", "BFloat16Storage")
    pickled = of(torch.tensor("0", 4, (4,), (1,), kind=kind))
    content = (exact.view("u4") >> 16).astype("u2").tobytes()
    found = read_weight_file(put(tmp_path, torch.archive(pickled, {"0": content})))
    np.testing.assert_array_equal(found.arrays[KEY], exact)


def test_numpy_archives_are_read_as_well(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, mean=np.arange(3.0), d=np.ones(3))
    found = read_weight_file(put(tmp_path, buffer.getvalue())).arrays
    np.testing.assert_array_equal(found["mean"], [0, 1, 2])


def test_the_ordered_dict_of_python_2_and_protocol_4(tmp_path: Path) -> None:
    item = b"](U" + bytes([len(KEY)]) + KEY.encode() + FINE + b"e"
    old = torch.name("collections", "OrderedDict") + b"](" + item + b"e\x85R."
    found = read_weight_file(put(tmp_path, torch.archive(b"\x80\x02" + old, {"0": ZEROS})))
    assert found.arrays[KEY].shape == (1, 512)
    name = b"\x8c\x0bcollections\x94\x8c\x0bOrderedDict\x94\x93)R"
    body = name + b"(\x8c" + bytes([len(KEY)]) + KEY.encode() + FINE + b"u."
    new = b"\x80\x04\x95" + len(body).to_bytes(8, "little") + body
    found = read_weight_file(put(tmp_path, torch.archive(new, {"0": ZEROS})))
    assert found.arrays[KEY].shape == (1, 512)


def hostile() -> dict[str, tuple[bytes, str]]:
    """Name -> content and a word of the reason."""
    tensor = torch.tensor

    def archived(pickled: bytes, data: bytes = ZEROS, **options) -> bytes:
        return torch.archive(pickled, {"0": data}, **options)

    torn = archived(of(FINE), b"\1" * 2048).replace(b"\1" * 2048, b"\1" * 2047 + b"\2")
    qint = torch.name("torch", "QInt8Storage")
    lists = [b"](" + b"".join(b"h" + bytes([i]) for _ in range(10)) + b"eq" + bytes([i + 1])
             for i in range(60)]  # fmt: skip
    bomb = b"]q\x00" + b"".join(lists)
    namespace = torch.name("argparse", "Namespace")
    build = namespace + b")\x81}(" + torch.text("__class__")
    dotted = b"\x8c\x08argparse\x8c\x09_os.mkdir\x93(" + torch.text("EXECUTED") + b"tR"
    inner = b"\x80\x02" + MKDIR + b"."
    large = 2**60, (2**30, 2**30), (2**30, 1)
    return {
        "code": (archived(of(MKDIR)), "os.mkdir"),
        "code first": (archived(b"\x80\x02" + MKDIR + b"0}."), "os.mkdir"),
        "code in the old layout": (torch.beginning() + inner + b"\x80\x02].", "os.mkdir"),
        "code as the magic number": (inner, "no weight file"),
        "code behind a dot": (archived(b"\x80\x04" + dotted + b"."), "argparse._os.mkdir"),
        "other class": (archived(of(torch.name("pathlib", "Path") + b")R")), "pathlib.Path"),
        "class of a namespace": (
            archived(of(build + torch.name("argparse", "ArgumentParser") + b"ub")),
            "argparse.ArgumentParser",
        ),
        "object of a storage's class": (
            archived(of(torch.name("torch", "FloatStorage") + b")\x81")), "no Namespace"),
        "call of a tensor": (archived(of(FINE + b")R")), "makes an object"),
        "attributes of a list": (archived(of(b"]}b")), "attributes"),
        "extension code": (archived(of(b"\x82\x01")), "0x82"),
        "beyond its storage": (
            archived(of(tensor("0", 512, (1, 512), (512, 1), 400))), "element 911"),
        "lie of its length": (archived(of(tensor("0", *large))), "elements"),
        "same element twice": (
            archived(of(tensor("0", 512, (2**14, 512), (0, 1)))), "its storage has 512"),
        "wide stride": (archived(of(tensor("0", 512, (2, 512), (2**40, 1)))), "its storage has"),
        "negative size": (archived(of(tensor("0", 512, (-1, 512), (512, 1)))), "-1"),
        "negative stride": (archived(of(tensor("0", 512, (1, 512), (512, -1), 511))), "-1"),
        "no such storage": (archived(of(tensor("7", 512, (512,), (1,)))), "storage 7 is missing"),
        "path as a key": (archived(of(tensor("../version", 1, (1,), (1,)))), "../version"),
        "no storage": (archived(of(tensor("0", 512, (512,), (1,), mark="module"))), "no storage"),
        "unknown type": (
            archived(of(tensor("0", 512, (512,), (1,), kind=qint))), "torch.QInt8Storage"),
        "short data": (archived(of(FINE), ZEROS[:100]), "100 bytes"),
        "no numbers": (archived(of(FINE), b"\xff" * 2048), "not finite"),
        "big-endian": (archived(of(FINE), order=b"big"), "big-endian"),
        "big-endian in the old layout": (
            torch.beginning(False) + b"\x80\x02}." + b"\x80\x02].", "big-endian"),
        "damaged": (torn, "CRC"),
        "zip bomb": (
            archived(of(FINE), b"\0" * (8 << 20), compression=zipfile.ZIP_DEFLATED), "compressed"),
        "nested": (archived(b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b"."), "nested"),
        "lists of lists": (archived(b"\x80\x02" + bomb + b"."), "damaged"),
        "lists of lists as a key": (
            archived(b"\x80\x02}(" + bomb + b"h\x3cu."), "key of type list"),
        "cut": (archived(of(FINE))[:-200], "zip"),
        "cut in the old layout": (torch.saved_before({KEY: np.ones(9, "f4")})[:-8], "cut short"),
        "empty": (b"", "empty"),
        "web page": (b"<!DOCTYPE html><html>404</html>\n", "web page"),
        "tar": (b"\0" * 257 + b"ustar\0" + ZEROS, "tar archive"),
        "program": (
            archived(of(FINE), extra={"code/__torch__.py": b"pass"}), "TorchScript"),
        "list": (archived(b"\x80\x02]."), "expected a dict"),
        "text among tensors": (archived(of(torch.text("x"))), "no tensor"),
    }  # fmt: skip


@pytest.mark.parametrize(("content", "reason"), hostile().values(), ids=hostile().keys())
def test_hostile_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = put(tmp_path, content)
    tracemalloc.start()
    try:
        with raises(ModelError, path, reason, remedy=AGAIN):
            read_weight_file(path)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert not (tmp_path / "EXECUTED").exists()


def test_the_smallest_file_that_has_to_be_read(tmp_path: Path) -> None:
    found = read_weight_file(put(tmp_path, torch.archive(of(FINE), {"0": ZEROS}))).arrays
    assert found.keys() == {KEY} and found[KEY].shape == (1, 512) and not found[KEY].any()


@pytest.mark.slow
def test_random_damage_gives_a_message_or_arrays(tmp_path: Path) -> None:
    """The pickle of each layout with bytes changed: never another exception."""
    rng = np.random.default_rng(7)
    for content in (torch.saved(values()), torch.saved_before(values())):
        start = content.index(b"\x80\x02")
        for _ in range(3000):
            changed = bytearray(content)
            for place in rng.integers(start, start + 600, rng.integers(1, 4)):
                changed[place % len(content)] = rng.integers(256)
            try:
                read_weight_file(put(tmp_path, bytes(changed)))
            except ModelError as error:
                assert AGAIN in str(error)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pth", tmp_path):
        with raises(ModelError, path, remedy=AGAIN):
            read_weight_file(path)
