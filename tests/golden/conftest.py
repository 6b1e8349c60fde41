"""Made once a session: both releases, the recorded figures, features of the golden videos."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.image.resize import resize_crop
from pipeline.nets.extractor.feature_net import FeatureNet
from pipeline.nets.visil import Limits, ViSiL
from tests.golden import release

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="session")
def pca_arrays() -> Arrays:
    return release.pca()


@pytest.fixture(scope="session")
def release_2019(tmp_path_factory: pytest.TempPathFactory, pca_arrays: Arrays) -> Path:
    return release.write(tmp_path_factory.mktemp("golden") / "2019", "2019", pca_arrays)


@pytest.fixture(scope="session")
def release_2020(tmp_path_factory: pytest.TempPathFactory, pca_arrays: Arrays) -> Path:
    return release.write(tmp_path_factory.mktemp("golden") / "2020", "2020", pca_arrays)


BATCH = 12  # frames; batches cross the ends of videos and waste few frames


class OnceNet:
    """The network of frames; a batch that was computed before is not computed again."""

    def __init__(self, net: FeatureNet) -> None:
        self._net, self._batches = net, dict[bytes, np.ndarray]()

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        key = hashlib.sha256(frames.tobytes()).digest()
        if key not in self._batches:
            self._batches[key] = self._net(frames)
        return self._batches[key].copy()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._net, name)


@pytest.fixture(scope="session")
def network(release_2020: Path) -> ViSiL:
    """Of the newer names; test_releases.py has the older ones give the same model, bit by bit."""
    network = ViSiL(release_2020, limits=Limits(batch_frames=BATCH))
    vars(network)["_net"] = OnceNet(network._net)
    return network


@pytest.fixture(scope="session")
def expected() -> Arrays:
    with np.load(release.HERE / "expected_seed0.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def golden_videos() -> Arrays:
    return release.videos()


@pytest.fixture(scope="session")
def features(network: ViSiL, golden_videos: Arrays) -> Arrays:
    """Features by video, after attention."""
    return {name: network.extract_features(v) for name, v in golden_videos.items()}


@pytest.fixture(scope="session")
def region_vectors(network: ViSiL, golden_videos: Arrays) -> Arrays:
    """What stage one stores: before attention, without repeated frames."""
    net, found = network._net, {}
    for name, frames in golden_videos.items():
        images = np.stack([resize_crop(frame, net.preprocess) for frame in frames])
        batches = [net(images[i : i + BATCH]) for i in range(0, len(images), BATCH)]
        found[name] = np.concatenate(batches)
    return found
