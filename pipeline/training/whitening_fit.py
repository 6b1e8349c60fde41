"""Whitening fitted on region vectors: by their variance, or by what copying does to them.

The eigenvalues are shrunk towards their mean, d' = (1 - s) d + s mean(d) (Ledoit and Wolf, "A
well-conditioned estimator for large-dimensional covariance matrices", J. Multivariate Analysis
88, 2004), because small ones of few videos are mostly chance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..nets.model.descriptors import THUMBNAIL, DescriptorLayout
from ..nets.model.model import Model
from ..nets.model.pca import pca_from_moments, principal_axes, shrink
from ..nets.model.whitening import Whitening, projection, whitened
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
    indices = np.linspace(0, len(vectors) - 1, min(ANCHORS, len(vectors))).astype(int)
    white = whitened(vectors[indices], lowpass.mean, projection(lowpass))
    return white.astype(np.float16).astype(np.float32)


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
    difference = clean.astype(np.float64) - degraded
    values, columns = principal_axes(difference.T @ difference / len(difference), len(mean))
    within = columns / np.sqrt(shrink(values, shrinkage))
    total = both.T @ both / (len(both) - 1)
    values, turn = principal_axes(within.T @ total @ within, dims)
    vectors = within @ turn
    values = shrink(values, shrinkage)[:dims]
    return Whitening(*(a.astype(np.float32) for a in (mean, vectors, values)))


def whitened_descriptors(x: np.ndarray, weights: Model) -> np.ndarray:
    """Whiten descriptors of frames, each by the whitening of its space: [T, R, D] -> [T, R, n].

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


def sample_frames(clips: Sequence[CachedClip], max_frames: int, seed: int) -> np.ndarray:
    """Draw descriptors of clean frames and of as many frames of copies: float16 [N, R, D].

    Args:
        max_frames: about half of them from copies; at least one of each clip and of its copies.
    """
    rng = np.random.default_rng(seed)
    per_clip = max(1, max_frames // (2 * len(clips)))
    parts = []
    for clip in clips:
        for frames in (clip.clean, np.concatenate(clip.copies)):
            indices = rng.choice(len(frames), min(per_clip, len(frames)), replace=False)
            parts.append(frames[np.sort(indices)])
    return np.concatenate(parts)


def sample_pairs(
    clips: Sequence[CachedClip], max_frames: int, seed: int, whitening: Whitening, regions: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw regions of clean frames, each with its best match in a copy's frame of that second.

    Args:
        max_frames: frames of copies; at least one of each clip.
        whitening: by which the best match is found.
        regions: number of region descriptors of a frame.

    Returns:
        two float32 [N, D].
    """
    rng = np.random.default_rng(seed)
    per_clip = max(1, max_frames // len(clips))
    matrix = projection(whitening)
    clean, degraded = [], []
    for clip in clips:
        copies, seconds = np.concatenate(clip.copies), np.concatenate(clip.seconds)
        dated = np.flatnonzero(np.isfinite(seconds))
        if not len(dated):
            continue
        indices = rng.choice(dated, min(per_clip, len(dated)), replace=False)
        rows = np.minimum(np.rint(seconds[indices]).astype(int), len(clip.clean) - 1)
        both = zip(clip.clean[rows, :regions], copies[indices, :regions], strict=True)
        for before, after in both:
            white = [whitened(x, whitening.mean, matrix) for x in (before, after)]
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
