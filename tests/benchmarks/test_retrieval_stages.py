"""The benchmark's runs of the two real stages: settings, stores, scores, cost of a pair."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.retrieval.studies import evaluate, settings
from benchmarks.retrieval.studies.blank import with_intros
from pipeline.config import DTYPES, CompareConfig, ExtractConfig
from pipeline.default_model import default_model_dir
from pipeline.extraction.run import ExtractReport
from pipeline.nets.formats.loader import load_model
from pipeline.store import open_store
from tests import features
from tools.clips import Clip, write_clip

MODEL = load_model(default_model_dir())


def test_rows_are_those_that_the_model_can_have():
    model = replace(MODEL, attention=None, comparator=features.comparator_layers())
    rows = {row.name: row for row in settings.settings(model)}
    assert {row.extract.dtype for row in rows.values()} == {None, *DTYPES} - {"float16"}
    assert {row.extract.dims for row in rows.values()} == {None, 256, 128}
    assert not rows["without comparator"].comparator
    adapted = "adapted to the database"
    assert {name for name, row in rows.items() if row.compare.adapt} == {adapted}
    assert {name for name, row in rows.items() if row.extract.insets is not None} == {"--insets 0"}
    assert "--insets 0" not in {row.name for row in settings.settings(replace(model, insets=0))}
    plain = "queries without --as_queries"
    assert {name for name, row in rows.items() if not row.as_queries} == {plain}
    alike = replace(model, layout=model.layout.of_database)
    assert plain not in {row.name for row in settings.settings(alike)}
    small = replace(model, comparator=None).with_dims(200)
    rows = {row.name: row for row in settings.settings(small)}
    assert {row.extract.dims for row in rows.values()} == {None, 128}
    assert "without comparator" not in rows
    attentive = replace(model, attention=np.ones(model.dims, np.float32))
    assert {row.extract.dims for row in settings.settings(attentive)} == {None}
    assert adapted not in {row.name for row in settings.settings(attentive)}


@pytest.fixture
def stores(tmp_path):
    model = features.model(attention=False)
    made_with = features.spec(model.features_digest)
    sides = [["a", "b"], ["c", "d", "e"]]
    for number, ids in enumerate(sides):
        videos = {name: features.region_vectors(6, [number, i]) for i, name in enumerate(ids)}
        features.fill(tmp_path / f"{number}.h5", made_with, videos)
    return [tmp_path / "0.h5", tmp_path / "1.h5"], sides, model


def test_the_comparator_can_be_left_out_and_the_database_repeated(stores):
    paths, sides, model = stores
    config = CompareConfig()
    once = settings.scored(paths, sides, model, config)
    assert once.shape == (2, 3)
    np.testing.assert_allclose(
        settings.scored(paths, sides, model, config, 2), np.tile(once, 2), atol=1e-6
    )
    without = settings.scored(paths, sides, replace(model, comparator=None), config)
    assert np.abs(without - once).max() > 0.01


def test_the_cost_of_a_pair_leaves_out_the_start(stores, monkeypatch):
    asked = []

    def scored(_paths, _lists, _model, _config, times):
        asked.append(times)

    def timed(work):
        return work(), 3.0 + 0.6 * asked[-1] + 0.1 * (len(asked) % 2)  # every other run is slower

    monkeypatch.setattr(settings, "scored", scored)
    monkeypatch.setattr(settings, "timed", timed)
    assert settings.pair_seconds(*stores, CompareConfig()) == pytest.approx(0.1)  # 0.6 / (2 x 3)


def test_intros_stand_in_front_with_the_vectors_that_the_store_has(stores, tmp_path):
    paths, sides, _ = stores
    front = np.concatenate([features.region_vectors(3, 7)] * 2, axis=1)  # 18 of a query, 9 of these
    path = with_intros(paths[1], tmp_path / "fronted.h5", sides[1], [front], 0)
    with open_store(paths[1]) as before, open_store(path) as after:
        for video in sides[1]:
            vectors = after.read_vectors(video)
            np.testing.assert_allclose(vectors[:3], front[:, :9], atol=1e-3)
            np.testing.assert_allclose(vectors[3:], before.read_vectors(video), atol=1e-3)


@pytest.fixture
def split(tmp_path):
    """A set of one query, a copy and a stranger, 3 s each."""
    folder = tmp_path / "validation"
    folder.mkdir()
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (2, 30, 12, 16, 3), dtype=np.uint8).repeat(8, 2).repeat(8, 3)
    shown = {"query": pictures[0], "copy": pictures[0] // 2 * 2, "stranger": pictures[1]}
    for name, frames in shown.items():
        write_clip(folder / f"{name}.mp4", Clip(frames, 10.0), "libx264", {"g": "250"})
    lines = {n: f"{n}\t{folder / n}.mp4\n" for n in shown}
    (folder / "queries.txt").write_text(lines["query"])
    (folder / "database.txt").write_text(lines["copy"] + lines["stranger"])
    (folder / "truth.tsv").write_text("query\tcopy\tedges\n")
    return folder


def test_a_row_runs_both_stages_and_the_second_run_extracts_nothing(split, capsys):
    arguments = [str(split.parent), "--timed", "0", "--only", "keyframes"]
    assert settings.main(arguments) == 0
    output = capsys.readouterr()
    head, _, row = output.out.splitlines()
    assert head.count("|") == row.count("|") == len(settings.COLUMNS) + 1
    assert row.startswith("| keyframes | 1.000 | 1.000 | 1.000 | 1.000 |")
    assert output.err.count("extracted") == 2
    (path,) = (split / "stores").glob("database_*.h5")
    with open_store(path) as store:
        assert max(store.record(i).own_frames for i in store.ids) < 3  # of 3 s
    assert settings.main(arguments) == 0
    again = capsys.readouterr()
    assert again.out == output.out and not again.err


def test_queries_may_be_stored_as_a_database_is(split, capsys):
    arguments = [str(split.parent), "--timed", "0", "--only", "without --as_queries"]
    assert settings.main(arguments) == 0
    row = capsys.readouterr().out.splitlines()[2]
    assert row.startswith("| queries without --as_queries | 1.000 |")
    (path,) = (split / "stores").glob("plain_*.h5")
    with open_store(path) as store:
        assert store.ids == ["query"] and store.spec.query_descriptors == 0


def test_a_set_that_was_not_built_is_named(tmp_path, capsys):
    assert settings.main([str(tmp_path)]) == 1
    assert "build the set first" in capsys.readouterr().err


def test_stores_of_other_sampling_have_other_names(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "extract_features", lambda *_, **__: ExtractReport())
    paths = {
        evaluate.model_store({}, tmp_path / "q", default_model_dir(), config, print, False)
        for config in (ExtractConfig(), ExtractConfig(fps=2), ExtractConfig(sampling="keyframes"))
    }
    assert len(paths) == 3
