"""Models that are damaged or crafted: a sentence that names the file, never another model."""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.default_model import default_model_dir
from pipeline.errors import ModelError
from pipeline.nets.formats import archive, native
from pipeline.nets.formats.description import SEAL
from pipeline.nets.formats.loader import load_model
from tests.messages import assert_names, raises
from tests.unit.test_model_dir import FULL, edit, edit_old

SHIPPED_DIGEST = "70de9694a7a6c3b8772b1a32926d1e9ee9c6338c6ed083582656d26f876d84e3"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    native.write(FULL, tmp_path)
    return tmp_path


def values_of(directory: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((directory / "model.json").read_text())
    return values


def put(directory: Path, values: Any) -> None:
    (directory / "model.json").write_text(json.dumps(values))


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def header(text: str) -> bytes:
    """An npy file of a header alone."""
    content = text.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(content)) + content


def shaped(shape: str) -> bytes:
    return header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}")


def put_weights(directory: Path, content: bytes) -> None:
    """As weights.npz, which model.json then says is right."""
    (directory / "weights.npz").write_bytes(content)
    edit(directory, weights_sha256=hashlib.sha256(content).hexdigest())


def with_members(directory: Path, *extra: tuple[str, bytes], method: int = 0) -> bytes:
    buffer = io.BytesIO((directory / "weights.npz").read_bytes())
    with zipfile.ZipFile(buffer, "a", method) as file:
        for name, content in extra:
            file.writestr(name, content)
    return buffer.getvalue()


def test_the_shipped_model_is_sealed_and_its_stores_stay_valid() -> None:
    assert values_of(default_model_dir())["format_version"] == 3
    assert load_model(default_model_dir()).features_digest == SHIPPED_DIGEST


@pytest.mark.parametrize("change", [
    {"residual_weight": 0.3}, {"insets": 1}, {"similarity_function": "symmetric_chamfer"},
    {"similarity_terms": [{"query": "regions", "reference": "regions", "reduce": "mean"}]},
    {"blank": {"low": 0.2, "high": 0.61}}, {"comparator": False}, {"calibration": []},
    {"name": "other"},
])  # fmt: skip
def test_a_changed_value_is_refused_until_it_is_sealed(
    directory: Path, change: dict[str, Any]
) -> None:
    put(directory, values_of(directory) | change)
    remedy = f"visil-index seal-model {directory}"
    with raises(ModelError, directory / "model.json", SEAL, remedy=remedy):
        load_model(directory)
    result = CliRunner().invoke(main, ["seal-model", str(directory)])
    assert result.exit_code == 0, result.output
    for key, value in (change | {"format_version": 3}).items():
        assert values_of(directory)[key] == value
    load_model(directory)


def test_a_seal_taken_away_is_missed(directory: Path) -> None:
    put(directory, {k: v for k, v in values_of(directory).items() if k != SEAL})
    remedy = f"visil-index seal-model {directory}"
    with raises(ModelError, directory / "model.json", SEAL, "missing", remedy=remedy):
        load_model(directory)


def test_texts_may_be_edited(directory: Path) -> None:
    put(directory, values_of(directory) | {"licence": "MIT", "description": "mine"})
    assert load_model(directory).description == "mine"


def test_an_unsealed_model_of_earlier_versions_still_loads(directory: Path) -> None:
    edit_old(directory)
    assert SEAL not in values_of(directory)
    assert load_model(directory).residual_weight == FULL.residual_weight


def test_nothing_unusable_is_sealed(directory: Path, tmp_path: Path) -> None:
    put(directory, values_of(directory) | {"residual_weight": 2.0})
    before = (directory / "model.json").read_bytes()
    result = CliRunner().invoke(main, ["seal-model", str(directory)])
    assert result.exit_code == 1
    assert_names(
        result.output.strip(), "model.json", "residual_weight is 2.0", remedy="docs/MODELS.md"
    )
    assert (directory / "model.json").read_bytes() == before
    result = CliRunner().invoke(main, ["seal-model", str(tmp_path / "none")])
    assert result.exit_code == 1
    assert_names(result.output.strip(), tmp_path / "none", "our own format")


