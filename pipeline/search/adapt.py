"""A model fitted to a collection, without labels and without its videos.

What is fitted: `nets.similarity.adaptation`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError, StorageError, StoreError
from ..nets.model.blank import FLOOR, content_of
from ..nets.model.pca import pca_from_moments
from ..nets.model.whitening import Whitening
from ..quantization import dequantize
from .compatibility import check_adaptable, require_adaptable
from .video_set import VideoSet

if TYPE_CHECKING:
    from ..nets.model.model import Model
    from .request import SearchRequest

SHRINKAGE = 0.8  # of eigenvalues towards their mean; chosen on validation, benchmarks/NOTES.md
MAX_VIDEOS = 5000  # evenly many of a larger collection: 512 axes need no more
_MIN_SHARE = 0.01  # mean weight of all descriptors; less is hardly anything but blank frames
_MAX_LENGTH = 1.05  # of a descriptor that had length 1 before it was stored
_SEGMENTS, _SEGMENT_FRAMES = 8, 32  # of a longer video

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class AdaptReport:
    """What a model was adapted to.

    Attributes:
        model: the adapted model; it has only the calibrations that are for adapted models.
        videos, frames: how many of the collection were read.
    """

    model: Model
    videos: int
    frames: int


def adapt_request(request: SearchRequest, progress: Progress | None = None) -> SearchRequest:
    """Adapt a request's model to its database if its settings ask for that.

    Args:
        request: checked already, so that its model can be adapted.
        progress: called with (videos done, videos in all).

    Returns:
        The request with the adapted model, which asks for no adaptation any more; the same request
        if it asks for none.
    """
    config = request.config
    if not config.adapt:
        return request
    report = adapt(request.database, request.model, progress=progress, checksums=config.checksums)
    return replace(request, model=report.model, config=replace(config, adapt=False))


def adapt(
    database: VideoSet,
    model: Model,
    *,
    shrinkage: float = SHRINKAGE,
    progress: Progress | None = None,
    checksums: bool = True,
    max_videos: int = MAX_VIDEOS,
) -> AdaptReport:
    """Fit a second whitening on stored descriptors; nearly empty regions count for less.

    Damaged videos are left out (`VideoSet.damaged` names them), as if they were not there.

    Args:
        database: the collection that will be searched; query views in it are not read.
        model: the one that the store was made with; an adaptation that it has is replaced.
        shrinkage: 0 to 1; at 1 variances are left as they are.
        progress: called with (videos done, videos in all).
        checksums: compare those of the videos that are read.
        max_videos: read evenly many of a larger collection.

    Raises:
        InputError: too few sound videos, or hardly anything but blank frames.
        FingerprintMismatchError: the store was made with another model, or keeps fewer values.
        ModelError: the model has attention.
    """
    model = replace(model, adaptation=None)
    require_adaptable(database, model)
    numbers = np.unique(np.linspace(0, len(database) - 1, max_videos).round().astype(int))
    moments = {kind: _Moments(database.spec.dims) for kind, _ in model.layout.of_database.spaces}
    frames = videos = 0
    for done, video in enumerate(database.reading_ahead(numbers.tolist()), 1):
        segments = _sound_segments(database, video, model, checksums)
        videos += bool(segments)
        frames += sum(len(vectors) for vectors in segments)
        for vectors in segments:
            _add_moments(moments, vectors, model)
        if progress:
            progress(done, len(numbers))
    check_adaptable(model, videos, str(database.path))
    if any(moment.share < _MIN_SHARE for moment in moments.values()):
        raise InputError(f"{database.path}: hardly anything but blank frames, no collection")
    try:
        adaptation = {kind: moment.whitening(shrinkage) for kind, moment in moments.items()}
    except ValueError as error:
        raise InputError(
            f"{database.path}: all its vectors are alike, no collection to adapt to ({error})"
        ) from error
    text = f"adapted to {videos} videos of a collection ({frames} frames)"
    adapted = replace(
        model,
        adaptation=adaptation,
        calibrations=tuple(
            calibration for calibration in model.calibrations if calibration.adapted
        ),
        name=f"{model.name.removesuffix('-adapted')}-adapted",
        description=_ending(model.description, text),
        provenance=_ending(model.provenance or model.origin, text),
    )
    return AdaptReport(adapted, videos, frames)


def _add_moments(moments: dict[str, _Moments], vectors: np.ndarray, model: Model) -> None:
    """Add descriptors float32 [t, R, C] to the moments of their kinds."""
    weights, start = _region_weights(vectors, model), 0
    for kind, count in model.layout.of_database.spaces:
        part = slice(start, start + count)
        moments[kind].add(vectors[:, part], weights[:, part])
        start += count


def _sound_segments(
    database: VideoSet, video: int, model: Model, checksums: bool
) -> list[np.ndarray]:
    """Descriptors float32 [t, r, C] of a video; an empty list if it is damaged.

    One damaged video must not turn the axes of a whole collection, so all of it is checked before.
    """
    segments = []
    try:
        database.check_video(video, checksums)
        for stored in _segments(database, video):
            vectors = dequantize(stored, database.spec.dims)[:, : model.regions].astype(np.float32)
            longest = float(np.einsum("nrc,nrc->nr", vectors, vectors).max(initial=0.0)) ** 0.5
            if longest > _MAX_LENGTH:
                what = f"it has a vector of length {longest:g}, expected 1"
                raise database.mark_damaged(video, what)
            segments.append(vectors)
    except StorageError:  # no damage: an adaptation to fewer videos would look like that to all
        raise
    except StoreError:
        return []
    return segments


class _Moments:
    """Weighted mean and covariance of vectors that come a few at a time."""

    def __init__(self, dims: int) -> None:
        self._weight, self._count = 0.0, 0
        self._sum = np.zeros(dims)
        self._products = np.zeros((dims, dims))

    def add(self, vectors: np.ndarray, weights: np.ndarray) -> None:
        """Add vectors float32 [N, r, C], each weighted by `weights` [N, r]."""
        flat, flat_weights = vectors.reshape(-1, vectors.shape[2]), weights.reshape(-1, 1)
        weighted = flat * flat_weights
        self._weight += float(flat_weights.sum(dtype=np.float64))
        self._count += len(flat)
        self._sum += weighted.sum(axis=0, dtype=np.float64)
        self._products += weighted.T @ flat

    @property
    def share(self) -> float:
        """Mean weight of the vectors."""
        return self._weight / self._count

    def whitening(self, shrinkage: float) -> Whitening:
        """PCA of all of them, with all their dims."""
        mean = self._sum / self._weight
        covariance = self._products / self._weight - np.outer(mean, mean)
        return pca_from_moments(mean, covariance, len(mean), shrinkage)


def _segments(database: VideoSet, video: int) -> Iterator[np.ndarray]:
    """Frames of a video as stored: all, or evenly many of a long one."""
    length = int(database.lengths[video])
    if length <= _SEGMENTS * _SEGMENT_FRAMES:
        spans = [(0, length)]
    else:
        firsts = np.linspace(0, length - _SEGMENT_FRAMES, _SEGMENTS).astype(int).tolist()
        spans = [(first, first + _SEGMENT_FRAMES) for first in firsts]
    for first, last in spans:
        out = np.empty((last - first, *database.row_shape), database.dtype)
        database.read(video, first, last, out)
        yield out


def _region_weights(vectors: np.ndarray, model: Model) -> np.ndarray:
    """float32 [N, R]: how much each descriptor counts; 1 where the model knows no blank frames.

    In numpy: segments are of any length, and JAX would compile for each.
    """
    if model.blank is None:
        return np.ones(vectors.shape[:2], np.float32)
    regions = content_of(vectors[:, : model.layout.regions], model.blank)
    frames = np.maximum(regions.mean(axis=1, keepdims=True), FLOOR)
    whole_frame = model.regions - model.layout.regions  # descriptors that are not of one region
    every = np.concatenate([regions, np.repeat(frames, whole_frame, axis=1)], axis=1)
    return every.astype(np.float32)


def _ending(text: str, adapted: str) -> str:
    """The text, which may tell of an adaptation before this one, with this one's."""
    rest = re.sub(r"(; )?adapted to \d+ videos of a collection \(\d+ frames\)", "", text)
    return f"{rest}; {adapted}" if rest else adapted
