"""The study of normalised scores on made-up tables."""

import numpy as np

from benchmarks.retrieval.studies import normalization
from benchmarks.retrieval.studies.unrelated_pairs import Strangers
from pipeline.config import CompareConfig

QUERIES, DATABASE = 30, 600


def split_of(seed):
    """Each query has 12 copies; some queries are like anything."""
    rng = np.random.default_rng(seed)
    scores = 0.05 * rng.standard_normal((QUERIES, DATABASE)) + 0.2 * rng.random((QUERIES, 1))
    copies = np.zeros(scores.shape, bool)
    for row in range(QUERIES):
        copies[row, 12 * row : 12 * row + 12] = True
    scores[copies] += 0.2
    scores = scores.astype(np.float32)
    rest = np.where(copies, -np.inf, scores).astype(np.float32)
    one_film = np.eye(QUERIES, DATABASE, DATABASE - QUERIES, dtype=bool)
    return normalization.Split(normalization.Tables(scores, rest), copies, one_film)


def test_parts_of_a_database():
    split = split_of(0)
    parts = normalization.parts_of(split)
    assert parts["all 600"][0].all()
    assert parts["all but pairs of one film"][0].sum() == QUERIES * (DATABASE - 1)
    assert {mask.sum() for mask in parts["20 by chance"]} == {20 * QUERIES}
    copies = split.copies.sum()
    assert (parts["copies alone"][0] == split.copies).all()
    assert parts["half copies"][0].sum() == 2 * copies
    assert (parts["half copies"][0] >= split.copies).all()
    alike = parts["copies and look-alikes"][0] & ~split.copies
    assert 25 * QUERIES < alike.sum() < 35 * QUERIES
    highest = np.where(split.copies, -1, split.scores).argmax(axis=1)
    assert alike[np.arange(QUERIES), highest].all()


def test_a_large_database_is_drawn_from_the_unrelated_videos():
    split = split_of(0)
    large = normalization.enlarged(split, 5_000)
    assert large.scores.shape == (QUERIES, 5_000)
    assert (large.copies.sum(axis=1) == split.copies.sum(axis=1)).all()
    for row in range(QUERIES):
        kept = split.scores[row][split.copies[row]]
        np.testing.assert_array_equal(np.sort(large.scores[row][large.copies[row]]), np.sort(kept))
        others = large.scores[row][~large.copies[row]]
        drawn_from = split.scores[row][~split.copies[row]]
        assert abs(np.quantile(others, 0.95) - np.quantile(drawn_from, 0.95)) < 0.01
        rest = large.tables.rest[row][~large.copies[row]]
        np.testing.assert_array_equal(rest, others)


def test_the_simplest_rule_takes_off_a_quantile_of_all_scores():
    scores = np.array([[0.1, 0.2, 0.3], [0.5, np.nan, 0.5]])
    got = normalization.less_own_quantile(scores, scores)
    np.testing.assert_allclose(got, [[-0.19, -0.09, 0.01], [0, np.nan, 0]], atol=1e-9)


def test_normalised_scores_are_comparable_across_queries(monkeypatch):
    monkeypatch.setattr(normalization, "LARGE", 2_000)
    fitted, split = split_of(1), split_of(2)
    strangers = Strangers(
        queries={f"q{i}": "" for i in range(QUERIES)},
        database={f"d{i}": "" for i in range(DATABASE)},
        unrelated=~fitted.copies,
        parents={f"{side}{i}": f"{side}{i}" for side in "qd" for i in range(DATABASE)},
        asked=np.ones(QUERIES, bool),
    )
    ways = {
        "plain": lambda scores, rest: scores,
        "normalised": normalization.normalized(CompareConfig(normalize="database")),
    }
    lines = normalization.lines_of(strangers, fitted.tables, split, ways)
    assert len(lines) == 2 + 2 * 10
    cells = [line.strip("| ").split(" | ") for line in lines]
    plain, normal = cells[2], cells[3]
    assert (plain[1], normal[1]) == ("plain", "normalised")
    assert plain[2] == normal[2], "the order of a query's results stays"
    assert float(plain[3]) < float(normal[3])
    assert cells[-3][0] == "copies alone" and "nan" in cells[-3][5]
    assert cells[-1][0] == "2,000" and float(cells[-2][3]) < float(cells[-1][3])
