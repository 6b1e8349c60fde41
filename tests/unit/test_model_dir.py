"""Our own model format, on a model of a few numbers; releases are in tests/golden."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import ModelError
from pipeline.nets.backbones.registry import build
from pipeline.nets.formats import native
from pipeline.nets.formats.description import SEAL, as_bytes
from pipeline.nets.formats.loader import load_model
from pipeline.nets.model.blank import Blank
from pipeline.nets.model.descriptors import (
    DescriptorGroup,
    DescriptorLayout,
    QueryAugmentation,
    SimilarityTerm,
    make_group,
    standard_layout,
)
from pipeline.nets.model.model import Model
from pipeline.nets.model.preprocessing import InputDescription
from pipeline.nets.model.whitening import Whitening
from tests.messages import raises

RNG = np.random.default_rng(0)
NAN = float("nan")


def f32(*shape: int) -> np.ndarray:
    return RNG.uniform(0.1, 1, shape).astype(np.float32)


def comparator() -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    shapes = [(3, 3, 1, 2), (3, 3, 2, 4), (3, 3, 4, 8), (1, 1, 8, 1)]
    return tuple((f32(*shape), f32(shape[-1])) for shape in shapes)


MODEL = Model(
    name="tiny",
    origin="made here",
    backbone="resnet50_v1",
    arrays={"conv1/kernel": f32(7, 7, 3, 4), "conv1/bias": f32(4)},
    input=InputDescription(40, 32, "bicubic", "RGB", (123.68, 116.78, 103.94), (1, 1, 0.5)),
    taps=("block1", "block2"),
    grid=3,
    whitening=Whitening(f32(6), f32(6, 5), f32(5)),
    licence="CC0-1.0",
    provenance="random numbers",
    description="for tests",
)
BLANK = Blank(np.eye(1, 5, dtype=np.float32), 0.2, 0.6)
AUGMENTATIONS = (
    (QueryAugmentation("pad_black", 0.75), -0.03, 0.0),
    (QueryAugmentation("crops", 0.5, parts=3), 0.0, 1.0),
)
LAYOUT = standard_layout(
    9, lowpass=True, thumbnail=True, thumbnail_offset=-0.1, flip=True, downscale=(2, 3),
    downscale_offsets=(0.0, 0.03), top_k=4, top_k_offset=-0.05, augmentations=AUGMENTATIONS,
)  # fmt: skip
FULL = replace(
    MODEL, attention=f32(5), comparator=comparator(), blank=BLANK, similarity_function="chamfer",
    lowpass=Whitening(f32(6), f32(6, 5), f32(5)),
    thumbnail=Whitening(f32(1024), f32(1024, 5), f32(5)), layout=LAYOUT,
    anchors=f32(7, 5).astype(np.float16).astype(np.float32),
    residual_weight=0.25, features_digest="", insets=2,
)  # fmt: skip
# The descriptors of FULL as format versions 1 and 2 describe them.
OLD = {
    "soft": True,
    "small": [2, 3],
    "small_offsets": [0.0, 0.03],
    "views": [
        {"kind": "framed", "amount": 0.75, "offset": -0.03, "hubness": 0.0, "parts": 1},
        {"kind": "zoomed", "amount": 0.5, "offset": 0.0, "hubness": 1.0, "parts": 3},
    ],
    "pixels": {"offset": -0.1, "mirrored": True},
    "partial": {"regions": 4, "offset": -0.05},
    "skip": 0.25,
}
# A descriptor that no earlier version had: the regions of the mirrored picture.
FLIPPED = DescriptorLayout(
    (*LAYOUT.groups, make_group("flip_regions", "regions", 9, QueryAugmentation("flip"))),
    (*LAYOUT.terms, SimilarityTerm("flip_regions", "regions", "mean", offset=-0.02)),
)

ADAPTED = replace(
    FULL, attention=None,
    adaptation={
        space: Whitening(f32(5), f32(5, 5), f32(5))
        for space in ("regions", "lowpass", "thumbnail")
    },
)  # fmt: skip


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    native.write(FULL, tmp_path)
    return tmp_path


def edit(directory: Path, **changes: Any) -> None:
    """Change keys of model.json and seal it again; None removes a key."""
    path = directory / "model.json"
    values = json.loads(path.read_text()) | changes
    path.write_bytes(as_bytes({k: v for k, v in values.items() if v is not None}))


def edit_old(directory: Path, **changes: Any) -> None:
    """The same for the description that earlier versions wrote, without a seal."""
    path = directory / "model.json"
    values = json.loads(path.read_text())
    if "descriptors" in values:
        for key in ("descriptors", "similarity_terms", "residual_weight"):
            values.pop(key, None)
        values |= OLD
    values |= {"format_version": 1, SEAL: None} | changes
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))


def rewrite_arrays(directory: Path, drop: str) -> None:
    """weights.npz without some arrays, with the right digest in model.json."""
    path = directory / "weights.npz"
    with np.load(path) as file:
        kept = {name: file[name] for name in file.files if not name.startswith(drop)}
    np.savez(path, **kept)
    edit(directory, weights_sha256=hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.mark.parametrize(
    "model",
    [MODEL, FULL, ADAPTED, replace(FULL, layout=FLIPPED)],
    ids=["plain", "with heads", "adapted", "another descriptor"],
)
def test_round_trip(tmp_path: Path, model: Model) -> None:
    native.write(model, tmp_path)
    found = load_model(tmp_path)
    assert found.origin == "own format"
    for name in ("name", "backbone", "input", "taps", "grid", "similarity_function", "licence",
                 "provenance", "description", "features_digest", "residual_weight",
                 "views_digest", "layout", "insets"):  # fmt: skip
        assert getattr(found, name) == getattr(model, name), name
    assert found.arrays.keys() == model.arrays.keys()
    assert all(np.array_equal(found.arrays[k], v) for k, v in model.arrays.items())
    assert np.array_equal(found.whitening.eigenvectors, model.whitening.eigenvectors)
    assert (found.attention is None) == (model.attention is None)
    assert (found.comparator is None) == (model.comparator is None)
    assert (found.blank is None) == (model.blank is None)
    if model.blank and found.blank:
        assert np.array_equal(found.blank.directions, model.blank.directions)
        assert (found.blank.low, found.blank.high) == (model.blank.low, model.blank.high)
    assert (found.adaptation or {}).keys() == (model.adaptation or {}).keys()
    for kind, pca in (model.adaptation or {}).items():
        for name, array in vars(pca).items():
            assert np.array_equal(getattr(found.adaptation[kind], name), array)  # type: ignore[index]
    assert (found.anchors is None) == (model.anchors is None)
    assert model.anchors is None or np.array_equal(found.anchors, model.anchors)
    if model.comparator and found.comparator:
        for (a, b), (c, d) in zip(found.comparator, model.comparator, strict=True):
            assert np.array_equal(a, c) and np.array_equal(b, d)


def test_same_model_same_bytes(tmp_path: Path) -> None:
    native.write(FULL, tmp_path / "a")
    native.write(FULL, tmp_path / "b")
    for name in ("model.json", "weights.npz"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_half_size_weights_are_used_as_float32(tmp_path: Path) -> None:
    native.write(MODEL, tmp_path, backbone_dtype="float16")
    kernel = load_model(tmp_path).arrays["conv1/kernel"]
    assert kernel.dtype == np.float32
    assert np.array_equal(kernel, MODEL.arrays["conv1/kernel"].astype(np.float16))


def test_digest_covers_what_changes_features_and_nothing_else() -> None:
    def digest(**changes: Any) -> str:
        return replace(MODEL, **changes, features_digest="").features_digest

    heads = {"attention": FULL.attention, "comparator": FULL.comparator, "blank": BLANK}
    heads |= {"residual_weight": 0.5, "layout": standard_layout(9, top_k=4)}
    adapted = {"adaptation": {"regions": ADAPTED.adaptation["regions"]}}  # type: ignore[index]
    assert digest() == digest(**heads) == digest(name="other", origin="elsewhere")
    assert digest() == digest(**adapted)
    bias = MODEL.arrays["conv1/bias"].copy()
    bias[0] = np.nextafter(bias[0], np.float32(2))
    others = [
        digest(arrays={**MODEL.arrays, "conv1/bias": bias}),
        digest(arrays={"a": MODEL.arrays["conv1/kernel"], "conv1/bias": bias}),
        digest(whitening=MODEL.whitening.first(4)),
        digest(input=replace(MODEL.input, crop=31)),
        digest(taps=("block2", "block1")),
        digest(grid=2, layout=standard_layout(4)),
        digest(backbone="efficientnet_lite0"),
        digest(),
    ]
    assert len(set(others)) == len(others)


def test_digest_covers_global_descriptors() -> None:
    assert FULL.thumbnail is not None and FULL.lowpass is not None
    mean = FULL.thumbnail.mean.copy()
    mean[7] += 1
    moved = replace(FULL.thumbnail, mean=mean)
    found = []
    for lowpass in (FULL.lowpass, None):
        for thumbnail in (FULL.thumbnail, moved, None):
            layout = standard_layout(
                9, lowpass=lowpass is not None, thumbnail=thumbnail is not None
            )
            given = {"lowpass": lowpass, "thumbnail": thumbnail, "layout": layout}
            found.append(replace(FULL, features_digest="", anchors=None, **given))
    assert len({model.features_digest for model in found}) == len(found)


def test_query_descriptors_have_a_digest_of_their_own_so_that_databases_outlive_them() -> None:
    def digests(*augmentations: Any, **changes: Any) -> tuple[str, str]:
        augmented = [(QueryAugmentation(*a[:2], **a[2]), *a[3:]) for a in augmentations]
        layout = standard_layout(
            9, lowpass=True, thumbnail=True, augmentations=augmented, **changes
        )
        found = replace(FULL, features_digest="", layout=layout)
        return found.features_digest, found.views_digest

    padded = ("pad_black", 0.5, {}, 0.0, 0.0)
    others = [
        digests(),
        digests(padded),
        digests(("pad_black", 0.6, {}, 0.0, 0.0)),
        digests(("crops", 0.5, {}, 0.0, 0.0)),
        digests(("crops", 0.5, {"parts": 2}, 0.0, 0.0)),
        digests(padded, downscale=(2,)),
        digests(downscale=(2,)),
        digests(flip=True),
    ]
    assert len({features for features, _ in others}) == 1
    assert len({views for _, views in others}) == len(others)
    assert digests()[1] == "", "stores without query descriptors are described as ever"
    assert digests(padded) == digests(("pad_black", 0.5, {}, -0.1, 1.0))
    assert replace(FULL, layout=FLIPPED).views_digest != FULL.views_digest
    assert replace(FULL, layout=FLIPPED, features_digest="").features_digest == FULL.features_digest


def test_the_digests_are_those_of_format_version_1() -> None:
    """Stores name their model by these: they are written down, not computed again."""
    zeros = {k: np.zeros_like(v) for k, v in MODEL.arrays.items()}
    pca = Whitening(np.zeros(6, "f4"), np.eye(6, 5, dtype="f4"), np.ones(5, "f4"))
    squares = Whitening(np.zeros(1024, "f4"), np.eye(1024, 5, dtype="f4"), np.ones(5, "f4"))
    model = replace(
        FULL, arrays=zeros, whitening=pca, lowpass=pca, thumbnail=squares, features_digest=""
    )
    assert model.features_digest == (
        "618d802117276f287592e151392a3e1b5b09d0de3278efde22c2994ffdea2d93"
    )
    assert model.views_digest == (
        "4d6b4a52568d62f9bad8c0a157656d5721e3a8cb02c47a67795d1863b3092ebd"
    )


def test_anchors_are_cut_with_the_rest(tmp_path: Path) -> None:
    native.write(replace(FULL, attention=None, comparator=None, residual_weight=0.0), tmp_path)
    found = load_model(tmp_path, dims=2).anchors
    assert found is not None and FULL.anchors is not None
    want = FULL.anchors[:, :2] / np.linalg.norm(FULL.anchors[:, :2], axis=1, keepdims=True)
    np.testing.assert_allclose(found, want, rtol=1e-5)


def test_csls_needs_anchors() -> None:
    with raises(ValueError, "similarity term", "csls", "no anchors"):
        replace(FULL, anchors=None)
    with raises(ValueError, "anchors", "(7, 4)", "[M, 5]"):
        replace(FULL, anchors=f32(7, 4))


@pytest.mark.parametrize("version", [1, 2])
def test_models_of_earlier_versions_are_the_same_model(directory: Path, version: int) -> None:
    edit_old(directory, format_version=version)
    path = directory / "model.json"
    if version == 2:
        values = json.loads(path.read_text())
        texts = ("licence", "origin", "description")
        counted = {k: v for k, v in values.items() if k not in texts}
        text = json.dumps(counted, sort_keys=True, separators=(",", ":"))
        path.write_text(json.dumps(values | {SEAL: hashlib.sha256(text.encode()).hexdigest()}))
    found = load_model(directory)
    assert (found.layout, found.residual_weight) == (FULL.layout, FULL.residual_weight)
    assert found.features_digest == FULL.features_digest
    native.seal(directory)
    assert json.loads(path.read_text())["format_version"] == 3
    assert load_model(directory).layout == FULL.layout


def test_a_description_has_the_words_of_its_own_version(directory: Path) -> None:
    edit_old(directory, residual_weight=0.25)
    with raises(ModelError, directory / "model.json", "'residual_weight'", remedy="docs/MODELS.md"):
        load_model(directory)
    native.write(FULL, directory)
    edit(directory, skip=0.25)
    with raises(ModelError, directory / "model.json", "'skip'", remedy="docs/MODELS.md"):
        load_model(directory)


REGIONS = {"name": "regions", "network": "regions"}
MEAN = {"query": "regions", "reference": "regions", "reduce": "mean"}


@pytest.mark.parametrize(
    ("descriptors", "terms", "named"),
    [
        ([], [MEAN], ("first descriptor", "network 'regions'")),
        ([REGIONS], [], ("similarity term", "both sides")),
        ([REGIONS], [5], ("similarity_terms: 5", "object")),
        (["regions"], [MEAN], ("descriptors: 'regions'", "object")),
        ([REGIONS | {"network": "sound"}], [MEAN], ("network is 'sound'", "regions, lowpass")),
        ([REGIONS | {"colour": 1}], [MEAN], ("descriptors:", "key 'colour'")),
        ([{"name": "regions"}], [MEAN], ("descriptors:", "key 'network'", "missing")),
        ([REGIONS | {"amount": 2}], [MEAN], ("'amount': 2", "augmentation")),
        ([REGIONS | {"name": ""}], [MEAN], ("name", "1 to 80")),
        ([REGIONS, REGIONS], [MEAN], ("descriptor 'regions'", "twice")),
        ([REGIONS, REGIONS | {"name": "b"}], [MEAN], ("database", "each network")),
        ([REGIONS], [MEAN, MEAN], ("similarity term", "'mean'", "twice")),
        ([REGIONS], [MEAN | {"query": "x"}], ("similarity term", "no descriptor 'x'")),
        ([REGIONS], [MEAN | {"reduce": "median"}], ("reduce is 'median'", "mean, top_k, max")),
        ([REGIONS], [MEAN | {"top_k": 3}], ("top_k is 3", "reduce 'mean'")),
        ([REGIONS], [MEAN | {"reduce": "top_k", "top_k": 10}], ("top_k is 10", "of 9")),
        ([REGIONS], [MEAN | {"offset": 2}], ("offset is 2.0", "-1 to 1")),
        ([REGIONS], [MEAN | {"csls": 1.0}], ("csls", "reduce 'max'")),
        ([REGIONS], [MEAN | {"reduce": "max", "csls": 1.0}], ("csls", "lowpass")),
        ([REGIONS], [MEAN | {"weight": 1}], ("similarity_terms", "key 'weight'")),
        ([REGIONS, {"name": "lowpass", "network": "lowpass"}],
         [MEAN | {"query": "lowpass"}], ("network lowpass", "compared with regions")),
        ([REGIONS, REGIONS | {"name": "flip", "augmentation": "flip"}],
         [MEAN | {"query": "flip"}], ("similarity term", "both sides")),
        ([REGIONS, REGIONS | {"name": "flip", "augmentation": "flip"}],
         [MEAN | {"reference": "flip"}], ("database", "no descriptor flip")),
        ([REGIONS, {"name": "c", "network": "regions", "augmentation": "crops", "amount": 0.5}],
         [MEAN], ("descriptor c", "regions", "lowpass")),
        ([REGIONS, {"name": "b", "network": "thumbnail", "augmentation": "flip"}], [MEAN],
         ("descriptor b", "database", "network thumbnail")),
        ([{"name": "b", "network": "lowpass", "augmentation": "flip"}, REGIONS], [MEAN],
         ("first descriptor", "network 'regions'")),
        ([REGIONS, {"name": "b", "network": "regions", "augmentation": "downscale", "amount": 33}],
         [MEAN], ("downscale", "amount is 33", "32")),
    ],
)  # fmt: skip
def test_broken_descriptors(
    directory: Path, descriptors: list[Any], terms: list[Any], named: tuple[str, ...]
) -> None:
    native.write(MODEL, directory)
    edit(directory, descriptors=descriptors, similarity_terms=terms)
    with raises(ModelError, directory / "model.json", *named, remedy="docs/MODELS.md"):
        load_model(directory)


def test_descriptors_of_queries_come_last() -> None:
    flip = DescriptorGroup("flip", "regions", 9, QueryAugmentation("flip"))
    lowpass = make_group("lowpass", "lowpass", 9)
    with raises(ValueError, "descriptors", "augmentation", remedy="come last"):
        DescriptorLayout((LAYOUT.groups[0], flip, lowpass), LAYOUT.terms[:1])


def test_dims_keep_the_digest_and_cut_the_whitening(tmp_path: Path) -> None:
    native.write(MODEL, tmp_path)
    found = load_model(tmp_path, dims=2)
    assert (found.dims, found.whitening.eigenvectors.shape) == (2, (6, 2))
    assert found.features_digest == MODEL.features_digest
    with raises(ModelError, "tiny", "dims 6", remedy="1 to 5"):
        load_model(tmp_path, dims=6)


def test_dims_with_attention(directory: Path) -> None:
    with raises(ModelError, "tiny", "dims 2", "attention", remedy="leave dims out or give 5"):
        load_model(directory, dims=2)
    assert load_model(directory, dims=5).dims == 5


def test_no_model(tmp_path: Path) -> None:
    formats = "model.ckpt.index", "pca.npz", "model.json", "weights.npz"
    with raises(ModelError, tmp_path / "absent", "no such", *formats, remedy="expected"):
        load_model(tmp_path / "absent")
    with raises(ModelError, f"{tmp_path}:", "no model", *formats, remedy="expected"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"colour": 1}, ["key 'colour'"]),
        ({"grid": None}, ["key 'grid'", "missing"]),
        ({"grid": 0}, ["grid is 0", "1 to 32"]),
        ({"taps": []}, ["taps are ()", "1 or more"]),
        ({"similarity_function": "cosine"}, ["similarity_function is 'cosine'", "chamfer"]),
        ({"similarity_function": "max_chamfer"}, ["similarity_function is 'max_chamfer'"]),
        ({"input": {"resize": 40}}, ["input", "'crop'"]),
        ({"blank": {"low": 0.6, "high": 0.2}}, ["blank", "low 0.6", "high 0.2", "low < high"]),
        ({"blank": {"low": 0.6}}, ["blank", "'high'"]),
        ({"calibration": {"pairs": 5}}, ["calibration", "'similarity_function'"]),
        ({"calibration": [{"pairs": 5}]}, ["calibration", "'similarity_function'"]),
        ({"insets": 5}, ["insets is 5", "0 to 4"]),
        ({"skip": 1.0}, ["residual_weight is 1.0", "less than 1"]),
        ({"partial": {"regions": 10, "offset": 0.0}}, ["top_k is 10", "of 9"]),
        ({"partial": {"regions": 4, "offset": 2}}, ["offset is 2.0", "-1 to 1"]),
        ({"partial": {"regions": 4.5, "offset": 0}}, ["partial", "regions is 4.5", "whole number"]),
        ({"partial": {"regions": 4}}, ["partial", "offset"]),
        ({"views": [{"kind": "framed", "amount": 1}]}, ["amount is 1.0", "between 0 and 1"]),
        ({"views": [{"kind": "framed", "amount": 0.5, "offset": -3}]},
         ["offset is -3.0", "-1 to 1"]),
        ({"views": [{"kind": "zoomed", "amount": 0.4}]}, ["amount is 0.4", "0.5 to less than 1"]),
        ({"views": [{"kind": "turned", "amount": 181}]}, ["rotate", "amount is 181.0", "180"]),
        ({"views": [{"kind": "outlined", "amount": 0}]}, ["edges", "amount is 0.0", "more than 0"]),
        ({"views": [{"kind": "zoomed", "amount": 0.5, "parts": 0}]}, ["parts is 0", "whole"]),
        ({"views": [{"kind": "turned", "amount": 9, "hubness": 3}]}, ["csls is 3.0", "0 to 2"]),
        ({"views": [{"kind": "turned", "amount": 5, "parts": 2}]}, ["rotate", "parts is 2"]),
        ({"views": [{"kind": "blurred", "amount": 5}]}, ["views", "kind is 'blurred'", "framed"]),
        ({"views": [{"kind": "turned"}]}, ["views", "key 'amount'"]),
        ({"views": [{"kind": "turned", "amount": "far"}]}, ["amount is 'far'", "number"]),
        ({"views": ["turned"]}, ["views: 'turned'", "object"]),
        ({"pixels": {"mirrored": 1}}, ["pixels", "mirrored is 1", "true or false"]),
        ({"pixels": {"colour": 1}}, ["pixels", "key 'colour'"]),
        ({"input": {"resize": 40, "crop": 40, "method": "bicubic", "channels": "RGB",
                    "mean": [0, 0, 0], "scale": [1, 1, 1]}}, ["multiple of 32", "not 40"]),
        ({"adaptation": True}, ["adaptation", "without attention"]),
        ({"soft": False}, ["views", "soft is not true"]),
        ({"small_offsets": [0.1]}, ["small_offsets is [0.1]", "small [2, 3]"]),
        ({"input": {"resize": 40, "crop": 32, "method": "bicubic", "channels": "YUV",
                    "mean": [0, 0, 0], "scale": [1, 1, 1]}}, ["channels is 'YUV'", "'RGB'"]),
    ],
)  # fmt: skip
def test_broken_description(directory: Path, changes: dict[str, Any], named: list[str]) -> None:
    edit_old(directory, **changes)
    with raises(ModelError, directory / "model.json", *named, remedy="docs/MODELS.md"):
        load_model(directory)


@pytest.mark.parametrize(
    ("changes", "named", "remedy"),
    [
        ({"grid": "3"}, ["grid is '3'"], "expected a whole number"),
        ({"attention": 1}, ["attention is 1"], "expected true or false"),
        ({"adaptation": 1}, ["adaptation is 1"], "expected true or false"),
        ({"insets": True}, ["insets is True"], "expected a whole number"),
        ({"skip": "half"}, ["skip is 'half'"], "expected a number with"),
        (
            {"calibration": 5},
            ["calibration is 5"],
            "expected an object",
        ),
        ({"format_version": 5}, ["format_version is 5", "1 to 4"], "use a release"),
        ({"whitening_dims": 4}, ["whitening_dims is 4", "weights.npz holds 5"], "correct the"),
        ({"views": [{"kind": "turned", "amount": 9, "offset": NAN}]}, ["NaN"], "copy the model"),
        ({"partial": {"regions": 4, "offset": NAN}}, ["NaN"], "copy the model"),
        ({"pixels": {"offset": NAN}}, ["NaN"], "copy the model"),
    ],
)
def test_description_of_another_type_or_model(
    directory: Path, changes: dict[str, Any], named: list[str], remedy: str
) -> None:
    edit_old(directory, **changes)
    with raises(ModelError, directory / "model.json", *named, remedy=remedy):
        load_model(directory)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"blank": {"low": 0.1}}, ["blank", "'high'", "missing"]),
        ({"blank": {"low": 0.1, "high": 0.2, "mid": 0.15}}, ["blank", "'mid'", "low, high"]),
        ({"input": {}}, ["input", "'resize'", "missing"]),
        ({"calibration": [{"dims": 5}]}, ["calibration", "missing"]),
    ],
)
def test_keys_inside_of_a_value_are_named(
    directory: Path, change: dict[str, Any], named: list[str]
) -> None:
    edit_old(directory, **change)
    with raises(ModelError, directory / "model.json", *named, remedy="docs/MODELS.md") as caught:
        load_model(directory)
    assert "__init__" not in str(caught.value)


def test_weights_of_another_model(directory: Path) -> None:
    edit_old(directory, weights_sha256="0" * 64)
    named = directory / "weights.npz", "SHA-256", "model.json", "0" * 64
    with raises(ModelError, *named, remedy="copy both files again"):
        load_model(directory)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("", "copy the model"),
        ("{", "copy the model"),
        ("[1]", "docs/MODELS.md"),
        ("\xff", "copy the model"),
    ],
)
def test_description_that_is_no_json_object(directory: Path, text: str, remedy: str) -> None:
    (directory / "model.json").write_bytes(text.encode("latin-1"))
    with raises(ModelError, directory / "model.json", remedy=remedy):
        load_model(directory)


def test_truncated_weights(directory: Path) -> None:
    path = directory / "weights.npz"
    path.write_bytes(path.read_bytes()[:-100])
    named = path, "damaged", f"{path.stat().st_size} bytes"
    with raises(ModelError, *named, remedy="copy both files again"):
        load_model(directory)


def test_missing_weights(directory: Path) -> None:
    (directory / "weights.npz").unlink()
    with raises(ModelError, directory / "weights.npz", "No such file", remedy="copy the model"):
        load_model(directory)


@pytest.mark.parametrize("name", ["attention", "blank", "comparator/3/", "whitening/mean"])
def test_missing_array(directory: Path, name: str) -> None:
    rewrite_arrays(directory, drop=name)
    named = directory / "weights.npz", f"no array '{name}", "model.json"
    with raises(ModelError, *named, remedy="copy both files again"):
        load_model(directory)


def test_pickled_weights_are_refused(directory: Path) -> None:
    path = directory / "weights.npz"
    np.savez(path, attention=np.array([{"not": "numbers"}], dtype=object))
    edit(directory, weights_sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with raises(ModelError, path, "attention.npy", "object", remedy="copy the model"):
        load_model(directory)


def test_comparator_that_is_no_chain() -> None:
    first, second, third, last = comparator()
    with raises(ValueError, "comparator", "three 3x3 and one 1x1"):
        replace(MODEL, comparator=(first, third, second, last))
    with raises(ValueError, "comparator", "three 3x3 and one 1x1"):
        replace(MODEL, comparator=(first, second, last))


def test_whitening_checks_itself() -> None:
    with raises(ValueError, "mean (6,)", "eigenvectors (5, 5)", "[D, n]"):
        Whitening(f32(6), f32(5, 5), f32(5))
    with raises(ValueError, "eigenvalue", "positive"):
        Whitening(f32(6), f32(6, 5), np.zeros(5, np.float32))


def test_backbones_that_cannot_be_built() -> None:
    with raises(ModelError, "tiny", "backbone 'vgg'", remedy="'resnet50_v1'"):
        build(replace(MODEL, backbone="vgg"), "float32")
    with raises(ModelError, "tiny", "resnet50_v1", "arrays or taps", remedy="copy the model"):
        build(MODEL, "float32")


def test_adaptation_has_to_fit_the_model(tmp_path: Path) -> None:
    native.write(ADAPTED, tmp_path)
    with raises(ModelError, "tiny", "dims 2", "adaptation", remedy="leave dims out or give 5"):
        load_model(tmp_path, dims=2)
    with raises(ValueError, "adaptation", "without attention"):
        replace(ADAPTED, attention=f32(5))
    pca = ADAPTED.whitening.first(5)
    with raises(ValueError, "adaptation", "['regions']", "['lowpass', 'regions', 'thumbnail']"):
        replace(ADAPTED, adaptation={"regions": pca})
    with raises(ValueError, "adaptation of regions", "(6, 5)", "(5, 5)"):
        replace(MODEL, adaptation={"regions": pca})
