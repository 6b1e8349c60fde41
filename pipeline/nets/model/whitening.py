"""PCA whitening: a mean and a matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Whitening:
    """PCA of region vectors, float32: mean [D], eigenvectors [D, n] in columns, eigenvalues [n]."""

    mean: np.ndarray
    eigenvectors: np.ndarray
    eigenvalues: np.ndarray

    def __post_init__(self) -> None:
        size, dims = self.mean.size, self.eigenvalues.size
        flat = self.mean.ndim == self.eigenvalues.ndim == 1
        if not flat or self.eigenvectors.shape != (size, dims) or not 0 < dims <= size:
            raise ValueError(
                f"mean {self.mean.shape}, eigenvectors {self.eigenvectors.shape} and eigenvalues "
                f"{self.eigenvalues.shape} do not belong together, expected [D], [D, n] and [n]"
            )
        if not (np.isfinite(self.eigenvectors).all() and np.isfinite(self.mean).all()):
            raise ValueError("mean or eigenvectors hold a value that is not finite")
        if not (np.isfinite(self.eigenvalues) & (self.eigenvalues > 0)).all():
            raise ValueError("an eigenvalue is not positive")

    @property
    def dims(self) -> int:
        """n, values of a whitened vector."""
        return len(self.eigenvalues)

    def first(self, dims: int) -> Whitening:
        """The first `dims` columns."""
        return Whitening(self.mean, self.eigenvectors[:, :dims], self.eigenvalues[:dims])
