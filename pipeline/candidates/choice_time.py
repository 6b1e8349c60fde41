"""How long it takes to choose candidates, from two speeds that are measured on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..quantization import ENCODINGS, quantize
from . import engine

COMPARED_AGAIN = 3  # times as many videos as candidates, see `search`
_CODES = 60_000  # drawn, kept as lists keep them
_EXACT_CODES = 4096  # of these, to be compared one by one
_REDUCED = 128  # values of a code in a list


@dataclass(frozen=True)
class ChoiceSpeed:
    """Speed of a search for candidates, with codes that are in memory.

    Attributes:
        query_codes: codes of a query that are looked up, views included.
        query_views: how many of these a frame has.
        pair_codes: the same of a database video.
        exact_seconds: for a product of two codes, one by one.
        list_seconds: the same in inverted lists; None without FAISS.
    """

    query_codes: int
    query_views: int
    pair_codes: int
    exact_seconds: float
    list_seconds: float | None

    def seconds(
        self, looked_up: int, videos: int, video_codes: float, candidates: int, *, views: int = 1
    ) -> float:
        """Return the time for one query.

        Args:
            looked_up: codes of the query.
            videos: of the database.
            video_codes: codes of a video.
            candidates: how many are chosen.
            views: codes of a frame of the query.
        """
        if videos <= candidates:
            return 0.0
        codes = round(videos * video_codes)
        if self.list_seconds is None or codes <= engine.EXACT_CODES:
            return looked_up * codes * self.exact_seconds
        in_lists = looked_up * codes * engine.probed_share(codes, views) * self.list_seconds
        again = min(videos, COMPARED_AGAIN * candidates) * video_codes
        return in_lists + looked_up * again * self.exact_seconds


def measure_choice(
    query_codes: int, pair_codes: int, values: int, *, query_views: int = 1
) -> ChoiceSpeed:
    """Measure both kinds of comparison with drawn codes.

    Args:
        query_codes, pair_codes, query_views: see `ChoiceSpeed`.
        values: of a code.
    """
    rng = np.random.default_rng(0)
    query = rng.standard_normal((query_codes, values), np.float32)
    kept = quantize(rng.uniform(-1, 1, (_EXACT_CODES, values)), ENCODINGS["int8"])
    products = query_codes * _EXACT_CODES
    exact_seconds = _seconds(lambda: query @ kept.astype(np.float32).T) / products
    if engine.faiss_module() is None:
        return ChoiceSpeed(query_codes, query_views, pair_codes, exact_seconds, None)
    reduced = min(_REDUCED, values)
    codes = engine.list_codes(rng.standard_normal((_CODES, reduced), np.float32))
    few = np.ascontiguousarray(query[:, :reduced])
    list_seconds = _seconds(lambda: codes.search(few, 1)) / (query_codes * _CODES)
    return ChoiceSpeed(query_codes, query_views, pair_codes, exact_seconds, list_seconds)


def _seconds(work: Callable[[], object]) -> float:
    """The least of some runs: the first one loads a library."""
    taken = []
    for _ in range(4):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return min(taken)