@pytest.mark.parametrize(("text", "named"), [
    ("[" * 200_000, "nested"),
    ('{"grid": ' * 100_000, "nested"),
    ('{"a": 1, "a": 2}', "key 'a' is there twice"),
    ('{"a": NaN}', "NaN"),
    ('{"a": -Infinity}', "-Infinity"),
    ('{"a": 1e999}', "1e999"),
    ('{"a": ' + "9" * 400 + "}", "999... is too large"),
    ('{"a": ' + "9" * 5000 + "}", "5000 digits"),
    ('{"a": "\\ud800"}', "surrogates"),
    (" " * (1 << 20) + "{}", "more than 1048576"),
])  # fmt: skip
def test_crafted_json(directory: Path, text: str, named: str) -> None:
    (directory / "model.json").write_text(text)
    with raises(ModelError, directory / "model.json", named, remedy="copy the model again"):
        load_model(directory)


@pytest.mark.parametrize("version", [True, 1.0, [1]])
def test_crafted_versions(directory: Path, version: Any) -> None:
    put(directory, {"format_version": version})
    named = directory / "model.json", f"format_version is {version}", "1 to 4"
    with raises(ModelError, *named, remedy="use a release"):
        load_model(directory)


@pytest.mark.parametrize(("change", "named"), [
    ({"taps": [["block1"]]}, "a tap is ['block1']"),
    ({"taps": ["block1"] * 1000}, "at most 32 and 64"),
    ({"grid": 10**9}, "grid is 1000000000"),
    ({"small": [2, 10**9]}, "amount is 1e+09"),
    ({"small": ["2"]}, "small is '2'"),
    ({"small_offsets": ["0", 0]}, "small_offsets is '0'"),
    ({"views": [{"kind": [], "amount": 1}]}, "kind is []"),
    ({"views": [{"kind": "framed", "amount": True}]}, "amount is True"),
    ({"views": [{"kind": "zoomed", "amount": 0.5, "parts": 10**6}]}, "parts is 1000000"),
    ({"views": [{"kind": "zoomed", "amount": 0.5, "parts": 2.5}]}, "parts is 2.5"),
    ({"views": [{"kind": "zoomed", "amount": 0.5, "parts": 16}] * 40}, "more than 4096"),
    ({"calibration": [5]}, "calibration"),
    ({"partial": {"regions": 10**12, "offset": 0}}, "regions is 1000000000000"),
    ({"blank": {"low": "0", "high": 0.5}}, "blank: low is '0'"),
    ({"blank": {"low": 0.1, "high": 0.5, "K": 1}}, "'K'"),
    ({"input": {"resize": 10**9, "crop": 10**9, "method": "bicubic", "channels": "RGB",
                "mean": [0, 0, 0], "scale": [1, 1, 1]}}, "resize is 1000000000"),
    ({"input": {"resize": 40, "crop": 32, "method": {}, "channels": "RGB",
                "mean": [0, 0, 0], "scale": [1, 1, 1]}}, "method is {}"),
    ({"input": {"resize": 40, "crop": 32, "method": "bicubic", "channels": "RGB",
                "mean": "abc", "scale": [1, 1, 1]}}, "input: mean is 'a"),
])  # fmt: skip
def test_crafted_values(directory: Path, change: dict[str, Any], named: str) -> None:
    edit_old(directory, **change)
    with raises(ModelError, directory / "model.json", named, remedy="docs/MODELS.md"):
        load_model(directory)


