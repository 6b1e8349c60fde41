"""Converting published PyTorch weights: what files go together, and what is refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.config import TrainConfig
from pipeline.errors import FingerprintMismatchError, ModelError
from pipeline.nets.backbones import resnet50_spec
from pipeline.nets.extractor.feature_net import FeatureNet
from pipeline.nets.formats import native, torch_weights
from pipeline.nets.formats.loader import convert_files, load_model, load_student
from pipeline.nets.model.model import Model
from pipeline.nets.model.student import Student
from pipeline.nets.model.whitening import Whitening
from pipeline.records import published_digest
from pipeline.search.compatibility import require_comparable, require_model
from pipeline.search.pair_selection import joined_scores, select_pairs
from pipeline.store.published_layout import published_spec
from pipeline.training.train import train_model
from tests.golden import torch_release
from tests.messages import assert_output, raises
from tests.torch_layout import State, saved
from tests.unit.test_model_dir import edit

SEE = "docs/MODELS.md"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Heads that are quickly made."""
    names = ("visil_symmetric", "dns_fg_att_student", "dns_selector_cg-fg_att")
    paths = torch_release.write(tmp_path_factory.mktemp("torch"), *names)
    return {path.stem: path for path in paths}


@pytest.fixture(scope="module")
def student_model(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Model:
    made = convert_files([files["dns_fg_att_student"]], tmp_path_factory.mktemp("m") / "att")
    assert isinstance(made, Model)
    return made


class Features:
    path = Path("store.h5")

    def __init__(self, **changes: object) -> None:
        self.spec = replace(published_spec("dns"), **changes)


def put(path: Path, state: dict[str, np.ndarray]) -> Path:
    path.write_bytes(saved(State(state)))
    return path


def test_a_head_alone_compares_features_of_its_name(student_model: Model) -> None:
    assert (student_model.dims, student_model.whitening.dims) == (512, 3840)
    assert student_model.features_digest == published_digest("dns")
    require_model(Features(), student_model)
    require_model(Features(dims=3840), student_model)
    with raises(ModelError, "dns_fg_att_student", "head alone", remedy="convert-model"):
        FeatureNet(student_model)


@pytest.mark.parametrize(
    ("changes", "kind", "named"),
    [
        ({"dims": 256}, ModelError, ("holds 256 values", "attention", "learned for 512")),
        ({"digest": "0" * 64}, FingerprintMismatchError, ("000000000000", "dns_fg_att_student")),
    ],
)
def test_a_head_refuses_other_features(
    student_model: Model, changes: dict[str, object], kind: type[Exception], named: tuple[str, ...]
) -> None:
    with raises(kind, "store.h5", *named, remedy="give"):
        require_model(Features(**changes), student_model)


def test_features_of_a_name_go_with_those_of_the_weights(student_model: Model) -> None:
    """A published file is searched for queries that were extracted by the whole model."""
    whole = replace(student_model, features_digest="1" * 64)
    extracted = Features(digest="1" * 64)
    require_comparable(extracted, Features(), whole)
    with pytest.raises(FingerprintMismatchError):
        require_comparable(extracted, Features(), student_model)
    with raises(FingerprintMismatchError, "fps: 2.0 here"):
        require_comparable(Features(fps=2), Features(), whole)


def test_a_written_head_is_read_as_it_was(student_model: Model, tmp_path: Path) -> None:
    native.write(student_model, tmp_path / "again")
    found = load_model(tmp_path / "again")
    assert student_model.attention_transform is not None and found.attention_transform is not None
    for ours, theirs in zip(
        student_model.attention_transform, found.attention_transform, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    for name in ("comparator_padding", "windows", "head_dims", "features", "features_digest"):
        assert getattr(found, name) == getattr(student_model, name)
    assert (found.comparator_padding, found.windows) == ("zero", (28, 14, 6, 3))
    sizes = sum(path.stat().st_size for path in (tmp_path / "again").iterdir())
    assert sizes < 2 << 20


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"windows": [28, 14, 6]}, "windows are (28, 14, 6), expected one for each tap"),
        ({"windows": [28, 14, 6, "3"]}, "windows"),
        ({"windows": [28, 14, 6, 0]}, "windows is 0"),
        ({"windows": 3}, "windows is 3"),
        ({"head_dims": -1}, "head_dims is -1"),
        ({"head_dims": 3841}, "head_dims is 3841"),
        ({"head_dims": 256}, "attention vector is (512,), expected (256,)"),
        ({"head_dims": True}, "head_dims is True"),
        ({"features": "other"}, "'other', expected one of dns"),
        ({"features": ""}, "features do not say"),
        ({"extractor": True}, "whitening/mean"),
        ({"whitening_dims": 10**6}, "whitening_dims is 1000000"),
        ({"attention": False}, "no attention vector"),
        ({"binarization": True}, "binarization"),
        ({"comparator_padding": "mirror"}, "'mirror', expected one of edge, zero"),
    ],
)
def test_crafted_values_of_version_4(
    student_model: Model, tmp_path: Path, changes: dict[str, object], named: str
) -> None:
    native.write(student_model, tmp_path)
    edit(tmp_path, **changes)
    with raises(ModelError, tmp_path, named, remedy=""):
        load_model(tmp_path)


