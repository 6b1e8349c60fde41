"""Scores made comparable between queries, so that one threshold fits all of them.

A query that is like anything (a plain wall, a test card) scores high everywhere. How high it
comes among unrelated videos, its level, is subtracted. There are two ways to find it:

- A background: videos that are known to be unrelated to all queries. The level is the mean best
  score there, and a part of it is subtracted. Source: the descriptor baseline of Meta's Video
  Similarity Challenge, 2022 (score normalisation).
- The searched database itself. The level is a high quantile of the query's rest scores
  (`aggregation`): a pair's score without the parts of the query that match the video. So copies do
  not raise it, be they many, nor do the videos that one part of a long query matches. In a small
  database it is drawn to a prior.
"""

from __future__ import annotations

import numpy as np

from ..config import LEVEL_PRIOR_VIDEOS, CompareConfig

SAMPLE_VIDEOS = 2000  # a quantile of so many is exact enough
CLEAR_SCORE = 0.6  # plain scores above it are of matches, whatever the query
_USUAL_QUANTILE, _USUAL_MARGIN, _USUAL_PRIOR, _USUAL_PRIOR_VIDEOS = 0.85, 0.2, 0.1, 100
_HIGH_USUAL = 0.25  # usual score of a query that resembles most of the database


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


def level_columns(videos: int) -> np.ndarray:
    """The database videos that levels are estimated on: all, of many evenly spaced ones.

    Args:
        videos: number of database videos.

    Returns:
        Int64, ascending, at most `SAMPLE_VIDEOS` of them.
    """
    count = min(videos, SAMPLE_VIDEOS)
    return np.arange(count, dtype=np.int64) * videos // max(count, 1)


def database_level(
    rest_scores: np.ndarray,
    config: CompareConfig,
    *,
    adapted: bool = False,
    videos: int | None = None,
) -> np.ndarray:
    """The level of each query in the database that is searched.

    Args:
        rest_scores: float32 [queries, n], of the videos of `level_columns`; what is no finite
            number (damaged videos, whole copies) is left out.
        config: `normalize_quantile`, `normalize_prior`.
        adapted: the model was adapted to the database, which lowers all scores.
        videos: the scores count as so many against the prior; None: as many as there are.

    Returns:
        Float32 [queries, 1]; the prior for a query without rest scores.
    """
    prior, prior_videos = config.level_prior(adapted), LEVEL_PRIOR_VIDEOS[adapted]
    levels = []
    for row in rest_scores:
        scores = row[np.isfinite(row)]
        count = 0 if not len(scores) else len(scores) if videos is None else videos
        total = prior_videos * prior
        if count:
            total += count * _quantile(scores, config.normalize_quantile)
        levels.append(total / (count + prior_videos))
    return np.array(levels, np.float32).reshape(-1, 1)


def _quantile(scores: np.ndarray, quantile: float) -> float:
    return float(np.quantile(scores.astype(np.float64), quantile))


def unusual_scores(scores: np.ndarray) -> np.ndarray:
    """The score from which on a pair stands out, for queries that resemble most of the database.

    Such a query has high scores with many unrelated videos. Its usual score is a quantile of its
    scores below those that are clear matches, drawn to a prior in a small database. Of a long query
    a match may be a small part, so low scores say nothing: other queries need no score.

    Args:
        scores: float32 [queries, n], as the model gives them, with the videos of `level_columns`;
            what is no finite number is left out.

    Returns:
        Float32 [queries], `CLEAR_SCORE` at most; -inf for other queries.
    """
    found = np.full(len(scores), -np.inf, np.float32)
    for number, row in enumerate(scores):
        unclear = row[np.isfinite(row) & (row <= CLEAR_SCORE)].astype(np.float64)
        total = _USUAL_PRIOR_VIDEOS * _USUAL_PRIOR
        if len(unclear):
            total += len(unclear) * _quantile(unclear, _USUAL_QUANTILE)
        usual = total / (len(unclear) + _USUAL_PRIOR_VIDEOS)
        if usual > _HIGH_USUAL:
            found[number] = min(usual + _USUAL_MARGIN, CLEAR_SCORE)
    return found