@pytest.mark.parametrize(("change", "file", "named", "remedy"), [
    ({"partial": []}, "model.json", "partial is []", "expected an object"),
    ({"backbone": ["resnet50_v1"]}, "model.json", "backbone is [", "expected text"),
    ({"adaptation": False, "whitening_dims": -1}, "model.json", "whitening_dims is -1", "correct"),
    ({"weights_sha256": ""}, "weights.npz", "SHA-256", "copy both files again"),
])  # fmt: skip
def test_crafted_values_with_other_remedies(
    directory: Path, change: dict[str, Any], file: str, named: str, remedy: str
) -> None:
    edit_old(directory, **change)
    with raises(ModelError, directory / file, named, remedy=remedy):
        load_model(directory)


ALIKE = {
    "similarity_function": "chamfer", "dims": 5, "fps": 1.0, "sampling": "shown-at/1",
    "pairs": 200, "rates": [1.0, 0.1], "scores": [0.0, 0.5],
}  # fmt: skip


@pytest.mark.parametrize(("change", "named"), [
    ({"dims": "5"}, "dims is '5'"), ({"dims": True}, "dims is True"),
    ({"fps": None}, "fps is None"),
    ({"sampling": 5}, "sampling is 5"), ({"adapted": 1}, "adapted is 1"),
    ({"rates": [1.0, "x"]}, "rates is 'x'"), ({"scores": None}, "expected a list"),
    ({"insets": [1]}, "insets is [1]"), ({"query_vectors": 1.5}, "query_descriptors is 1.5"),
    ({"confidence": "high"}, "confidence is 'high'"), ({"colour": 1}, "'colour'"),
])  # fmt: skip
def test_crafted_calibration(directory: Path, change: dict[str, Any], named: str) -> None:
    edit(directory, calibration=[ALIKE])
    assert load_model(directory).calibrations[0].dims == 5
    edit(directory, calibration=[ALIKE | change])
    with raises(ModelError, directory / "model.json", named, remedy="docs/MODELS.md"):
        load_model(directory)


def test_pickles_are_never_loaded(directory: Path) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(directory / "harm"),)

    content = io.BytesIO()
    np.save(content, np.array([Harm()], dtype=object), allow_pickle=True)
    put_weights(directory, with_members(directory, ("backbone/a.npy", content.getvalue())))
    named = directory / "weights.npz", "backbone/a.npy", "object"
    with raises(ModelError, *named, remedy="copy the model again"):
        load_model(directory)
    assert not (directory / "harm").exists()


