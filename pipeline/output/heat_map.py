"""A frame similarity matrix as a small picture: time of the database video to the right, time of
the query downwards, the more alike two frames the brighter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..image.png import encode_png

LEVELS = 32  # similarities that the picture tells apart
LOWEST, HIGHEST = 0.0, 0.9  # similarities of the darkest and the brightest colour
MAX_PIXELS = 192  # of a side; longer videos are reduced to it
# Colours at even distances, from dark to bright; their lightness rises all the way.
_ANCHORS = np.array(
    [(12, 10, 38), (52, 22, 96), (116, 32, 116), (184, 52, 96), (236, 104, 56), (252, 180, 60),
     (255, 250, 190)], float,
)  # fmt: skip


class FrameMatrix(Protocol):
    """What a heat map is made of; `search.pair_alignment.PairMatrix` is one."""

    @property
    def values(self) -> np.ndarray:
        """Similarities [Q, D] of the frames of two videos."""

    @property
    def query_seconds(self) -> np.ndarray:
        """Times [Q] of the query's frames, ascending."""

    @property
    def database_seconds(self) -> np.ndarray:
        """Times [D] of the database video's frames, ascending."""

    @property
    def query_duration(self) -> float | None:
        """Seconds of the query; None where the file did not say."""

    @property
    def database_duration(self) -> float | None:
        """Seconds of the database video; None where the file did not say."""


@dataclass(frozen=True)
class HeatMap:
    """A picture of a matrix.

    Attributes:
        levels: uint8 [H, W] below `LEVELS`; all rows and all columns span equal times.
        query_seconds, database_seconds: what the height and the width stand for.
    """

    levels: np.ndarray
    query_seconds: float
    database_seconds: float

    def png(self) -> bytes:
        """The picture, one pixel for each value."""
        return encode_png(self.levels, palette())


def palette() -> np.ndarray:
    """The colours of the levels, uint8 [LEVELS, 3] RGB."""
    places = np.linspace(0, len(_ANCHORS) - 1, LEVELS)
    channels = [np.interp(places, np.arange(len(_ANCHORS)), channel) for channel in _ANCHORS.T]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


def heat_map(matrix: FrameMatrix, max_pixels: int = MAX_PIXELS) -> HeatMap:
    """Reduce a matrix to a picture; where frames share a pixel, the highest similarity counts.

    Args:
        matrix: with at least one frame on each side.
        max_pixels: longest side of the picture.
    """
    query = video_seconds(matrix.query_seconds, matrix.query_duration)
    database = video_seconds(matrix.database_seconds, matrix.database_duration)
    values = _reduce(np.asarray(matrix.values, np.float32), matrix.query_seconds, query, max_pixels)
    values = _reduce(values.T, matrix.database_seconds, database, max_pixels).T
    scaled = (values - LOWEST) / (HIGHEST - LOWEST) * LEVELS
    return HeatMap(np.clip(scaled, 0, LEVELS - 1).astype(np.uint8), query, database)


def video_seconds(seconds: np.ndarray, duration: float | None) -> float:
    """How long a video is: as its file says, and at least until its last frame was shown."""
    step = float(np.median(np.diff(seconds))) if len(seconds) > 1 else 1.0
    shown = float(seconds[-1]) + max(step, 1e-3)
    # A file may say anything; what it says of half a minute more than was decoded is not shown.
    return duration if duration and seconds[-1] < duration <= shown + 30 else shown


def _reduce(values: np.ndarray, seconds: np.ndarray, total: float, max_rows: int) -> np.ndarray:
    """Rows of equal times: each the maximum over the frames that are on screen in it."""
    count = max(1, min(max_rows, len(seconds)))
    edges = np.arange(count + 1) * (total / count)
    first = np.searchsorted(seconds, edges[:-1] + 1e-6, "right") - 1
    end = np.searchsorted(seconds, edges[1:] - 1e-6, "left")
    first = np.clip(first, 0, len(seconds) - 1)
    return np.stack(
        [values[a : max(a + 1, b)].max(axis=0) for a, b in zip(first, end, strict=True)]
    )
