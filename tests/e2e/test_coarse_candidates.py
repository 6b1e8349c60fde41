"""Candidate indices by DnS's coarse student, searched by the fine student."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline import Index, compute_similarity, index_candidates
from pipeline.candidates import index_folder
from pipeline.errors import FingerprintMismatchError, InputError, ModelError, StoreError
from pipeline.nets.formats import student_files
from pipeline.nets.formats.loader import convert_files, load_model, load_student
from pipeline.search.candidate_rules import coarse_rule, rule_to_index
from pipeline.search.candidate_search import CandidateFinder
from pipeline.search.coarse_to_fine import coarse_vectors
from pipeline.search.video_set import VideoSet
from pipeline.store import open_store
from pipeline.store.published_layout import published_spec
from tests.command import run
from tests.features import fill, region_vectors
from tests.golden import torch_release
from tests.messages import assert_output, raises

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_student")]
FINE, COARSE, SELECTOR = "dns_fg_att_student", "dns_cg_student", "dns_selector_cg-fg_att"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, small_student: None) -> Path:
    """The models, a store of three queries, and one of twelve videos."""
    folder = tmp_path_factory.mktemp("made")
    for path in torch_release.write(folder / "files", FINE, COARSE, SELECTOR):
        convert_files([path], folder / path.stem)
    queries = {f"q{i}": region_vectors(12, i, 512) for i in range(3)}
    database = {f"d{i:02}": region_vectors(2 + i, 10 + i, 512) for i in range(12)}
    database["d04"][:6] = queries["q1"][:6]
    fill(folder / "q.h5", published_spec("dns"), queries)
    fill(folder / "s.h5", published_spec("dns"), database)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """The same with stores of its own; the models are links."""
    for name in (FINE, COARSE, SELECTOR):
        (tmp_path / name).symlink_to(made / name)
    for name in ("q.h5", "s.h5"):
        shutil.copy(made / name, tmp_path / name)
    return tmp_path


def best_by_coarse(folder: Path, count: int) -> list[set[str]]:
    """Of each query the videos with the highest products of coarse vectors."""
    coarse, vectors, ids = load_student(folder / COARSE), [], []
    for name in ("q.h5", "s.h5"):
        with open_store(folder / name) as store:
            videos = VideoSet([store])
            vectors.append(coarse_vectors(videos, coarse).vectors)
            ids = videos.ids
    products = vectors[0] @ vectors[1].T
    assert products.std() > 0.01, "the case must tell videos apart"
    return [{ids[column] for column in np.argsort(-row)[:count]} for row in products]


def compare(folder: Path, *more: object, code: int = 0) -> str:
    sides = "--query_store", folder / "q.h5", "--database_store", folder / "s.h5"
    return run("compare", *sides, "-m", folder / FINE, "-o", folder / "r.json", *more, code=code)


def test_candidates_are_the_best_by_coarse_similarity(folder: Path) -> None:
    said = run("index", folder / "s.h5", "--coarse", folder / COARSE)
    assert_output(said, index_folder(folder / "s.h5"), "12 videos", "12 codes", "one by one")
    compare(folder)
    every = json.loads((folder / "r.json").read_text())
    compare(folder, "--candidates", 5)
    some = json.loads((folder / "r.json").read_text())
    for (query, scores), expected in zip(some.items(), best_by_coarse(folder, 5), strict=True):
        assert scores.keys() == expected
        assert scores == {name: pytest.approx(every[query][name], abs=1e-6) for name in scores}
    compare(folder, "--candidates", 1024)
    assert json.loads((folder / "r.json").read_text()) == {
        query: pytest.approx(scores, abs=1e-6) for query, scores in every.items()
    }


def test_the_vectors_are_those_of_coarse_to_fine(folder: Path) -> None:
    index_candidates(folder / "s.h5", coarse=folder / COARSE)
    with open_store(folder / "s.h5") as store:
        videos = VideoSet([store])
        expected = coarse_vectors(videos, load_student(folder / COARSE)).vectors
        (file,) = index_folder(store.path).glob("codes-*.f16")
        kept = np.fromfile(file, np.float16).reshape(12, 1024)
    np.testing.assert_allclose(kept, expected, atol=1e-4)
    assert np.abs(kept.astype(np.float32) @ expected.T - expected @ expected.T).max() < 5e-4


def test_an_index_is_topped_up_by_the_student_it_names(folder: Path) -> None:
    store = folder / "s.h5"
    run("index", store, "--coarse", folder / COARSE)
    (file,) = index_folder(store).glob("codes-*.f16")
    before = file.read_bytes()
    run("remove", store, "d07")
    fill(store, published_spec("dns"), {"new": region_vectors(12, 0, 512)})
    # Not in the index yet, so its vector is made from the store.
    assert_output(compare(folder, "--candidates", 1), "1 videos are not in the candidate index")
    assert set(json.loads((folder / "r.json").read_text())["q0"]) == {"new"}
    said = run("index", store)
    assert_output(said, "12 videos", "1 videos added", "1 removed")
    assert file.read_bytes().startswith(before), "the other vectors were kept"
    compare(folder, "--candidates", 1)
    assert set(json.loads((folder / "r.json").read_text())["q0"]) == {"new"}
    with Index.open(store, model_dir=folder / FINE) as index:
        assert index.search(ids="new", candidates=3, segments=False).matches


def test_another_student_is_refused(folder: Path) -> None:
    store, other = folder / "s.h5", folder / "other"
    run("index", store, "--coarse", folder / COARSE)
    student = load_student(folder / COARSE)
    changed = {name: array + np.float32(0.01) for name, array in student.arrays.items()}
    student_files.write(replace(student, arrays=changed), other)
    said = run("index", store, "--coarse", other, code=1)
    assert_output(said, index_folder(store), remedy=f"visil-index index {store} --coarse DIR")
    said = run("index", store, "--coarse", folder / SELECTOR, code=2)
    assert_output(said, folder / SELECTOR, "selector", remedy="coarse student")
    (folder / COARSE).unlink()
    with raises(ModelError, index_folder(store), folder / COARSE, remedy="--coarse DIR"):
        compute_similarity(folder / "q.h5", store, model_dir=folder / FINE, candidates=2)
    (folder / COARSE).symlink_to(other)  # another student where the index names its own
    with raises(FingerprintMismatchError, index_folder(store), remedy="remove the folder"):
        compute_similarity(folder / "q.h5", store, model_dir=folder / FINE, candidates=2)


def test_a_student_that_moved_is_told_once(made: Path, folder: Path) -> None:
    store = folder / "s.h5"
    run("index", store, "--coarse", folder / COARSE)
    (folder / COARSE).unlink()
    run("index", store, "--coarse", made / COARSE)
    compare(folder, "--candidates", 2)
    header = index_folder(store) / "header.json"
    header.write_bytes(header.read_bytes()[:50])
    with raises(StoreError, header.parent, remedy="--coarse DIR"):
        index_candidates(store, folder / FINE)
    assert_output(run("index", store, "--coarse", made / COARSE), "12 videos", "12 videos added")
    compare(folder, "--candidates", 2)


def test_stores_with_two_kinds_of_index_are_refused(folder: Path) -> None:
    model = load_model(folder / FINE)
    run("index", folder / "s.h5", "--coarse", folder / COARSE)
    run("index", folder / "q.h5", "-m", folder / FINE)
    with open_store(folder / "s.h5") as one, open_store(folder / "q.h5") as other:
        assert rule_to_index(other, lambda: model).student == ""
        with raises(
            InputError, index_folder(one.path), index_folder(other.path), remedy="--coarse"
        ):
            CandidateFinder(VideoSet([one, other]), model)
        assert coarse_rule(one, folder / COARSE).student == str(folder / COARSE)


def test_a_published_feature_file_has_to_be_imported(folder: Path) -> None:
    path = folder / "published.hdf5"
    with h5py.File(path, "w") as file:
        file["a"] = region_vectors(6, 5, 512)
    sides = "--query_store", folder / "q.h5", "--database_store", path, "--as", "dns"
    common = "compare", *sides, "-m", folder / FINE, "-o", folder / "r.json"
    said = run(*common, "--candidates", 2, code=1)
    assert_output(said, path, "candidate index", remedy="import-features")
    store = folder / "imported.h5"
    run("import-features", path, store, "--as", "dns")
    run("index", store, "--coarse", folder / COARSE)
    sides = "--query_store", folder / "q.h5", "--database_store", store
    run("compare", *sides, "-m", folder / FINE, "-o", folder / "r.json", "--candidates", 2)
    assert json.loads((folder / "r.json").read_text())["q0"].keys() == {"a"}


def test_normalize_and_max_fpr_of_a_model_without_calibration(folder: Path) -> None:
    """The one works with the candidates, the other says what is missing."""
    run("index", folder / "s.h5", "--coarse", folder / COARSE)
    compare(folder, "--normalize", "database")
    every = json.loads((folder / "r.json").read_text())
    compare(folder, "--normalize", "database", "--candidates", 4)
    some = json.loads((folder / "r.json").read_text())
    for query, scores in some.items():
        assert len(scores) == 4
        assert scores == {name: pytest.approx(every[query][name], abs=1e-5) for name in scores}
    (folder / "r.json").unlink()
    for more in ((), ("--normalize", "database")):
        said = compare(folder, "--candidates", 4, "--max_fpr", "0.01", *more, code=2)
        assert_output(said, FINE, "no calibration", remedy="calibrate")
    assert not (folder / "r.json").exists()
