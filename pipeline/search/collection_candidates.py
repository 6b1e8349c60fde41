"""Pairs of a collection that the candidate index names, for the search for duplicates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..output.score_table import score_error
from .candidate_search import CandidateFinder, score_row
from .collection_pairs import CollectionPairs, WorkProgress, videos_by_length
from .limits import Limits
from .request import SearchRequest

if TYPE_CHECKING:
    from ..nets.similarity.pair_scorer import PairScorer


def candidate_pairs(
    request: SearchRequest,
    scorer: PairScorer,
    finder: CandidateFinder,
    *,
    progress: WorkProgress | None = None,
    limits: Limits | None = None,
) -> CollectionPairs:
    """Score each pair of which one video is a candidate of the other, and keep the high scores.

    Args:
        request: as for `collection_pairs.pairs_of_collection`, with `candidates`.
        scorer: the request's network.
        finder: of the collection.
        progress: told products of frames, done and all, once the candidates are known.
        limits: how much is in memory at once.

    Raises:
        InputError, PipelineError, StoreError: see `pairs_of_collection`.
    """
    collection, threshold = request.database, request.selection.threshold
    if request.queries is not collection or threshold is None or request.candidates is None:
        raise InputError("pairs of a collection need a threshold, and one set on both sides")
    collection.require_sound()
    order = videos_by_length(collection)
    place = np.full(len(collection), -1, np.intp)
    place[order] = np.arange(len(order))
    first, second = _pairs(request, finder, order, place)
    lengths = collection.lengths
    work = np.concatenate([[0], np.cumsum(lengths[order[first]] * lengths[order[second]])])
    starts = np.flatnonzero(np.diff(first, prepend=-1))
    rows, columns, scores = [], [], []
    for begin, end in zip(starts.tolist(), [*starts[1:].tolist(), len(first)], strict=True):
        video = int(order[first[begin]])
        videos, found_scores = _score(request, scorer, video, order[second[begin:end]], limits)
        above = ~(found_scores < threshold)
        rows.append(np.full(int(above.sum()), video, np.intp))
        columns.append(videos[above])
        scores.append(found_scores[above])
        if progress:
            progress(int(work[end]), int(work[-1]))
    return CollectionPairs(
        np.concatenate(rows) if rows else np.empty(0, np.intp),
        np.concatenate(columns) if rows else np.empty(0, np.intp),
        np.concatenate(scores) if rows else np.empty(0, np.float32),
        len(first),
    )


def _pairs(
    request: SearchRequest, finder: CandidateFinder, order: np.ndarray, place: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Places in the order of lengths of all pairs, the shorter video first; sorted, each once."""
    assert request.candidates is not None
    collection = request.database
    count = request.candidates.of(len(collection)) + 1  # a video is its own best candidate
    keys: list[np.ndarray] = []
    for video in order.tolist():
        sequences, _ = collection.take([video]).split_insets(request.config.query_insets)
        others = place[finder.columns(sequences, count)]
        others = others[(others >= 0) & (others != place[video])]
        low, high = np.minimum(others, place[video]), np.maximum(others, place[video])
        keys.append(low * len(order) + high)
    unique = np.unique(np.concatenate(keys)) if keys else np.empty(0, np.intp)
    first, second = np.divmod(unique, max(1, len(order)))
    return first, second


def _score(
    request: SearchRequest,
    scorer: PairScorer,
    video: int,
    others: np.ndarray,
    limits: Limits | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of one video with others: their numbers, ascending, and float32."""
    collection = request.database
    if not collection.take([video]).sound.all():
        return np.empty(0, np.intp), np.empty(0, np.float32)
    sequences, _ = collection.take([video]).split_insets(request.config.query_insets)
    entries, _ = score_row(request, sequences, np.sort(others), scorer, limits)
    bad = np.flatnonzero(~np.isfinite(entries["score"]))
    if len(bad):
        other, score = int(entries["column"][bad[0]]), float(entries["score"][bad[0]])
        raise score_error(collection.ids[video], collection.ids[other], score)
    return entries["column"].astype(np.intp), entries["score"]
