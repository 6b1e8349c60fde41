"""Whitened features of all clips in memory, and batches of windows out of them. Pure numpy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..nets.model.model import Model
from ..short_videos import MINIMUM_FRAMES, repeat_to_min
from .feature_cache import CachedClip
from .whitening_fit import whitened_views

SPREAD = 4  # frames of a clip by which it is asked whether two clips show the same


@dataclass(frozen=True)
class Views:
    """What is known of one clip.

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


def whitened(clips: Iterable[CachedClip], fitted: Model) -> list[Views]:
    """Clips as the head sees them."""
    views = []
    for clip in clips:
        parts = (clip.clean, *clip.copies)
        clean, *copies = (whitened_views(x, fitted).astype(np.float16) for x in parts)
        views.append(Views(clip.video, clean, copies, clip.seconds, clip.hosts))
    return views


def alike(views: list[Views], limit: float, regions: int) -> np.ndarray:
    """bool [N, N]: clips that show the same by plain Chamfer similarity in either direction.

    A few frames of each clip have to do. Such pairs are no negatives: a video that never changes,
    or the same video twice in the list.
    """
    some = [v.clean[np.linspace(0, len(v.clean) - 1, SPREAD).astype(int), :regions] for v in views]
    channels = some[0].shape[2]
    flat = np.concatenate(some).reshape(-1, channels).astype(np.float32)
    result = np.empty((len(views), len(views)), bool)
    for row, part in enumerate(some):
        dots = part.reshape(-1, channels).astype(np.float32) @ flat.T
        dots = dots.reshape(SPREAD, regions, len(views), SPREAD, regions)
        result[row] = dots.max(axis=4).mean(axis=1).max(axis=2).mean(axis=0) > limit
    return result | result.T


class Sampler:
    """Draws batches.

    Args:
        views: at least two clips.
        same: bool [N, N] of `alike`.
        size: B, clips of a batch; copies: of each clip.
        window: W, frames of a window, a multiple of 4.
        clean_share: how often a query is the clip itself and not a copy of it.
    """

    def __init__(
        self,
        views: list[Views],
        same: np.ndarray,
        size: int,
        copies: int,
        window: int,
        clean_share: float,
    ) -> None:
        self._views, self._same = views, same
        self._size, self._copies = min(size, len(views)), copies
        self._window, self._clean_share = window, clean_share
        self._videos = np.array([view.video for view in views])

    def batch(self, rng: np.random.Generator) -> Batch:
        """Clips by chance, half of them followed by another clip of the same video, if there is."""
        chosen = self._clips(rng)
        queries, targets = [], []
        hosts_q, hosts_t = [], []
        for number in chosen:
            view = self._views[number]
            order = rng.permutation(len(view.copies))
            # Of a clip with a single copy, the query is always the clip itself.
            clean = rng.random() < self._clean_share or len(order) <= self._copies
            first = -1 if clean else int(order[-1])
            frames, seconds = self._query(view, first, rng)
            queries.append(frames)
            hosts_q.append("" if clean else view.hosts[first])
            for k in order[np.arange(self._copies) % len(order)]:
                window = _overlapping(view.seconds[k], seconds, self._window, rng)
                targets.append(view.copies[k][window])
                hosts_t.append(view.hosts[k])
        packed_q, frames_q = _packed(queries, self._window)
        packed_t, frames_t = _packed(targets, self._window)
        owner = np.repeat(np.arange(len(chosen)), self._copies)
        positive = np.arange(len(chosen))[:, None] == owner
        unclear = self._same[np.ix_(chosen, chosen[owner])]
        videos_q, videos_t = self._videos[chosen], self._videos[chosen[owner]]
        other_q, other_t = np.array(hosts_q), np.array(hosts_t)
        unclear = unclear | (videos_q[:, None] == other_t) | (other_q[:, None] == videos_t)
        unclear |= (other_q[:, None] == other_t) & (other_t != "")
        negative = ~positive & ~unclear
        return Batch(
            packed_q,
            packed_t,
            frames_q,
            frames_t,
            positive.astype(np.float32),
            negative.astype(np.float32),
        )

    def _clips(self, rng: np.random.Generator) -> np.ndarray:
        order = rng.permutation(len(self._views))
        chosen: dict[int, None] = {}
        for number in order:
            chosen[int(number)] = None
            if rng.random() < 0.5:
                neighbours = np.flatnonzero(self._videos == self._videos[number])
                chosen[int(rng.choice(neighbours))] = None
            if len(chosen) >= self._size:
                break
        return np.array(list(chosen)[: self._size])

    def _query(
        self, view: Views, number: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """A window of the clip (-1) or of a copy, and the seconds of the clip that it shows."""
        if number < 0:
            frames, seconds = view.clean, np.arange(len(view.clean), dtype=np.float32)
        else:
            frames, seconds = view.copies[number], view.seconds[number]
        first = int(rng.integers(max(1, len(frames) - self._window + 1)))
        part = slice(first, first + self._window)
        return frames[part], seconds[part]


def _overlapping(
    shown: np.ndarray, wanted: np.ndarray, window: int, rng: np.random.Generator
) -> slice:
    """The stretch of a copy that shows most of the wanted seconds; one by chance of the best."""
    starts = np.arange(max(1, len(shown) - window + 1))
    wanted = wanted[np.isfinite(wanted)]
    if len(wanted) and len(starts) > 1:
        near = (shown >= wanted.min() - 1) & (shown <= wanted.max() + 1)
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
