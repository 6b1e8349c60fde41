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


CORNERS = (20.0, 14.0), (208.0, 30.0), (196.0, 205.0), (9.0, 190.0)  # x, y, clockwise


def tilted(
    guest: np.ndarray, corners: tuple[tuple[float, float], ...] = CORNERS, veil: int = 12
) -> np.ndarray:
    """The guest's frames [T, SIZE, SIZE, 3] in perspective on one dark colour: bilinear."""
    square = (0, 0), (SIZE, 0), (SIZE, SIZE), (0, SIZE)
    rows, values = [], []
    for (x, y), (u, v) in zip(corners, square, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    matrix = np.append(np.linalg.solve(np.array(rows), values), 1.0).reshape(3, 3)
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    u, v, w = matrix @ np.stack([x.ravel(), y.ravel(), np.ones(SIZE * SIZE)])
    u, v = u / w - 0.5, v / w - 0.5
    inside = (u > -0.5) & (u < SIZE - 0.5) & (v > -0.5) & (v < SIZE - 0.5)
    left, top = (np.clip(np.floor(p), 0, SIZE - 2).astype(int) for p in (u, v))
    across, down = (np.clip(p - q, 0, 1)[:, None] for p, q in ((u, left), (v, top)))
    upper, lower = (
        guest[:, row, left] * (1 - across) + guest[:, row, left + 1] * across
        for row in (top, top + 1)
    )
    mixed = np.where(inside[:, None], upper * (1 - down) + lower * down, veil)
    return np.rint(mixed).astype(np.uint8).reshape(guest.shape)


def within(host: np.ndarray, guest: np.ndarray, top: int, left: int) -> np.ndarray:
    """The host's frames with the guest's over them."""
    both = host.copy()
    both[:, top : top + guest.shape[1], left : left + guest.shape[2]] = guest
    return both
