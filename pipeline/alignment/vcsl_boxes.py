"""What the alignment methods of VCSL share: boxes, paths that are cut, boxes as segments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .segment import Segment
from .timeline import Timeline

# First query frame, first database frame, last query frame, last database frame.
Box = tuple[int, int, int, int]


def overlap(box: Box, others: Sequence[Box]) -> np.ndarray:
    """Intersection over union of a box with others, [N]; a frame is one wide."""
    if not others:
        return np.zeros(0)
    a, b = np.array(box), np.array(others)
    size = np.minimum(a[2:], b[:, 2:]) - np.maximum(a[:2], b[:, :2]) + 1
    common = np.maximum(size, 0).prod(axis=1)
    areas = (b[:, 2:] - b[:, :2] + 1).prod(axis=1)
    return common / ((a[2:] - a[:2] + 1).prod() + areas - common)


def boxes_of_path(
    matrix: np.ndarray, path: np.ndarray, *, longest_stop: int, min_length: int, min_mean: float
) -> list[Box]:
    """Cut a path where one side stands still, and keep the parts that are long and alike.

    Args:
        path: int [L, 2] cells of the matrix, from the first one on.
        longest_stop: cells of a stop that is not cut out.
        min_length: frames that a part must exceed on both sides.
        min_mean: similarity that its mean must exceed.
    """
    stops = sorted(
        (start, end)
        for side in (0, 1)
        for start, end in _stops(path[:, side])
        if end - start > longest_stop
    )
    bounds = [0, *(place for stop in stops for place in stop), len(path)]
    boxes = []
    for start, end in zip(bounds[::2], bounds[1::2], strict=True):
        if end - start <= min_length:
            continue
        rows, columns = path[start:end].T
        long = min(rows[-1] - rows[0], columns[-1] - columns[0]) > min_length
        if long and matrix[rows, columns].mean() > min_mean:
            boxes.append((int(rows[0]), int(columns[0]), int(rows[-1]), int(columns[-1])))
    return boxes


def _stops(places: np.ndarray) -> list[tuple[int, int]]:
    """Runs of the same place: first cell, cell behind the last one."""
    still = np.concatenate([[0], np.diff(places) == 0, [0]]).astype(np.int8)
    turns = np.flatnonzero(np.diff(still))
    return [(int(s), int(e) + 1) for s, e in zip(turns[::2], turns[1::2], strict=True)]


def segments_of(
    boxes: Sequence[Box],
    matrix: np.ndarray,
    query: Timeline,
    database: Timeline,
    max_segments: int,
) -> list[Segment]:
    """Boxes as segments: from the time of the first frame to the time of the last one, as VCSL.

    A box of one frame on a side has no length and is left out.
    """
    segments = []
    for first_row, first_column, last_row, last_column in boxes:
        times = (
            float(query.seconds[first_row]),
            float(query.seconds[last_row]),
            float(database.seconds[first_column]),
            float(database.seconds[last_column]),
        )
        if times[1] > times[0] and times[3] > times[2]:
            count = max(last_row - first_row, last_column - first_column) + 1
            rows = np.rint(np.linspace(first_row, last_row, count)).astype(np.intp)
            columns = np.rint(np.linspace(first_column, last_column, count)).astype(np.intp)
            segments.append(Segment(*times, float(matrix[rows, columns].mean())))
    return segments[:max_segments]