def test_values_of_version_4_are_unknown_to_version_3(student_model: Model, tmp_path: Path) -> None:
    native.write(student_model, tmp_path)
    path = tmp_path / "model.json"
    path.write_text(path.read_text().replace('"format_version": 4', '"format_version": 3'))
    with raises(ModelError, path, "unknown key", remedy=SEE):
        load_model(tmp_path)


def test_training_refuses_a_head_of_another_kind(student_model: Model, tmp_path: Path) -> None:
    with raises(ModelError, "dns_fg_att_student", remedy="train from a model such as visil"):
        train_model([], None, student_model, TrainConfig(), tmp_path)


def test_symmetric_and_selector(files: dict[str, Path], tmp_path: Path) -> None:
    made = convert_files([files["visil_symmetric"]], tmp_path / "symmetric", name="other name")
    assert isinstance(made, Model) and made.name == "other name"
    assert (made.similarity_function, made.comparator_padding) == ("symmetric_chamfer", "edge")
    selector = convert_files([files["dns_selector_cg-fg_att"]], tmp_path / "selector")
    assert isinstance(selector, Student)
    content = (tmp_path / "selector" / "model.json").read_text()
    (tmp_path / "selector" / "model.json").write_text(content.replace("cg-fg_att", "cg-fg_bin"))
    with raises(ModelError, tmp_path / "selector", "values_sha256", remedy="copy the model"):
        load_student(tmp_path / "selector")
    with raises(ModelError, tmp_path / "symmetric", "no student", remedy="dns_cg_student"):
        load_student(tmp_path / "symmetric")


def changed_state(case: str) -> dict[str, np.ndarray]:
    state = torch_release.fine("dns_att")
    if case == "missing":
        del state["attention.transform.bias"]
    elif case == "extra":
        state["visil_head.conv4.weight"] = np.ones(3, "f4")
    elif case == "shape":
        state["visil_head.conv2.weight"] = np.ones((64, 32, 5, 5), "f4")
    elif case == "batch norm":
        state["visil_head.conv1.0.weight"] = state.pop("visil_head.conv1.weight")
    elif case == "whole numbers":
        state["attention.transform.bias"] = np.ones(512, "i8")
    return state if case != "other" else {"embedding": np.ones((2, 2), "f4")}


