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
    with pytest.raises(ModelError, match=rf"model\.json: {SEAL} .*seal-model {directory}"):
        load_model(directory)
    result = CliRunner().invoke(main, ["seal-model", str(directory)])
    assert result.exit_code == 0, result.output
    for key, value in (change | {"format_version": 3}).items():
        assert values_of(directory)[key] == value
    load_model(directory)


def test_a_seal_taken_away_is_missed(directory: Path) -> None:
    put(directory, {k: v for k, v in values_of(directory).items() if k != SEAL})
    with pytest.raises(ModelError, match=f"{SEAL} is missing"):
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
    assert result.exit_code == 1 and "residual_weight is 2.0" in result.output
    assert (directory / "model.json").read_bytes() == before
    result = CliRunner().invoke(main, ["seal-model", str(tmp_path / "none")])
    assert result.exit_code == 1 and "no model in our own format" in result.output


@pytest.mark.parametrize(("text", "message"), [
    ("[" * 200_000, "nested too deeply"),
    ('{"grid": ' * 100_000, "nested too deeply"),
    ('{"a": 1, "a": 2}', "key 'a' is there twice"),
    ('{"a": NaN}', "NaN is no finite number"),
    ('{"a": -Infinity}', "no finite number"),
    ('{"a": 1e999}', "1e999 is no finite number"),
    ('{"a": ' + "9" * 400 + "}", "is too large"),
    ('{"a": ' + "9" * 5000 + "}", "cannot be read"),
    ('{"a": "\\ud800"}', "surrogates not allowed"),
    (" " * (1 << 20) + "{}", "more than 1048576 are not read"),
    ('{"format_version": true}', "format_version is True"),
    ('{"format_version": 1.0}', r"format_version is 1\.0"),
    ('{"format_version": [1]}', r"format_version is \[1\]"),
])  # fmt: skip
def test_crafted_json(directory: Path, text: str, message: str) -> None:
    (directory / "model.json").write_text(text)
    with pytest.raises(ModelError, match=rf"model\.json: .*{message}"):
        load_model(directory)


@pytest.mark.parametrize(("change", "message"), [
    ({"taps": [["block1"]]}, "a tap is"),
    ({"taps": ["block1"] * 1000}, "at most 32 and 64"),
    ({"grid": 10**9}, "grid is 1000000000, expected int from 1 to 32"),
    ({"small": [2, 10**9]}, "not above the input's side"),
    ({"small": ["2"]}, "small is '2', expected int from 2"),
    ({"small_offsets": ["0", 0]}, "small_offsets is '0', expected a number"),
    ({"views": [{"kind": [], "amount": 1}]}, "kind is"),
    ({"views": [{"kind": "framed", "amount": True}]}, "amount is True, expected a number"),
    ({"views": [{"kind": "zoomed", "amount": 0.5, "parts": 10**6}]}, "parts is 1000000"),
    ({"views": [{"kind": "zoomed", "amount": 0.5, "parts": 2.5}]}, r"parts is 2\.5"),
    ({"views": [{"kind": "zoomed", "amount": 0.5, "parts": 16}] * 40}, "more than 4096"),
    ({"calibration": [5]}, "expected objects"),
    ({"partial": []}, "partial is"),
    ({"partial": {"regions": 10**12, "offset": 0}}, "regions is"),
    ({"blank": {"low": "0", "high": 0.5}}, "blank: low is '0'"),
    ({"blank": {"low": 0.1, "high": 0.5, "K": 1}}, "unexpected keyword argument 'K'"),
    ({"adaptation": False, "whitening_dims": -1}, "whitening_dims is -1"),
    ({"backbone": ["resnet50_v1"]}, "expected str"),
    ({"weights_sha256": ""}, "says : the file"),
    ({"input": {"resize": 10**9, "crop": 10**9, "method": "bicubic", "channels": "RGB",
                "mean": [0, 0, 0], "scale": [1, 1, 1]}}, "resize is 1000000000"),
    ({"input": {"resize": 40, "crop": 32, "method": {}, "channels": "RGB",
                "mean": [0, 0, 0], "scale": [1, 1, 1]}}, "method is"),
    ({"input": {"resize": 40, "crop": 32, "method": "bicubic", "channels": "RGB",
                "mean": "abc", "scale": [1, 1, 1]}}, "mean is 'a', expected a number"),
])  # fmt: skip
def test_crafted_values(directory: Path, change: dict[str, Any], message: str) -> None:
    edit_old(directory, **change)
    with pytest.raises(ModelError, match=message):
        load_model(directory)


