"""From a published feature file to figures: two heads of one store, and one's own benchmark."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace

import h5py
import numpy as np
import pytest

from pipeline.config import CompareConfig
from pipeline.errors import FingerprintMismatchError
from pipeline.evaluation import evaluate
from pipeline.nets.model.model import Model
from pipeline.nets.model.whitening import Whitening
from pipeline.records import published_digest
from pipeline.search.request import SearchRequest
from pipeline.search.run import score_table
from pipeline.store.feature_files import import_features
from pipeline.workflow import open_video_set
from tests import features
from tests.messages import raises

DIMS = 512
IDS = ("1/1_1_Y", "1/1_2_Y", "2/2_1_Y", "-other")


def head(seed: int) -> Model:
    """A model of 512 values for features of DnS: attention and comparator are random."""
    context = features.region_vectors(1, seed, DIMS)[0, 0]
    eye = Whitening(np.zeros(DIMS, "f4"), np.eye(DIMS, dtype="f4"), np.ones(DIMS, "f4"))
    return replace(
        features.model(attention=False),
        name=f"head {seed}",
        whitening=eye,
        attention=context,
        comparator=features.comparator_layers(seed),
        features_digest=published_digest("dns"),
    )


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The second video holds the first one; the others are unrelated."""
    first = features.region_vectors(12, 1, DIMS)
    videos = {
        IDS[0]: first,
        IDS[1]: np.concatenate([features.region_vectors(4, 2, DIMS), first]),
        IDS[2]: features.region_vectors(14, 3, DIMS),
        IDS[3]: features.region_vectors(9, 4, DIMS),
    }
    path = tmp_path_factory.mktemp("published") / "features.hdf5"
    with h5py.File(path, "w") as file:
        for video_id, values in videos.items():
            file.create_dataset(video_id, data=values, dtype="f", compression="gzip")
    return path


def scores(path, model, published=None):
    config = CompareConfig(precision="float32")
    with ExitStack() as stack:
        videos = open_video_set(stack, [("", path)], published=published)
        table, _ = score_table(SearchRequest(videos, videos, model, config))
        return videos.ids, table


@pytest.mark.slow
def test_one_store_serves_two_heads_and_is_evaluated(tmp_path, published):
    store = tmp_path / "imported.h5"
    assert import_features(published, store, "dns", dtype="float32").imported == 4
    tables = []
    for seed in (1, 2):
        model = head(seed)
        ids, imported = scores(store, model)
        direct_ids, direct = scores(published, model, "dns")
        order = [direct_ids.index(i) for i in ids]
        np.testing.assert_allclose(imported, direct[np.ix_(order, order)], atol=1e-6)
        tables.append(imported)
        results = tmp_path / f"head{seed}.json"
        rows = {q: dict(zip(ids, map(float, row))) for q, row in zip(ids, imported)}  # noqa: B905
        results.write_text(json.dumps(rows))
        truth = tmp_path / "truth.csv"
        truth.write_text(f"query_id,ref_id\n{IDS[0]},{IDS[1]}\n")
        report = evaluate("own", [truth], [results])
        assert report.evaluation.tasks[0].relevant == 1
        assert report.evaluation.queries.missing == 0
        assert np.isfinite(report.evaluation.tasks[0].figures[0].counted["steps"])
    assert np.abs(tables[0] - tables[1]).max() > 0.01


def test_a_model_of_other_features_is_refused(published):
    with raises(FingerprintMismatchError, published, "dns"):
        scores(published, replace(head(1), features_digest="0" * 64), "dns")
