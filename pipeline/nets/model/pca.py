"""PCA by moments, in numpy alone: what a whitening is fitted by, see `whitening`."""

from __future__ import annotations

import numpy as np

from .whitening import Whitening


def pca_from_moments(
    mean: np.ndarray, covariance: np.ndarray, dims: int, shrinkage: float
) -> Whitening:
    """PCA of vectors by their mean [D] and covariance [D, D].

    Args:
        dims: n, components kept.
        shrinkage: share of the eigenvalues' mean in each of them, 0 to 1.

    Returns:
        mean [D], eigenvectors [D, n], eigenvalues [n], descending; every eigenvector's largest
        entry is positive, so that the signs do not depend on the linear algebra library.
    """
    values, columns = principal_axes(covariance, dims)
    values = shrink(values, shrinkage)[:dims]
    return Whitening(*(a.astype(np.float32) for a in (mean, columns, values)))


def principal_axes(covariance: np.ndarray, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """All eigenvalues, descending, and the first eigenvectors [D, dims] with fixed signs."""
    values, columns = np.linalg.eigh(covariance)
    values, columns = np.maximum(values[::-1], 0), columns[:, ::-1][:, :dims]
    largest = np.take_along_axis(columns, np.abs(columns).argmax(axis=0)[None], axis=0)
    return values, columns * np.sign(largest)


def shrink(values: np.ndarray, shrinkage: float) -> np.ndarray:
    """Eigenvalues moved towards their mean, by a share of 0 to 1."""
    return (1 - shrinkage) * values + shrinkage * values.mean()
