"""The best matches of a warm search: all pairs in bfloat16 first, then the best of them exactly.

Where a processor multiplies bfloat16, that takes half the time of float32 and moves a score by
0.0006 on average, by 0.011 at most in 28,000 pairs (benchmarks/NOTES.md). Only what comes near the
best is scored again. No bound of the error is proven, so every search checks it on what it has
scored twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .engine import SearchEngine
from .request import SearchRequest

if TYPE_CHECKING:
    from ..nets.similarity.pair_scorer import PairScorer

# In smaller databases little is left out; and a single search also has to make a second network.
MIN_VIDEOS, MIN_VIDEOS_ONCE = 200, 5000
MARGIN = 0.05  # a score that is less below the last of the best is computed again
TRUSTED = MARGIN / 4  # no score may differ by more; half of the margin would do


@dataclass(frozen=True)
class QuickEngine:
    """What a quick search keeps ready.

    Attributes:
        engine: scores all pairs in bfloat16; its features stay on the device.
        scorer: scores the best again, in float32.
    """

    engine: SearchEngine
    scorer: PairScorer

    @classmethod
    def of(
        cls, request: SearchRequest, scorer: PairScorer, *, resident_mb: int, once: bool = False
    ) -> QuickEngine | None:
        """It for a request, or None where it would not save time.

        Args:
            scorer: the request's network.
            resident_mb: see `SearchEngine`.
            once: no other search comes after this one.
        """
        from ..nets.backend import device_scope, quick_precision
        from ..nets.similarity.pair_scorer import PairScorer

        precision = quick_precision(request.gpu_id)
        few = len(request.database) < (MIN_VIDEOS_ONCE if once else MIN_VIDEOS)
        if precision is None or few or scorer.precision != "float32":
            return None
        with device_scope(request.gpu_id):
            quick = PairScorer(
                request.model, request.similarity_function, precision, gpu_id=request.gpu_id
            )
        return cls(SearchEngine(request, scorer=quick, resident_mb=resident_mb), scorer)


def may_be_best(scores: np.ndarray, top_k: int) -> np.ndarray:
    """The database videos that may be among the best of a query.

    Args:
        scores: float32 [queries, database], quick ones; NaN for damaged videos.
        top_k: how many are wanted.

    Returns:
        Int64, ascending; none if no score is a number.
    """
    known = np.where(np.isnan(scores), -np.inf, scores)
    last = -np.partition(-known, min(top_k, known.shape[1]) - 1, axis=1)[:, top_k - 1 : top_k]
    if not last.shape[1]:  # all are wanted
        return np.flatnonzero(np.isfinite(known).any(axis=0))
    return np.flatnonzero((np.isfinite(known) & (known >= last - MARGIN)).any(axis=0))


def agree(quick: np.ndarray, exact: np.ndarray) -> bool:
    """Whether scores computed twice differ so little that none of the best was left out."""
    known = np.isfinite(quick) & np.isfinite(exact)
    return bool((np.abs(quick - exact)[known] <= TRUSTED).all())