ALIKE = {
    "similarity_function": "chamfer", "dims": 5, "fps": 1.0, "sampling": "shown-at/1",
    "pairs": 200, "rates": [1.0, 0.1], "scores": [0.0, 0.5],
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), [
    ({"dims": "5"}, "dims is '5'"), ({"dims": True}, "dims is True"), ({"fps": None}, "fps is"),
    ({"sampling": 5}, "sampling is 5"), ({"adapted": 1}, "adapted is 1"),
    ({"rates": [1.0, "x"]}, "rates is 'x'"), ({"scores": None}, "not iterable"),
    ({"insets": [1]}, "insets is"), ({"query_vectors": 1.5}, "query_descriptors is"),
    ({"confidence": "high"}, "confidence is"), ({"colour": 1}, "colour"),
])  # fmt: skip
def test_crafted_calibration(directory: Path, change: dict[str, Any], message: str) -> None:
    edit(directory, calibration=[ALIKE])
    assert load_model(directory).calibrations[0].dims == 5
    edit(directory, calibration=[ALIKE | change])
    with pytest.raises(ModelError, match=rf"model\.json: .*{message}"):
        load_model(directory)


def test_pickles_are_never_loaded(directory: Path) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(directory / "harm"),)

    content = io.BytesIO()
    np.save(content, np.array([Harm()], dtype=object), allow_pickle=True)
    put_weights(directory, with_members(directory, ("backbone/a.npy", content.getvalue())))
    with pytest.raises(ModelError, match=r"weights\.npz: not an npz file .* holds object"):
        load_model(directory)
    assert not (directory / "harm").exists()


@pytest.mark.parametrize(("name", "content", "message"), [
    ("backbone/a.npy", b"", "magic"),
    ("backbone/a.npy", b"\x93NUMPY\x07\x00abc", "npy version"),
    ("backbone/a.npy", shaped("(1 << 40,)"), "Cannot parse header|malformed"),
    ("backbone/a.npy", shaped("(999999999999,)"), r"declares float32 \(999999999999,\), which"),
    ("backbone/a.npy", shaped("(-1,)"), "declares"),
    ("backbone/a.npy", header("(" * 9000), "EOF|parenthes"),
    ("backbone/a.npy", header(" " * 20000), "Header info length .* is large"),
    ("backbone/a.npy", npy(np.zeros(3, complex)), "holds complex128, expected floats"),
    ("backbone/a.npy", npy(np.zeros(3, "U4")), "expected floats"),
    ("backbone/a.npy", npy(np.full(3, np.nan, "f4")), "holds a value that is not finite"),
    ("backbone/a.npy", npy(np.full(3, 1e300)), "not finite"),
    ("backbone/a.npy", npy(np.zeros(3, "f4")) + b"more", "declares"),
    ("backbone/a.npy", npy(np.zeros((1,) * 9, "f4")), "9 axes"),
    ("../backbone/a.npy", npy(np.zeros(3, "f4")), "unknown"),
    ("/etc/a.npy", npy(np.zeros(3, "f4")), "unknown"),
    ("hubs/a.npy", npy(np.zeros(3, "f4")), "unknown"),
    ("backbone/a.txt", b"text", "is no array"),
    ("attention.npy", npy(np.zeros(5, "f4")), "'attention' is there twice"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_crafted_members(directory: Path, name: str, content: bytes, message: str) -> None:
    put_weights(directory, with_members(directory, (name, content)))
    with pytest.raises(ModelError, match=rf"weights\.npz: not an npz file of numbers: .*{message}"):
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
    with pytest.raises(ValueError, match=r"its arrays take 4.* more than 1048576 are not read"):
        archive.read_arrays(content, lambda name, shape: True, 1 << 20)
    assert read == []


def test_a_million_members_are_not_listed(directory: Path) -> None:
    put_weights(directory, archive._ENTRY * (archive.MAX_ARRAYS + 1))
    with pytest.raises(ModelError, match="more than 10000 members"):
        load_model(directory)


def test_encrypted_members(directory: Path) -> None:
    content = bytearray((directory / "weights.npz").read_bytes())
    at = content.index(b"PK\x01\x02")
    content[at + 8] |= 1
    put_weights(directory, bytes(content))
    with pytest.raises(ModelError, match="is encrypted"):
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
    with pytest.raises(ModelError, match=r"model\.json|weights\.npz"):
        load_model(directory)


def test_a_name_too_long() -> None:
    with pytest.raises(ModelError, match=r"cannot be read|no such model"):
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


@pytest.mark.parametrize(("name", "array", "message"), [
    ("comparator/0/kernel", np.ones(3, "f4"), "no kernels"),
    ("comparator/0/bias", np.float32(1), "no kernels"),
    ("hubs", np.ones((0, 5), "f4"), "no anchors"),
    ("hubs", np.ones((7, 4), "f4"), "anchors are"),
    ("whitening/mean", np.float32(1), "do not belong together"),
    ("blank", np.ones(5, "f4"), "blank directions"),
    ("attention", np.ones((5, 1), "f4"), "attention vector"),
    ("pixels/mean", np.ones((1024, 2), "f4"), "do not belong together"),
])  # fmt: skip
def test_shapes_that_do_not_fit(
    directory: Path, name: str, array: np.ndarray, message: str
) -> None:
    with np.load(directory / "weights.npz") as file:
        arrays = {key: file[key] for key in file.files} | {name: array}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    put_weights(directory, buffer.getvalue())
    with pytest.raises(ModelError, match=message):
        load_model(directory)
