"""The study of refinement: figures of chosen pairs, and segments in the order of the pairs."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from benchmarks.retrieval.studies.refinement import figures, refined
from benchmarks.retrieval.studies.segments import Pair, Side
from pipeline.alignment import Segment

SIDES = [Side(np.arange(float(length)), length, float(length)) for length in (10, 60)]
EXACT, LATE = Segment(0, 4, 20, 24, 0.8), Segment(0, 4.5, 20, 24.5, 0.8)


def pair(query, video):
    truth = np.array([[0.0, 4.0, 20.0, 24.0]])
    matrix, times = np.empty((10, 60), np.float32), (SIDES[0].seconds, SIDES[1].seconds)
    return Pair(*SIDES, matrix, times, "excerpt", truth, True, 0.9, ids=(query, video))


def test_figures_are_those_of_the_chosen_pairs():
    pairs, found = [pair("a", "x"), pair("a", "y")], [[EXACT], [LATE]]
    assert figures(pairs, found, [True, False]) == ["1", "1.000", "1.000", "0.000", "0.000"]
    assert figures(pairs, found, [False, True])[2:] == ["1.000", "0.250", "0.500"]
    assert figures(pairs, [[EXACT], []], [True, True])[2] == "0.500"


def test_segments_come_back_to_their_pairs():
    class Later:
        """Moves segments by the number of the database video."""

        def refined(self, query, database, alignments):
            return [
                replace(a, segments=tuple(replace(s, score=float(v)) for s in a.segments))
                for v, a in zip(database, alignments, strict=True)
            ]

    request = SimpleNamespace(
        queries=SimpleNamespace(ids=["b", "a"]), database=SimpleNamespace(ids=["x", "y", "z"])
    )
    pairs = [pair("a", "z"), pair("a", "x"), pair("b", "y")]
    fine = refined(Later(), request, pairs, [[EXACT], [], [EXACT, LATE]])
    assert [[s.score for s in segments] for segments in fine] == [[2.0], [], [1.0, 1.0]]
