"""What every method of alignment is."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from .segment import Segment
from .timeline import Timeline


class Aligner(Protocol):
    """Finds the segments of a pair of videos in their matrix of frame similarities."""

    def __call__(
        self, matrix: np.ndarray, query: Timeline, database: Timeline, max_segments: int
    ) -> list[Segment]:
        """Find at most so many segments, the most certain first.

        Args:
            matrix: float32 [Q, D], similarities within [-1, 1]; it stays as it is.
            query, database: times of rows and columns.
            max_segments: segments at most.
        """
        ...
