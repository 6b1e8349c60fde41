"""Nearly empty frames: the space in which their regions lie, and how much a region counts.

Black, white, one colour, a fade, a card with a few words: such frames are alike in videos that
have nothing to do with each other. Whatever the network, their whitened regions lie near a space
of few dimensions, while those of other frames have hardly more length in it than chance gives. A
model may hold that space; stage two then counts a region for less the more of it lies in there
(`attention.content`). `training.blank_frames` finds the space.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...checks import number

FLOOR = 0.02  # least weight of a frame: what is left of a video of blank frames only


@dataclass(frozen=True)
class Blank:
    """The space of nearly empty region vectors, and how much in it is too much.

    Attributes:
        directions: float32 [K, C], orthonormal rows.
        low, high: a region vector counts in full up to `low` and not at all from `high` on, in
            units of `excess`.
    """

    directions: np.ndarray
    low: float
    high: float

    def __post_init__(self) -> None:
        shape = self.directions.shape
        if len(shape) != 2 or not 0 < shape[0] < shape[1]:
            raise ValueError(f"blank directions are {shape}, expected [K, C] with 0 < K < C")
        if np.abs(self.directions @ self.directions.T - np.eye(len(self.directions))).max() > 1e-3:
            raise ValueError("blank directions are not of length 1 and at right angles")
        number("blank: low", self.low)
        number("blank: high", self.high)
        if not 0 <= self.low < self.high <= 1:
            raise ValueError(f"blank low {self.low} and high {self.high}, expected 0 <= low < high")

    @property
    def chance(self) -> float:
        """Squared length in the space of a vector of length 1 that points anywhere: K / C."""
        return len(self.directions) / self.directions.shape[1]

    def first(self, dims: int) -> Blank | None:
        """For vectors cut to their first values; None where too few are left to tell."""
        if dims < 4 * len(self.directions):
            return None
        rows = np.linalg.qr(self.directions[:, :dims].T.astype(np.float64))[0].T
        return Blank(rows.astype(np.float32), self.low, self.high)

    def excess(self, vectors: np.ndarray) -> np.ndarray:
        """Squared length in the space, 0 where it is what chance gives and 1 where it is all.

        Args:
            vectors: float32 [..., C] of length 1.
        """
        inside = np.square(vectors @ self.directions.T).sum(axis=-1)
        return np.asarray((inside - self.chance) / (1 - self.chance))


def content_of(vectors: np.ndarray, blank: Blank) -> np.ndarray:
    """`attention.content` in numpy: float32 [..., C] of length 1 -> [...] from 0 to 1."""
    t = np.clip((blank.excess(vectors) - blank.low) / (blank.high - blank.low), 0, 1)
    return np.asarray(1 - t * t * (3 - 2 * t))
