"""Whitening fitted on region vectors: by their variance, or by what copying does to them.

The eigenvalues are shrunk towards their mean, d' = (1 - s) d + s mean(d) (Ledoit and Wolf, "A
well-conditioned estimator for large-dimensional covariance matrices", J. Multivariate Analysis
88, 2004), because small ones of few videos are mostly chance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..nets.layers.whitening import projection
from ..nets.model.descriptors import THUMBNAIL, DescriptorLayout
from ..nets.model.model import Model
from ..nets.model.pca import pca_from_moments, principal_axes, shrink
from ..nets.model.whitening import Whitening
from .feature_cache import CachedClip

WAYS = ("keep", "pca", "paired")
THUMBNAIL_SHRINKAGE = 0.1  # by more, look-alikes come nearer (benchmarks/NOTES.md)
ANCHORS = 1024  # enough that one in a hundred is a mean of ten


def fit(vectors: np.ndarray, dims: int, shrinkage: float) -> Whitening:
    """PCA of region vectors.

    Args:
        vectors: float [N, D].
        dims: n, components kept.
        shrinkage: s of the formula above, 0 to 1.

    Returns:
        mean [D], eigenvectors [D, n], eigenvalues [n], descending; every eigenvector's largest
        entry is positive, so that the signs do not depend on the linear algebra library.
    """
    centred = vectors.astype(np.float32)
    mean = centred.mean(axis=0, dtype=np.float64)
    centred -= mean.astype(np.float32)
    covariance = _product(centred) / (len(centred) - 1)
    return pca_from_moments(mean, covariance, dims, shrinkage)


def whitenings(
    vectors: np.ndarray, layout: DescriptorLayout, dims: int, shrinkage: float
) -> tuple[Whitening, Whitening | None, Whitening | None]:
    """PCA of a model's regions and, where it has them, of its lowpass and thumbnail descriptors.

    Args:
        vectors: float [N, R, D] of frames, not whitened, laid out as `layout` says.
        dims, shrinkage: see `fit`; thumbnails have `THUMBNAIL_SHRINKAGE`.
    """
    slices = database_slices(layout)
    regions = vectors[:, slices["regions"]].reshape(-1, vectors.shape[2])
    lowpass = thumbnail = None
    if "lowpass" in slices:
        lowpass = fit(vectors[:, slices["lowpass"].start], dims, shrinkage)
    if "thumbnail" in slices:
        thumbnails = vectors[:, slices["thumbnail"].start, : THUMBNAIL**2]
        thumbnail = fit(thumbnails, dims, THUMBNAIL_SHRINKAGE)
    return fit(regions, dims, shrinkage), lowpass, thumbnail


def database_slices(layout: DescriptorLayout) -> dict[str, slice]:
    """Where the database's descriptors of each space lie in a frame."""
    groups = [group for group in layout.groups if not group.query_only]
    return {group.space: layout.slices[group.name] for group in groups}


def anchors_of(vectors: np.ndarray, lowpass: Whitening) -> np.ndarray:
    """Lowpass descriptors for CSLS, see `nets.similarity.csls`.

    Args:
        vectors: float [N, D] of frames of many videos, not whitened; evenly many are taken.

    Returns:
        float32 [up to `ANCHORS`, n], rounded as float16 is, as models are stored.
    """
    chosen = np.linspace(0, len(vectors) - 1, min(ANCHORS, len(vectors))).astype(int)
    found = whitened(vectors[chosen], lowpass.mean, projection(lowpass))
    return found.astype(np.float16).astype(np.float32)


def fit_paired(clean: np.ndarray, degraded: np.ndarray, dims: int, shrinkage: float) -> Whitening:
    """Directions that copies disturb are made small, those that tell regions apart are kept.

    Mikolajczyk and Matas, "Improving descriptors for fast tree matching by optimal linear
    projection" (ICCV 2007); learned whitening in Radenovic et al. (TPAMI 2019): C_w is the
    covariance of clean - degraded; after C_w^(-1/2) the principal axes of all vectors.

    Args:
        clean, degraded: float [N, D], the same region before and after.
        dims: n, components kept.
        shrinkage: of C_w's eigenvalues, as in `fit`.

    Returns:
        mean [D], C_w^(-1/2) V as eigenvectors [D, n], and their variances as eigenvalues [n].
    """
    both = np.concatenate([clean, degraded]).astype(np.float64)
    mean = both.mean(axis=0)
    both -= mean
    apart = clean.astype(np.float64) - degraded
    values, columns = principal_axes(apart.T @ apart / len(apart), len(mean))
    within = columns / np.sqrt(shrink(values, shrinkage))
    total = both.T @ both / (len(both) - 1)
    values, turn = principal_axes(within.T @ total @ within, dims)
    vectors = within @ turn
    values = shrink(values, shrinkage)[:dims]
    return Whitening(*(a.astype(np.float32) for a in (mean, vectors, values)))


