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
from pipeline.nets.formats.description import SEAL
from pipeline.nets.formats.loader import load_model
from pipeline.nets.model.blank import Blank
from pipeline.nets.model.descriptors import View
from pipeline.nets.model.model import ModelWeights
from pipeline.nets.model.preprocessing import InputDescription
from pipeline.nets.model.whitening import Whitening

RNG = np.random.default_rng(0)
NAN = float("nan")


def f32(*shape: int) -> np.ndarray:
    return RNG.uniform(0.1, 1, shape).astype(np.float32)


def comparator() -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    shapes = [(3, 3, 1, 2), (3, 3, 2, 4), (3, 3, 4, 8), (1, 1, 8, 1)]
    return tuple((f32(*shape), f32(shape[-1])) for shape in shapes)


MODEL = ModelWeights(
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
FULL = replace(
    MODEL, attention=f32(5), comparator=comparator(), blank=BLANK, similarity_function="chamfer",
    soft=Whitening(f32(6), f32(6, 5), f32(5)), pixels=Whitening(f32(1024), f32(1024, 5), f32(5)),
    pixels_offset=-0.1, mirrored=True, hubs=f32(7, 5).astype(np.float16).astype(np.float32),
    views=(View("framed", 0.75, -0.03), View("zoomed", 0.5, hubness=1.0, parts=3)),
    skip=0.25, small=(2, 3), small_offsets=(0.0, 0.03), partial=(4, -0.05), features_digest="",
    insets=2,
)  # fmt: skip

ADAPTED = replace(
    FULL, attention=None,
    adaptation={k: Whitening(f32(5), f32(5, 5), f32(5)) for k in ("regions", "soft", "pixels")},
)  # fmt: skip


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    native.write(FULL, tmp_path)
    return tmp_path


def edit(directory: Path, **changes: Any) -> None:
    """Change keys of model.json, without a seal as earlier versions wrote it; None removes one."""
    path = directory / "model.json"
    values = json.loads(path.read_text()) | {"format_version": 1, SEAL: None} | changes
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))


def rewrite_arrays(directory: Path, drop: str) -> None:
    """weights.npz without some arrays, with the right digest in model.json."""
    path = directory / "weights.npz"
    with np.load(path) as file:
        kept = {name: file[name] for name in file.files if not name.startswith(drop)}
    np.savez(path, **kept)
    edit(directory, weights_sha256=hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.mark.parametrize("model", [MODEL, FULL, ADAPTED], ids=["plain", "with heads", "adapted"])
def test_round_trip(tmp_path: Path, model: ModelWeights) -> None:
    native.write(model, tmp_path)
    found = load_model(tmp_path)
    assert found.origin == "own format"
    for name in ("name", "backbone", "input", "taps", "grid", "similarity_function", "licence",
                 "provenance", "description", "features_digest", "skip", "small",
                 "small_offsets", "views", "views_digest", "partial", "layout",
                 "insets"):  # fmt: skip
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
    assert (found.hubs is None) == (model.hubs is None)
    assert model.hubs is None or np.array_equal(found.hubs, model.hubs)
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
    heads |= {"skip": 0.5, "partial": (4, 0.0)}
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
        digest(grid=2),
        digest(backbone="efficientnet_lite0"),
        digest(),
    ]
    assert len(set(others)) == len(others)


def test_digest_covers_soft_vector_and_pixels() -> None:
    assert FULL.pixels is not None and FULL.soft is not None
    mean = FULL.pixels.mean.copy()
    mean[7] += 1
    moved = replace(FULL.pixels, mean=mean)
    found = [
        replace(
            FULL, features_digest="", mirrored=False, views=(), small=(), small_offsets=(), **kw
        )
        for kw in (
            {},
            {"pixels": None},
            {"pixels": moved},
            {"soft": None},
            {"soft": None, "pixels": None},
        )
    ]
    assert len({weights.features_digest for weights in found}) == len(found)


def test_views_have_a_digest_of_their_own_so_that_databases_outlive_them() -> None:
    def digests(
        *views: View, small: tuple[int, ...] = (), mirrored: bool = False
    ) -> tuple[str, str]:
        changed = {"views": views, "small": small, "small_offsets": (), "mirrored": mirrored}
        found = replace(FULL, features_digest="", **changed)
        return found.features_digest, found.views_digest

    framed = View("framed", 0.5)
    others = [
        digests(),
        digests(framed),
        digests(View("framed", 0.6)),
        digests(View("zoomed", 0.5)),
        digests(View("zoomed", 0.5, parts=2)),
        digests(framed, small=(2,)),
        digests(small=(2,)),
        digests(mirrored=True),
    ]
    assert len({features for features, _ in others}) == 1
    assert len({views for _, views in others}) == len(others)
    assert digests()[1] == "", "stores without views are described as ever"
    assert digests(framed) == digests(View("framed", 0.5, offset=-0.1, hubness=1))


