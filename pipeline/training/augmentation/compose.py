"""Copies of clips, made for training: random chains of what people do to videos.

A copy is sampled once a second, as the model samples, and only these frames are made: time is
changed as indices (`timing`), shape by one matrix (`geometry`), then pixels (`pictures`), then
what else is shown (`scenes`), then a real encoder. The benchmark's copies are of other code.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from ...image.homography import warp
from ...image.resize import resize_crop
from ...records import Preprocess
from ...video.reencode import resize_frames
from . import geometric, overlay, photometric, temporal

VERSION = 2  # of everything that changes a copy; part of the cache's names
RATE = 4  # frames a second that a clip has to have

# Chances. A copy has one to four links; at most one of them brings in a host.
_LINKS = ([1, 2, 3, 4], [0.3, 0.35, 0.2, 0.15])
_SHAPES = {"crop": 0.3, "mirror": 0.15, "turn": 0.15, "aspect": 0.2, "filmed": 0.2}
_PIXELS = {
    photometric.change_colours: 0.3,
    photometric.remove_colour: 0.1,
    photometric.posterize: 0.08,
    photometric.invert: 0.08,
    photometric.show_edges: 0.08,
    photometric.blur: 0.16,
    partial(photometric.compress, hard=True): 0.2,
}
_ADDED = {overlay.add_bars: 0.25, overlay.add_captions: 0.4, overlay.cover: 0.35}
# None: an excerpt in the host.
_HOSTED = {overlay.show_as_inset: 0.45, overlay.place_beside: 0.25, None: 0.3}
_GROUPS = {"shape": 0.34, "pixels": 0.33, "added": 0.15, "hosted": 0.18}
_ENCODED = 0.6  # of the copies that are not compressed hard anyway


@dataclass(frozen=True)
class Copy:
    """A copy as the network takes it.

    Attributes:
        frames: uint8 [N, crop, crop, 3], one a second.
        seconds: float32 [N], the second of the clip that each shows; NaN where only a host is.
        hosted: whether a host is in it, so that it is a copy of that as well.
    """

    frames: np.ndarray
    seconds: np.ndarray
    hosted: bool


def clean(clip: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """The clip itself at one frame a second: uint8 [T, H, W, 3] at `RATE` -> [N, crop, crop, 3]."""
    return _preprocess(clip[::RATE], preprocess)


def make_copy(
    clip: np.ndarray, host: np.ndarray, preprocess: Preprocess, rng: np.random.Generator
) -> Copy:
    """Make a random copy of a clip.

    Args:
        clip: uint8 [T, H, W, 3] at `RATE` frames a second.
        host: frames of an unrelated clip, uint8 [S, H', W', 3] at `RATE`.
        preprocess: of the model.
        rng: source of every random choice: same state, same copy.
    """
    groups = [str(g) for g in _draw(_GROUPS, int(rng.choice(_LINKS[0], p=_LINKS[1])), rng)]
    kind = _draw(_HOSTED, 1, rng)[0] if "hosted" in groups else overlay.add_bars
    picks = temporal.screen_order(len(clip), RATE, rng)
    host = host[int(rng.integers(min(RATE, len(host)))) :: RATE]
    if kind is None:
        picks = _excerpt(picks, rng)
    # An encoder's traces come from frame to frame: it also sees the one a moment before.
    picked = np.stack([np.maximum(picks - 1, 0), picks], axis=1).ravel()
    two = rng.random() < 0.5
    frames = clip[picked if two else picks]
    frames, screen = _reshape(frames, preprocess.resize, groups.count("shape"), rng)
    changes = list(dict.fromkeys(_draw(_PIXELS, groups.count("pixels"), rng)))
    for change in sorted(changes, key=_is_encoder):
        frames = change(frames, rng)
    for add in dict.fromkeys(_draw(_ADDED, groups.count("added"), rng)):
        frames = add(frames, host, rng)
    if "hosted" in groups and kind is not None:
        frames = kind(frames, host.repeat(2, axis=0) if two else host, rng)
    if screen:
        frames = photometric.film_screen(frames, rng)
    if not any(map(_is_encoder, changes)) and rng.random() < _ENCODED:
        frames = photometric.compress(frames, rng, hard=False)
    frames = frames[1::2] if two else frames
    seconds = picks.astype(np.float32) / RATE
    if kind is None:
        frames, seconds = _surround(frames, seconds, host, rng)
    return Copy(_preprocess(frames, preprocess), seconds, "hosted" in groups)


def _reshape(
    frames: np.ndarray, side: int, links: int, rng: np.random.Generator
) -> tuple[np.ndarray, bool]:
    """Through one matrix, to a picture of short side `side`; and whether it is a filmed screen."""
    height, width = frames.shape[1:3]
    aspect = width / height
    matrix, screen = np.eye(3), False
    for name in dict.fromkeys(_draw(_SHAPES, links, rng)):
        if name == "aspect":
            aspect *= float(np.exp(rng.uniform(0.15, 0.45) * rng.choice([-1, 1])))
        elif name == "filmed":
            matrix, screen = matrix @ geometric.tilt(rng), True
        else:
            matrix = matrix @ getattr(geometric, str(name))(rng)
    size = max(side, int(side / aspect)), max(side, int(side * aspect))
    rows, columns = (min(2 * side, length // 2 * 2) for length in size)
    if np.array_equal(matrix, np.eye(3)):
        return resize_frames(frames, rows, columns), screen
    return warp(frames, matrix, rows, columns), screen


def _excerpt(picks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """3 to 8 s of it."""
    count = min(len(picks), int(rng.integers(3, 9)))
    first = int(rng.integers(len(picks) - count + 1))
    return picks[first : first + count]


def _surround(
    frames: np.ndarray, seconds: np.ndarray, host: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Put 2 to 8 s of the host before and after."""
    ends = [int(rng.integers(2, 9)) for _ in range(2)]
    start = int(rng.integers(len(host)))
    around = resize_frames(host[(start + np.arange(sum(ends))) % len(host)], *frames.shape[1:3])
    nothing = [np.full(n, np.nan, np.float32) for n in ends]
    return (
        np.concatenate([around[: ends[0]], frames, around[ends[0] :]]),
        np.concatenate([nothing[0], seconds, nothing[1]]),
    )


def _preprocess(frames: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """Scaled by FFmpeg, which is faster than `resize_crop`, and cut by that."""
    height, width = frames.shape[1:3]
    factor = preprocess.resize / min(height, width)
    size = (max(preprocess.resize, round(length * factor)) for length in (height, width))
    return np.stack([resize_crop(frame, preprocess) for frame in resize_frames(frames, *size)])


def _draw(chances: dict, count: int, rng: np.random.Generator) -> list:
    weights = np.array(list(chances.values()))
    drawn = rng.choice(len(weights), count, p=weights / weights.sum())
    return [list(chances)[i] for i in drawn]


def _is_encoder(change: object) -> bool:
    """Encoders come last: what follows them would hide what they leave."""
    return isinstance(change, partial)