def whitened_views(x: np.ndarray, weights: Model) -> np.ndarray:
    """All descriptors of frames, each by the whitening of its space: [T, R, D] -> [T, R, n].

    Args:
        x: float, R as many as queries or a database have: copies have none of queries only.
    """
    result = whitened(x, weights.whitening.mean, projection(weights.whitening))
    for space, pca in weights.whitenings.items():
        if space == "regions":
            continue
        groups = [group for group in weights.layout.groups if group.space == space]
        slices = [weights.layout.slices[group.name] for group in groups]
        places = [i for part in slices for i in range(x.shape[1])[part]]
        size = len(pca.mean)
        result[:, places] = whitened(x[:, places, :size], pca.mean, projection(pca))
    return result


def whitened(x: np.ndarray, mean: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """`nets.layers.whitening.whiten` in numpy: float [..., D] -> float32 [..., n] of length 1.

    Args:
        x: region vectors; mean: [D]; matrix: [D, n] of `nets.layers.whitening.projection`.
    """
    white = (x.reshape(-1, x.shape[-1]).astype(np.float32) - mean) @ matrix
    white /= np.maximum(np.linalg.norm(white, axis=1, keepdims=True), 1e-6)
    return white.reshape(*x.shape[:-1], matrix.shape[1])


def frames_of(clips: Sequence[CachedClip], most: int, seed: int) -> np.ndarray:
    """Vectors of clean frames and of as many of copies: float16 [N, R, D].

    Args:
        most: frames, half of them of copies.
    """
    rng = np.random.default_rng(seed)
    each = max(1, most // (2 * len(clips)))
    parts = []
    for clip in clips:
        for frames in (clip.clean, np.concatenate(clip.copies)):
            chosen = rng.choice(len(frames), min(each, len(frames)), replace=False)
            parts.append(frames[np.sort(chosen)])
    return np.concatenate(parts)


def pairs_of(
    clips: Sequence[CachedClip], most: int, seed: int, like: Whitening, regions: int
) -> tuple[np.ndarray, np.ndarray]:
    """Regions of clean frames and the best match of each in a copy's frame of the same second.

    Args:
        most: frames of copies that are used.
        like: whitening that says what matches best.
        regions: of a frame.

    Returns:
        two float32 [N, D].
    """
    rng = np.random.default_rng(seed)
    each = max(1, most // len(clips))
    matrix = projection(like)
    clean, degraded = [], []
    for clip in clips:
        copies, seconds = np.concatenate(clip.copies), np.concatenate(clip.seconds)
        shown = np.flatnonzero(np.isfinite(seconds))
        if not len(shown):
            continue
        chosen = rng.choice(shown, min(each, len(shown)), replace=False)
        rows = np.minimum(np.rint(seconds[chosen]).astype(int), len(clip.clean) - 1)
        both = zip(clip.clean[rows, :regions], copies[chosen, :regions], strict=True)
        for before, after in both:
            white = [whitened(x, like.mean, matrix) for x in (before, after)]
            best = (white[0] @ white[1].T).argmax(axis=1)
            clean.append(before)
            degraded.append(after[best])
    return np.concatenate(clean).astype(np.float32), np.concatenate(degraded).astype(np.float32)


def _product(x: np.ndarray) -> np.ndarray:
    """x.T @ x in float64, a part at a time: all of x in float64 would be too much memory."""
    total = np.zeros((x.shape[1], x.shape[1]))
    for start in range(0, len(x), 8192):
        part = x[start : start + 8192].astype(np.float64)
        total += part.T @ part
    return total