def test_hubs_are_cut_with_the_rest(tmp_path: Path) -> None:
    native.write(replace(FULL, attention=None, comparator=None, skip=0.0), tmp_path)
    found = load_model(tmp_path, dims=2).hubs
    assert found is not None and FULL.hubs is not None
    want = FULL.hubs[:, :2] / np.linalg.norm(FULL.hubs[:, :2], axis=1, keepdims=True)
    np.testing.assert_allclose(found, want, rtol=1e-5)


def test_hubness_needs_hubs() -> None:
    with pytest.raises(ValueError, match="no hubs to measure it by"):
        replace(FULL, hubs=None)
    with pytest.raises(ValueError, match=r"hubs are \(7, 4\), expected \[M, 5\]"):
        replace(FULL, hubs=f32(7, 4))


def test_dims_keep_the_digest_and_cut_the_whitening(tmp_path: Path) -> None:
    native.write(MODEL, tmp_path)
    found = load_model(tmp_path, dims=2)
    assert (found.dims, found.whitening.eigenvectors.shape) == (2, (6, 2))
    assert found.features_digest == MODEL.features_digest
    with pytest.raises(ModelError, match="dims 6 asked, it has 1 to 5"):
        load_model(tmp_path, dims=6)


def test_dims_with_attention(directory: Path) -> None:
    with pytest.raises(ModelError, match="learned for 5 values; leave dims out or give 5"):
        load_model(directory, dims=2)
    assert load_model(directory, dims=5).dims == 5


def test_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model directory; expected a published release"):
        load_model(tmp_path / "absent")
    with pytest.raises(ModelError, match=r"no model in it; expected .*pca\.npz.*model\.json"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": 1}, "unknown key 'colour'"),
        ({"grid": None}, "key 'grid' is missing"),
        ({"grid": "3"}, "grid is '3', expected int"),
        ({"grid": 0}, r"grid is 0, taps are .* expected 1 or more"),
        ({"taps": []}, "expected 1 or more"),
        ({"attention": 1}, "attention is 1, expected bool"),
        ({"format_version": 3}, "format_version is 3, this program reads 1 and 2"),
        ({"whitening_dims": 4}, r"whitening_dims is 4, weights\.npz holds 5"),
        ({"similarity_function": "cosine"}, "similarity_function is 'cosine'"),
        ({"similarity_function": "max_chamfer"}, "similarity_function is 'max_chamfer'"),
        ({"input": {"resize": 40}}, "InputDescription"),
        ({"blank": {"low": 0.6, "high": 0.2}}, r"blank low 0.6 and high 0.2"),
        ({"blank": {"low": 0.6}}, "high"),
        ({"calibration": {"pairs": 5}}, "similarity_function"),
        ({"calibration": [{"pairs": 5}]}, "similarity_function"),
        ({"calibration": 5}, "calibration is 5, expected dict or list"),
        ({"insets": 5}, "insets is 5, expected 0 to 4"),
        ({"insets": True}, "insets is True, expected int"),
        ({"skip": 1.0}, "skip is 1.0, expected 0 or more and less than 1"),
        ({"skip": "half"}, "skip is 'half', expected float"),
        ({"partial": {"regions": 10, "offset": 0.0}}, "partial asks for 10 regions"),
        ({"partial": {"regions": 4, "offset": 2}}, "expected -1 to 1"),
        ({"partial": {"regions": 4.5, "offset": 0}}, "regions is 4.5, expected int"),
        ({"partial": {"regions": 4}}, "offset"),
        ({"views": [{"kind": "framed", "amount": 1}]}, "framed view of 1.0, expected share of the"),
        ({"views": [{"kind": "framed", "amount": 0.5, "offset": -3}]}, "expected -1 to 1"),
        ({"views": [{"kind": "zoomed", "amount": 0.4}]}, "zoomed view of 0.4, expected .* 0.5 to"),
        ({"views": [{"kind": "turned", "amount": 181}]}, "turned view of 181.0, .* 180 at most"),
        ({"views": [{"kind": "outlined", "amount": 0}]}, "outlined view of 0.0, .* more than 0"),
        ({"views": [{"kind": "zoomed", "amount": 0.5, "parts": 0}]}, "parts is 0, expected int"),
        ({"views": [{"kind": "turned", "amount": 9, "hubness": 3}]}, "hubness 3.0, expected 0"),
        ({"views": [{"kind": "turned", "amount": 9, "offset": NAN}]}, "NaN is no finite number"),
        ({"partial": {"regions": 4, "offset": NAN}}, "NaN is no finite number"),
        ({"views": [{"kind": "turned", "amount": 5, "parts": 2}]}, "only zoomed ones have parts"),
        ({"views": [{"kind": "blurred", "amount": 5}]}, "kind 'blurred', expected one of framed"),
        ({"views": [{"kind": "turned"}]}, "amount"),
        ({"views": [{"kind": "turned", "amount": "far"}]}, "far"),
        ({"views": ["turned"]}, "views: 'turned', expected an object"),
        ({"pixels": {"mirrored": 1}}, "mirrored is 1, expected true or false"),
        ({"pixels": {"offset": NAN}}, "NaN is no finite number"),
        ({"pixels": {"colour": 1}}, "colour"),
        ({"input": {"resize": 40, "crop": 40, "method": "bicubic", "channels": "RGB",
                    "mean": [0, 0, 0], "scale": [1, 1, 1]}}, "a multiple of 32, not 40"),
        ({"adaptation": 1}, "adaptation is 1, expected bool"),
        ({"adaptation": True}, "adaptation is for models without attention"),
        ({"soft": False}, "views are compared with the soft vector"),
        ({"small_offsets": [0.1]}, r"small_offsets is \(0.1,\) for small \(2, 3\)"),
        ({"input": {"resize": 40, "crop": 32, "method": "bicubic", "channels": "YUV",
                    "mean": [0, 0, 0], "scale": [1, 1, 1]}}, "channels is 'YUV'"),
        ({"weights_sha256": "0" * 64}, r"weights\.npz: SHA-256 is .*copy both files again"),
    ],
)  # fmt: skip
def test_broken_description(directory: Path, changes: dict[str, Any], message: str) -> None:
    edit(directory, **changes)
    with pytest.raises(ModelError, match=message):
        load_model(directory)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff"])
