"""From a published feature file to figures: heads of DnS and S2VS, and one's own benchmark."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.cluster.scoring import SetOrigin
from pipeline.config import CompareConfig
from pipeline.errors import FingerprintMismatchError
from pipeline.nets.formats.loader import convert_files
from pipeline.search.compatibility import require_model
from pipeline.workflow import open_video_set
from tests import features
from tests.command import run
from tests.golden import torch_release
from tests.messages import assert_output, raises

HEADS = ("dns_fg_att_student", "s2vs_dns")  # stand-ins for the published weights
IDS = ("1/1_1_Y", "1/1_2_Y", "2/2_1_Y", "-other")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The second video holds the first one; the others are unrelated."""
    first = features.region_vectors(12, 1, 512)
    videos = {
        IDS[0]: first,
        IDS[1]: np.concatenate([features.region_vectors(4, 2, 512), first]),
        IDS[2]: features.region_vectors(14, 3, 512),
        IDS[3]: features.region_vectors(9, 4, 512),
    }
    path = tmp_path_factory.mktemp("published") / "features.hdf5"
    with h5py.File(path, "w") as file:
        for video_id, values in videos.items():
            file.create_dataset(video_id, data=values, dtype="f", compression="gzip")
    return path


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("heads")
    for file in torch_release.write(folder, *HEADS):
        convert_files([file], folder / file.stem)
    return {name: folder / name for name in HEADS}


@pytest.mark.slow
def test_one_store_serves_two_heads_and_is_evaluated(
    tmp_path: Path, published: Path, heads: dict[str, Path]
) -> None:
    store, truth = tmp_path / "imported.h5", tmp_path / "truth.csv"
    truth.write_text(f"query_id,ref_id\n{IDS[0]},{IDS[1]}\n")
    run("import-features", published, store, "--as", "dns", "--dtype", "float32")
    found = {}
    for name, head in heads.items():
        options = ("--query_store", store, "-m", head, "--precision", "float32")
        imported, direct = tmp_path / f"{name}.json", tmp_path / f"{name}-direct.json"
        run("compare", *options, "--database_store", store, "-o", imported)
        run("compare", *options, "--database_store", published, "--as", "dns", "-o", direct)
        found[name] = json.loads(imported.read_text())
        assert json.loads(direct.read_text()) == found[name]
        assert set(found[name]) == set(found[name][IDS[0]]) == set(IDS)
        output = run("evaluate", "-b", "own", "-a", truth, imported)
        assert_output(output, "queries:", "1 scored, 0 missing")
        assert_output(output, "pairs", "mAP", "1.0000")  # the copy is the best, by either head
    scores = [[found[name][q][d] for q in IDS for d in IDS] for name in HEADS]
    assert np.abs(np.subtract(*scores)).max() > 0.01


def test_a_model_of_other_features_is_refused(published: Path, heads: dict[str, Path]) -> None:
    from pipeline.nets.formats.loader import load_model

    model = replace(load_model(heads["s2vs_dns"]), features="", features_digest="0" * 64)
    with ExitStack() as stack:
        videos = open_video_set(stack, [("", published)], published="dns")
        with raises(FingerprintMismatchError, published, "dns", model.name):
            require_model(videos, model)


@pytest.mark.parametrize("send", [True, False])
def test_actors_of_a_cluster_open_it_as_such(published: Path, send: bool) -> None:
    """Also where it is sent to them as a file of queries."""
    with ExitStack() as stack:
        videos = open_video_set(stack, [("p/", published)], published="dns")
        config = CompareConfig(published_features="dns")
        opened = SetOrigin.of(videos, config, send=send).open(stack)
        assert opened.ids == videos.ids and opened.ids[0].startswith("p/")
        np.testing.assert_array_equal(opened.vectors(1), videos.vectors(1))
