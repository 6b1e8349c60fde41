"""Stage two with candidates: scores as in the exhaustive search, and no score for other pairs."""

from __future__ import annotations

import itertools
import json
import threading
from dataclasses import replace

import numpy as np
import pytest

from pipeline.candidates import CandidateCount, code_rule, update_index
from pipeline.config import CompareConfig
from pipeline.errors import StoreError
from pipeline.output.selection import Selection
from pipeline.search import (
    candidate_check,
    candidate_search,
    collection_candidates,
    collection_pairs,
)
from pipeline.search.engine import pair_scorer
from pipeline.search.request import SearchRequest
from pipeline.search.run import compute_similarity, find_matches
from pipeline.search.video_set import VideoSet
from pipeline.store import open_store
from tests import features
from tests.messages import assert_names, raises

VIDEOS = 30


@pytest.fixture(scope="module")
def model():
    return features.model(attention=False)


@pytest.fixture(scope="module")
def paths(model, tmp_path_factory):
    """Queries and a database in two stores; v0 to v4 hold a query each, with noise."""
    folder = tmp_path_factory.mktemp("candidates")
    spec = features.spec(model.features_digest)
    queries = {f"q{n}": features.region_vectors(8, 1000 + n) for n in range(5)}
    videos = {f"v{n}": features.region_vectors(6 + n % 5, n) for n in range(VIDEOS)}
    for n in range(5):
        mixed = queries[f"q{n}"] + 0.3 * features.region_vectors(8, 2000 + n)
        videos[f"v{n}"] = mixed / np.linalg.norm(mixed, axis=2, keepdims=True)
    named = list(videos.items())
    made = [
        features.fill(folder / "queries.h5", spec, queries),
        features.fill(folder / "one.h5", spec, dict(named[:20])),
        features.fill(folder / "two.zarr", spec, dict(named[20:])),
    ]
    for path in made[1:]:
        with open_store(path) as store:
            update_index(store, code_rule(model.layout, store.spec.dims))
    return made


@pytest.fixture
def sets(paths):
    with open_store(paths[0]) as queries, open_store(paths[1]) as one, open_store(paths[2]) as two:
        yield VideoSet([queries]), VideoSet([one, two])


def scores(request, **options) -> dict[str, dict[str, float]]:
    table, _ = find_matches(request, **options)
    return {q: {m.database_id: m.score for m in table.matches(q)} for q in table.query_ids}


def test_candidates_have_the_scores_of_the_exhaustive_search(sets, model):
    exhaustive = scores(SearchRequest(*sets, model))
    some = scores(SearchRequest(*sets, model, candidates=CandidateCount(4)))
    for number, query in enumerate(exhaustive):
        assert len(some[query]) == 4  # other pairs are absent
        assert f"v{number}" in some[query]
        for video, score in some[query].items():
            assert score == pytest.approx(exhaustive[query][video], abs=1e-6)
    every = scores(SearchRequest(*sets, model, candidates=CandidateCount(share=1.0)))
    assert every == {query: pytest.approx(row, abs=1e-6) for query, row in exhaustive.items()}


def test_the_next_query_is_looked_up_while_one_is_scored(sets, model, monkeypatch):
    looked_up = [threading.Event() for _ in range(5)]
    rows = itertools.count()
    named = candidate_search.CandidateFinder.named
    score = candidate_search.CandidateScorer.score

    def noted(finder, sequences, count):
        found = named(finder, sequences, count)
        looked_up[next(rows)].set()
        return found

    def waiting(scorer, query):
        assert looked_up[min(query.row + 1, 4)].wait(20)
        return score(scorer, query)

    request = SearchRequest(*sets, model, candidates=CandidateCount(4))
    expected = scores(request)
    monkeypatch.setattr(candidate_search.CandidateFinder, "named", noted)
    monkeypatch.setattr(candidate_search.CandidateScorer, "score", waiting)
    assert scores(request) == expected


def test_an_error_of_a_lookup_ahead_ends_the_search(sets, model, monkeypatch):
    def broken(finder, sequences, count):
        raise StoreError("one.h5: the candidate index is damaged: make it anew")

    monkeypatch.setattr(candidate_search.CandidateFinder, "named", broken)
    with raises(StoreError, "one.h5", remedy="make it anew"):
        scores(SearchRequest(*sets, model, candidates=CandidateCount(4)))


def test_top_k_and_threshold_select_among_candidates(sets, model):
    counted = CandidateCount(6)
    every = scores(SearchRequest(*sets, model, candidates=counted))
    best = scores(SearchRequest(*sets, model, candidates=counted, selection=Selection(top_k=2)))
    high = scores(
        SearchRequest(*sets, model, candidates=counted, selection=Selection(threshold=0.2))
    )
    for query, row in every.items():
        assert list(best[query]) == sorted(row, key=lambda video: -row[video])[:2]
        assert high[query] == {video: score for video, score in row.items() if score >= 0.2}


