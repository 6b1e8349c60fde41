"""Pictures that are the same on every machine: integer arithmetic only."""

from __future__ import annotations

import numpy as np


def picture(seed: int, side: int = 224) -> np.ndarray:
    """uint8 [side, side, 3]: gradients, rings and stripes; edges and flat parts at all scales."""
    y, x = np.mgrid[:side, :side].astype(np.int64)
    rings = ((x - 90 - 7 * seed) ** 2 + (y - 120) ** 2) // (300 + 50 * seed) % 7 * 36
    slope = (x * (2 + seed) + y * 3) // 5 % 256
    stripes = np.where((x + 2 * y) // (9 + 4 * seed) % 3 == 0, 210, (x * y // 64) % 180)
    return np.stack([rings, slope, stripes], axis=-1).astype(np.uint8)


PICTURES = np.stack([picture(seed) for seed in range(3)])  # uint8 [3, 224, 224, 3]
