"""What a copy does to shape: one homography for crop, turn, mirror and tilt, and one resampling.

Points are in coordinates of the picture's own, -1 to 1 from left to right and from top to bottom,
so that a matrix fits pictures of every size. A matrix takes places of the copy to places of the
clip.
"""

from __future__ import annotations

import numpy as np

_CORNERS = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float64)


def crop(rng: np.random.Generator) -> np.ndarray:
    """40 to 90 % of either side, at a place by chance."""
    kept = rng.uniform(0.4, 0.9)
    sides = np.clip(kept * np.exp(rng.uniform(-0.15, 0.15, 2)), 0.4, 0.95)
    middle = rng.uniform(-1, 1, 2) * (1 - sides)
    return np.array([[sides[0], 0, middle[0]], [0, sides[1], middle[1]], [0, 0, 1]])


def mirror(rng: np.random.Generator) -> np.ndarray:
    """Left and right exchanged."""
    return np.diag([-1.0, 1.0, 1.0])


def turn(rng: np.random.Generator) -> np.ndarray:
    """By 3 to 20 degrees; the corners that come in are black, or out of sight by a closer look."""
    angle = np.radians(rng.choice([-1, 1]) * rng.uniform(3, 20))
    zoom = rng.choice([1.0, 0.75])
    aspect = 4 / 3
    sine, cosine = zoom * np.sin(angle), zoom * np.cos(angle)
    return np.array([[cosine, -sine / aspect, 0], [sine * aspect, cosine, 0], [0, 0, 1]])


def tilt(rng: np.random.Generator, most: float = 0.35) -> np.ndarray:
    """Seen from aside: each corner moves inwards by up to `most`."""
    seen = _CORNERS * (1 - rng.uniform(0.02, most, (4, 2)))
    return homography(seen, _CORNERS)


def homography(places: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """[3, 3] that takes four points (x, y) to four others; by the direct linear equations."""
    rows, values = [], []
    for (x, y), (u, v) in zip(places, targets, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
        values += [u, v]
    return np.append(np.linalg.solve(np.array(rows), np.array(values)), 1.0).reshape(3, 3)


def warped(frames: np.ndarray, matrix: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resampled through a matrix, bilinear in eight bits; outside of the clip is black.

    Args:
        frames: uint8 [T, H, W, 3].
        matrix: [3, 3], see above.

    Returns:
        uint8 [T, height, width, 3].
    """
    rows, columns = frames.shape[1:3]
    y, x = np.mgrid[:height, :width]
    points = np.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1, np.ones(x.shape)])
    u, v, w = matrix @ points.reshape(3, -1)
    w = np.where(np.abs(w) < 1e-6, 1e-6, w)
    across, down = ((u / w + 1) * columns - 1) / 2, ((v / w + 1) * rows - 1) / 2
    inside = (w > 0) & (across > -1) & (across < columns) & (down > -1) & (down < rows)
    left = np.clip(np.floor(across), 0, columns - 2).astype(np.int32)
    top = np.clip(np.floor(down), 0, rows - 2).astype(np.int32)
    right_part = np.rint(np.clip(across - left, 0, 1) * 16 * inside)
    low_part = np.rint(np.clip(down - top, 0, 1) * 16)
    full = 16 * inside
    weights = [
        (full - right_part) * (16 - low_part),
        right_part * (16 - low_part),
        (full - right_part) * low_part,
        right_part * low_part,
    ]
    places = [(top + dy) * columns + left + dx for dy in (0, 1) for dx in (0, 1)]
    # Four bytes a pixel, so that one gather of 32 bits brings all its colours.
    packed = np.zeros((len(frames), rows * columns, 4), np.uint8)
    packed[..., :3] = frames.reshape(len(frames), -1, 3)
    words = packed.view(np.uint32)[..., 0]
    result = np.empty((len(frames), height * width, 4), np.uint8)
    factors = [np.repeat(w.astype(np.uint16)[:, None], 4, axis=1) for w in weights]
    for frame, out in zip(words, result, strict=True):
        total = np.full(out.shape, 128, np.uint16)
        for place, factor in zip(places, factors, strict=True):
            total += frame[place].view(np.uint8).reshape(-1, 4) * factor
        out[:] = total >> 8
    return np.ascontiguousarray(result[..., :3]).reshape(len(frames), height, width, 3)
