"""Both stages' own path, store and batched engine included, against the original's figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.config import MODEL_FUNCTIONS, CompareConfig
from pipeline.nets.formats.loader import load_model
from pipeline.nets.model.model import Model
from pipeline.nets.visil import ViSiL
from pipeline.records import SourceInfo
from pipeline.search.request import SearchRequest
from pipeline.search.run import score_table
from pipeline.search.video_set import VideoSet
from pipeline.store import create_or_append, open_store

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def weights(release_2020: Path) -> Model:
    return load_model(release_2020)


@pytest.fixture(scope="module", params=["h5", "zarr"])
def store(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    network: ViSiL,
    region_vectors: Arrays,
) -> Path:
    """Float32 features of the golden videos, whitened and before attention, true frames only."""
    path = tmp_path_factory.mktemp("stages") / f"s.{request.param}"
    spec = network._net.spec(1.0, "shown-at/1")
    with create_or_append(path, spec, "float32") as writer:
        for name, vectors in region_vectors.items():
            video = writer.begin(name, SourceInfo(name))
            video.append(vectors, np.arange(len(vectors)))
            video.finish()
    return path


@pytest.mark.parametrize("function", MODEL_FUNCTIONS)
def test_all_similarities_from_a_store(
    store: Path, weights: Model, expected: Arrays, function: str
) -> None:
    config = CompareConfig(similarity_function=function, precision="float32", batch_size=3)
    with open_store(store) as opened:
        videos = VideoSet([opened])
        table, _ = score_table(SearchRequest(videos, videos, weights, config))
    recorded = [
        [float(expected[f"{function}/{q}/{t}/similarity"]) for t in videos.ids] for q in videos.ids
    ]
    assert np.std(recorded) > 0.01
    assert np.abs(table - recorded).max() < 1e-4