def test_levels_come_from_a_sample_besides_the_candidates(sets, model):
    config = CompareConfig(normalize="database")
    exhaustive = scores(SearchRequest(*sets, model, config))
    some = scores(SearchRequest(*sets, model, config, candidates=CandidateCount(3)))
    for query, row in some.items():  # so few videos are all in the sample
        assert len(row) == 3
        assert row == {video: pytest.approx(exhaustive[query][video], abs=1e-5) for video in row}


def test_the_sample_is_random_and_always_the_same():
    sample = candidate_search.sample_columns(100_000)
    assert len(set(sample.tolist())) == candidate_search.LEVEL_VIDEOS
    assert (np.diff(sample) > 0).all()
    assert (np.diff(np.diff(sample)) != 0).any()
    np.testing.assert_array_equal(sample, candidate_search.sample_columns(100_000))
    assert candidate_search.sample_columns(7).tolist() == list(range(7))


@pytest.fixture
def read(monkeypatch):
    """Ids of the videos that were read."""
    ids: list[str] = []
    plain = VideoSet.read

    def watched(self, video, *args, **options):
        ids.append(self.ids[video])
        return plain(self, video, *args, **options)

    monkeypatch.setattr(VideoSet, "read", watched)
    return ids


def test_only_candidates_are_read_where_none_is_checked(sets, model, monkeypatch, read):
    monkeypatch.setattr(candidate_check, "_FACTOR", 1)
    request = SearchRequest(sets[0].subset(["q1"]), sets[1], model, candidates=CandidateCount(3))
    found = scores(request)
    assert set(read) == {"q1", *found["q1"]}


def test_five_times_as_many_videos_are_checked(sets, model, read):
    request = SearchRequest(sets[0].subset(["q1"]), sets[1], model, candidates=CandidateCount(3))
    found = scores(request)
    assert len(found["q1"]) == 3
    assert len(set(read) - {"q1"}) == 15


def test_as_many_videos_are_checked_as_may_be_read():
    ranked, short = np.arange(100)[::-1], np.full(100, 60)
    checked = candidate_check.checked_videos
    assert checked(ranked, short, 20).tolist() == ranked.tolist()
    long = np.full(100, 1000)
    assert checked(ranked, long, 4).tolist() == ranked[:20].tolist()  # 20,000 frames
    assert checked(ranked, long, 30).tolist() == ranked[:60].tolist()  # twice those of 30
    assert checked(ranked[:5], long[:5], 30).tolist() == ranked[:5].tolist()
    assert checked(ranked, np.r_[10, np.full(99, 30_000)], 1).tolist() == ranked[:1].tolist()


def test_how_many_videos_are_checked_is_known_beforehand():
    assert candidate_check.checked_count(10_000, 60, 100) == 333
    assert candidate_check.checked_count(10_000, 10, 100) == 500
    assert candidate_check.checked_count(10_000, 3600, 100) == 200
    assert candidate_check.checked_count(100, 60, 100) == 0  # all are candidates


def test_some_frames_of_a_query_are_compared(sets):
    videos = sets[1].take([0, 3])
    few = candidate_check.FewFrames(videos, 3)
    assert (len(few), few.lengths.tolist()) == (2, [3, 3])
    out = np.empty((2, *few.row_shape), few.dtype)
    few.prefetch([(1, 1, 3)])
    few.read(1, 1, 3, out)
    last = len(videos.vectors(1)) - 1
    np.testing.assert_array_equal(out, videos.vectors(1)[[round(last / 2), last]])
    every = candidate_check.FewFrames(videos, 100)
    assert every.lengths.tolist() == videos.lengths.tolist()


def test_the_check_finds_a_copy_whose_code_is_unlike(model, tmp_path):
    """The mean of the regions is all that a code has here; in the copy five regions are others."""
    spec = features.spec(model.features_digest)
    query = features.region_vectors(8, 0)
    copy = query.copy()
    copy[:, 4:] = -query[:, 4:]
    likes = np.repeat(query.mean(axis=1, keepdims=True), 9, axis=1)
    likes = likes + 0.6 * features.region_vectors(8, 5) * np.linalg.norm(likes, axis=2)[..., None]
    unlike = {f"v{n}": features.region_vectors(8, 10 + n) for n in range(8)}
    videos = {"like": likes / np.linalg.norm(likes, axis=2, keepdims=True), "copy": copy, **unlike}
    path = features.fill(tmp_path / "s.h5", spec, videos)
    queries = features.fill(tmp_path / "q.h5", spec, {"q": query})
    with open_store(path) as store, open_store(queries) as asked:
        update_index(store, code_rule(model.layout, store.spec.dims))
        database, wanted = VideoSet([store]), VideoSet([asked])
        finder = candidate_search.CandidateFinder(database, model)
        assert database.ids[finder.columns(wanted, 1)[0]] == "like"
        found = scores(SearchRequest(wanted, database, model, candidates=CandidateCount(2)))
        assert "copy" in found["q"]