@pytest.mark.parametrize(
    ("case", "named"),
    [
        ("missing", "attention.transform.bias is missing"),
        ("extra", "'visil_head.conv4.weight' is unknown"),
        ("shape", "visil_head.conv2.weight is (64, 32, 5, 5), expected (64, 32, 3, 3)"),
        ("batch norm", "of no model known here"),
        ("whole numbers", "attention.transform.bias"),
        ("other", "embedding"),
    ],
)
def test_other_arrays_are_named(tmp_path: Path, case: str, named: str) -> None:
    path = put(tmp_path / "head.pth", changed_state(case))
    with raises(ModelError, path, named, remedy=SEE):
        convert_files([path], tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_binarization_of_other_descriptors(tmp_path: Path) -> None:
    state = {**torch_release.comparator("visil_head", "x"), "binarization.W": np.ones((3, 8), "f4")}
    path = put(tmp_path / "head.pth", state)
    with raises(ModelError, path, "(3, 8)", "(512, 8)", remedy=SEE):
        convert_files([path], tmp_path / "model")
    path = put(tmp_path / "no_bits.pth", {**state, "binarization.W": np.ones((512, 0), "f4")})
    with raises(ModelError, path, "(512, 0)", remedy=SEE):
        convert_files([path], tmp_path / "model")


def small_pca(**changes: np.ndarray) -> dict[str, np.ndarray]:
    return {"mean": np.zeros(4, "f4"), "V": np.eye(4, dtype="f4"), "d": np.ones(4, "f4"), **changes}


def test_files_that_do_not_go_together(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, target = files["dns_fg_att_student"], tmp_path / "model"
    with raises(ModelError, files["visil_symmetric"], "second", remedy="give one head"):
        convert_files([head, files["visil_symmetric"]], target)
    pca = put(tmp_path / "pca.pth", small_pca())
    with raises(ModelError, pca, "expected (3840,)", remedy=SEE):
        convert_files([head, pca], target)
    monkeypatch.setattr(torch_weights, "CHANNELS", 4)
    with raises(ModelError, "pca.pth", "backbone and PCA", remedy="resnet50-0676ba61.pth"):
        convert_files([head, pca], target)
    with raises(ModelError, "pca.pth", "no head", remedy="visil.pth"):
        convert_files([pca], target)
    monkeypatch.undo()
    convert_files([head], target)
    with raises(ModelError, target, "holds a model already", remedy="choose an empty folder"):
        convert_files([head], target)
    with raises(ModelError, "dns_fg_att_student", "backbone", remedy="pca_resnet50_vcdb_1M.pth"):
        convert_files([files["visil_symmetric"], target], tmp_path / "new")
    itq = put(tmp_path / "itq.pth", {"proj": np.ones((512, 512), "f4")})
    with raises(ModelError, itq, remedy="leave it out"):
        convert_files([head, itq], tmp_path / "new")
    parts = torch_weights.read_parts([head])
    parts.backbone, parts.whitening = {"x": np.ones(1, "f4")}, Whitening.absent(3840)
    with raises(ModelError, "dns_fg_att_student.pth", remedy="give one of the two"):
        torch_weights.assembled(parts, load_model(target))


def test_the_pca_is_sorted_and_its_mean_may_have_two_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_weights, "CHANNELS", 3)
    d, v = np.array([2, 8, 4], "f4"), np.arange(9, dtype="f4").reshape(3, 3)
    found = torch_weights._whitening({"mean": np.ones((1, 3), "f4"), "d": d, "V": v})
    np.testing.assert_allclose(found.eigenvalues, [8, 4, 2])
    np.testing.assert_array_equal(found.eigenvectors, v[:, [1, 2, 0]])
    assert found.mean.shape == (3,)


def test_every_convolution_of_torchvision_has_its_batch_norm_folded_in() -> None:
    names = [torch_weights._their_names(c.layer) for c in resnet50_spec.convolutions()]
    state = torch_release.resnet50()
    assert {f"{conv}.weight" for conv, _ in names} == {
        name for name, array in state.items() if array.ndim == 4
    }
    assert len(names) == 53 and all(f"{norm}.running_mean" in state for _, norm in names)


def test_absent_whitenings_take_no_memory() -> None:
    absent = Whitening.absent(3840)
    assert absent.dims == 3840 and absent.eigenvectors.base is not None
    assert absent.eigenvectors.strides == (0, 0)


def test_the_command(files: dict[str, Path], tmp_path: Path) -> None:
    head, target = str(files["dns_fg_att_student"]), str(tmp_path / "model")
    done = CliRunner().invoke(main, ["convert-model", head])
    assert done.exit_code == 2
    assert_output(done.output, "--output")
    done = CliRunner().invoke(main, ["convert-model", head, "--output", target])
    assert done.exit_code == 0
    assert_output(done.output, "dns_fg_att_student", "head alone")
    assert_output(done.output, target, remedy="--model_dir")
    selector = str(files["dns_selector_cg-fg_att"])
    done = CliRunner().invoke(main, ["convert-model", selector, "-o", str(tmp_path / "s")])
    assert_output(done.output, tmp_path / "s", "selector")


def test_a_share_of_the_pairs_of_each_query_goes_to_the_fine_student() -> None:
    scores = np.array([[0.2, 0.9, 0.5, 0.5], [0.7, 0.1, 0.1, 0.8]])
    none, all_ = select_pairs(scores, 0.0), select_pairs(scores, 1.0)
    assert not none.any() and all_.all()
    half = select_pairs(scores, 0.5)
    np.testing.assert_array_equal(half, [[0, 1, 1, 0], [1, 0, 0, 1]])  # of equal ones the first
    assert select_pairs(scores, 0.74).sum() == 4  # rounded down, as DnS does
    assert select_pairs(np.zeros((1, 100)), 0.29).sum() == 29  # 0.29 * 100 is below 29 as a float
    coarse, fine = np.full((2, 4), 0.1), np.full((2, 4), -0.5)
    np.testing.assert_allclose(joined_scores(coarse, fine, half)[0], [0.1, 0.25, 0.25, 0.1])
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="share"):
            select_pairs(scores, share)
