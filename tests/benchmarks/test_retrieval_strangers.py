"""All clips as queries: what is related to them, and calibrations on halves."""

import numpy as np
import pytest

from benchmarks.retrieval.dataset.sources import read_sources
from benchmarks.retrieval.studies import (
    calibration_holdout,
    compilations,
    reverse_search,
    self_similarity,
    unrelated_pairs,
)
from pipeline.config import SIMILARITY_FUNCTIONS, CompareConfig, ExtractConfig
from pipeline.nets.formats import native
from pipeline.store import open_store
from tests import features


@pytest.fixture
def split_dir(tmp_path):
    """Two parents, three clips: a query, and two parts of one film as distractors."""
    one, two = read_sources()[0], next(s for s in read_sources() if s.parent != "realshort")
    assert one.parent != two.parent
    query, film, other = f"{one.name}_0", f"{two.name}_0", f"{two.name}_1"
    (tmp_path / "copies").mkdir()
    made = [(f"{query}-pip_50-0", film), (f"{film}-mirror-0", other), (f"{film}-pip_50-0", other)]
    (tmp_path / "copies" / "plan.tsv").write_text(
        "".join(f"{name}\t0\t9\t{host}\n" for name, host in made)
    )
    (tmp_path / "queries.txt").write_text(f"{query}\tq.mp4\n")
    database = [name for name, _ in made] + [film, other]
    (tmp_path / "database.txt").write_text("".join(f"{v}\t{v}.mp4\n" for v in database))
    (tmp_path / "truth.tsv").write_text(f"{query}\t{made[0][0]}\tpip_50\n")
    return tmp_path


def test_clips_copies_and_hosts_are_related(split_dir):
    found = unrelated_pairs.read_strangers(split_dir)
    query, film, other = found.queries
    assert found.asked.tolist() == [True, False, False]
    assert found.unrelated.tolist() == [
        [False, True, True, True, True],
        [False, False, False, False, True],  # the host of the first copy; another part of its film
        [True, False, False, True, False],
    ]
    assert found.parents[film] == found.parents[other] != found.parents[query]
    assert found.parents[f"{film}-mirror-0"] == found.parents[film]


def test_lists_for_calibrate(split_dir):
    from pipeline.inputs import read_groups, read_list, read_related

    found = unrelated_pairs.read_strangers(split_dir)
    before = (split_dir / "queries.txt").read_text()
    folder = unrelated_pairs.write_strangers(found, split_dir)
    assert [v.id for v in read_list(folder / "queries.txt")] == list(found.queries)
    assert read_groups(folder / "groups.tsv") == found.parents
    assert len(read_related(folder / "related.tsv")) == (~found.unrelated).sum() == 8
    assert (split_dir / "queries.txt").read_text() == before


def test_truth_that_contradicts_is_noticed(split_dir):
    film = list(unrelated_pairs.read_strangers(split_dir).queries)[1]
    query = (split_dir / "queries.txt").read_text().split("\t")[0]
    with (split_dir / "truth.tsv").open("a") as file:
        file.write(f"{query}\t{film}-mirror-0\tmirror\n")
    with pytest.raises(AssertionError, match="not related"):
        unrelated_pairs.read_strangers(split_dir)


def test_halves_never_meet_and_show_what_does_not_hold():
    """30 parents; a few are alike to everything, so plain quantiles often do not hold."""
    rng = np.random.default_rng(0)
    names = [f"c{i}" for i in range(30)]
    scores = 0.1 * rng.standard_normal((30, 30)) + rng.standard_exponential((30, 1))
    made = unrelated_pairs.Strangers(
        queries=dict.fromkeys(names, ""),
        database=dict.fromkeys(names, ""),
        unrelated=~np.eye(30, dtype=bool),
        parents={name: name for name in names},
        asked=np.arange(30) % 3 == 0,
    )
    ratios = calibration_holdout.halves(made, scores, 20, [0.99])
    sure = ratios["confidence 0.99"]
    assert sure.shape == (20, 3)
    assert (sure[:, 0] <= 1).mean() > (ratios[calibration_holdout.ALL][:, 0] <= 1).mean() + 0.2
    assert "confidence 0.99" in calibration_holdout.table_of_halves(ratios)


