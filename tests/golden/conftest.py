"""Made once a session: both releases, the recorded figures, features of the golden videos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

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


@pytest.fixture(scope="session")
def network(release_2020: Path) -> ViSiL:
    """Of the newer names; test_releases.py has the older ones give the same model, bit by bit."""
    return ViSiL(release_2020, limits=Limits(batch_frames=12))


@pytest.fixture(scope="session")
def expected() -> Arrays:
    with np.load(release.HERE / "expected_seed0.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def golden_videos() -> Arrays:
    return release.videos()


@pytest.fixture(scope="session")
def features(network: ViSiL, golden_videos: Arrays) -> Arrays:
    """Features by video; a batch of 12 makes them cross batch borders and wastes few frames."""
    return {name: network.extract_features(v) for name, v in golden_videos.items()}
