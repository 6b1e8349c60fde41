"""How long it takes to choose candidates, from two speeds that are measured on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..quantization import ENCODINGS, quantize
from ..scratch import scratch_folder
from . import engine
from .search import REFINED

_CODES = 20_000  # drawn, to be compared one by one; to train lists on
_REPEATS = 3  # these codes fill the lists so many times


@dataclass(frozen=True)
class ChoiceSpeed:
    """Speed of a search for candidates, with codes that are in memory.

    Attributes:
        looked_up: codes of a query, views included.
        exact_seconds: for a product of two codes, one by one.
        list_seconds: the same in inverted lists; None without FAISS.
    """

    looked_up: int
    exact_seconds: float
    list_seconds: float | None

    def seconds(self, videos: int, video_codes: float, candidates: int) -> float:
        """Return the time for one query.

        Args:
            videos: of the database.
            video_codes: codes of a video.
            candidates: how many are chosen.
        """
        codes = round(videos * video_codes)
        if self.list_seconds is None or codes <= engine.EXACT_CODES:
            return self.looked_up * codes * self.exact_seconds
        in_lists = self.looked_up * codes * engine.probed_share(codes) * self.list_seconds
        again = min(videos, REFINED * candidates) * video_codes
        return in_lists + self.looked_up * again * self.exact_seconds


def measure_choice(query: np.ndarray) -> ChoiceSpeed:
    """Measure both kinds of comparison with drawn codes.

    Args:
        query: float32 [T, views, D], codes of a query; see `codes.IndexRule`.
    """
    rng, values = np.random.default_rng(0), query.shape[2]
    codes = rng.standard_normal((_CODES, values), np.float32)
    codes /= np.linalg.norm(codes, axis=1, keepdims=True)
    looked_up = query.shape[0] * query.shape[1]
    exact = engine.ExactCodes(quantize(codes, ENCODINGS["int8"]), np.arange(_CODES))
    exact_seconds = _seconds(exact, query) / (looked_up * _CODES)
    if engine.faiss_module() is None:
        return ChoiceSpeed(looked_up, exact_seconds, None)
    total = _REPEATS * _CODES
    batches: list[Callable[[], np.ndarray]] = [lambda: codes] * _REPEATS
    with scratch_folder() as folder:
        path = Path(folder) / "lists"
        engine.build_inverted(codes, batches, total, path, lambda number: None)
        lists = engine.InvertedCodes(
            engine.open_inverted(path, probe_all=True), np.arange(total) + 1
        )
        list_seconds = _seconds(lists, query) / (looked_up * total)
    return ChoiceSpeed(looked_up, exact_seconds, list_seconds)


def _seconds(codes: engine.CodeEngine, query: np.ndarray) -> float:
    """Of the second search: the first one may load a library or a file."""
    codes.scores(query, 1)
    begin = time.perf_counter()
    codes.scores(query, 1)
    return time.perf_counter() - begin
