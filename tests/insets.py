"""Moving pictures within moving pictures, for tests of insets."""

from __future__ import annotations

import numpy as np

SIZE = 224


def texture(seed: int, frames: int = 9, height: int = SIZE, width: int = SIZE) -> np.ndarray:
    """A blurred random picture that drifts: uint8 [frames, height, width, 3], no lasting edge."""
    rng = np.random.default_rng(seed)
    cells = rng.uniform(0, 255, (height // 8 + 20, width // 8 + 20, 3))
    for axis in (0, 1):
        cells = (cells + np.roll(cells, 1, axis) + np.roll(cells, 2, axis)) / 3
    large = cells.repeat(8, 0).repeat(8, 1)
    for axis in (0, 1):
        large = sum(np.roll(large, k, axis) for k in range(8)) / 8
    steps = [(5 * k, 7 * k) for k in range(frames)]
    moved = [large[y % 100 : y % 100 + height, x % 100 : x % 100 + width] for y, x in steps]
    contrast = 2.2 * (np.stack(moved) - 127) + 127
    return np.clip(contrast, 0, 255).astype(np.uint8)


def within(host: np.ndarray, guest: np.ndarray, top: int, left: int) -> np.ndarray:
    """The host's frames with the guest's over them."""
    both = host.copy()
    both[:, top : top + guest.shape[1], left : left + guest.shape[2]] = guest
    return both
