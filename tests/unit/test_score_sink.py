"""The few scores that are kept give the same matches as the table of all."""

import itertools

import numpy as np
import pytest

from pipeline.errors import PipelineError
from pipeline.output.match_tables import DenseMatches, SparseMatches
from pipeline.output.score_table import ScoreTable
from pipeline.output.selection import Selection
from pipeline.search.limits import Limits
from pipeline.search.score_sink import BestScores, DenseScores, RestScores, WatchedScores
from tests.messages import raises

ROWS, COLUMNS = 7, 60
SELECTIONS = [
    Selection(1), Selection(5), Selection(COLUMNS - 1), Selection(threshold=0.2),
    Selection(threshold=np.float64(0.3)), Selection(3, 0.4), Selection(4, -1), Selection(2, 2),
]  # fmt: skip
IDS = [f"q{i}" for i in range(ROWS)], [f"d{i}" for i in range(COLUMNS)]


def parts(seed, decimals=1):
    """Scores as they come: (columns complete, [(row, column, score)]) of each block, in disorder.

    Rounded scores have many ties. Most pairs come once, some twice (insets, mirrored queries), and
    a video may come in two blocks.
    """
    rng = np.random.default_rng(seed)
    bounds = [0, 1, 9, 10, 31, COLUMNS]
    blocks = []
    for first, last in itertools.pairwise(bounds):
        pairs = [(r, c) for r in range(ROWS) for c in range(first, last)]
        pairs += [(int(rng.integers(ROWS)), int(rng.integers(first, last))) for _ in range(30)]
        if last < COLUMNS:  # the first sequences of a video that goes on in the next block
            pairs += [(r, last) for r in range(ROWS)]
        rng.shuffle(pairs)
        scores = np.round(rng.uniform(-1, 1, len(pairs)), decimals).astype(np.float32)
        blocks.append((last, [(r, c, s) for (r, c), s in zip(pairs, scores, strict=True)]))
    return blocks


def feed(sink, blocks, size=13):
    for complete, entries in blocks:
        sink.begin_block(complete)
        for start in range(0, len(entries), size):
            rows, columns, scores = zip(*entries[start : start + size], strict=True)
            sink.put(np.array(rows), np.array(columns), np.array(scores, np.float32))


def dense(blocks, selection, level=None, damaged=(), lost=(), listed=None):
    table = np.full((ROWS, COLUMNS), -np.inf, np.float32)
    feed(DenseScores(table), blocks)
    if level is not None:
        table -= level[:, None]
    sound = [~np.isin(np.arange(n), d) for n, d in ((ROWS, lost), (COLUMNS, damaged))]
    return DenseMatches(ScoreTable(*IDS, table, *sound), selection, listed)


def sparse(blocks, selection, level=None, damaged=(), lost=(), listed=None, **options):
    sound = [~np.isin(np.arange(n), d) for n, d in ((ROWS, lost), (COLUMNS, damaged))]
    shape = ROWS, COLUMNS
    sink = BestScores(selection, shape, lambda a, b: sound[1][a:b], level=level, **options)
    feed(sink, blocks)
    return SparseMatches(*IDS, sink.finish(), selection, *sound, listed)


def rows(table):
    return {q: [(m.database_id, m.score) for m in table.matches(q)] for q in table.query_ids}


@pytest.mark.parametrize("selection", SELECTIONS, ids=str)
@pytest.mark.parametrize("pending", [1, 50, 1 << 16])
def test_ties_repeated_pairs_and_any_order(selection, pending):
    for seed in range(3):
        blocks = parts(seed)
        found = sparse(blocks, selection, pending_scores=pending)
        assert rows(found) == rows(dense(blocks, selection))


@pytest.mark.parametrize("selection", SELECTIONS, ids=str)
def test_a_level_damaged_videos_and_listed_queries(selection):
    level = np.linspace(0, 0.7, ROWS).astype(np.float32)
    options = {"level": level, "damaged": [0, 9, 10, 40], "lost": [2],
               "listed": ["lost", *IDS[0][::-1]]}  # fmt: skip
    for seed in range(3):
        blocks = parts(seed, 2)
        want = rows(dense(blocks, selection, **options))
        assert rows(sparse(blocks, selection, pending_scores=8, **options)) == want
        assert want["lost"] == want["q2"] == []


