"""PCA whitening of region vectors.

Jegou and Chum, "Negative evidences and co-occurences in image retrieval: the benefit of PCA and
whitening" (ECCV 2012): rotate to the principal axes, divide by the standard deviations, L2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.nets.backend import ops
from pipeline.nets.regions import l2_normalize
from pipeline.nets.weights import Whitening


def projection(whitening: Whitening) -> np.ndarray:
    """V / sqrt(d), float32 [D, n]: the rotation and the division as one matrix."""
    scale = np.sqrt(whitening.eigenvalues.astype(np.float64))
    return (whitening.eigenvectors / scale).astype(np.float32)


def whiten(x: Any, mean: Any, matrix: Any) -> Any:
    """(x - mean) @ V / sqrt(d), then length 1.

    Args:
        x: float32 [..., D].
        mean: float32 [D].
        matrix: float32 [D, n], see `projection`.

    Returns:
        float32 [..., n].
    """
    return l2_normalize(ops.matmul(x - mean, matrix))


def of_moments(mean: np.ndarray, covariance: np.ndarray, dims: int, shrinkage: float) -> Whitening:
    """PCA of vectors by their mean [D] and covariance [D, D].

    Args:
        dims: n, components kept.
        shrinkage: share of the eigenvalues' mean in each of them, 0 to 1.

    Returns:
        mean [D], eigenvectors [D, n], eigenvalues [n], descending; every eigenvector's largest
        entry is positive, so that the signs do not depend on the linear algebra library.
    """
    values, columns = axes(covariance, dims)
    values = shrunk(values, shrinkage)[:dims]
    return Whitening(*(a.astype(np.float32) for a in (mean, columns, values)))


def axes(covariance: np.ndarray, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """All eigenvalues, descending, and the first eigenvectors [D, dims] with fixed signs."""
    values, columns = np.linalg.eigh(covariance)
    values, columns = np.maximum(values[::-1], 0), columns[:, ::-1][:, :dims]
    largest = np.take_along_axis(columns, np.abs(columns).argmax(axis=0)[None], axis=0)
    return values, columns * np.sign(largest)


def shrunk(values: np.ndarray, shrinkage: float) -> np.ndarray:
    """Eigenvalues moved towards their mean, by a share of 0 to 1."""
    return (1 - shrinkage) * values + shrinkage * values.mean()
