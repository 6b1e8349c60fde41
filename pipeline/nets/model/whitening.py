"""PCA whitening: a mean and a matrix; applied in numpy."""

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

    @classmethod
    def absent(cls, dims: int) -> Whitening:
        """In place of the whitening of a head alone, which takes `dims` values and whitens none."""
        nothing = np.broadcast_to(np.float32(0), (dims, dims))
        return cls(nothing[0], nothing, np.broadcast_to(np.float32(1), (dims,)))

    @property
    def dims(self) -> int:
        """n, values of a whitened vector."""
        return len(self.eigenvalues)

    def first(self, dims: int) -> Whitening:
        """The first `dims` columns."""
        return Whitening(self.mean, self.eigenvectors[:, :dims], self.eigenvalues[:dims])


def projection(whitening: Whitening) -> np.ndarray:
    """V / sqrt(d), float32 [D, n]: the rotation and the division as one matrix."""
    scale = np.sqrt(whitening.eigenvalues.astype(np.float64))
    return (whitening.eigenvectors / scale).astype(np.float32)


def whitened(x: np.ndarray, mean: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Whiten in numpy, as `nets.layers.whitening.whiten` does on the device.

    Args:
        x: float [..., D].
        mean: float32 [D].
        matrix: float32 [D, n], see `projection`.

    Returns:
        float32 [..., n] of length 1.
    """
    white = (x.reshape(-1, x.shape[-1]).astype(np.float32) - mean) @ matrix
    return unit_vectors(white).reshape(*x.shape[:-1], matrix.shape[1])


def unit_vectors(x: np.ndarray) -> np.ndarray:
    """Scale the last axis to length 1; zeros stay zeros."""
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-6))