def test_the_check_is_the_similarity_without_a_comparator(sets, model):
    request = SearchRequest(*sets, model)
    scorer = pair_scorer(request)
    plain = scorer.without_comparator()
    assert plain is scorer.without_comparator() is plain.without_comparator()
    query, columns = sets[0].take([0]), np.arange(VIDEOS)
    found, _ = candidate_search.score_row(request, query, columns, plain)
    whole, _ = candidate_search.score_row(request, query, columns, scorer)
    other = replace(request, model=replace(request.model, comparator=None))
    expected, _ = candidate_search.score_row(other, query, columns, pair_scorer(other))
    np.testing.assert_allclose(found["score"], expected["score"], atol=1e-6)
    assert np.abs(found["score"] - whole["score"]).max() > 0.01


def test_too_few_named_videos_are_told_once(sets, model, monkeypatch):
    notes: list[str] = []
    finder = candidate_search.CandidateFinder(sets[1], model)
    finder.tell(notes.append)
    assert len(finder.columns(sets[0].take([0]), 100)) == VIDEOS
    assert notes == []
    monkeypatch.setattr(finder, "ranked", lambda *_, **__: np.arange(7))
    for _ in range(2):
        finder.columns(sets[0].take([0]), 20)
    assert len(notes) == 1
    assert_names(notes[0], "7 of 20", remedy="fewer candidates")


def test_a_part_of_a_store_has_as_many_candidates(sets, model):
    part = sets[1].take(np.arange(0, VIDEOS, 3))
    finder = candidate_search.CandidateFinder(part, model)
    assert len(finder.columns(sets[0].take([1]), 6)) == 6


def test_the_result_file_names_the_candidates(sets, model, tmp_path):
    output = tmp_path / "result.json"
    report = compute_similarity(
        SearchRequest(*sets, model, candidates=CandidateCount.parse("10%")),
        output,
        info_file=tmp_path / "info.json",
    )
    assert report.written == 5 * 3
    assert {len(row) for row in json.loads(output.read_text()).values()} == {3}
    assert json.loads((tmp_path / "info.json").read_text())["settings"]["candidates"] == "10%"


def test_a_store_without_an_index_is_refused_by_name(paths, sets, model):
    with (
        open_store(paths[0]) as queries,
        raises(StoreError, paths[0], remedy=f"visil-index index {paths[0]}"),
    ):
        candidate_search.CandidateFinder(VideoSet([queries]), model)


def test_a_damaged_candidate_is_left_out(model, tmp_path):
    spec = features.spec(model.features_digest)
    videos = {f"v{n}": features.region_vectors(8, n) for n in range(6)}
    path = features.fill(tmp_path / "s.h5", spec, videos)
    with open_store(path) as store:
        update_index(store, code_rule(model.layout, store.spec.dims))
    features.spoil(path, np.nan)  # of the first video
    with open_store(path) as store:
        database = VideoSet([store])
        queries = database.subset(["v1"])
        found = scores(SearchRequest(queries, database, model, candidates=CandidateCount(6)))
        assert len(database.damaged) == 1
        assert set(found["v1"]) == {f"v{n}" for n in range(6)} - set(database.damaged)


def pairs(collection, model, candidates=None):
    request = SearchRequest(
        collection,
        collection,
        model,
        CompareConfig(similarity_function="max_chamfer"),
        selection=Selection(threshold=-1.0),
        candidates=candidates,
    )
    scorer = pair_scorer(request)
    if candidates is None:
        found = collection_pairs.pairs_of_collection(request, scorer)
    else:
        finder = candidate_search.CandidateFinder(collection, model)
        found = collection_candidates.candidate_pairs(request, scorer, finder)
    listed = zip(found.first.tolist(), found.second.tolist(), found.scores.tolist(), strict=True)
    return {(first, second): score for first, second, score in listed}, found.compared


def test_pairs_of_a_collection_are_those_of_candidates(sets, model):
    every, compared = pairs(sets[1], model)
    assert compared == len(every) == VIDEOS * (VIDEOS - 1) // 2
    all_candidates, compared = pairs(sets[1], model, CandidateCount(VIDEOS))
    assert compared == len(every)
    assert all_candidates == {pair: pytest.approx(score, abs=1e-6) for pair, score in every.items()}
    some, compared = pairs(sets[1], model, CandidateCount(2))
    assert VIDEOS <= compared == len(some) <= 2 * VIDEOS
    assert some == {pair: pytest.approx(every[pair], abs=1e-6) for pair in some}
