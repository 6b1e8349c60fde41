"""Pairs of a collection that the candidate index names, for the search for duplicates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from ..candidates import single_threads
from ..errors import InputError
from ..output.score_table import score_error
from .candidate_search import CandidateFinder, score_row
from .collection_pairs import (
    CollectionPairs,
    DistributePairs,
    VideoPairs,
    VideoWork,
    WorkProgress,
    videos_by_length,
)
from .limits import Limits
from .request import SearchRequest
from .video_set import VideoSet

if TYPE_CHECKING:
    from ..nets.similarity.pair_scorer import PairScorer

_LOOKUPS = 1024  # videos that wait for a thread
# Videos that are scored at a time: while one is read and its scores are sorted, the other computes.
_SCORED_AT_ONCE = 2
_SCORES_WAITING = 64  # videos that wait for a thread


def candidate_pairs(
    request: SearchRequest,
    scorer: PairScorer,
    finder: CandidateFinder,
    *,
    progress: WorkProgress | None = None,
    limits: Limits | None = None,
    distribute: DistributePairs | None = None,
) -> CollectionPairs:
    """Score each pair of which one video is a candidate of the other, and keep the high scores.

    Args:
        request: as for `collection_pairs.pairs_of_collection`, with `candidates`.
        scorer: the request's network.
        finder: of the collection.
        progress: told products of frames, done and all, once the candidates are known.
        limits: how much is in memory at once.
        distribute: scores the pairs elsewhere.

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
    starts = np.flatnonzero(np.diff(first, prepend=-1)).tolist()
    spans = zip(starts, [*starts[1:], len(first)], strict=True)
    work = [(int(order[first[begin]]), order[second[begin:end]]) for begin, end in spans]
    tell = progress or (lambda done, total: None)
    if distribute is not None:
        videos = distribute.candidates(request, work, tell)
    else:
        videos = list(_scored(request, scorer, work, limits, tell))
    for part in videos:
        for number, line in part.damaged.items():
            collection.note_damage(number, line)
    none = np.empty(0, np.intp)
    rows = np.concatenate([none, *(part.first for part in videos)])
    columns = np.concatenate([none, *(part.second for part in videos)])
    scores = np.concatenate([np.empty(0, np.float32), *(part.scores for part in videos)])
    sound = collection.sound  # damage may have come to light while they were read
    good = sound[rows] & sound[columns]
    return CollectionPairs(rows[good], columns[good], scores[good], len(first))


def frame_products(collection: VideoSet, work: VideoWork) -> int:
    """Products of frames of a video with others, for `WorkProgress`."""
    video, others = work
    return int(collection.lengths[video] * collection.lengths[others].sum())


def score_video(
    request: SearchRequest, scorer: PairScorer, work: VideoWork, limits: Limits | None = None
) -> VideoPairs:
    """Score a video with others, and keep the scores that reach the threshold.

    Raises:
        PipelineError: a score is not a finite number.
    """
    video, others = work
    second, scores = _score(request, scorer, video, others, limits)
    kept = ~(scores < request.selection.threshold)
    first = np.full(int(kept.sum()), video, np.intp)
    return VideoPairs(first, second[kept], scores[kept])


def _scored(
    request: SearchRequest,
    scorer: PairScorer,
    work: Sequence[VideoWork],
    limits: Limits | None,
    tell: WorkProgress,
) -> Iterator[VideoPairs]:
    done, total = 0, sum(frame_products(request.database, part) for part in work)

    def score(part: VideoWork) -> VideoPairs:
        return score_video(request, scorer, part, limits)

    with ThreadPoolExecutor(_SCORED_AT_ONCE) as pool:
        for start in range(0, len(work), _SCORES_WAITING):
            parts = work[start : start + _SCORES_WAITING]
            for part, scored in zip(parts, pool.map(score, parts), strict=True):
                yield scored
                done += frame_products(request.database, part)
                tell(done, total)


def _pairs(
    request: SearchRequest, finder: CandidateFinder, order: np.ndarray, place: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Places in the order of lengths of all pairs, the shorter video first; sorted, each once."""
    assert request.candidates is not None
    collection = request.database
    count = request.candidates.of(len(collection)) + 1  # a video is its own best candidate

    def look_up(video: int) -> np.ndarray:
        sequences, _ = collection.take([video]).split_insets(request.config.query_insets)
        others = place[finder.columns(sequences, count)]
        others = others[(others >= 0) & (others != place[video])]
        low, high = np.minimum(others, place[video]), np.maximum(others, place[video])
        return low * len(order) + high

    keys: list[np.ndarray] = []
    # Much of a lookup is work for one thread.
    with single_threads(finder.threads) as pool:
        for start in range(0, len(order), _LOOKUPS):
            keys += pool.map(look_up, order[start : start + _LOOKUPS].tolist())
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
