"""The shipped backbone against the PyTorch definition; see record_efficientnet_lite0.py."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.default_model import default_model_dir
from pipeline.nets.backbones import efficientnet_lite0
from pipeline.nets.extractor.feature_net import FeatureNet
from pipeline.nets.formats.loader import load_model
from pipeline.nets.model.model import Model
from tests.golden.pictures import PICTURES
from tests.golden.record_efficientnet_lite0 import STEP

TAPS = ("block_02", "block_04", "block_10", "block_15", "head")


@pytest.fixture(scope="module")
def weights() -> Model:
    return load_model(default_model_dir())


@pytest.fixture(scope="module")
def maps(weights: Model) -> dict[str, np.ndarray]:
    """Every STEP-th value of the maps, as recorded."""
    network = efficientnet_lite0.build(weights.arrays, TAPS, 224)
    outputs = network((PICTURES.astype(np.float32) - 127) / 128)
    return {k: np.asarray(v).reshape(-1)[::STEP] for k, v in zip(TAPS, outputs, strict=True)}


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).with_name("efficientnet_lite0.npz")) as file:
        return dict(file)


@pytest.mark.parametrize("tap", TAPS)
def test_same_numbers_as_the_pytorch_definition(maps, recorded, tap):
    expected = recorded[f"shipped/{tap}"]
    # Relative to the map's largest value: single values are sums that may cancel.
    np.testing.assert_allclose(maps[tap], expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("tap", TAPS)
def test_conversion_keeps_the_published_network(maps, recorded, tap):
    # Rounding the weights to float16 moves maps by 0.2 to 0.7 %. PyTorch's usual batch norm
    # epsilon, 1e-5, would move the head by 35 %, symmetric padding every map by more than 70 %.
    expected = recorded[f"published/{tap}"]
    assert np.linalg.norm(maps[tap] - expected) < 0.012 * np.linalg.norm(expected)


def test_features_of_the_shipped_model(weights, recorded):
    vectors = FeatureNet(weights, batch_size=3)(PICTURES)
    np.testing.assert_allclose(vectors[:, :9], recorded["features"], rtol=0, atol=1e-4)