def test_description_that_is_no_json_object(directory: Path, text: str) -> None:
    (directory / "model.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match=r"model\.json: (cannot be read|expected an object)"):
        load_model(directory)


def test_truncated_weights(directory: Path) -> None:
    path = directory / "weights.npz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match=rf"damaged, cut short \({path.stat().st_size} bytes\)"):
        load_model(directory)


def test_missing_weights(directory: Path) -> None:
    (directory / "weights.npz").unlink()
    with pytest.raises(ModelError, match=r"weights\.npz: cannot be read"):
        load_model(directory)


@pytest.mark.parametrize("name", ["attention", "blank", "comparator/3/", "whitening/mean"])
def test_missing_array(directory: Path, name: str) -> None:
    rewrite_arrays(directory, drop=name)
    with pytest.raises(ModelError, match=f"no array '{name}.*promises"):
        load_model(directory)


def test_pickled_weights_are_refused(directory: Path) -> None:
    path = directory / "weights.npz"
    np.savez(path, attention=np.array([{"not": "numbers"}], dtype=object))
    edit(directory, weights_sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(ModelError, match="not an npz file of numbers"):
        load_model(directory)


def test_comparator_that_is_no_chain() -> None:
    first, second, third, last = comparator()
    with pytest.raises(ValueError, match="three 3x3 and one 1x1 in a chain"):
        replace(MODEL, comparator=(first, third, second, last))
    with pytest.raises(ValueError, match="three 3x3 and one 1x1 in a chain"):
        replace(MODEL, comparator=(first, second, last))


def test_whitening_checks_itself() -> None:
    with pytest.raises(ValueError, match="do not belong together"):
        Whitening(f32(6), f32(5, 5), f32(5))
    with pytest.raises(ValueError, match="not positive"):
        Whitening(f32(6), f32(6, 5), np.zeros(5, np.float32))


def test_backbones_that_cannot_be_built() -> None:
    with pytest.raises(ModelError, match="backbone 'vgg' is unknown"):
        build(replace(MODEL, backbone="vgg"), "float32")
    with pytest.raises(ModelError, match="tiny: its arrays or taps do not fit the backbone"):
        build(MODEL, "float32")


def test_adaptation_has_to_fit_the_model(tmp_path: Path) -> None:
    native.write(ADAPTED, tmp_path)
    with pytest.raises(ModelError, match="its adaptation was learned for 5 values"):
        load_model(tmp_path, dims=2)
    with pytest.raises(ValueError, match="for models without attention"):
        replace(ADAPTED, attention=f32(5))
    pca = ADAPTED.whitening.first(5)
    with pytest.raises(
        ValueError, match=r"\['regions'\], expected \['pixels', 'regions', 'soft'\]"
    ):
        replace(ADAPTED, adaptation={"regions": pca})
    with pytest.raises(ValueError, match=r"adaptation of regions is \(6, 5\), expected \(5, 5\)"):
        replace(MODEL, adaptation={"regions": pca})
