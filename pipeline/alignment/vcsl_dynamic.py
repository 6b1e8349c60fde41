"""Dynamic programming as VCSL has it: the best path, what lies in its box taken out, the next."""

from __future__ import annotations

import numpy as np

from .segment import Segment
from .timeline import Timeline
from .vcsl_boxes import Box, boxes_of_path, segments_of

_MAX_PATHS = 100
_DIAGONAL, _FROM_ROW_BEFORE, _START = 0, 1, -1  # where the path to a cell comes from


def align_by_vcsl_dynamic(
    matrix: np.ndarray, query: Timeline, database: Timeline, max_segments: int
) -> list[Segment]:
    """Take the best paths one after another; see `protocol.Aligner`, and `dynamic_boxes`."""
    return segments_of(dynamic_boxes(matrix), matrix, query, database, max_segments)


def dynamic_boxes(
    matrix: np.ndarray,
    *,
    longest_gap: int = 9,
    min_sim: float = 0.2,
    min_mean: float = 1.3,
    min_length: int = 5,
    longest_stop: int = 10,
) -> list[Box]:
    """Boxes of the paths with the largest sums.

    After Chou et al., "Pattern-based near-duplicate video retrieval and localization on web-scale
    videos", IEEE Trans. Multimedia 2015, as in VCSL (He et al., CVPR 2022); defaults are its
    settings for ISC descriptors.

    Args:
        matrix: float32 [Q, D]; 1 is added, so that no similarity is below 0. The next two are on
            that scale.
        min_sim: a cell below it is a gap; min_mean: see `vcsl_boxes.boxes_of_path`.
        longest_gap: cells below `min_sim` one after another that a path goes through.
        min_length, longest_stop: see `vcsl_boxes.boxes_of_path`.
    """
    cells = (matrix + 1).astype(np.float32)
    sums, origins = _sums(cells, longest_gap, min_sim)
    boxes: list[Box] = []
    for _ in range(_MAX_PATHS):
        path = _best_path(sums, origins)
        if sums[tuple(path[-1])] == -np.inf:
            break
        (top, left), (bottom, right) = path[0], path[-1]
        sums[top : bottom + 1, left : right + 1] = -np.inf
        boxes += boxes_of_path(
            cells, path, longest_stop=longest_stop, min_length=min_length, min_mean=min_mean
        )
    return boxes


def _sums(cells: np.ndarray, longest_gap: int, min_sim: float) -> tuple[np.ndarray, np.ndarray]:
    """The best sum of a path to each cell and where it comes from, by antidiagonals.

    A step along one side alone counts half a cell. After too long a gap a path begins anew.
    """
    sums, gaps = cells.copy(), np.zeros(cells.shape, np.int32)
    origins = np.full(cells.shape, _START, np.int8)
    rows, columns = cells.shape
    for diagonal in range(2, rows + columns - 1):
        i = np.arange(max(1, diagonal - columns + 1), min(rows - 1, diagonal - 1) + 1)
        j = diagonal - i
        half = 0.5 * cells[i, j].astype(np.float64)
        ways = np.stack(
            [sums[i - 1, j - 1] + cells[i, j], sums[i - 1, j] + half, sums[i, j - 1] + half]
        )
        best = ways.argmax(axis=0)
        before = gaps[i - (best != 2), j - (best != 1)]
        gaps[i, j] = np.where(cells[i, j].astype(np.float64) < min_sim, before + 1, 0)
        on = gaps[i, j] <= longest_gap
        origins[i[on], j[on]] = best[on]
        sums[i[on], j[on]] = ways.max(axis=0)[on]
    return sums, origins


def _best_path(sums: np.ndarray, origins: np.ndarray) -> np.ndarray:
    """Int [L, 2] back from the largest sum, to a start or to what was taken out."""
    i, j = (int(k) for k in np.unravel_index(int(np.argmax(sums)), sums.shape))
    path = [(i, j)]
    while (origin := origins[i, j]) != _START:
        if origin == _DIAGONAL:
            i, j = i - 1, j - 1
        elif origin == _FROM_ROW_BEFORE:
            i -= 1
        else:
            j -= 1
        if sums[i, j] == -np.inf:
            break
        path.append((i, j))
    return np.array(path[::-1])
