"""Searches in bfloat16 first: what is scored again, and that the matches are those of float32."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline import Index
from pipeline.config import CompareConfig
from pipeline.nets import backend
from pipeline.nets.formats import native
from pipeline.search import quick, run
from tests import features

MODEL = features.model(comparator=False, attention=False)
NAN = float("nan")


def test_what_comes_near_the_best_is_scored_again():
    scores = np.array([[0.9, 0.5, 0.46, 0.44, NAN, 0.1], [0.1, 0.2, 0.1, 0.8, NAN, 0.16]], "f4")
    assert quick.may_be_best(scores[:1], 2).tolist() == [0, 1, 2]
    assert quick.may_be_best(scores, 2).tolist() == [0, 1, 2, 3, 5]
    for top_k in (5, 6, 7):  # no more than five have a score
        assert quick.may_be_best(scores, top_k).tolist() == [0, 1, 2, 3, 5]
    assert quick.may_be_best(np.full((1, 3), NAN, np.float32), 1).tolist() == []


def test_scores_that_differ_much_are_not_trusted():
    exact = np.array([[0.5, NAN, 0.2]], np.float32)
    assert quick.agree(exact + 0.9 * quick.TRUSTED, exact)
    assert not quick.agree(exact + np.array([0, 0, 1.1 * quick.TRUSTED], "f4"), exact)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, and a store of 40 videos of which five are noisy copies of the first."""
    path = tmp_path_factory.mktemp("quick")
    native.write(MODEL, path / "model")
    videos = {f"d{i}": features.region_vectors(4 + i % 9, [2, i]) for i in range(40)}
    for i in range(1, 6):
        noise = features.region_vectors(4, [3, i])
        copy = videos["d0"] + 0.2 * i * noise
        videos[f"d{i}"] = copy / np.linalg.norm(copy, axis=2, keepdims=True)
    features.fill(path / "d.h5", features.spec(MODEL.features_digest), videos)
    return path


@pytest.fixture
def searches(folder, monkeypatch):
    """Searches twice, and counts the videos that each engine is made for."""
    monkeypatch.setattr(quick, "MIN_VIDEOS", 10)
    monkeypatch.setattr(backend, "quick_precision", lambda gpu_id: "bfloat16")
    sizes = []
    engine = run.SearchEngine

    def counted(request, database, *arguments, **named):
        sizes.append(len(database))
        return engine(request, database, *arguments, **named)

    monkeypatch.setattr(run, "SearchEngine", counted)

    def search(top_k=3, config=None, **named):
        with Index.open(folder / "d.h5", model_dir=folder / "model", config=config) as index:
            for _ in range(2):  # the second one is warm
                sizes.clear()
                result = index.search(ids=["d0", "d1"], top_k=top_k, segments=False, **named)
        return result, list(sizes)

    return search


def exact_search(searches, monkeypatch, **named):
    with monkeypatch.context() as patch:
        patch.setattr(backend, "quick_precision", lambda gpu_id: None)
        return searches(**named)


@pytest.mark.parametrize("named", [{}, {"threshold": 0.1}])
def test_the_matches_are_those_of_float32(searches, monkeypatch, named):
    exact, sizes = exact_search(searches, monkeypatch, **named)
    assert sizes == [], "the engine of the index serves"
    found, sizes = searches(**named)
    assert len(sizes) == 1 and 3 < sizes[0] < 20, "few are scored again"
    assert [m.database_id for m in found] == [m.database_id for m in exact]
    assert {"d0", "d1", "d2"} <= {m.database_id for m in found}
    np.testing.assert_allclose(
        [m.score for m in found], [m.score for m in exact], rtol=0, atol=1e-6
    )


def test_all_are_scored_again_where_bfloat16_is_too_coarse(searches, monkeypatch):
    exact, _ = exact_search(searches, monkeypatch)
    monkeypatch.setattr(quick, "TRUSTED", 0.0)
    found, sizes = searches()
    assert len(sizes) == 2 and sizes[1] == 40
    np.testing.assert_allclose(
        [m.score for m in found], [m.score for m in exact], rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(
    "named",
    [
        {"top_k": None},
        {"config": replace(CompareConfig(), normalize="database")},
        {"config": replace(CompareConfig(), precision="bfloat16")},
    ],
)
def test_where_all_scores_are_asked_for_they_are_exact(searches, monkeypatch, named):
    exact, _ = exact_search(searches, monkeypatch, **named)
    found, sizes = searches(**named)
    assert sizes == []
    assert [m.score for m in found] == [m.score for m in exact]


def test_a_single_search_makes_no_second_network(folder, monkeypatch):
    monkeypatch.setattr(quick, "MIN_VIDEOS", 10)
    monkeypatch.setattr(backend, "quick_precision", lambda gpu_id: "bfloat16")
    made = []
    of = quick.QuickEngine.of

    def watched(*arguments, once, **named):
        made.append((once, of(*arguments, once=once, **named) is not None))
        return None

    monkeypatch.setattr(quick.QuickEngine, "of", watched)
    for once in (True, False):
        with Index.open(folder / "d.h5", model_dir=folder / "model") as index:
            index._once = once
            index.search(ids="d0", top_k=3, segments=False)
    assert made == [(True, False), (False, True)]
