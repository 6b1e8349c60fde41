"""`--normalize database` over stores of made-up features: scores, selections, thresholds."""

import json
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from pipeline import Index, compute_similarity
from pipeline.config import CompareConfig
from pipeline.errors import InputError
from pipeline.nets.formats import native
from pipeline.nets.formats.loader import load_model
from pipeline.output.result_text import table_lines
from pipeline.output.selection import Selection
from pipeline.search import score_normalization
from pipeline.search.limits import Limits
from pipeline.search.request import SearchRequest
from pipeline.search.run import find_matches, score_table
from pipeline.search.score_normalization import database_level, level_columns
from pipeline.search.video_set import VideoSet
from pipeline.store import open_store
from tests import features
from tests.command import run
from tests.messages import assert_output, raises

PLAIN = CompareConfig(precision="float32")
NORMALIZED = replace(PLAIN, normalize="database")
MODEL = features.model(comparator=False, attention=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model and stores; d0 is a copy of q0, the last of d.h5 are look-alikes of q1."""
    path = tmp_path_factory.mktemp("normalize")
    native.write(MODEL, path / "model")
    queries = {f"q{i}": features.region_vectors(4 + i, [1, i]) for i in range(20)}
    database = {f"d{i}": features.region_vectors(4 + i % 9, [2, i]) for i in range(30)}
    database["d0"] = queries["q0"]
    database |= {f"like{i}": 0.7 * queries["q1"] for i in range(3)}
    made_with = features.spec(MODEL.features_digest)
    features.fill(path / "q.h5", made_with, queries)
    features.fill(path / "m.h5", features.spec(MODEL.features_digest, mirrored=True), queries)
    features.fill(path / "d.h5", made_with, database)
    return path


@pytest.fixture
def opened(folder):
    with ExitStack() as stack:
        yield [
            VideoSet([stack.enter_context(open_store(folder / name))]) for name in ("q.h5", "d.h5")
        ]


def sides(folder):
    return ("--model_dir", folder / "model", "--query_store", folder / "q.h5",
            "--database_store", folder / "d.h5")  # fmt: skip


def levels_of(request_of, config):
    """What is subtracted: plain and normalised scores, and the level of each query."""
    plain, normalized = (
        score_table(request_of(each))[0] for each in (replace(config, normalize="none"), config)
    )
    level = (plain - normalized).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(normalized, plain - level, atol=1e-6)
    return plain, normalized, level


def test_the_level_is_subtracted_and_the_order_stays(opened):
    everything = replace(NORMALIZED, normalize_match=1.0)  # nothing matches: all scores count
    plain, _, level = levels_of(lambda config: SearchRequest(*opened, MODEL, config), everything)
    assert level.std() > 1e-3
    np.testing.assert_allclose(level[1:], database_level(plain, everything)[1:], atol=1e-6)


def test_copies_do_not_raise_a_level(folder, tmp_path):
    """A query all of whose database are copies keeps the level of a usual one."""
    copies = {f"copy{i}": features.region_vectors(6, [1, 2]) for i in range(30)}
    made_with = features.spec(MODEL.features_digest)
    features.fill(tmp_path / "copies.h5", made_with, copies)
    features.fill(tmp_path / "q.h5", made_with, {"q2": copies["copy0"]})
    config = replace(NORMALIZED, normalize_match=0.9)
    with ExitStack() as stack:
        sets = [VideoSet([stack.enter_context(open_store(tmp_path / n))])
                for n in ("q.h5", "copies.h5")]  # fmt: skip
        plain, _, level = levels_of(lambda each: SearchRequest(*sets, MODEL, each), config)
    assert plain.min() > 0.99
    assert level[0, 0] == pytest.approx(0.27, abs=1e-6)


@pytest.mark.parametrize("selection", [Selection(3), Selection(threshold=0.1), Selection(2, 0.05)])
def test_few_scores_are_kept_of_a_large_database(opened, selection, monkeypatch):
    """Levels come from a sample, by which all scores would be normalised as well."""
    monkeypatch.setattr(score_normalization, "SAMPLE_VIDEOS", 8)
    high = replace(NORMALIZED, normalize_match=1.0)
    request = SearchRequest(*opened, MODEL, high, selection=selection)
    assert len(level_columns(len(request.database))) == 8
    dense, _ = find_matches(request)
    sparse, _ = find_matches(request, limits=Limits(all_scores_videos=10))
    assert type(dense) is not type(sparse)
    found = 0
    for query_id in dense.query_ids:
        one, two = dense.matches(query_id), sparse.matches(query_id)
        assert [m.database_id for m in one] == [m.database_id for m in two]
        np.testing.assert_allclose([m.score for m in one], [m.score for m in two], atol=1e-6)
        found += len(one)
    assert found


def test_a_damaged_video_moves_no_level(opened):
    queries, database = opened
    sound = database.subset(database.ids[1:])
    want, _ = score_table(SearchRequest(queries, sound, MODEL, NORMALIZED))
    database.mark_damaged(0, "d.h5: d0 is damaged")
    table, _ = score_table(SearchRequest(queries, database, MODEL, NORMALIZED))
    assert np.isnan(table[:, 0]).all()
    np.testing.assert_allclose(table[:, 1:], want, atol=1e-6)


def test_from_the_command_from_python_and_from_a_file(folder, tmp_path):
    out = tmp_path / "r.json"
    run("compare", *sides(folder), "-o", out, "--normalize", "database")
    table = compute_similarity(
        folder / "q.h5", folder / "d.h5", model_dir=folder / "model", config=NORMALIZED
    )
    by_option = json.loads(out.read_text())
    assert by_option["q0"] == pytest.approx(table["q0"], abs=1e-5)
    (tmp_path / "s.yaml").write_text("compare:\n  normalize: database\n")
    run("compare", *sides(folder), "-o", out, "--config", tmp_path / "s.yaml")
    assert json.loads(out.read_text()) == by_option
    run("compare", *sides(folder), "-o", out)
    plain = json.loads(out.read_text())
    assert plain != by_option
    run("compare", *sides(folder), "-o", out, "--normalize", "none")
    assert json.loads(out.read_text()) == plain


def test_few_videos_are_noted(folder, tmp_path):
    features.fill(
        tmp_path / "few.h5",
        features.spec(MODEL.features_digest),
        {"one": features.region_vectors(5, 9)},
    )
    command = ("compare", "-m", folder / "model", "--query_store", folder / "q.h5",
               "--database_store", tmp_path / "few.h5", "-o", tmp_path / "r.json")  # fmt: skip
    said = run(*command, "--normalize", "database")
    assert "note: 1 database videos are few to normalise scores by" in said
    assert "are few" not in run(*command)


def test_with_mirrored_queries_and_adaptation(opened, folder):
    from pipeline.search.adapt import adapt_request

    with open_store(folder / "m.h5") as store:
        config = replace(NORMALIZED, adapt=True, normalize_match=1.0)
        plain, _, level = levels_of(
            lambda each: adapt_request(
                SearchRequest(*opened, MODEL, each, mirrored=VideoSet([store]))
            ),
            config,
        )
    np.testing.assert_allclose(
        level[1:], database_level(plain, config, adapted=True)[1:], atol=1e-6
    )


def test_not_together_with_a_background(opened, folder):
    remedy = "--normalize none, or no background"
    with raises(InputError, "'database'", remedy=remedy):
        SearchRequest(*opened, MODEL, NORMALIZED, background=opened[1])
    with raises(InputError, "'database'", remedy=remedy):
        compute_similarity("q.h5", "d.h5", background="b.h5", config=NORMALIZED)


def test_max_fpr_asks_for_a_calibration_of_normalised_scores(folder, tmp_path):
    (tmp_path / "related.tsv").write_text("q0\td0\n")
    native.write(MODEL, tmp_path / "model")
    of_model = ("--model_dir", tmp_path / "model", *sides(folder)[2:])
    related = ("--related", tmp_path / "related.tsv")
    search = ("compare", *of_model, "-o", tmp_path / "r.json", "--max_fpr", "0.1")
    normalize = ("--normalize", "database")

    said = run(*search, *normalize, code=2)
    remedy = "visil-index calibrate --normalize database"
    assert_output(said, "error", "max_fpr", "no calibration", remedy=remedy)
    run("calibrate", *of_model, *related)
    assert "normalised" not in run(*search), "it has no calibration of normalised scores yet"
    said = run(*search, *normalize, code=2)
    named = "normalization: none calibrated", "database, quantile 0.97"
    assert_output(said, "error", *named, remedy=remedy)
    run("calibrate", *of_model, *related, *normalize)
    plain, normalized = load_model(tmp_path / "model").calibrations
    assert (plain.normalization, normalized.normalization) == ("none", NORMALIZED.normalization)
    assert abs(plain.threshold(0.1) - normalized.threshold(0.1)) > 1e-3
    results = []
    ways = {(): normalized, normalize: normalized, ("--normalize", "none"): plain}
    for options, made in ways.items():
        threshold = f"{made.threshold(0.1):.4f}"
        assert_output(run(*search, *options, "--info_file", tmp_path / "i.json"), threshold)
        used = json.loads((tmp_path / "i.json").read_text())["settings"]["normalize"]
        assert used == ("database" if made is normalized else "none")
        results.append(json.loads((tmp_path / "r.json").read_text()))
    assert results[0] == results[1] != results[2]
    said = run(*search, *normalize, "--normalize_quantile", "0.8", code=2)
    assert_output(said, "error", "quantile 0.8", "match 0.4", "as 50 videos here", remedy=remedy)


def test_an_index_takes_normalised_scores_for_a_rate(folder, tmp_path):
    native.write(MODEL, tmp_path / "model")
    of_model = ("--model_dir", tmp_path / "model", "--query_store", folder / "d.h5",
                "--database_store", folder / "d.h5")  # fmt: skip
    for options in ((), ("--normalize", "database")):
        run("calibrate", *of_model, *options)
    _, normalized = load_model(tmp_path / "model").calibrations
    with Index.open(folder / "d.h5", model_dir=tmp_path / "model") as index:
        plain, strict = (
            index.search(ids="d1", max_fpr=rate, top_k=None, segments=False) for rate in (None, 0.1)
        )
    assert strict.verdict.threshold == pytest.approx(normalized.threshold(0.1))
    assert (plain.verdict.normalized, strict.verdict.normalized) == (False, True)
    assert "match: normalised score of" in "\n".join(table_lines(strict))
    assert "normalised by the database" in strict.verdict.meaning
    assert "normalised" not in plain.verdict.meaning
    before = {match.database_id: match.score for match in plain.matches}
    levels = [before[match.database_id] - match.score for match in strict.matches]
    assert len(levels) == len(before) and np.ptp(levels) < 1e-4 < abs(levels[0])


@pytest.mark.parametrize("top_k, quick_videos", [(None, 10_000), (5, 10_000), (5, 1)])
def test_verdicts_of_plain_scores_are_those_of_normalised_ones(
    folder, tmp_path, monkeypatch, top_k, quick_videos
):
    """Whether all scores are kept, the best ones, or the best of a quick search."""
    native.write(MODEL, tmp_path / "model")
    of_model = ("--model_dir", tmp_path / "model", "--query_store", folder / "d.h5",
                "--database_store", folder / "d.h5", "--normalize", "database")  # fmt: skip
    run("calibrate", *of_model)
    (calibration,) = load_model(tmp_path / "model").calibrations
    monkeypatch.setattr("pipeline.index.index.DEFAULT_RATE", 0.1)
    monkeypatch.setattr("pipeline.search.quick.MIN_VIDEOS", quick_videos)
    monkeypatch.setattr("pipeline.nets.backend.quick_precision", lambda gpu_id: "bfloat16")
    ids = ["d0", "d9", "like0", "like1"]
    page = tmp_path / "page.html"
    with Index.open(folder / "d.h5", model_dir=tmp_path / "model") as index:
        found = index.search(ids=ids, top_k=top_k, segments=False, report_file=page)
        strict = index.search(ids=ids, top_k=top_k, segments=False, max_fpr=0.1)
        given = index.search(ids=ids, top_k=top_k, segments=False, threshold=-1)
    assert [m.score for m in found] == pytest.approx([m.score for m in given], abs=1e-6)
    levels = [found.verdict.levels[match.query_id] for match in found]
    close = 1e-6 if quick_videos > 1 else 0.01  # levels are of scores in bfloat16 there
    normalised = [match.score for match in strict]
    assert [m.score for m in found] == pytest.approx(np.add(normalised, levels), abs=close)
    rows, strict_rows = found.to_dicts(), strict.to_dicts()
    said = [row["is_match"] for row in rows]
    assert said == [row["is_match"] for row in strict_rows] and 0 < sum(said) < len(said)
    assert found.verdict.threshold == calibration.threshold(0.1) and not given.verdict.levels
    assert page.read_text().count('data-verdict="copy"') == sum(said)
    bounds = sorted(calibration.threshold(0.1) + level for level in set(levels))
    text = " ".join(line.strip() for line in table_lines(found))
    assert f"match: score of {bounds[0]:.4f} to {bounds[-1]:.4f}, by query, or more" in text