@pytest.mark.parametrize(("name", "content", "named"), [
    ("backbone/a.npy", b"", "magic"),
    ("backbone/a.npy", b"\x93NUMPY\x07\x00abc", "npy version"),
    ("backbone/a.npy", shaped("(1 << 40,)"), "malformed"),
    ("backbone/a.npy", shaped("(999999999999,)"), "(999999999999,)"),
    ("backbone/a.npy", shaped("(-1,)"), "float32 (-1,)"),
    ("backbone/a.npy", header("(" * 9000), "EOF"),
    ("backbone/a.npy", header(" " * 20000), "20000"),
    ("backbone/a.npy", npy(np.zeros(3, complex)), "complex128"),
    ("backbone/a.npy", npy(np.zeros(3, "U4")), "<U4"),
    ("backbone/a.npy", npy(np.full(3, np.nan, "f4")), "not finite"),
    ("backbone/a.npy", npy(np.full(3, 1e300)), "not finite"),
    ("backbone/a.npy", npy(np.zeros(3, "f4")) + b"more", "float32 (3,)"),
    ("backbone/a.npy", npy(np.zeros((1,) * 9, "f4")), "9 axes"),
    ("../backbone/a.npy", npy(np.zeros(3, "f4")), "unknown"),
    ("/etc/a.npy", npy(np.zeros(3, "f4")), "unknown"),
    ("hubs/a.npy", npy(np.zeros(3, "f4")), "unknown"),
    ("backbone/a.txt", b"text", "no array"),
    ("attention.npy", npy(np.zeros(5, "f4")), "'attention' is there twice"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_crafted_members(directory: Path, name: str, content: bytes, named: str) -> None:
    put_weights(directory, with_members(directory, (name, content)))
    with raises(ModelError, directory / "weights.npz", named, remedy="copy the model again"):
        load_model(directory)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("made", [lambda x: x.astype(">f8"), np.asfortranarray])
def test_other_orders_of_bytes_and_axes_are_the_same_model(
    directory: Path, made: Any, method: int
) -> None:
    with np.load(directory / "weights.npz") as file:
        arrays = {name: made(file[name]) for name in file.files}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive_file:
        for name, array in arrays.items():
            archive_file.writestr(f"{name}.npy", npy(array))
    put_weights(directory, buffer.getvalue())
    assert load_model(directory).features_digest == FULL.features_digest


def test_archives_that_grow_are_not_unpacked(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = ("backbone/a.npy", npy(np.zeros(1 << 20, "f4")))
    content = with_members(directory, bomb, method=zipfile.ZIP_DEFLATED)
    assert len(content) < 200_000
    put_weights(directory, content)
    load_model(directory)
    read: list[str] = []
    monkeypatch.setattr(archive, "_floats", lambda name, content: read.append(name))
    with raises(ValueError, "arrays", "4226254 bytes", "more than 1048576"):
        archive.read_arrays(content, lambda name, shape: True, 1 << 20)
    assert read == []


def test_a_million_members_are_not_listed(directory: Path) -> None:
    put_weights(directory, archive._ENTRY * (archive.MAX_ARRAYS + 1))
    with raises(ModelError, directory / "weights.npz", "more than 10000", remedy="copy the model"):
        load_model(directory)


def test_encrypted_members(directory: Path) -> None:
    content = bytearray((directory / "weights.npz").read_bytes())
    at = content.index(b"PK\x01\x02")
    content[at + 8] |= 1
    put_weights(directory, bytes(content))
    with raises(ModelError, directory / "weights.npz", "encrypted", remedy="copy the model"):
        load_model(directory)


@pytest.mark.parametrize("name", ["model.json", "weights.npz"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "loop"])
def test_what_is_no_file(directory: Path, name: str, kind: str) -> None:
    path = directory / name
    path.unlink()
    {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"),
        "loop": lambda: path.symlink_to(path),
    }[kind]()
    # A description that leads nowhere is absent: the folder holds no model.
    absent = (name, kind) == ("model.json", "loop")
    remedy = "model.json, weights.npz" if absent else "copy the model again"
    with raises(ModelError, directory if absent else path, remedy=remedy):
        load_model(directory)


def test_a_name_too_long() -> None:
    with raises(ModelError, "x" * 5000):
        load_model("x" * 5000)


def test_writing_follows_no_link(directory: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("precious")
    for name in ("model.json", "weights.npz"):
        (directory / name).unlink()
        (directory / name).symlink_to(other)
    native.write(FULL, directory)
    assert other.read_text() == "precious"
    assert load_model(directory).features_digest == FULL.features_digest


@pytest.mark.parametrize(("name", "array", "named"), [
    ("comparator/0/kernel", np.ones(3, "f4"), "comparator layers are no kernels [h, w, in, out]"),
    ("comparator/0/bias", np.float32(1), "comparator layers are no kernels [h, w, in, out]"),
    ("hubs", np.ones((0, 5), "f4"), "no anchors"),
    ("hubs", np.ones((7, 4), "f4"), "anchors are (7, 4)"),
    ("whitening/mean", np.float32(1), "mean ()"),
    ("blank", np.ones(5, "f4"), "blank directions are (5,)"),
    ("attention", np.ones((5, 1), "f4"), "attention vector is (5, 1)"),
    ("pixels/mean", np.ones((1024, 2), "f4"), "mean (1024, 2)"),
])  # fmt: skip
def test_shapes_that_do_not_fit(directory: Path, name: str, array: np.ndarray, named: str) -> None:
    with np.load(directory / "weights.npz") as file:
        arrays = {key: file[key] for key in file.files} | {name: array}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    put_weights(directory, buffer.getvalue())
    with raises(ModelError, directory / "model.json", named, remedy="docs/MODELS.md"):
        load_model(directory)
