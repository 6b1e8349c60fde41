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
    return normalization.Split(scores.astype(np.float32), copies)


def test_parts_of_a_database():
    split = split_of(0)
    parts = normalization.parts_of(split)
    assert parts["all 600"][0].all()
    assert {mask.sum() for mask in parts["20 by chance"]} == {20 * QUERIES}
    copies = split.copies.sum()
    assert (parts["copies alone"][0] == split.copies).all()
    assert parts["half copies"][0].sum() == 2 * copies
    assert (parts["half copies"][0] >= split.copies).all()
    alike = parts["copies and look-alikes"][0] & ~split.copies
    assert 25 * QUERIES < alike.sum() < 35 * QUERIES
    highest = np.where(split.copies, -1, split.scores).argmax(axis=1)
    assert alike[np.arange(QUERIES), highest].all()


def test_normalised_scores_are_comparable_across_queries():
    fitted, split = split_of(1), split_of(2)
    strangers = Strangers(
        queries={f"q{i}": "" for i in range(QUERIES)},
        database={f"d{i}": "" for i in range(DATABASE)},
        unrelated=~fitted.copies,
        parents={f"{side}{i}": f"{side}{i}" for side in "qd" for i in range(DATABASE)},
        asked=np.ones(QUERIES, bool),
    )
    ways = {
        "plain": lambda table: table,
        "normalised": normalization.normalized(CompareConfig(normalize="database")),
    }
    lines = normalization.lines_of(strangers, fitted.scores, split, ways)
    assert len(lines) == 2 + 2 * 7
    cells = [line.strip("| ").split(" | ") for line in lines]
    plain, normal = cells[2], cells[3]
    assert (plain[1], normal[1]) == ("plain", "normalised")
    assert plain[2] == normal[2], "the order of a query's results stays"
    assert float(plain[3]) < float(normal[3])
    assert cells[-1][0] == "copies alone" and "nan" in cells[-1][5]