def test_thresholds_on_another_split():
    scores, copies = np.array([[0.9, 0.1], [0.3, 0.4]]), np.array([[True, False], [False, False]])
    text = calibration_holdout.table_of_other({"way": np.array([0.35, 0.35, 0.95])}, scores, copies)
    assert "| way | 0.350, 0.33, 1.000 | 0.350, 0.33, 1.000 | 0.950, 0, 0.000 |" in text


def test_a_database_may_be_drawn_from_another_split(tmp_path):
    draws = calibration_holdout.drawn(1000, 20)
    assert len(draws) == 8 and all(len(set(draw)) == 20 for draw in draws)
    assert set(draws[0]) != set(draws[1])
    assert [len(draw) for draw in calibration_holdout.drawn(50, 80)] == [50, 50, 50, 50]

    model = features.model(attention=False)
    native.write(model, tmp_path / "model")
    lists = ["a", "b"], [f"v{i}" for i in range(30)]
    stores = [tmp_path / "q.h5", tmp_path / "d.h5"]
    for number, (store, ids) in enumerate(zip(stores, lists, strict=True)):
        videos = {name: features.region_vectors(5, [number, i]) for i, name in enumerate(ids)}
        features.fill(store, features.spec(model.features_digest), videos)
    draws = [np.arange(25), np.array([29, 3])]
    found = calibration_holdout._among(stores, lists, tmp_path / "model", CompareConfig(), draws)
    whole = calibration_holdout._among(
        stores, lists, tmp_path / "model", CompareConfig(), [np.arange(30)]
    )
    np.testing.assert_allclose(found, whole[:, [*range(25), 29, 3]], atol=1e-6)
    adapted = calibration_holdout._among(
        stores, lists, tmp_path / "model", CompareConfig(adapt=True), draws[:1]
    )
    assert np.abs(adapted - found[:, :25]).max() > 0.01


def test_copies_ask_for_their_original_and_the_host_is_not_counted(split_dir, monkeypatch):
    found = unrelated_pairs.read_strangers(split_dir)
    query, film, _ = found.queries
    asked = reverse_search.asked_of(found)
    assert list(asked) == [f"{query}-pip_50-0", f"{film}-pip_50-0"]
    relevant, counted = reverse_search.truth(found, list(asked))
    assert relevant.tolist() == [[True, False, False], [False, True, False]]
    assert counted.tolist() == [[True, False, True], [True, True, False]]

    made, compared = [], []

    def model_store(_videos, name, _model_dir, config, _log, as_queries):
        made.append((name.name, config.insets, as_queries))
        return name

    def model_scores(_stores, lists, _model_dir, config):
        compared.append((config.query_insets, config.similarity_function))
        scores = np.array([[0.1, 0.9, 0.2], [0.3, 0.2, 0.9]])  # the hosts come first
        return scores if not config.query_insets else scores + 0.5 * relevant

    monkeypatch.setattr(reverse_search, "model_store", model_store)
    monkeypatch.setattr(reverse_search, "model_scores", model_scores)
    rows = reverse_search.rows_of(split_dir, None, ExtractConfig(), CompareConfig())
    assert made == [("copies", 2, True), ("clips", None, False)]
    functions = None, "max_chamfer"
    assert compared == [(insets, f) for insets in (False, True) for f in functions]
    names = ["as they are", "as they are max_chamfer"]
    assert [row[0] for row in rows] == [*names, "--query_insets", "--query_insets max_chamfer"]
    assert [row[1] for row in rows] == ["0.500", "0.500", "1.000", "1.000"]
    assert rows[0][4:] == ["nan", "0.500", "nan", "nan"]  # of each kind


