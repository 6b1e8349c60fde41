"""`adapt`: a model fitted to a store of made-up features, then stage two with it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.retrieval.studies import adapted
from pipeline import ViSiL
from pipeline.config import CompareConfig, TrainConfig
from pipeline.errors import FingerprintMismatchError, InputError, ModelError
from pipeline.nets.formats import native
from pipeline.nets.formats.loader import load_model
from pipeline.nets.model.blank import Blank
from pipeline.nets.model.descriptors import QueryAugmentation, standard_layout
from pipeline.nets.model.whitening import Whitening
from pipeline.search.adapt import MAX_VIDEOS, adapt, adapt_request
from pipeline.search.request import SearchRequest
from pipeline.search.run import score_table
from pipeline.search.video_set import VideoSet
from pipeline.store import open_store
from pipeline.training.train import train_model
from tests import features, reference
from tests.command import run
from tests.messages import assert_names, assert_output, raises

COMMON = features.region_vectors(1, 77)[0, 0]  # what all regions of this collection have in them


def videos(count, seed, frames=6):
    made = {}
    for i in range(count):
        x = features.region_vectors(frames + i % 3, [seed, i]) + 2 * COMMON
        made[f"{seed}-{i}"] = x / np.linalg.norm(x, axis=2, keepdims=True)
    return made


@pytest.fixture
def folder(tmp_path):
    """A model and two stores; 2-0 holds the regions of 1-0, disturbed."""
    model = features.model(comparator=False, attention=False)
    native.write(model, tmp_path / "model")
    queries, database = videos(3, 1), videos(40, 2)
    x = queries["1-0"] + 0.4 * features.region_vectors(6, 5)
    database["2-0"] = x / np.linalg.norm(x, axis=2, keepdims=True)
    made_with = features.spec(model.features_digest)
    features.fill(tmp_path / "q.h5", made_with, queries)
    features.fill(tmp_path / "d.zarr", made_with, database)
    return tmp_path


def scores(folder, model):
    out = folder / "r.json"
    run("compare", "-m", folder / model, "--query_store", folder / "q.h5",
        "--database_store", folder / "d.zarr", "-o", out)  # fmt: skip
    return json.loads(out.read_text())


def stored(path):
    with open_store(path) as store:
        return {video: store.read_vectors(video) for video in store.ids}


def test_strangers_are_told_apart_afterwards(folder):
    sources = "--database_store", folder / "d.zarr", "-o", folder / "mine"
    said = run("adapt", "-m", folder / "model", *sources)
    assert "adapted to 40 videos" in said and f"--model_dir {folder / 'mine'}" in said
    before, after = scores(folder, "model"), scores(folder, "mine")
    strangers = [[s["1-0"][f"2-{i}"] for i in range(1, 40)] for s in (before, after)]
    assert min(strangers[0]) > 0.8 and np.mean(strangers[1]) < 0.5
    gaps = [s["1-0"]["2-0"] - max(of) for s, of in zip((before, after), strangers, strict=True)]
    assert gaps[1] > 2 * gaps[0] > 0

    adapted = load_model(folder / "mine")
    assert adapted.features_digest == load_model(folder / "model").features_digest
    sides = stored(folder / "q.h5"), stored(folder / "d.zarr")
    for query, vectors in sides[0].items():
        for target, others in sides[1].items():
            want = reference.similarity(
                vectors, others, layout=standard_layout(9), adaptation=adapted.adaptation
            )
            assert after[query][target] == pytest.approx(want, abs=1e-5)
    pair = sides[0]["1-1"], sides[1]["2-7"]
    single = ViSiL(folder / "mine").calculate_video_similarity(*pair)
    assert single == pytest.approx(after["1-1"]["2-7"], abs=1e-5)


def test_what_is_fitted_makes_the_variance_of_the_stored_vectors_equal(folder):
    with open_store(folder / "d.zarr") as store:
        report = adapt(VideoSet([store]), load_model(folder / "model"), shrinkage=0.0)
    x = np.concatenate(list(stored(folder / "d.zarr").values()))
    assert (report.videos, report.frames) == (40, len(x))
    assert report.model.adaptation is not None
    pca = report.model.adaptation["regions"]
    white = (x.reshape(-1, features.DIMS) - pca.mean) @ pca.eigenvectors / np.sqrt(pca.eigenvalues)
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(np.cov(white.T), np.eye(features.DIMS), atol=2e-2)
    with open_store(folder / "d.zarr") as store:
        weak = adapt(VideoSet([store]), load_model(folder / "model"), shrinkage=1.0)
    values = weak.model.adaptation["regions"].eigenvalues
    np.testing.assert_allclose(values, values[0], rtol=1e-5)


def test_blank_regions_do_not_count(folder, tmp_path):
    """Half of each frame lies in the blank space: the fit is that of the other half."""
    blank = Blank(np.eye(1, features.DIMS, dtype=np.float32), 0.5, 0.9)
    model = replace(load_model(folder / "model"), blank=blank)
    half = {}
    for video, x in videos(30, 3).items():
        x[..., 0] = 0
        half[video] = x / np.linalg.norm(x, axis=2, keepdims=True)
    mixed = {video: x.copy() for video, x in half.items()}
    for x in mixed.values():
        x[:, 4:] = blank.directions[0]
    path = features.fill(tmp_path / "mixed.h5", features.spec(model.features_digest), mixed)
    with open_store(path) as store:
        found = adapt(VideoSet([store]), model).model.adaptation["regions"]
    parts = np.concatenate([x[:, :4] for x in half.values()]).reshape(-1, features.DIMS)
    np.testing.assert_allclose(found.mean, parts.mean(axis=0), atol=1e-6)
    everything = np.concatenate(list(mixed.values())).reshape(-1, features.DIMS)
    assert np.abs(found.mean - everything.mean(axis=0)).max() > 0.1


def test_each_kind_of_vector_is_fitted_for_itself(folder):
    """Further vectors of queries, which the store has as well, are left out."""
    size = features.DIMS
    pca = Whitening(np.zeros(1024, "f4"), np.eye(1024, size, dtype="f4"), np.ones(size, "f4"))
    plain = features.model(comparator=False, attention=False)
    model = replace(
        plain, lowpass=plain.whitening, thumbnail=pca, features_digest="",
        layout=standard_layout(9, lowpass=True, thumbnail=True, flip=True),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    made = {}
    for i in range(25):
        x = rng.standard_normal((5, 12, size)).astype(np.float32)
        x[:, 9, 0] += 3
        x[:, 10, 1] += 3
        x[:, 11, 2] += 9
        made[f"v{i}"] = x / np.linalg.norm(x, axis=2, keepdims=True)
    made_with = features.spec(
        model.features_digest,
        shared_descriptors=11,
        query_descriptors=1,
        augmentation_digest=model.views_digest,
    )
    path = features.fill(folder / "kinds.h5", made_with, made)
    with open_store(path) as store:
        found = adapt(VideoSet([store]), model).model.adaptation
    everything = np.concatenate(list(made.values()))
    spans = {"regions": slice(0, 9), "lowpass": slice(9, 10), "thumbnail": slice(10, 11)}
    assert found.keys() == spans.keys()
    for kind, span in spans.items():
        want = everything[:, span].reshape(-1, size).mean(axis=0)
        np.testing.assert_allclose(found[kind].mean, want, atol=1e-6)


def test_a_long_video_is_read_in_parts(folder):
    long = {"long": features.region_vectors(3000, 9), **videos(20, 4)}
    made_with = features.spec(load_model(folder / "model").features_digest)
    path = features.fill(folder / "long.h5", made_with, long, "int8")
    with open_store(path) as store:
        report = adapt(VideoSet([store]), load_model(folder / "model"))
    assert report.frames == 8 * 32 + sum(len(x) for name, x in long.items() if name != "long")


def test_evenly_many_of_a_large_collection(folder, monkeypatch):
    assert MAX_VIDEOS > 1000
    read = []
    with open_store(folder / "d.zarr") as store:
        videos_of = VideoSet([store])
        plain = videos_of.read
        monkeypatch.setattr(
            videos_of, "read", lambda *given: (read.append(given[0]), plain(*given))
        )
        assert adapt(videos_of, load_model(folder / "model"), max_videos=25).videos == 25
    assert read[0] == 0 and read[-1] == 39 and set(np.diff(read)) == {1, 2}


def test_it_is_fitted_anew_to_another_collection(folder):
    run("adapt", "-m", folder / "model", "--database_store", folder / "d.zarr", "-o", folder / "a")
    run("adapt", "-m", folder / "a", "--database_store", folder / "d.zarr", "-o", folder / "b")
    run("adapt", "-m", folder / "a", "--database_store", folder / "d.zarr", "-o", folder / "a")
    one, two = load_model(folder / "a"), load_model(folder / "b")
    assert one.name == two.name == "test model-adapted"
    assert one.description == two.description and two.description.count("adapted to 40 videos") == 1
    assert two.provenance.count("adapted to") == 1
    for pca, again in zip(one.adaptation.values(), two.adaptation.values(), strict=True):
        np.testing.assert_array_equal(pca.eigenvectors, again.eigenvectors)


def many(folder):
    """Options of `calibrate`: enough queries of the collection, and its store."""
    made_with = features.spec(load_model(folder / "model").features_digest)
    features.fill(folder / "many.h5", made_with, videos(30, 6))
    return "--query_store", folder / "many.h5", "--database_store", folder / "d.zarr"


def test_a_calibration_does_not_outlive_it(folder):
    sides = "--query_store", folder / "q.h5", "--database_store", folder / "d.zarr"
    wide = many(folder)
    run("calibrate", "-m", folder / "model", *wide)
    assert len(load_model(folder / "model").calibrations) == 1
    run("adapt", "-m", folder / "model", *sides[2:], "-o", folder / "mine")
    said = run("compare", "-m", folder / "mine", *sides, "-o", folder / "r.json", "--max_fpr", 0.1,
               code=2)  # fmt: skip
    remedy = "visil-index calibrate"
    assert_output(said, "error", "max_fpr", "'test model-adapted'", remedy=remedy)
    run("calibrate", "-m", folder / "mine", *wide)
    run("compare", "-m", folder / "mine", *sides, "-o", folder / "r.json", "--max_fpr", 0.1)
    assert load_model(folder / "mine").adaptation is not None
    assert [c.adapted for c in load_model(folder / "mine").calibrations] == [True]


def test_what_it_was_calibrated_to_stays_when_it_is_adapted_again(folder):
    """A collection grows, and is adapted to again in the same folder."""
    again = ("adapt", "-m", folder / "model", "--database_store", folder / "d.zarr")
    again = (*again, "-o", folder / "mine")
    run(*again)
    run("calibrate", "-m", folder / "mine", *many(folder))
    (own,) = load_model(folder / "mine").calibrations
    assert_output(run(*again), "note", "calibrations kept", ": 1")
    assert load_model(folder / "mine").calibrations == (own,)

    from_model = replace(own, pairs=own.pairs + 1)
    other = replace(own, similarity_function="max_chamfer")
    for made in (from_model, other):
        native.write_calibration(made, folder / "model")
    run(*again)
    assert load_model(folder / "mine").calibrations == (own, other)

    weights = load_model(folder / "model")
    native.write(replace(weights, comparator=features.comparator_layers()), folder / "model")
    assert_output(run(*again), "note", "calibrations", "not kept")
    assert load_model(folder / "mine").calibrations == (from_model, other)

    (folder / "mine" / "weights.npz").write_bytes(b"cut off")
    assert_output(run(*again), "note", folder / "mine" / "weights.npz", "written anew")
    assert load_model(folder / "mine").adaptation is not None


@pytest.mark.parametrize("value", [np.nan, 600.0])
def test_one_damaged_video_does_not_turn_a_whole_collection(folder, value):
    model = load_model(folder / "model")
    path = features.fill(folder / "bad.h5", features.spec(model.features_digest), videos(25, 8))
    names = list(videos(25, 8))[1:]
    rest = {name: videos(25, 8)[name] for name in names}
    features.fill(folder / "rest.h5", features.spec(model.features_digest), rest)
    features.spoil(path, value)
    with open_store(path) as bad, open_store(folder / "rest.h5") as sound:
        damaged = VideoSet([bad])
        found, want = adapt(damaged, model), adapt(VideoSet([sound]), model)
    assert list(damaged.damaged) == ["8-0"]
    assert_names(damaged.damaged["8-0"], path, "'8-0'", "is damaged")
    assert (found.videos, found.frames) == (24, want.frames)
    for kind, whitening in want.model.adaptation.items():
        np.testing.assert_array_equal(
            found.model.adaptation[kind].eigenvectors, whitening.eigenvectors
        )


def test_a_store_is_refused_before_a_query_is_decoded(folder):
    (folder / "query.txt").write_text("a\tabsent.mp4\n")
    said = run("compare", "-m", folder / "model", "--query_file", folder / "query.txt", "--adapt",
               "--database_store", folder / "q.h5", "-o", folder / "r.json", code=2)  # fmt: skip
    assert_output(said, "error", folder / "q.h5", "3 videos", remedy="expected 20 or more")
    assert "absent" not in said


def test_the_folder_is_checked_before_the_work(folder):
    asked = ("adapt", "-m", folder / "model", "--database_store", folder / "d.zarr", "-o")
    assert_output(run(*asked, "", code=2), "error", "--output_dir", remedy="expected a folder")
    said = run(*asked, folder / "q.h5" / "below", code=2)
    assert_output(said, "error", folder / "q.h5", remedy="choose another --output_dir")


def test_vectors_that_are_all_nothing_are_no_collection(folder):
    model = load_model(folder / "model")
    nothing = {name: np.zeros_like(x) for name, x in videos(20, 8).items()}
    path = features.fill(folder / "nothing.h5", features.spec(model.features_digest), nothing)
    refused(model, path, InputError, path, "alike")


def test_stage_two_adapts_by_itself_when_asked(folder):
    """As the model that `adapt` writes, with the calibration that was made so."""
    stores = "--query_store", folder / "q.h5", "--database_store", folder / "d.zarr"
    wide = many(folder)
    plain = ("compare", "-m", folder / "model", *stores, "-o", folder / "r.json", "--max_fpr", 0.1)
    asked = (*plain, "--adapt")
    run("calibrate", "-m", folder / "model", *wide)
    said = run(*asked, code=2)
    assert_output(
        said, "error", "adapted: False calibrated", "True here", remedy="visil-index calibrate"
    )
    run("calibrate", "-m", folder / "model", *wide, "--adapt")
    as_it_is, adapted = load_model(folder / "model").calibrations
    assert (as_it_is.adapted, adapted.adapted) == (False, True)
    assert adapted.threshold(0.1) < as_it_is.threshold(0.1) - 0.2
    for command, made in ((asked, adapted), (plain, as_it_is)):
        assert_output(run(*command), "threshold", f"{made.threshold(0.1):.4f}", "--max_fpr 0.1")

    run("adapt", "-m", folder / "model", *stores[2:], "-o", folder / "mine")
    assert load_model(folder / "mine").calibrations == (adapted,)
    run("compare", "-m", folder / "mine", *stores, "-o", folder / "mine.json", "--max_fpr", 0.1)
    assert_output(run(*asked), "adapting", "40 videos")
    mine, found = (json.loads((folder / name).read_text()) for name in ("mine.json", "r.json"))
    assert found.keys() == mine.keys() and found["1-0"].keys() == mine["1-0"].keys()
    for query in mine:
        assert found[query] == pytest.approx(mine[query], abs=1e-5)


def test_a_background_is_compared_by_the_model_adapted_to_the_database(folder):
    model = load_model(folder / "model")
    others = features.fill(
        folder / "b.h5", features.spec(model.features_digest), videos(5, 7)
    )  # too few to adapt to
    with open_store(folder / "q.h5") as q, open_store(folder / "d.zarr") as d:
        sides = VideoSet([q]), VideoSet([d])
        fitted = adapt(sides[1], model).model
        with open_store(others) as b:
            unrelated = VideoSet([b])
            want, _ = score_table(
                SearchRequest(*sides, fitted, CompareConfig(), background=unrelated)
            )
            request = SearchRequest(*sides, model, CompareConfig(adapt=True), background=unrelated)
            with raises(InputError, "adapted to the database", remedy="adapt_request"):
                score_table(request)
            found, _ = score_table(adapt_request(request))
    np.testing.assert_allclose(found, want, atol=1e-6)


def test_too_few_listed_videos_are_refused_before_decoding(folder):
    (folder / "few.txt").write_text("a\tabsent.mp4\nb\tabsent.mp4\n")
    said = run("compare", "-m", folder / "model", "--query_store", folder / "q.h5", "--adapt",
               "--database_file", folder / "few.txt", "-o", folder / "r.json", code=2)  # fmt: skip
    assert_output(said, "error", folder / "few.txt", "2 videos", remedy="expected 20 or more")
    assert "absent" not in said


def refused(model, path, error, *named, remedy=""):
    with open_store(path) as store, raises(error, *named, remedy=remedy):
        adapt(VideoSet([store]), model)


def test_what_is_refused(folder):
    model = load_model(folder / "model")
    few = folder / "q.h5"
    refused(model, few, InputError, few, "3 videos", remedy="expected 20 or more")
    attending = features.model(comparator=False)
    path = features.fill(
        folder / "attended.h5", features.spec(attending.features_digest), videos(20, 8)
    )
    refused(
        attending, path, ModelError, attending.name, "attention", remedy="compare by it as it is"
    )
    path = features.fill(folder / "other.h5", features.spec("0" * 64), videos(20, 8))
    refused(model, path, FingerprintMismatchError, path, model.name, remedy="give --model_dir")
    cut = {k: x[..., :8] / np.linalg.norm(x[..., :8], axis=2, keepdims=True)
           for k, x in videos(20, 8).items()}  # fmt: skip
    path = features.fill(folder / "cut.h5", features.spec(model.features_digest, dims=8), cut)
    refused(model, path, FingerprintMismatchError, path, "8 of 16", remedy="extract without --dims")

    run("adapt", "-m", folder / "model", "--database_store", folder / "d.zarr", "-o", folder / "a")
    said = run("compare", "-m", folder / "a", "--query_store", path, "--database_store", path,
               "-o", folder / "r.json", code=1)  # fmt: skip
    remedy = "give the model it was made of"
    assert_output(said, "error", path, "adaptation", "'test model-adapted'", "16", remedy=remedy)
    with raises(ModelError, "test model-adapted", remedy="train the model it was made of"):
        train_model([], [], load_model(folder / "a"), TrainConfig(), folder / "work")
    said = run("adapt", "-m", folder / "model", "--database_store", folder / "d.zarr",
               "-o", folder / "model", code=2)  # fmt: skip
    assert_output(said, "error", folder / "model", remedy="choose another --output_dir")
    assert load_model(folder / "model").adaptation is None
    black = {
        k: np.broadcast_to(np.eye(1, 16, dtype="f4"), x.shape) for k, x in videos(20, 8).items()
    }
    path = features.fill(folder / "black.h5", features.spec(model.features_digest), black)
    blank = Blank(np.eye(1, 16, dtype=np.float32), 0.5, 0.9)
    refused(replace(model, blank=blank), path, InputError, path, "blank")
    said = run("adapt", "-m", folder / "model", "--database_store", folder / "d.zarr",
               "-o", folder / "q.h5", code=2)  # fmt: skip
    assert_output(said, "error", folder / "q.h5", remedy="choose another --output_dir")


def test_the_model_as_one_object_with_all_views(folder):
    """`ViSiL` on an adapted model with blank space, terms and anchors, against numpy."""
    size, rng = features.DIMS, np.random.default_rng(3)

    def pca(seed, values=size):
        turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((values, size)))[0]
        mean = np.random.default_rng(seed).normal(0, 0.1, values)
        return Whitening(*(a.astype("f4") for a in (mean, turn, np.linspace(2, 1, size))))

    anchors = features.region_vectors(20, 4)[:, 0].astype(np.float16).astype(np.float32)
    model = replace(
        features.model(attention=False),
        lowpass=pca(1), thumbnail=pca(2, 1024), anchors=anchors, residual_weight=0.5,
        layout=standard_layout(
            9, lowpass=True, thumbnail=True, thumbnail_offset=0.05, flip=True, downscale=(2,),
            augmentations=(
                (QueryAugmentation("rotate", 8), -0.01, 0.0),
                (QueryAugmentation("crops", 0.6, parts=2), 0.03, 0.5),
            ),
        ),
        blank=Blank(np.eye(2, size, dtype="f4"), 0.1, 0.5),
        adaptation={kind: pca(i) for i, kind in enumerate(("regions", "lowpass", "thumbnail"), 5)},
        features_digest="",
    )  # fmt: skip
    native.write(model, folder / "views")
    layout = model.layout
    query, target = (
        (x / np.linalg.norm(x, axis=2, keepdims=True)).astype(np.float32)
        for x in (rng.standard_normal((t, n, size)) for t, n in ((8, layout.query), (13, 11)))
    )
    target[:3, :5, :2] *= 4  # more or less blank
    target /= np.linalg.norm(target, axis=2, keepdims=True)
    how = (model.comparator, "chamfer", model.blank, layout, 0.5)
    found = ViSiL(folder / "views").calculate_video_similarity(query, target)
    want = reference.similarity(query, target, *how, model.anchors, model.adaptation)
    assert found == pytest.approx(want, abs=1e-5)
    assert abs(want - reference.similarity(query, target, *how, model.anchors)) > 1e-3


def test_the_benchmark_adapts_with_and_without_the_copies(folder, monkeypatch, capsys):
    """2-0 shows 1-0; 2-1, which the truth names too, shows nothing of 1-1."""
    split = folder / "validation"
    split.mkdir()
    (split / "queries.txt").write_text("".join(f"1-{i}\tq.mp4\n" for i in range(3)))
    (split / "database.txt").write_text("".join(f"2-{i}\td.mp4\n" for i in range(40)))
    (split / "truth.tsv").write_text("1-0\t2-0\tcrop_40_50\n1-1\t2-1\tmirror\n")
    stores = [folder / "q.h5", folder / "d.zarr"]
    monkeypatch.setattr(adapted, "model_stores", lambda *_: stores)
    read, tables = [], []

    def counted(database, model):
        read.append(len(database))
        return adapt(database, model)

    def kept(*sides_and_model):
        tables.append(score_table(*sides_and_model))
        return tables[-1]

    monkeypatch.setattr(adapted, "adapt", counted)
    monkeypatch.setattr(adapted, "score_table", kept)
    assert adapted.main([str(folder), "--model_dir", str(folder / "model")]) == 0
    assert read == [40, 38]
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in rows] == ["| nothing", "| the database", "| it without the copies"]
    assert [row[5] for row in rows] == ["1.000"] * 3  # of hard copies: 2-0 is found
    assert all(float(row[1]) == (1 + float(row[7].strip(" |"))) / 2 for row in rows)  # 2-1 is not
    plain, all_of_it, others = (scores for scores, *_ in tables)
    assert np.abs(plain - all_of_it).mean() > 0.1
    assert 0 < np.abs(all_of_it - others).mean() < 0.1
