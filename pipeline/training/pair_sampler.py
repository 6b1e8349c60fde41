"""Whitened features of all clips in memory, and batches of windows out of them. Pure numpy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..nets.model.model import Model
from ..short_videos import MINIMUM_FRAMES, repeat_to_min
from .feature_cache import CachedClip
from .whitening_fit import whitened_descriptors

SPREAD = 4  # frames of a clip by which it is decided whether two clips show the same


@dataclass(frozen=True)
class ClipFeatures:
    """Whitened features of one clip and of its copies.

    Attributes:
        video: id of its video.
        clean: [T, R, C] float16, whitened, of length 1.
        copies: K arrays [N, R, C]; seconds: K arrays [N]; hosts: K ids or "".
    """

    video: str
    clean: np.ndarray
    copies: list[np.ndarray]
    seconds: list[np.ndarray]
    hosts: list[str]


@dataclass(frozen=True)
class Batch:
    """Windows of queries and of copies, and which pairs belong together.

    Attributes:
        queries, targets: float16 [B, W, R, C] and [M, W, R, C], zeros behind the last frame.
        query_frames, target_frames: int32 [B] and [M], frames that count, 4 or more.
        positive, negative: float32 [B, M] of 0 and 1; a pair may be neither.
    """

    queries: np.ndarray
    targets: np.ndarray
    query_frames: np.ndarray
    target_frames: np.ndarray
    positive: np.ndarray
    negative: np.ndarray


def whiten_clips(clips: Iterable[CachedClip], weights: Model) -> list[ClipFeatures]:
    """Whiten cached clips by the model: features as the head sees them."""
    features = []
    for clip in clips:
        parts = (clip.clean, *clip.copies)
        clean, *copies = (whitened_descriptors(x, weights).astype(np.float16) for x in parts)
        features.append(ClipFeatures(clip.video, clean, copies, clip.seconds, clip.hosts))
    return features


def same_content(clips: list[ClipFeatures], limit: float, regions: int) -> np.ndarray:
    """Find clips that show the same, by plain Chamfer similarity in either direction.

    `SPREAD` frames of each clip are compared. Such pairs are no negatives: a video that never
    changes, or the same video twice in the list.

    Args:
        limit: similarity above which two clips show the same.
        regions: number of region descriptors of a frame.

    Returns:
        bool [N, N].
    """
    spread = [
        clip.clean[np.linspace(0, len(clip.clean) - 1, SPREAD).astype(int), :regions]
        for clip in clips
    ]
    channels = spread[0].shape[2]
    flat = np.concatenate(spread).reshape(-1, channels).astype(np.float32)
    result = np.empty((len(clips), len(clips)), bool)
    for row, part in enumerate(spread):
        dots = part.reshape(-1, channels).astype(np.float32) @ flat.T
        dots = dots.reshape(SPREAD, regions, len(clips), SPREAD, regions)
        result[row] = dots.max(axis=4).mean(axis=1).max(axis=2).mean(axis=0) > limit
    return result | result.T


class PairSampler:
    """Draws batches of queries and copies.

    Args:
        clips: two or more.
        same: bool [N, N] of `same_content`.
        size: B, clips of a batch; copies: of each clip.
        window: W, frames of a window, a multiple of 4.
        clean_share: how often a query is the clip itself and not a copy of it.
    """

    def __init__(
        self,
        clips: list[ClipFeatures],
        same: np.ndarray,
        *,
        size: int,
        copies: int,
        window: int,
        clean_share: float,
    ) -> None:
        self._clips, self._same = clips, same
        self._size, self._copies = min(size, len(clips)), copies
        self._window, self._clean_share = window, clean_share
        self._videos = np.array([clip.video for clip in clips])

    def batch(self, rng: np.random.Generator) -> Batch:
        """Draw clips; half are followed by another clip of the same video, if there is one.

        A query is the clip itself or one of its copies; its targets are windows of other copies.
        """
        clip_numbers = self._draw_clips(rng)
        queries, targets = [], []
        query_hosts, target_hosts = [], []
        for number in clip_numbers:
            clip = self._clips[number]
            order = rng.permutation(len(clip.copies))
            # Of a clip with a single copy, the query is always the clip itself.
            clean = rng.random() < self._clean_share or len(order) <= self._copies
            copy = -1 if clean else int(order[-1])
            frames, seconds = self._query(clip, copy, rng)
            queries.append(frames)
            query_hosts.append("" if clean else clip.hosts[copy])
            for k in order[np.arange(self._copies) % len(order)]:
                window = _overlapping(clip.seconds[k], seconds, self._window, rng)
                targets.append(clip.copies[k][window])
                target_hosts.append(clip.hosts[k])
        positive, negative = self._labels(
            clip_numbers, np.array(query_hosts), np.array(target_hosts)
        )
        query_windows, query_frames = _packed(queries, self._window)
        target_windows, target_frames = _packed(targets, self._window)
        return Batch(
            query_windows,
            target_windows,
            query_frames,
            target_frames,
            positive.astype(np.float32),
            negative.astype(np.float32),
        )

    def _labels(
        self, clip_numbers: np.ndarray, query_hosts: np.ndarray, target_hosts: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(positive, negative), bool [B, M]; pairs that may show the same are neither.

        Args:
            drawn: [B] numbers of the clips.
            query_hosts, target_hosts: [B] and [M], the videos that they are set in, or "".
        """
        owner = np.repeat(np.arange(len(clip_numbers)), self._copies)
        positive = np.arange(len(clip_numbers))[:, None] == owner
        query_videos, target_videos = self._videos[clip_numbers], self._videos[clip_numbers[owner]]
        unclear = self._same[np.ix_(clip_numbers, clip_numbers[owner])]
        unclear = unclear | (query_videos[:, None] == target_hosts)
        unclear |= query_hosts[:, None] == target_videos
        unclear |= (query_hosts[:, None] == target_hosts) & (target_hosts != "")
        return positive, ~positive & ~unclear

    def _draw_clips(self, rng: np.random.Generator) -> np.ndarray:
        order = rng.permutation(len(self._clips))
        clip_numbers: dict[int, None] = {}
        for number in order:
            clip_numbers[int(number)] = None
            if rng.random() < 0.5:
                neighbours = np.flatnonzero(self._videos == self._videos[number])
                clip_numbers[int(rng.choice(neighbours))] = None
            if len(clip_numbers) >= self._size:
                break
        return np.array(list(clip_numbers)[: self._size])

    def _query(
        self, clip: ClipFeatures, copy: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """A window of the clip (-1) or of a copy, and the seconds of the clip that it shows."""
        if copy < 0:
            frames, seconds = clip.clean, np.arange(len(clip.clean), dtype=np.float32)
        else:
            frames, seconds = clip.copies[copy], clip.seconds[copy]
        first = int(rng.integers(max(1, len(frames) - self._window + 1)))
        part = slice(first, first + self._window)
        return frames[part], seconds[part]


def _overlapping(
    copy_seconds: np.ndarray, query_seconds: np.ndarray, window: int, rng: np.random.Generator
) -> slice:
    """The window of a copy that shows most of the query's seconds; drawn where several do.

    Args:
        shown, wanted: seconds of the clip that the copy's and the query's frames show, or NaN.
    """
    starts = np.arange(max(1, len(copy_seconds) - window + 1))
    query_seconds = query_seconds[np.isfinite(query_seconds)]
    if len(query_seconds) and len(starts) > 1:
        near = (copy_seconds >= query_seconds.min() - 1) & (copy_seconds <= query_seconds.max() + 1)
        counts = np.convolve(near, np.ones(window), "valid")
        starts = np.flatnonzero(counts == counts.max())
    first = int(rng.choice(starts))
    return slice(first, first + window)


def _packed(parts: list[np.ndarray], window: int) -> tuple[np.ndarray, np.ndarray]:
    """Repeated to at least 4 frames, filled up with zeros to the window."""
    packed = np.zeros((len(parts), window, *parts[0].shape[1:]), parts[0].dtype)
    frames = np.empty(len(parts), np.int32)
    for row, part in enumerate(parts):
        part = repeat_to_min(part, MINIMUM_FRAMES)[:window]
        packed[row, : len(part)], frames[row] = part, len(part)
    return packed, frames
