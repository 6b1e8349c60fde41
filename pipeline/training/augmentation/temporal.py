"""Temporal changes of a copy: which frame of the clip is on screen when. Pure numbers."""

from __future__ import annotations

import numpy as np

MIN_SECONDS = 4.0  # of a copy, where the clip has as much


def keep_order(order: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Keep the order as it is."""
    return order


def change_speed(order: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Played 0.5 to 2 times as fast, at least four seconds long where the clip is."""
    fastest = max(1.0, min(2.0, len(order) / (MIN_SECONDS * rate)))
    factor = float(np.exp(rng.uniform(np.log(0.5), np.log(fastest))))
    return order[(np.arange(int(len(order) / factor)) * factor).astype(int)]


def freeze(order: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Bursts of up to two seconds lost; what was before stays on screen."""
    lost = _bursts(len(order), rate, rng)
    return order[np.maximum.accumulate(np.where(lost, 0, np.arange(len(order))))]


def jump(order: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """The same bursts cut out, if enough is left."""
    rest = order[~_bursts(len(order), rate, rng)]
    return rest if len(rest) >= MIN_SECONDS * rate else order


def reorder(order: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Cut into 2 to 4 parts of at least a second, in another order."""
    parts = np.array_split(order, max(1, min(int(rng.integers(2, 5)), len(order) // rate)))
    turned = rng.permutation(len(parts))
    return np.concatenate([parts[i] for i in turned])


def cut_segments(order: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """A part of it, 40 to 90 % and at least four seconds."""
    count = max(int(len(order) * rng.uniform(0.4, 0.9)), int(MIN_SECONDS * rate))
    if count >= len(order):
        return order
    first = int(rng.integers(len(order) - count + 1))
    return order[first : first + count]


CHANGES = {
    keep_order: 0.5,
    change_speed: 0.15,
    freeze: 0.08,
    jump: 0.07,
    reorder: 0.08,
    cut_segments: 0.12,
}


def screen_order(frames: int, rate: int, rng: np.random.Generator) -> np.ndarray:
    """The clip's frame at each second of a copy.

    Args:
        frames: of the clip, at `rate` a second.
        rate: frames a second of the clip.
        rng: draws the change and the part of a second by which the copy is sampled later.

    Returns:
        int64 [N] of indices into the clip, N at least 1.
    """
    change = rng.choice(len(CHANGES), p=list(CHANGES.values()))
    order = list(CHANGES)[change](np.arange(frames), rate, rng)
    phase = int(rng.integers(min(rate, len(order))))
    return order[phase::rate]


def _bursts(count: int, rate: int, rng: np.random.Generator) -> np.ndarray:
    """bool [count]: some 30 % in pieces of half a second to two; the first never."""
    lost = np.zeros(count, bool)
    at = int(rng.integers(1, 2 * rate + 1))
    while at < count:
        length = int(rng.integers(rate // 2, 2 * rate + 1))
        lost[at : at + length] = True
        at += length + int(rng.integers(rate, 5 * rate + 1))
    return lost
