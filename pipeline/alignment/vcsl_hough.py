"""Hough voting as VCSL has it: each diagonal of the matrix is one box over its whole length."""

from __future__ import annotations

import numpy as np

from .segment import Segment
from .timeline import Timeline
from .vcsl_boxes import Box, overlap, segments_of


def align_by_vcsl_hough(
    matrix: np.ndarray, query: Timeline, database: Timeline, max_segments: int
) -> list[Segment]:
    """Take the diagonals with the most votes; see `protocol.Aligner`, and `hough_boxes`."""
    return segments_of(hough_boxes(matrix), matrix, query, database, max_segments)


def hough_boxes(
    matrix: np.ndarray, *, min_sim: float = 0.7, max_overlap: float = 0.9, max_peaks: int = 100
) -> list[Box]:
    """Boxes of the diagonals with the largest sum of similarities.

    After Douze et al., IEEE Trans. Multimedia 2010, as in VCSL (He et al., CVPR 2022); defaults are
    its settings for ISC descriptors.

    Args:
        matrix: float32 [Q, D].
        min_sim: similarities below it do not vote.
        max_overlap: intersection over union with a better box beyond which one is left out.
        max_peaks: diagonals that are looked at.
    """
    votes = np.where(matrix < min_sim, np.float32(0), matrix)
    rows, columns = np.nonzero(votes >= min_sim)
    offsets = np.unique(columns - rows)
    sums = [float(np.ascontiguousarray(votes.diagonal(o)).sum()) for o in offsets]
    boxes: list[Box] = []
    for place in np.argsort(-np.array(sums), kind="stable")[:max_peaks]:
        offset = int(offsets[place])
        first = max(0, -offset)
        last = min(matrix.shape[0], matrix.shape[1] - offset) - 1
        box = (first, first + offset, last, last + offset)
        if sums[place] > 0 and not (overlap(box, boxes) > max_overlap).any():
            boxes.append(box)
    return boxes
