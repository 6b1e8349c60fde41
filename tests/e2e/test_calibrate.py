"""`calibrate`, then `--max_fpr`: the commands on stores of made-up features."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pipeline import compute_similarity
from pipeline.config import CompareConfig
from pipeline.errors import InputError, PipelineWarning
from pipeline.nets.formats import native
from pipeline.nets.formats.loader import load_model
from pipeline.search.calibrate import check_rate, threshold_for
from pipeline.search.request import SearchRequest
from pipeline.search.video_set import VideoSet
from pipeline.store import open_store
from tests import features
from tests.command import run
from tests.messages import assert_output, raises


@pytest.fixture
def folder(tmp_path):
    """A model and two stores; d0 is a copy of q0, q1 is in both stores, all else is unrelated."""
    model = features.model(comparator=False, attention=False)
    native.write(model, tmp_path / "model")
    queries = {f"q{i}": features.region_vectors(4 + i, [1, i]) for i in range(20)}
    database = {f"d{i}": features.region_vectors(4 + i % 9, [2, i]) for i in range(30)}
    database |= {"d0": queries["q0"], "q1": queries["q1"]}
    made_with = features.spec(model.features_digest)
    features.fill(tmp_path / "q.h5", made_with, queries)
    features.fill(tmp_path / "d.h5", made_with, database)
    features.fill(tmp_path / "cut.h5", features.spec(model.features_digest, dims=8), {
        k: v[..., :8] / np.linalg.norm(v[..., :8], axis=2, keepdims=True)
        for k, v in database.items()})  # fmt: skip
    (tmp_path / "related.tsv").write_text("q0\td0\trecompressed\nsomebody\telse\n")
    return tmp_path


def sides(folder, database="d.h5"):
    return ("--model_dir", folder / "model", "--query_store", folder / "q.h5",
            "--database_store", folder / database)  # fmt: skip


def test_from_calibration_to_threshold(folder):
    weights_before = (folder / "model" / "weights.npz").read_bytes()
    said = run("calibrate", *sides(folder), "--related", folder / "related.tsv")
    assert_output(said, folder / "model", "618 pairs", "20 groups", "2 left out")
    assert_output(said, "--max_fpr 0.1,", "confidence 0.99")
    assert (folder / "model" / "weights.npz").read_bytes() == weights_before
    (calibration,) = load_model(folder / "model").calibrations
    assert (calibration.pairs, calibration.dims, calibration.scores[-1] < 0.9) == (618, 16, True)

    out = folder / "r.json"
    said = run("compare", *sides(folder), "-o", out, "--max_fpr", "0.01")
    assert_output(said, "threshold", "--max_fpr 0.01", "618", "confidence 0.99")
    found = {(q, d) for q, row in json.loads(out.read_text()).items() for d in row}
    assert {("q0", "d0"), ("q1", "q1")} <= found
    assert len(found) - 2 <= round(0.01 * 618)

    again = run("calibrate", *sides(folder), "--related", folder / "related.tsv")
    assert again.count("618") == 1
    assert len(load_model(folder / "model").calibrations) == 1, "the earlier one is replaced"
    table = compute_similarity(
        folder / "q.h5", folder / "d.h5", model_dir=folder / "model", max_fpr=0.01
    )
    assert {(q, d) for q, row in table.items() for d in row} == found


def test_groups_and_confidence(folder):
    def made(*options):
        run("calibrate", *sides(folder), "--related", folder / "related.tsv", *options)
        (calibration,) = load_model(folder / "model").calibrations
        return calibration

    usual, less = made(), made("--confidence", "0.5")
    assert less.threshold(0.05) < usual.threshold(0.05)
    assert (usual.confidence, less.confidence) == (0.99, 0.5)
    groups = [f"{side}{i}\tfilm {i % 10}" for side in "qd" for i in range(20)]
    (folder / "groups.tsv").write_text("\n".join(groups))
    grouped = made("--groups", folder / "groups.tsv")
    assert (grouped.groups, grouped.pairs) == (10, usual.pairs)
    assert grouped.scores != usual.scores
    (folder / "groups.tsv").write_text("q0\tone\nq1\tone\nq0\ttwo\n")
    said = run("calibrate", *sides(folder), "--groups", folder / "groups.tsv", code=2)
    assert_output(said, "error", folder / "groups.tsv", "'q0'", "'one'", "'two'")
    (folder / "groups.tsv").write_text("q0\n")
    said = run("calibrate", *sides(folder), "--groups", folder / "groups.tsv", code=2)
    assert_output(said, "error", folder / "groups.tsv", "line 1", remedy="`id<TAB>group`")


def test_a_copy_that_is_not_listed_shows(folder):
    said = run("calibrate", *sides(folder))
    assert_output(said, folder / "model", "619 pairs")
    assert "1.000  q0\td0" in said


def test_refusals(folder):
    asked = ("compare", *sides(folder), "-o", folder / "r.json")
    said = run(*asked, "--max_fpr", "0.01", code=2)
    assert_output(said, "error", "max_fpr", "'test model'", remedy="visil-index calibrate")
    run("calibrate", *sides(folder), "--related", folder / "related.tsv")
    said = run(*asked, "--max_fpr", "0", code=2)
    assert_output(said, "error", "max_fpr is 0,", remedy="expected more than 0 and less than 1")
    said = run(*asked, "--max_fpr", "0.0001", code=2)
    assert_output(said, "error", "max_fpr", "0.0001", "618", remedy="visil-index calibrate")
    mirrored = run(*asked, "--max_fpr", "1.5", "--mirrored_query_store", folder / "q.h5", code=2)
    assert_output(mirrored, "error", "max_fpr", "1.5", remedy="less than 1")
    both = run(*asked, "--max_fpr", "0.01", "--threshold", "0.5", code=2)
    assert_output(both, "error", "--threshold", "--max_fpr", remedy="not both")
    other = run(*asked, "--max_fpr", "0.01", "-s", "symmetric_chamfer", code=2)
    named = "similarity_function", "chamfer calibrated", "symmetric_chamfer here"
    assert_output(other, "error", *named, remedy="visil-index calibrate")
    assert not (folder / "r.json").exists()
    with raises(InputError, "threshold", "max_fpr", remedy="not both"):
        compute_similarity("q.h5", "d.h5", threshold=0.1, max_fpr=0.1)


def test_other_dims_are_refused(folder):
    run("calibrate", *sides(folder))
    said = run(
        "compare", "-m", folder / "model", "--query_store", folder / "cut.h5",
        "--database_store", folder / "cut.h5", "--max_fpr", "0.01", "-o", folder / "r.json", code=2,
    )  # fmt: skip
    assert_output(said, "error", "dims: 16 calibrated", "8 here", remedy="visil-index calibrate")


def test_a_calibration_of_floats_is_not_for_signs(folder):
    """Scores of binary stores are lower, so that a threshold of others would hide copies."""
    small = folder / "small.h5"
    run("copy", folder / "d.h5", small, "--dtype", "binary")
    out = ("-o", folder / "r.json", "--max_fpr", "0.1")
    run("calibrate", *sides(folder))
    said = run("compare", *sides(folder, "small.h5"), *out, code=2)
    named = "binary: none calibrated", "database here"
    assert_output(said, "error", *named, remedy="visil-index calibrate")
    run("calibrate", *sides(folder, "small.h5"))
    kept = load_model(folder / "model").calibrations
    assert [calibration.binary for calibration in kept] == ["none", "database"]
    run("copy", folder / "d.h5", folder / "int8.h5", "--dtype", "int8")
    for store, made in (("small.h5", kept[1]), ("d.h5", kept[0]), ("int8.h5", kept[0])):
        said = run("compare", *sides(folder, store), *out)
        assert_output(said, "threshold", f"{made.threshold(0.1):.4f}", "--max_fpr 0.1")


def test_a_calibration_of_plain_queries_is_not_for_those_with_views(folder):
    """By the best of many looks unrelated videos score higher."""
    model = load_model(folder / "model")
    made_with = features.spec(model.features_digest, query_descriptors=15)
    run("calibrate", *sides(folder))
    (calibration,) = load_model(folder / "model").calibrations
    with_views = features.fill(folder / "views.h5", made_with, {"q": np.ones((4, 24, 16))})
    with open_store(with_views) as q, open_store(folder / "d.h5") as d:
        pair = VideoSet([q]), VideoSet([d])
        model = replace(model, calibrations=(calibration,))
        named = "query_descriptors: 0 calibrated", "15 here"
        with raises(InputError, *named, remedy="visil-index calibrate"):
            threshold_for(0.1, SearchRequest(*pair, model, CompareConfig()))
        told_nothing = replace(model, calibrations=(replace(calibration, query_descriptors=None),))
        threshold_for(0.1, SearchRequest(*pair, told_nothing, CompareConfig()))


def test_bad_lists_and_models(folder):
    (folder / "bad.tsv").write_text("q0\td0\nq1\n")
    said = run("calibrate", *sides(folder), "--related", folder / "bad.tsv", code=2)
    assert_output(said, "error", folder / "bad.tsv", "line 2", remedy="`query<TAB>database`")
    text = (folder / "model" / "model.json").read_text()
    said = run("calibrate", *sides(folder, "absent.h5"), code=1)
    assert_output(said, "error", folder / "absent.h5", remedy="extract_features.py")
    assert (folder / "model" / "model.json").read_text() == text


def test_one_calibration_that_can_tell_the_rate_is_enough_before_there_are_features(folder):
    """Which of them is meant is known when the stores are."""
    run("calibrate", *sides(folder))
    model = load_model(folder / "model")
    (first,) = model.calibrations
    longer = (*first.rates[:-1], 1e-6), first.scores
    signs = replace(first, binary="database", pairs=10**7, rates=longer[0], scores=longer[1])
    check_rate(1e-5, replace(model, calibrations=(first, signs)), CompareConfig(), False)
    with raises(InputError, "max_fpr", "1e-05", "619", remedy="visil-index calibrate"):
        check_rate(1e-5, model, CompareConfig(), False)
    with raises(InputError, "max_fpr", "1e-07", "10000000", remedy="visil-index calibrate"):
        check_rate(1e-7, replace(model, calibrations=(first, signs)), CompareConfig(), False)


def test_a_damaged_video_is_no_unrelated_one(folder):
    made_with = features.spec(load_model(folder / "model").features_digest)
    videos = {f"d{i}": features.region_vectors(5, [2, i]) for i in range(30)}
    features.fill(folder / "bad.h5", made_with, videos)
    features.spoil(folder / "bad.h5", np.nan)
    said = run("calibrate", *sides(folder, "bad.h5"), code=3)
    assert_output(said, folder / "bad.h5", "'d0'", "is damaged")
    (made,) = load_model(folder / "model").calibrations
    assert made.pairs == 20 * 29
    stores = folder / "q.h5", folder / "bad.h5"
    with pytest.warns(PipelineWarning, match=r"bad\.h5.*'d0'"):
        scores = compute_similarity(*stores, model_dir=folder / "model")
    assert all(list(row) == list(videos)[1:] for row in scores.values())


def test_what_cannot_be_kept_is_refused_before_the_work(folder):
    said = run("calibrate", "-m", folder, *sides(folder)[2:], code=1)
    assert_output(said, "error", f"{folder}:", "no model", remedy="expected a published release")


def test_two_chances_are_allowed_for(folder):
    """Of two scores the better counts: each may reach the threshold half as often."""
    run("calibrate", *sides(folder))
    model = load_model(folder / "model")
    made_with = features.spec(model.features_digest, mirrored=True)
    mirror = features.fill(folder / "m.h5", made_with, {"q1": features.region_vectors(5, [1, 1])})
    with open_store(folder / "d.h5") as store, open_store(mirror) as other:
        videos = VideoSet([store])
        request = SearchRequest(videos, videos, model, mirrored=VideoSet([other]))
        found = threshold_for(0.02, request)
    assert found == model.calibrations[0].threshold(0.01)
