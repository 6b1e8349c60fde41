"""`ViSiL` and `FeatureNet` on a random ResNet-50 of small pictures, without heads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import ViSiL
from pipeline.config import SIMILARITY_FUNCTIONS
from pipeline.errors import InputError, ModelError
from pipeline.image.resize import resize_crop
from pipeline.nets.backbones import resnet50_spec
from pipeline.nets.backend import COMPILES_BY_SHAPE
from pipeline.nets.extractor.feature_net import FeatureNet
from pipeline.nets.formats import native
from pipeline.nets.formats.description import as_bytes
from pipeline.nets.formats.loader import load_model
from pipeline.nets.layers.whitening import l2_normalize
from pipeline.nets.model.blank import Blank
from pipeline.nets.model.descriptors import (
    DescriptorLayout,
    QueryAugmentation,
    SimilarityTerm,
    make_group,
    standard_layout,
)
from pipeline.nets.model.model import Model
from pipeline.nets.model.preprocessing import InputDescription
from pipeline.nets.model.whitening import Whitening
from pipeline.nets.similarity.pair_scorer import PairScorer
from pipeline.nets.visil import Limits
from pipeline.records import FeatureSpec, Preprocess
from tests import reference
from tests.features import comparator_layers, region_vectors
from tests.messages import raises

pytestmark = pytest.mark.slow  # networks are built and run

SIZES = Preprocess(72, 64)


def random_array(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    values = rng.standard_normal(shape, np.float32)
    return values * 0.1 if len(shape) == 1 else values / np.sqrt(np.prod(shape[:-1]))


@pytest.fixture(scope="module")
def weights() -> Model:
    rng = np.random.default_rng(0)
    shapes = resnet50_spec.array_shapes()
    channels = 256 + 512
    rotation = np.linalg.qr(rng.standard_normal((channels, 32)))[0].astype(np.float32)
    return Model(
        name="random",
        origin="test",
        backbone="resnet50_v1",
        arrays={name: random_array(rng, shape) for name, shape in shapes.items()},
        input=InputDescription(72, 64, "bicubic", "RGB", (120, 120, 120), (0.02, 0.02, 0.02)),
        taps=("block1", "block2"),
        grid=3,
        whitening=Whitening(
            np.full(channels, 0.02, np.float32), rotation, np.linspace(2, 1, 32, dtype=np.float32)
        ),
    )


@pytest.fixture(scope="module")
def model_dir(weights: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("random_model")
    native.write(weights, directory)
    return directory


@pytest.fixture(scope="module")
def network(model_dir: Path) -> ViSiL:
    return ViSiL(model_dir)


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (37, 80, 100, 3), np.uint8)


@pytest.fixture(scope="module")
def features(network: ViSiL, frames: np.ndarray) -> np.ndarray:
    return network.extract_features(frames)


def test_features_are_those_of_the_network_on_resized_frames(
    weights: Model, frames: np.ndarray, features: np.ndarray
) -> None:
    """37 frames in batches of 32 and of 5: where a frame lies in a batch changes nothing."""
    cropped = np.stack([resize_crop(frame, SIZES) for frame in frames])
    direct = FeatureNet(weights, batch_size=5)(cropped)
    assert features.shape == (37, 9, 32) and features.dtype == np.float32
    assert np.abs(features - direct).max() < 1e-5
    assert np.allclose(np.linalg.norm(features, axis=-1), 1, atol=1e-5)
    assert np.abs(features[0] - features[1]).max() > 0.01


def test_lists_of_frames(network: ViSiL, frames: np.ndarray, features: np.ndarray) -> None:
    assert np.allclose(network.extract_features(list(frames[:4])), features[:4], atol=1e-5)


def test_short_videos_are_doubled(network: ViSiL, frames: np.ndarray, features: np.ndarray) -> None:
    found = network.extract_features(frames[:3])
    assert np.allclose(found, features[[0, 1, 2, 0, 1, 2]], atol=1e-5)
    matrix = network.calculate_f2f_matrix(features[:3], features[:5])
    assert np.allclose(matrix, network.calculate_f2f_matrix(found, features[:5]), atol=1e-5)


def test_dims(model_dir: Path, frames: np.ndarray, features: np.ndarray) -> None:
    few = ViSiL(model_dir, dims=8).extract_features(frames[:4])
    assert np.allclose(few, np.asarray(l2_normalize(features[:4, :, :8])), atol=1e-4)


def test_channel_order(weights: Model, frames: np.ndarray, features: np.ndarray) -> None:
    swapped = replace(weights, input=replace(weights.input, channels="BGR"))
    cropped = np.stack([resize_crop(frame, SIZES) for frame in frames[:4]])
    found = FeatureNet(swapped, batch_size=4)(cropped[..., ::-1])
    assert np.allclose(found, features[:4], atol=1e-5)


def test_without_comparator_the_matrix_is_the_output(network: ViSiL, features: np.ndarray) -> None:
    query, target = features[:6], features[2:20]
    f2f = network.calculate_f2f_matrix(query, target)
    assert f2f.shape == (6, 18)
    assert np.array_equal(network.calculate_visil_output(query, target), f2f)
    assert np.allclose(f2f[np.arange(2, 6), np.arange(4)], 1, atol=1e-5)  # the same frames


def test_similarity_asks_whether_the_target_covers_the_query(
    model_dir: Path, network: ViSiL, features: np.ndarray
) -> None:
    part, whole = features[4:9], features
    assert network.calculate_video_similarity(part, whole) == pytest.approx(1, abs=1e-5)
    assert network.calculate_video_similarity(whole, part) < 0.99
    both = ViSiL(model_dir, similarity_function="symmetric_chamfer")
    there = both.calculate_video_similarity(part, whole)
    assert there == pytest.approx(both.calculate_video_similarity(whole, part), abs=1e-6)
    assert there < 0.99
    assert isinstance(there, float)
    larger = ViSiL(model_dir, similarity_function="max_chamfer")
    for pair in ((part, whole), (whole, part)):
        assert larger.calculate_video_similarity(*pair) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("function", SIMILARITY_FUNCTIONS)
def test_strips_of_long_videos_with_blank_frames(model_dir: Path, function: str) -> None:
    """More rows than the comparator takes at once; weights are cut as rows are."""
    video, other = (region_vectors(n, [8, n], 32) for n in (283, 70))
    for side in (video, other):
        side[..., :2] *= np.random.default_rng(8).choice([1, 5, 50], size=(len(side), 1, 1))
        side /= np.linalg.norm(side, axis=2, keepdims=True)
    network = ViSiL(model_dir, similarity_function=function)
    blank = Blank(np.eye(2, 32, dtype=np.float32), 0.2, 0.7)
    network.model = replace(
        network.model, comparator=comparator_layers(9), residual_weight=0.5, blank=blank
    )
    symmetric = function == "symmetric_chamfer"
    want = reference.similarity(video, other, comparator_layers(9), function, blank, None, 0.5)
    assert network.calculate_video_similarity(video, other) == pytest.approx(want, abs=1e-5)
    matrix = network.calculate_f2f_matrix(video, other)
    weights = [reference.frame_weights(reference.content(v, blank)) for v in (video, other)]
    rows = reference.comparator(matrix, comparator_layers(9), 0.5, symmetric, *weights)
    output = network.calculate_visil_output(video, other)
    assert output.shape == (70, 17)
    np.testing.assert_allclose(output, rows, atol=1e-5)
    plain = reference.comparator(matrix, comparator_layers(9), 0.5, symmetric)
    assert np.abs(rows - plain).max() > 0.01


def test_spec(weights: Model) -> None:
    net = FeatureNet(weights.with_dims(8), precision="float32", batch_size=4)
    assert net.spec(2.0, "timestamps/1") == FeatureSpec(
        "random", weights.features_digest, 9, 8, 2.0, 72, 64, "bicubic", "timestamps/1"
    )
    assert net.preprocess == SIZES


def test_whitening_of_other_taps(weights: Model) -> None:
    named = weights.name, "('block1',)", "256 values", "768"
    with raises(ModelError, *named, remedy="do not belong together"):
        FeatureNet(replace(weights, taps=("block1",)))


def test_maps_smaller_than_the_grid(weights: Model) -> None:
    with raises(ModelError, weights.name, "4 wide", "grid of 5", remedy="correct grid, taps"):
        FeatureNet(replace(weights, grid=5, layout=standard_layout(25)))


def test_unknown_tap(weights: Model) -> None:
    with raises(ModelError, weights.name, "resnet50_v1", "'block9'", remedy="copy the model"):
        FeatureNet(replace(weights, taps=("block9",)))


@pytest.mark.parametrize(
    ("frames", "remedy"),
    [
        (np.zeros((0, 80, 80, 3), np.uint8), "no frames given"),
        (np.zeros((2, 80, 80, 3), np.float32), "expected uint8 [H, W, 3]"),
        (np.zeros((2, 80, 80), np.uint8), "expected uint8 [H, W, 3]"),
    ],
)
def test_frames_that_are_none(network: ViSiL, frames: np.ndarray, remedy: str) -> None:
    with raises(InputError, "frame", remedy=remedy):
        network.extract_features(frames)


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (np.zeros((4, 9, 31), np.float32), "expected float [T, 9, 32]"),
        (np.zeros((4, 9, 32), np.int64), "int64"),
        (np.zeros((0, 9, 32), np.float32), "empty"),
        (np.full((4, 9, 32), np.nan, np.float32), "not finite"),
    ],
)
def test_features_that_are_none(
    network: ViSiL, features: np.ndarray, bad: np.ndarray, named: str
) -> None:
    with raises(InputError, "query features", named):
        network.calculate_video_similarity(bad, features)
    with raises(InputError, "target features", named):
        network.calculate_video_similarity(features, bad)


def test_unknown_settings(model_dir: Path) -> None:
    with raises(InputError, "similarity_function is 'cosine'", remedy="'chamfer'"):
        ViSiL(model_dir, similarity_function="cosine")
    with raises(InputError, "precision is 'int8'", remedy="'float32'"):
        ViSiL(model_dir, precision="int8")
    with raises(InputError, "gpu_id is 'first'", remedy="-1 for the CPU"):
        ViSiL(model_dir, gpu_id="first")


def test_few_frames_cost_few_and_are_the_same_vectors(weights, monkeypatch):
    """One graph for every number of frames, where the backend can; else batches are filled up."""
    asked, traced = [], []
    frames = np.random.default_rng(5).integers(0, 256, (9, SIZES.crop, SIZES.crop, 3), np.uint8)
    forward = FeatureNet._forward
    monkeypatch.setattr(FeatureNet, "_forward", lambda net, x: traced.append(x) or forward(net, x))
    net = FeatureNet(weights, batch_size=8)
    run = net._run
    monkeypatch.setattr(net, "_run", lambda batch: asked.append(len(batch)) or run(batch))
    whole = net(frames)
    assert asked == ([8, 8] if COMPILES_BY_SHAPE else [8, 1])
    for count in (1, 3, 8):
        np.testing.assert_allclose(net(frames[:count]), whole[:count], atol=1e-5)
    assert len(traced) == 1


def test_a_new_descriptor_is_a_line_in_the_description(model_dir, tmp_path, frames) -> None:
    """Regions of the mirrored picture find a mirrored copy; the database stays as it was."""
    native.write(load_model(model_dir), tmp_path)
    path = tmp_path / "model.json"
    values = json.loads(path.read_text())
    values["descriptors"].append({"name": "mirror", "network": "regions", "augmentation": "flip"})
    values["similarity_terms"].append(
        {"query": "mirror", "reference": "regions", "reduce": "mean", "offset": -0.01}
    )
    path.write_bytes(as_bytes(values))
    plain, network = ViSiL(model_dir), ViSiL(tmp_path)
    assert network.model.features_digest == plain.model.features_digest
    assert network.model.views_digest and not plain.model.views_digest
    copy = plain.extract_features(np.ascontiguousarray(frames[:6, :, ::-1]))
    query = network.extract_features(frames[:6], as_query=True)
    assert query.shape == (6, 18, 32)
    np.testing.assert_allclose(query[:, :9], plain.extract_features(frames[:6]), atol=1e-5)
    np.testing.assert_allclose(query[:, 9:], copy, atol=1e-4)
    score = network.calculate_video_similarity(query, copy)
    assert score == pytest.approx(0.99, abs=1e-4)
    assert plain.calculate_video_similarity(query[:, :9], copy) < score - 0.01


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_augmented_groups_of_every_network(weights: Model, channels: str) -> None:
    """Each group is what its network makes of the augmented picture; order is the layout's."""
    size = len(weights.whitening.mean)
    squares = Whitening(np.zeros(1024, "f4"), np.eye(1024, 32, dtype="f4"), np.ones(32, "f4"))
    half_turn, flip = QueryAugmentation("rotate", 180), QueryAugmentation("flip")
    groups = [make_group(space, space, 9) for space in ("regions", "lowpass", "thumbnail")]
    groups += [
        make_group(f"{a.kind} {space}", space, 9, a)
        for a in (half_turn, flip)
        for space in ("thumbnail", "lowpass", "regions")
    ]
    terms = [SimilarityTerm(g.name, g.space, "mean") for g in groups]
    model = replace(
        weights, layout=DescriptorLayout(tuple(groups), tuple(terms)), thumbnail=squares,
        lowpass=Whitening(np.zeros(size, "f4"), weights.whitening.eigenvectors,
            weights.whitening.eigenvalues),
        input=replace(weights.input, channels=channels), features_digest="",
    )  # fmt: skip
    frames = np.random.default_rng(3).integers(0, 256, (3, 64, 64, 3), np.uint8)
    found = FeatureNet(model, batch_size=3, as_queries=True)(frames)
    plain = FeatureNet(model, batch_size=3)
    turned, mirrored = (plain(np.ascontiguousarray(x)) for x in (frames[:, ::-1, ::-1],
                                                                frames[:, :, ::-1]))  # fmt: skip
    assert found.shape == (3, model.layout.query, 32) and plain.vectors == 11
    np.testing.assert_allclose(found[:, :11], plain(frames), atol=1e-5)
    for kind, want in (("rotate", turned), ("flip", mirrored)):
        for space in ("regions", "lowpass", "thumbnail"):
            part = found[:, model.layout.slices[f"{kind} {space}"]]
            np.testing.assert_allclose(part, want[:, model.layout.slices[space]], atol=1e-3)