def test_a_damaged_video_displaces_none():
    """Its scores may be the best of all; that it is damaged shows while it is read."""
    blocks = [(1, [(0, 0, 0.5)]), (COLUMNS, [(0, 1, 0.9), (0, 2, 0.4)])]
    table = sparse(blocks, Selection(2), damaged=[1])
    assert [m.database_id for m in table.matches("q0")] == ["d0", "d2"]


@pytest.mark.parametrize("selection", [Selection(2), Selection(threshold=0.9)], ids=str)
def test_a_score_that_is_no_number_is_told_of_as_with_the_table(selection):
    blocks = parts(5)
    blocks[1][1].extend([(3, 7, np.nan), (3, 4, np.nan), (5, 8, np.nan)])
    tables = [make(blocks, selection) for make in (sparse, dense)]
    for table in tables:
        for act in (table.check, lambda table=table: table.matches("q3")):
            with raises(PipelineError, "'q3'", "'d4'", "nan", remedy="visil-index verify"):
                act()
        with raises(PipelineError, "'q5'", "'d8'", "nan", remedy="visil-index verify"):
            table.matches("q5")
        assert len(table.matches("q0")) == len(tables[0].matches("q0"))
    left_out = sparse(blocks, selection, lost=[3, 5])
    left_out.check()
    sparse(blocks, selection, damaged=[4, 7, 8]).check()


def test_what_reaches_a_threshold_and_is_too_much_for_memory_lies_in_a_file(tmp_path):
    selection = Selection(threshold=-0.5)
    blocks = parts(6)
    options = {"folder": tmp_path, "in_memory_bytes": 600, "pending_scores": 8}
    found = sparse(blocks, selection, **options)
    chunks = found.scores.chunks
    assert len(chunks) > 3 and all(isinstance(c.entries, np.memmap) for c in chunks[:-1])
    assert list(tmp_path.iterdir()) == []
    assert rows(found) == rows(dense(blocks, selection))


def test_memory_is_that_of_the_best_and_of_what_waits():
    selection, columns, queries = Selection(3), 4000, 50
    sink = BestScores(selection, (queries, columns), lambda a, b: np.ones(b - a, bool))
    rng = np.random.default_rng(0)
    most = 0
    for first in range(0, columns, 40):
        sink.begin_block(first + 40)
        pairs = np.indices((queries, 40)).reshape(2, -1)
        sink.put(pairs[0], pairs[1] + first, rng.random(pairs.shape[1], np.float32))
        most = max(most, len(sink._kept) + sink._pending_count)
    assert most <= Limits.pending_scores
    assert len(sink.finish().chunks[0].entries) == 3 * queries


def test_a_table_that_is_a_view_is_refused():
    with pytest.raises(ValueError, match="not contiguous"):
        DenseScores(np.zeros((4, 4), np.float32)[:, :2])


def test_matches_come_as_a_sequence():
    matches = dense(parts(1), Selection()).matches("q1")
    assert len(matches) == COLUMNS and matches[-1].database_id == f"d{COLUMNS - 1}"
    assert matches[3:5] == [matches[3], matches[4]] and matches[0].query_id == "q1"
    with pytest.raises(IndexError):
        matches[COLUMNS]


def test_watched_scores_are_passed_on_and_sampled():
    blocks, chosen = parts(3), np.array([0, 7, 33])
    whole, watched = (np.full((ROWS, COLUMNS), -np.inf, np.float32) for _ in range(2))
    sample = RestScores(np.full((ROWS, 3), -np.inf, np.float32), chosen, COLUMNS, np.inf)
    feed(DenseScores(whole), blocks)
    feed(WatchedScores(DenseScores(watched), sample), blocks)
    np.testing.assert_array_equal(watched, whole)
    np.testing.assert_array_equal(sample.table, whole[:, chosen])
