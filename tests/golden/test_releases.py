"""Published releases as files: both generations, conversion, what is broken and what wins."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ModelError
from pipeline.nets.formats import native
from pipeline.nets.formats.loader import convert, load_model
from pipeline.nets.model.model import Model
from tests.golden import release
from tests.messages import raises

Arrays = dict[str, np.ndarray]
DATA = "model.ckpt.data-00000-of-00001"
UNPACK = "unpack the release again"


@pytest.fixture(scope="module")
def weights(release_2020: Path) -> Model:
    return load_model(release_2020)


@pytest.fixture
def copy(release_2020: Path, tmp_path: Path) -> Path:
    """The 2020 release in a folder of its own; replace files, never write into them."""
    for path in release_2020.iterdir():
        os.link(path, tmp_path / path.name)
    return tmp_path


def replace_file(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def write_variables(directory: Path, values: Arrays) -> None:
    for path in [*directory.glob("model.ckpt*"), directory / "checkpoint"]:
        path.unlink()
    release.write_checkpoint(directory, values)


def same_model(a: Model, b: Model) -> bool:
    assert a.attention is not None and b.attention is not None
    assert a.comparator is not None and b.comparator is not None
    pairs = [*zip(a.comparator, b.comparator, strict=True)]
    return (
        a.features_digest == b.features_digest
        and a.arrays.keys() == b.arrays.keys()
        and all(np.array_equal(a.arrays[name], b.arrays[name]) for name in a.arrays)
        and all(np.array_equal(x, y) for x, y in zip(vars(a.whitening).values(),
                                                    vars(b.whitening).values(), strict=True))
        and np.array_equal(a.attention, b.attention)
        and all(np.array_equal(x, y) for m, n in pairs for x, y in zip(m, n, strict=True))
    )  # fmt: skip


def test_generations_agree(release_2019: Path, weights: Model) -> None:
    assert same_model(load_model(release_2019), weights)


def test_conversion_keeps_every_bit(release_2020: Path, weights: Model, tmp_path: Path) -> None:
    converted = convert(release_2020, tmp_path / "new")
    assert converted.origin == "own format"
    assert converted.provenance == "published TensorFlow release (2020 names)"
    assert same_model(converted, weights)
    assert same_model(load_model(tmp_path / "new"), weights)
    with raises(ModelError, tmp_path / "new", remedy="choose an empty folder"):
        convert(release_2020, tmp_path / "new")


def test_conversion_needs_a_release(tmp_path: Path) -> None:
    with raises(ModelError, tmp_path, remedy=UNPACK):
        convert(tmp_path, tmp_path / "new")


def test_release_wins_over_own_format(copy: Path, weights: Model) -> None:
    (copy / native.DESCRIPTION_FILE).write_text("{}")  # would be refused if it were read
    found = load_model(copy)
    assert found.origin.startswith("published")
    assert found.features_digest == weights.features_digest


def test_part_of_a_release_never_falls_back(copy: Path) -> None:
    (copy / native.DESCRIPTION_FILE).write_text("{}")
    (copy / "model.ckpt.index").unlink()
    with raises(ModelError, copy, "model.ckpt.index", "is missing", remedy=UNPACK):
        load_model(copy)


def test_other_prefix_of_the_checkpoint(copy: Path, weights: Model) -> None:
    for path in list(copy.glob("model.ckpt.*")):
        path.rename(copy / path.name.replace("model.ckpt", "model.ckpt-1234"))
    assert load_model(copy).features_digest == weights.features_digest


def test_optimiser_variables_are_ignored(copy: Path, weights: Model) -> None:
    extra = {"global_step": np.zeros((), np.int64), "beta1_power": np.ones((), np.float32)}
    write_variables(copy, release.variables("2020") | extra)
    assert load_model(copy).features_digest == weights.features_digest


@pytest.mark.parametrize("name", ["model.ckpt.index", DATA, "pca.npz"])
def test_missing_file(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with raises(ModelError, copy, name, "is missing", remedy=UNPACK):
        load_model(copy)


@pytest.mark.parametrize("name", ["model.ckpt.index", DATA, "pca.npz"])
def test_truncated_file(copy: Path, name: str) -> None:
    file = name if name == "pca.npz" else "model.ckpt"
    content = (copy / name).read_bytes()
    replace_file(copy / name, content[: len(content) // 2])
    with raises(ModelError, copy / file, "cannot be read", remedy=UNPACK):
        load_model(copy)


def test_two_checkpoints(copy: Path) -> None:
    os.link(copy / "model.ckpt.index", copy / "model.ckpt-7.index")
    named = copy, "model.ckpt-7.index", "model.ckpt.index"
    with raises(ModelError, *named, remedy="keep the files of one"):
        load_model(copy)


def broken_variables(case: str) -> Arrays:
    values = release.variables("2020")
    context, kernel = "attention_layer/context_vector", "resnet_v1_50/conv1/weights"
    if case == "missing":
        del values[context]
    elif case == "shape":
        values[kernel] = values[kernel][:5]
    elif case == "extra":
        values["video_comparator/conv2d_4/kernel"] = values["video_comparator/conv2d_3/kernel"]
    else:
        values = {name: v for name, v in values.items() if name.startswith("resnet")}
    return values


@pytest.mark.parametrize(
    ("case", "named"),
    [
        ("missing", ("273", "274 expected", "attention_layer/context_vector is missing")),
        ("shape", ("conv1/weights", "(5, 7, 3, 64)", "expected (7, 7, 3, 64)")),
        ("extra", ("275", "274 expected", "video_comparator/conv2d_4/kernel is unknown")),
        ("backbone only", ("video_comparator/",)),
    ],
)
def test_wrong_variables(copy: Path, case: str, named: tuple[str, ...]) -> None:
    write_variables(copy, broken_variables(case))
    with raises(ModelError, copy / "model.ckpt", *named, remedy=UNPACK):
        load_model(copy)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"V": np.zeros((8, 8), np.float32)}, ("V is (8, 8)", "expected (3840, 3840)")),
        ({"d": np.zeros(3840, np.float32)}, ("eigenvalue", "not positive")),
        ({"mean": np.full(3840, np.nan, np.float32)}, ("mean", "not finite")),
    ],
)
def test_wrong_pca(copy: Path, pca_arrays: Arrays, changed: Arrays, named: tuple[str, ...]) -> None:
    (copy / "pca.npz").unlink()
    np.savez(copy / "pca.npz", **(pca_arrays | changed))
    with raises(ModelError, copy / "pca.npz", *named, remedy=UNPACK):
        load_model(copy)


def test_dims_that_attention_was_not_learned_for(release_2020: Path) -> None:
    with raises(ModelError, "dims 512", "attention", remedy="leave dims out or give 3840"):
        load_model(release_2020, dims=512)
    assert load_model(release_2020, dims=3840).dims == 3840
