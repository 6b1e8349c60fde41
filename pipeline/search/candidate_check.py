"""What a query is compared with before its candidates are chosen, and by which of its frames.

Codes leave out the regions of a frame, so some copies are far down in their order: embedded
pictures, crops, chains of changes. So codes name more videos than candidates are asked for. These
are compared by all their descriptors, without the comparator: Chamfer similarity of the
frame-to-frame matrix, of some frames of the query. The best ones are the candidates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .video_set import VideoSet

_FACTOR = 5  # times as many videos are checked as candidates are asked for
_FRAMES = 20_000  # of the videos that are checked: 0.2 GB, about half a second on 2 cores
QUERY_FRAMES = 16  # that are compared


def checked_videos(ranked: np.ndarray, lengths: np.ndarray, count: int) -> np.ndarray:
    """Which videos are checked: as many as may be read in short time.

    Args:
        ranked: intp [n], videos in the order of their codes, best first, see `named_videos`.
        lengths: int64 [n], their frames.
        count: candidates that are asked for.

    Returns:
        The first of `ranked`: at least `count` if there are so many, at most five times as many.
        Together they have 20,000 frames at most, or twice those of the first `count`.
    """
    ranked = ranked[: named_videos(count)]
    if len(ranked) <= count:
        return ranked
    frames = np.cumsum(lengths[: len(ranked)])
    limit = max(_FRAMES, 2 * int(frames[count - 1]))
    return ranked[: max(count, int(np.searchsorted(frames, limit, side="right")))]


def checked_count(videos: int, frames: int, count: int) -> int:
    """How many of so many videos of so many frames are checked for so many candidates."""
    named = np.arange(min(videos, named_videos(count)))
    checked = len(checked_videos(named, np.full(len(named), frames), count))
    return checked if checked > count else 0


def named_videos(count: int) -> int:
    """How many videos the codes name where so many candidates are asked for."""
    return _FACTOR * count


class FewFrames:
    """Some frames of each video of a set, evenly spread; a `FeatureSource`."""

    def __init__(self, videos: VideoSet, most: int = QUERY_FRAMES) -> None:
        self._videos = videos
        self._chosen = [
            np.linspace(0, length - 1, min(length, most)).round().astype(np.intp)
            for length in videos.lengths.tolist()
        ]
        self.lengths = np.array([len(chosen) for chosen in self._chosen], np.int64)
        self.dtype, self.row_shape = videos.dtype, videos.row_shape
        self.ahead_bytes = videos.ahead_bytes

    def __len__(self) -> int:
        return len(self._videos)

    def prefetch(self, wanted: Sequence[tuple[int, int, int]]) -> None:
        """See `FeatureSource`."""
        lengths = self._videos.lengths
        self._videos.prefetch([(video, 0, int(lengths[video])) for video, _, _ in wanted])

    def read(
        self, video: int, start: int, stop: int, out: np.ndarray, *, checksum: bool = True
    ) -> None:
        """See `FeatureSource`."""
        frames = np.empty((int(self._videos.lengths[video]), *self.row_shape), self.dtype)
        self._videos.read(video, 0, len(frames), frames, checksum=checksum)
        out[:] = frames[self._chosen[video][start:stop]]
