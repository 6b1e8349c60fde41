"""Scores made comparable between queries by what each query reaches among unrelated videos.

A query that is like anything (a plain wall, a test card) scores high everywhere. Its mean best
score in a background of unrelated videos says how much, and a part of it is subtracted.

Source: the descriptor baseline of Meta's Video Similarity Challenge, 2022 (score normalisation).
"""

from __future__ import annotations

import numpy as np


def background_level(background_scores: np.ndarray, top_k: int) -> np.ndarray:
    """The mean of each query's best scores in the background.

    Args:
        background_scores: float32 [queries, background videos], at least `top_k` columns.
        top_k: how many of the best scores count.

    Returns:
        Float32 [queries, 1].
    """
    best = -np.partition(-background_scores, top_k - 1)[:, :top_k]
    return np.asarray(best.mean(axis=1, keepdims=True))


def subtract_background(scores: np.ndarray, level: np.ndarray, weight: float) -> None:
    """Subtract `weight` times the background level from each query's scores, in place.

    Args:
        scores: float32 [queries, database]; they end up in [-1 - weight, 1 + weight].
        level: [queries, 1] of `background_level`.
    """
    scores -= weight * level
