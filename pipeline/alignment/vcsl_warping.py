"""Dynamic time warping as VCSL has it: one path from corner to corner, cut at stops."""

from __future__ import annotations

import numpy as np

from .segment import Segment
from .timeline import Timeline
from .vcsl_boxes import Box, boxes_of_path, segments_of


def align_by_vcsl_warping(
    matrix: np.ndarray, query: Timeline, database: Timeline, max_segments: int
) -> list[Segment]:
    """Take the parts of the best path; see `protocol.Aligner`, and `warping_boxes`."""
    return segments_of(warping_boxes(matrix), matrix, query, database, max_segments)


def warping_boxes(
    matrix: np.ndarray, *, longest_stop: int = 9, min_sim: float = 0.3, min_length: int = 5
) -> list[Box]:
    """Boxes of the parts of the cheapest path, where a cell costs 1 - similarity.

    As in VCSL (He et al., CVPR 2022); defaults are its settings for ISC descriptors. See
    `vcsl_boxes.boxes_of_path` for the arguments.
    """
    return boxes_of_path(
        matrix,
        _path(_costs(1 - matrix)),
        longest_stop=longest_stop,
        min_length=min_length,
        min_mean=min_sim,
    )


def _costs(cells: np.ndarray) -> np.ndarray:
    """Cost of the cheapest path to each cell, by antidiagonals; with a border of infinity."""
    rows, columns = cells.shape
    costs = np.full((rows + 1, columns + 1), np.inf)
    costs[0, 0] = 0
    for diagonal in range(rows + columns - 1):
        i = np.arange(max(0, diagonal - columns + 1), min(rows - 1, diagonal) + 1)
        j = diagonal - i
        before = np.minimum(np.minimum(costs[i, j], costs[i, j + 1]), costs[i + 1, j])
        costs[i + 1, j + 1] = cells[i, j] + before
    return costs[1:, 1:]


def _path(costs: np.ndarray) -> np.ndarray:
    """Int [L, 2] from the first corner to the last; of equal ways the diagonal one."""
    i, j = costs.shape[0] - 1, costs.shape[1] - 1
    path = [(i, j)]
    while i or j:
        if not i or not j:
            i, j = max(0, i - 1), max(0, j - 1)
        else:
            ways = (costs[i - 1, j - 1], costs[i - 1, j], costs[i, j - 1])
            step = int(np.argmin(ways))
            i, j = i - (step != 2), j - (step != 1)
        path.append((i, j))
    return np.array(path[::-1])
