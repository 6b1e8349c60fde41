"""A model fitted to a collection, without labels and without its videos.

What is fitted: `nets.similarity.adaptation`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import FingerprintMismatchError, InputError, ModelError, StoreError
from ..nets.model.blank import FLOOR, content_of
from ..nets.model.pca import pca_from_moments
from ..nets.model.whitening import Whitening
from ..quantization import dequantize
from .compatibility import require_model
from .video_set import Collection

if TYPE_CHECKING:
    from ..nets.model.model import Model

SHRINKAGE = 0.8  # of eigenvalues towards their mean; chosen on validation, benchmarks/NOTES.md
LEAST_VIDEOS = 20
LEAST_SHARE = 0.01  # of vectors that have something in them
MOST_VIDEOS = 5000  # evenly many of a larger collection: 512 axes need no more
_LONGEST = 1.05  # of a vector that was 1 long before it was stored
_STRETCHES, _STRETCH = 8, 32  # of a longer video so many, of so many frames


@dataclass(frozen=True)
class AdaptReport:
    """What a model was adapted to.

    Attributes:
        weights: the adapted model; of its calibrations those for adapted models stay.
        videos, frames: of the collection that were read.
    """

    weights: Model
    videos: int
    frames: int


def adapt(
    database: Collection,
    model: Model,
    shrinkage: float = SHRINKAGE,
    progress: Callable[[int, int], None] | None = None,
    checksums: bool = True,
) -> AdaptReport:
    """Fit a second whitening on stored vectors; nearly empty regions count for less.

    Damaged videos are left out (`Collection.damaged` tells which), as if they were not there.

    Args:
        database: of the collection that will be searched; queries' further vectors are not read.
        model: that the store was made with; an adaptation of its own is replaced.
        shrinkage: 0 to 1; at 1 variances are left as they are.
        progress: called with (videos done, videos in all).
        checksums: compare those of the videos that are read.

    Raises:
        InputError: too few sound videos, or hardly anything but blank frames.
        FingerprintMismatchError: the store was made with another model, or keeps fewer values.
        ModelError: the model has attention.
    """
    model = replace(model, adaptation=None)
    require_adaptable(database, model)
    spec = database.spec
    chosen = np.unique(np.linspace(0, len(database) - 1, MOST_VIDEOS).round().astype(int))
    moments = {kind: _Moments(spec.dims) for kind, _ in model.layout.of_database.spaces}
    frames = videos = 0
    for done, video in enumerate(chosen.tolist(), 1):
        stretches = _sound_stretches(database, video, model, checksums)
        videos += bool(stretches)
        for vectors in stretches:
            counts, start = _counts(vectors, model), 0
            for kind, count in model.layout.of_database.spaces:
                part = slice(start, start + count)
                moments[kind].add(vectors[:, part], counts[:, part])
                start += count
            frames += len(vectors)
        if progress:
            progress(done, len(chosen))
    check_adaptable(model, videos, str(database.path))
    if any(found.share < LEAST_SHARE for found in moments.values()):
        raise InputError(f"{database.path}: hardly anything but blank frames, no collection")
    try:
        fitted = {kind: found.whitening(shrinkage) for kind, found in moments.items()}
    except ValueError as error:
        raise InputError(
            f"{database.path}: all its vectors are alike, no collection to adapt to ({error})"
        ) from error
    text = f"adapted to {videos} videos of a collection ({frames} frames)"
    return AdaptReport(
        replace(
            model,
            adaptation=fitted,
            calibrations=tuple(each for each in model.calibrations if each.adapted),
            name=f"{model.name.removesuffix('-adapted')}-adapted",
            description=_ending(model.description, text),
            provenance=_ending(model.provenance or model.origin, text),
        ),
        videos,
        frames,
    )


def check_adaptable(model: Model, videos: int, where: str) -> None:
    """What can be told before there are features.

    Args:
        videos: of the database; where: it is from.

    Raises:
        ModelError: the model has attention.
        InputError: too few videos.
    """
    if model.attention is not None:
        raise ModelError(
            f"{model.name}: has attention, which was learned for vectors as they are, so it cannot "
            "be adapted; compare by it as it is"
        )
    if videos < LEAST_VIDEOS:
        raise InputError(
            f"{where}: {videos} videos, expected {LEAST_VIDEOS} or more of the collection that "
            "will be searched, to adapt to"
        )


def require_adaptable(database: Collection, model: Model) -> None:
    """Refuse stored features that a model cannot be adapted to.

    Raises:
        InputError, ModelError: see `check_adaptable`.
        FingerprintMismatchError: the store was made with another model, or keeps fewer values.
    """
    check_adaptable(model, len(database), str(database.path))
    require_model(database, replace(model, adaptation=None))
    if database.spec.dims != model.dims:
        raise FingerprintMismatchError(
            f"{database.path} keeps {database.spec.dims} of {model.dims} values; adapting needs "
            "all of them: extract without --dims"
        )


def _sound_stretches(
    database: Collection, video: int, model: Model, checksums: bool
) -> list[np.ndarray]:
    """Vectors float32 [t, r, C] of a video; none if it is damaged.

    One damaged video must not turn the axes of a whole collection, so all of it is checked before.
    """
    found = []
    try:
        database.check_video(video, checksums)
        for stored in _stretches(database, video):
            vectors = dequantize(stored, database.spec.dims)[:, : model.regions].astype(np.float32)
            longest = float(np.einsum("nrc,nrc->nr", vectors, vectors).max(initial=0.0)) ** 0.5
            if longest > _LONGEST:
                what = f"it has a vector of length {longest:g}, expected 1"
                raise database.damage(video, what)
            found.append(vectors)
    except StoreError:
        return []
    return found


class _Moments:
    """Weighted mean and covariance of vectors that come a few at a time."""

    def __init__(self, dims: int) -> None:
        self._weight, self._count = 0.0, 0
        self._sum = np.zeros(dims)
        self._products = np.zeros((dims, dims))

    def add(self, vectors: np.ndarray, counts: np.ndarray) -> None:
        """Vectors float32 [N, r, C], each counted as much as `counts` [N, r] says."""
        flat, weights = vectors.reshape(-1, vectors.shape[2]), counts.reshape(-1, 1)
        weighted = flat * weights
        self._weight += float(weights.sum(dtype=np.float64))
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


def _stretches(database: Collection, video: int) -> Iterator[np.ndarray]:
    """Frames of a video as stored: all, or evenly many of a long one."""
    length = int(database.lengths[video])
    if length <= _STRETCHES * _STRETCH:
        spans = [(0, length)]
    else:
        firsts = np.linspace(0, length - _STRETCH, _STRETCHES).astype(int).tolist()
        spans = [(first, first + _STRETCH) for first in firsts]
    for first, last in spans:
        out = np.empty((last - first, *database.row_shape), database.dtype)
        database.read(video, first, last, out)
        yield out


def _counts(vectors: np.ndarray, model: Model) -> np.ndarray:
    """float32 [N, R]: how much each vector has in it; 1 where the model cannot tell.

    In numpy: stretches are of any length, and JAX would compile for each.
    """
    if model.blank is None:
        return np.ones(vectors.shape[:2], np.float32)
    regions = content_of(vectors[:, : model.layout.regions], model.blank)
    frames = np.maximum(regions.mean(axis=1, keepdims=True), FLOOR)
    own = model.regions - model.layout.regions
    return np.concatenate([regions, np.repeat(frames, own, axis=1)], axis=1).astype(np.float32)


def _ending(text: str, adapted: str) -> str:
    """The text, which may tell of an adaptation before this one, with this one's."""
    kept = re.sub(r"(; )?adapted to \d+ videos of a collection \(\d+ frames\)", "", text)
    return f"{kept}; {adapted}" if kept else adapted