def test_limits_have_to_be_possible() -> None:
    for bad in ({"batch_frames": 0}, {"tile_frames": (4, 0)}, {"window_frames": 6}):
        with raises(InputError, next(iter(bad)), "1 or more", remedy="a multiple of 4"):
            Limits(**bad)


def test_long_videos_come_to_the_device_in_parts(model_dir: Path, monkeypatch) -> None:
    """However long they are: no more than a tile of frames and a window of the matrix."""
    sizes: dict[str, set[int]] = {"place_queries": set(), "place_targets": set(), "outputs": set()}

    def record(name: str) -> None:
        method = getattr(PairScorer, name)

        def recorded(scorer: PairScorer, given: Any, *others: Any) -> Any:
            sizes[name] |= (
                {given.shape[0], *given.shape[1:2]} if name == "outputs" else {len(given)}
            )
            return method(scorer, given, *others)

        monkeypatch.setattr(PairScorer, name, recorded)

    for name in sizes:
        record(name)
    network = ViSiL(model_dir, limits=Limits(tile_frames=(16, 24), window_frames=16))
    network.model = replace(network.model, comparator=comparator_layers(9), residual_weight=0.5)
    query, target = (region_vectors(n, n, 32) for n in (70, 90))
    want = reference.similarity(query, target, comparator_layers(9), residual_weight=0.5)
    assert network.calculate_video_similarity(query, target) == pytest.approx(want, abs=1e-5)
    assert max(sizes["place_queries"]) == 16 and max(sizes["place_targets"]) == 24
    assert max(sizes["outputs"]) == 16 + 2 * 8
