"""The network against figures of the original TensorFlow 1 code."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import MODEL_FUNCTIONS
from pipeline.nets.backend import resolve_precision
from pipeline.nets.extractor.feature_net import FeatureNet
from pipeline.nets.formats.loader import load_model
from pipeline.nets.visil import Limits, ViSiL
from tests.golden import release

Arrays = dict[str, np.ndarray]
TOLERANCE = 1e-4
RECORDED_PAIRS = [("query", "target"), ("target", "query"), ("three", "long"), ("one", "query")]


def largest_difference(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max())


@pytest.fixture(params=MODEL_FUNCTIONS)
def function(request: pytest.FixtureRequest, network: ViSiL) -> str:
    network.similarity_function = request.param
    return str(request.param)


@pytest.mark.parametrize("names", ["2019", "2020"])
def test_origin_names_the_generation(request: pytest.FixtureRequest, names: str) -> None:
    weights = load_model(request.getfixturevalue(f"release_{names}"))
    assert weights.origin == f"published TensorFlow release ({names} names)"


@pytest.mark.parametrize("video", ["query", "one", "three"])
def test_features(features: Arrays, expected: Arrays, video: str) -> None:
    assert largest_difference(features[video], expected[f"features_{video}"]) < TOLERANCE


@pytest.mark.parametrize("video", ["target", "long"])
def test_features_of_longer_videos(features: Arrays, expected: Arrays, video: str) -> None:
    first = expected[f"features_{video}_first2"]
    assert largest_difference(features[video][:2], first) < TOLERANCE


@pytest.mark.parametrize("video", release.LENGTHS)
def test_short_videos_are_repeated(features: Arrays, expected: Arrays, video: str) -> None:
    assert features[video].shape == tuple(expected[f"features_{video}_shape"])


@pytest.mark.parametrize(("query", "target"), RECORDED_PAIRS)
def test_frame_matrix(
    network: ViSiL, features: Arrays, expected: Arrays, function: str, query: str, target: str
) -> None:
    found = network.calculate_f2f_matrix(features[query], features[target])
    assert largest_difference(found, expected[f"{function}/{query}/{target}/f2f"]) < TOLERANCE


@pytest.mark.parametrize(("query", "target"), RECORDED_PAIRS)
def test_comparator_output(
    network: ViSiL, features: Arrays, expected: Arrays, function: str, query: str, target: str
) -> None:
    found = network.calculate_visil_output(features[query], features[target])
    recorded = expected[f"{function}/{query}/{target}/visil_output"]
    assert largest_difference(found, recorded) < TOLERANCE


def test_all_similarities(
    network: ViSiL, features: Arrays, expected: Arrays, function: str
) -> None:
    found, recorded = [], []
    for query in features:
        for target in features:
            found.append(network.calculate_video_similarity(features[query], features[target]))
            recorded.append(float(expected[f"{function}/{query}/{target}/similarity"]))
    assert len(found) == 25
    assert np.ptp(recorded) > 0.05  # the recorded figures tell the pairs apart
    assert largest_difference(np.array(found), np.array(recorded)) < TOLERANCE


def test_pieces_equal_the_whole(network: ViSiL, features: Arrays, function: str) -> None:
    """Tiles of the frame matrix and windows of the comparator change nothing."""
    query, target = features["long"], features["target"]
    f2f = network.calculate_f2f_matrix(query, target)
    output = network.calculate_visil_output(query, target)
    parted = copy(network)
    for rows in (4, 8, 24):
        parted.limits = Limits(tile_frames=(16, 12), window_frames=rows)
        parted.model = replace(network.model)  # the engine is made anew
        assert largest_difference(parted.calculate_f2f_matrix(query, target), f2f) < 1e-6
        assert largest_difference(parted.calculate_visil_output(query, target), output) < 1e-5


def test_bfloat16_is_close(release_2020: Path, golden_videos: Arrays) -> None:
    weights = load_model(release_2020)
    frames = golden_videos["long"][::6, 16:240, 16:240]
    exact = FeatureNet(weights, "float32", batch_size=12)(frames)
    rounded = FeatureNet(weights, "bfloat16", batch_size=12)(frames)
    # Other processors round between layers where these sum up in float32; `auto` leaves it there.
    least = 0.999 if resolve_precision("auto", True) == "bfloat16" else 0.998
    assert (exact * rounded).sum(axis=-1).mean() >= least
    assert np.abs(exact - rounded).max() > 1e-4  # or bfloat16 was never used
