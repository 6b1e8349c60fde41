"""Search by DnS: one vector of each video first, the fine-grained student for a share of the pairs.

DnS (Kordopatis-Zilos et al., IJCV 2022): a pair's score is the product of both videos' vectors, by
the coarse-grained student. A share of each query's pairs goes to the fine-grained student instead:
those that the selector says, or without a selector those with the highest coarse scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError, StorageError, StoreError
from ..quantization import dequantize
from .coarse_file import read_kept, students_name, video_keys, write_kept
from .compatibility import require_student
from .engine import SearchEngine, pair_scorer
from .limits import Limits
from .pair_selection import joined_scores, select_pairs
from .request import SearchRequest
from .run import score_table
from .video_set import VideoSet

if TYPE_CHECKING:
    from ..nets.model.student import Student
    from ..nets.similarity.pair_scorer import PairScorer

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CoarseVectors:
    """What the students make of videos.

    Attributes:
        vectors: float32 [V, 1024]; NaN for a damaged video.
        indices: float64 [V], of the selector; zeros without one.
    """

    vectors: np.ndarray
    indices: np.ndarray


@dataclass(frozen=True)
class CoarseToFine:
    """The scores of all pairs.

    Attributes:
        scores: float32 [Q, D]; NaN where a video is damaged.
        selected: bool [Q, D]: the pairs that the fine-grained student scored.
    """

    scores: np.ndarray
    selected: np.ndarray


def coarse_vectors(
    videos: VideoSet,
    coarse: Student,
    selector: Student | None = None,
    *,
    gpu_id: int | None = None,
    checksums: bool = True,
    vectors_file: str | Path | None = None,
    progress: Progress | None = None,
) -> CoarseVectors:
    """Read all videos once. Insets are left out: a vector is of the video itself.

    Args:
        coarse, selector: students of these kinds.
        vectors_file: where vectors are kept, see `coarse_file`; videos in it are not read.
        gpu_id: see `nets.backend.device_scope`.
        checksums: compare checksums; a damaged video is marked as such in the set.
        progress: called with (videos done, videos).

    Raises:
        FingerprintMismatchError, InputError: see `compatibility.require_student`.
        StoreError: all videos are damaged, or the storage cannot be reached.
    """
    from ..nets.model.student import VECTOR
    from ..nets.similarity.coarse_student import CoarseStudent
    from ..nets.similarity.selector import Selector

    for student in (coarse, *([selector] if selector else [])):
        require_student(videos, student)
    path = Path(vectors_file) if vectors_file is not None else None
    name = students_name(coarse, selector) if path else ""
    by_key = read_kept(path, name) if path else {}
    keys, known = video_keys(videos), len(by_key)
    sequences, owner = videos.split_insets(False)
    network = CoarseStudent(coarse, gpu_id)
    index = Selector(selector, gpu_id).index if selector else None
    for sequence, video in enumerate(owner.tolist()):
        if keys[video] not in by_key:
            try:
                videos.check_video(video, checksums)
                descriptors = _regions(sequences, sequence)
            except StorageError:
                raise
            except StoreError:
                continue  # `damaged` names it
            by_key[keys[video]] = network(descriptors), index(descriptors) if index else 0.0
        if progress:
            progress(video + 1, len(videos))
    videos.require_sound()
    if path and len(by_key) > known:
        write_kept(path, name, by_key)
    missing = np.full(VECTOR, np.nan, np.float32), 0.0
    rows = [by_key.get(key, missing) for key in keys]
    return CoarseVectors(np.stack([v for v, _ in rows]), np.array([i for _, i in rows]))


def score_coarse_to_fine(
    request: SearchRequest,
    coarse: Student,
    selector: Student | None = None,
    *,
    share: float,
    vectors_file: str | Path | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> CoarseToFine:
    """Score every pair, a share of each query's by the request's model.

    Args:
        request: its model is the fine-grained student.
        coarse, selector: see `coarse_vectors`. The selector has to be for this fine student.
        share: of the sound videos of the database, 0 to 1.
        vectors_file: of the database, see `coarse_vectors`.
        limits: how much is in memory at once.
        progress: called with (queries done, queries).

    Raises:
        InputError: the share is not within 0 and 1, or the request asks for more than scores.
        FingerprintMismatchError, StoreError: see `coarse_vectors`.
    """
    from ..nets.similarity.selector import Selector

    _check(request, share)
    queries, database = (
        coarse_vectors(
            videos,
            coarse,
            selector,
            gpu_id=request.gpu_id,
            checksums=request.config.checksums,
            vectors_file=file,
        )
        for videos, file in ((request.queries, None), (request.database, vectors_file))
    )
    sound = np.flatnonzero(request.database.sound)
    scores = np.full((len(request.queries), len(request.database)), np.nan, np.float32)
    selected = np.zeros(scores.shape, bool)
    scores[:, sound] = queries.vectors @ database.vectors[sound].T
    ranked = scores[:, sound]
    if selector is not None:
        ranked = Selector(selector, request.gpu_id).scores(
            queries.indices, database.indices[sound], ranked
        )
    selected[:, sound] = select_pairs(ranked, share)
    scorer = pair_scorer(request)
    for row in np.flatnonzero(request.queries.sound).tolist():
        columns = np.flatnonzero(selected[row])
        if len(columns):
            part = replace(
                request,
                queries=request.queries.take([row]),
                database=request.database.take(columns),
                listed_queries=None,
            )
            fine = _fine_scores(part, scorer, limits)
            every = np.ones((1, len(columns)), bool)
            scores[row, columns] = joined_scores(scores[row : row + 1, columns], fine, every)
        if progress:
            progress(row + 1, len(request.queries))
    selected[~request.queries.sound] = False
    return CoarseToFine(scores, selected)


def _fine_scores(request: SearchRequest, scorer: PairScorer, limits: Limits | None) -> np.ndarray:
    """Scores of one query, float32 [1, D]; NaN for damaged videos.

    Damage may show only now, as videos whose vectors were kept have not been read before.
    """
    try:
        engine = SearchEngine(request, limits=limits, scorer=scorer)
        return score_table(request, limits=limits, engine=engine)[0]
    except StorageError:
        raise
    except StoreError:
        if request.database.sound.any():
            raise
        return np.full((1, len(request.database)), np.nan, np.float32)


def _check(request: SearchRequest, share: float) -> None:
    if not 0 <= share <= 1:
        raise InputError(f"share is {share}, expected 0 to 1, e.g. 0.1")
    if request.segments or request.mirrored is not None or request.background is not None:
        raise InputError(
            "coarse to fine gives scores alone: leave out segments, mirrored queries and a "
            "background, or search without the coarse student"
        )


def _regions(sequences: VideoSet, number: int) -> np.ndarray:
    """Region descriptors of a video as floats [T, R, C], short videos repeated."""
    stored = np.empty((int(sequences.lengths[number]), *sequences.row_shape), sequences.dtype)
    sequences.read(number, 0, len(stored), stored, checksum=False)
    return dequantize(stored, sequences.spec.dims)