def test_a_clip_among_others_asks_for_its_copies_alone(split_dir, tmp_path, monkeypatch):
    found = unrelated_pairs.read_strangers(split_dir)
    query, film, other = found.queries
    videos = {name: features.region_vectors(5 + i, i) for i, name in enumerate(found.queries)}
    parts = tmp_path / "parts.h5"
    features.fill(parts, features.spec("0" * 64), videos)
    asked = []
    made = [compilations.compilations(found, clips) for clips in (1, 2)]
    assert made[0] == {query: [query]} and len(set(made[1][query])) == 2 and query in made[1][query]

    def model_store(given, name, _model_dir, config, _log, as_queries):
        asked.append((list(given), name.name, config.insets, as_queries))
        return parts if as_queries else name

    def model_scores(stores, lists, _model_dir, config):
        assert lists == ([query], list(found.database))
        with open_store(stores[0]) as store:
            (name,) = store.ids
            vectors = store.read_vectors(name)
        near = {
            i: np.abs(vectors[:, None, 0] - v[None, :, 0]).max(axis=2) for i, v in videos.items()
        }
        shown = [i for i, distances in near.items() if (distances < 2e-3).any()]
        assert sorted(shown) in (sorted(some[query]) for some in made)
        assert len(vectors) == sum(len(videos[i]) for i in shown)
        scores = np.array([[0.5, 0.9, 0.6, 0.7, 0.4]])  # the query's copy, the film's, the others
        return scores + 0.3 * (config.similarity_function == "max_chamfer")

    monkeypatch.setattr(compilations, "LENGTHS", (1, 2))
    monkeypatch.setattr(compilations, "model_store", model_store)
    monkeypatch.setattr(compilations, "model_scores", model_scores)
    rows = compilations.figures_of(split_dir, None, ExtractConfig(), CompareConfig())
    assert asked[0] == ([query, film, other], "strangers", 0, True)
    assert asked[1] == (list(found.database), "database", None, False)
    assert list(rows) == [(n, f) for n in (1, 2) for f in SIMILARITY_FUNCTIONS]
    alone, among = rows[1, "chamfer"], rows[2, "chamfer"]
    assert alone[0].mean_ap == 0.25 and alone[1] == pytest.approx(0.9, abs=0.01)
    # What shows the second clip is not counted: one video is left, the other part of its film.
    left = 0.4 if film in made[1][query] else 0.7
    assert among[0].mean_ap == (1.0 if left < 0.5 else 0.5) and among[0].pairs == 1
    assert among[1] == pytest.approx(left)
    assert rows[1, "max_chamfer"][1] == pytest.approx(alone[1] + 0.3)


def test_videos_against_themselves(split_dir, monkeypatch, capsys):
    found = unrelated_pairs.read_strangers(split_dir)
    query, film, other = found.queries
    made = []

    def model_store(videos, name, _model_dir, config, _log, as_queries):
        made.append((name.name, list(videos), config.insets, as_queries))
        return name

    def model_scores(stores, lists, _model_dir, _config):
        assert lists[0] == lists[1]
        own = [0.9996, 0.98, 0.5] if stores[0].name == "strangers" else [0.9, 0.8]
        return np.where(np.eye(len(own), dtype=bool), own, 0.99)

    monkeypatch.setattr(self_similarity, "model_store", model_store)
    monkeypatch.setattr(self_similarity, "model_scores", model_scores)
    (split_dir / "validation").symlink_to(split_dir)
    assert self_similarity.main([str(split_dir)]) == 0
    copies = [f"{query}-pip_50-0", f"{film}-pip_50-0"]
    assert made == [
        ("strangers", [query, film, other], 0, True),
        ("clips", [query, film, other], None, False),
        ("copies", copies, 2, True),
        ("database", list(found.database), None, False),
    ]
    rows = capsys.readouterr().out.splitlines()[2:]
    assert rows[0] == "| clips | 3 | 0.500 | 0.510 | 0.548 | 0.980 | 67% | 67% | 33% |"
    assert rows[1] == "| copies | 2 | 0.800 | 0.801 | 0.805 | 0.850 | 50% | 0% | 0% |"
    assert rows[2].startswith("| all | 5 | 0.500 |") and rows[2].endswith("| 60% | 40% | 20% |")
