"""`index` and `--candidates` of the commands, and the same in Python."""

import json
import shutil

import numpy as np
import pytest

from pipeline import Index, compute_similarity, find_duplicates, index_candidates
from pipeline.candidates import index_folder
from pipeline.cli.index import IndexKeeper
from pipeline.errors import FingerprintMismatchError, InputError, StoreError
from pipeline.nets.formats.loader import load_model
from pipeline.nets.formats.native import write
from tests import features
from tests.command import run
from tests.messages import assert_output, raises


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Twelve videos, of which `copy` is `v3` again."""
    folder = tmp_path_factory.mktemp("made")
    write(features.model(comparator=False, attention=False), folder / "model")
    spec = features.spec(load_model(folder / "model").features_digest)
    videos = {f"v{n}": features.region_vectors(12, n) for n in range(12)}
    features.fill(folder / "s.h5", spec, videos | {"copy": videos["v3"]})
    return folder


@pytest.fixture
def folder(made, tmp_path):
    shutil.copytree(made, tmp_path / "own")
    return tmp_path / "own"


def test_the_command_makes_an_index_and_says_what_is_in_it(folder):
    store, model = folder / "s.h5", folder / "model"
    said = run("index", store, "-m", model)
    assert_output(said, index_folder(store), "13 videos", "78 codes", "13 videos added")
    assert_output(run("index", store, "-m", model), "0 videos added", "0 removed")
    run("remove", store, "v7")
    assert_output(run("index", store, "-m", model), "12 videos", "1 removed")
    header = index_folder(store) / "header.json"
    header.write_bytes(header.read_bytes()[:50])
    assert_output(run("index", store, "-m", model), "made anew", "header.json")


def test_compare_writes_scores_of_candidates_only(folder):
    store, model, output = folder / "s.h5", folder / "model", folder / "result.json"
    common = ("compare", "--query_store", store, "--database_store", store, "-m", model)
    assert_output(
        run(*common, "--candidates", 3, "-o", output, code=1), store, remedy="visil-index index"
    )
    run("index", store, "-m", model)
    run(*common, "--candidates", "20%", "-o", output)
    result = json.loads(output.read_text())
    assert {len(row) for row in result.values()} == {3}
    assert {"v3", "copy"} <= set(result["v3"])
    assert_output(run(*common, "--candidates", "0", "-o", output, code=2), "candidates", "'0'")


def test_python_does_the_same(folder):
    store, model = folder / "s.h5", folder / "model"
    (report,) = index_candidates(store, model)
    assert (report.added, report.damaged) == (13, ())
    some = compute_similarity(store, store, model_dir=model, candidates=2)
    every = compute_similarity(store, store, model_dir=model)
    assert set(some["v3"]) == {"v3", "copy"}
    assert some["v3"] == {name: pytest.approx(every["v3"][name], abs=1e-6) for name in some["v3"]}
    with Index.open(store, model_dir=model) as index:
        found = index.search(ids="copy", candidates="50%", segments=False)
        assert len(found) == 6  # 7 candidates, one of them the query itself
        assert found.matches[0].database_id == "v3"
        assert len(index.search(ids="copy", top_k=None, segments=False)) == 12
    duplicates = find_duplicates(store, model_dir=model, threshold=0.8, candidates=1)
    assert [{m.id for m in group.members} for group in duplicates.groups] == [{"v3", "copy"}]
    assert duplicates.pairs < 13 * 12 // 2


def test_candidates_of_listed_videos_are_refused(folder):
    with raises(InputError, "candidates", remedy="--index"):
        compute_similarity(folder / "s.h5", {"a": "a.mp4"}, candidates=3)


def test_an_index_of_another_model_does_not_end_an_extraction(folder, capsys):
    store, model = folder / "s.h5", load_model(folder / "model")
    other = features.fill(folder / "o.h5", features.spec("cd" * 32), {"a": np.ones((4, 9, 16))})
    keeper = IndexKeeper(str(other), model)
    keeper._next = 0.0
    keeper.tell(1)
    assert "waits for the end" in capsys.readouterr().err
    with pytest.raises(FingerprintMismatchError):
        keeper.update()
    keeper = IndexKeeper(str(store), model)
    keeper.tell(1)  # it is not due yet
    assert not index_folder(store).exists()
    keeper._next = 0.0
    keeper.tell(1)
    assert index_folder(store).exists()


def test_an_index_opened_without_one_is_refused_before_queries_are_decoded(folder):
    with (
        Index.open(folder / "s.h5", model_dir=folder / "model") as index,
        raises(StoreError, folder / "s.h5", remedy="visil-index index"),
    ):
        index.search("query.mp4", candidates=3)
