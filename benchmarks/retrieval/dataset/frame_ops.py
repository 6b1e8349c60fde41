"""Operations on frames, uint8 [T, H, W, 3] in and out, numpy alone."""

from __future__ import annotations

import numpy as np

from tools.clips import fit, scale


def resized(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scaled to a size, aspect ignored; both made even."""
    return scale(frames, max(2, width // 2 * 2), max(2, height // 2 * 2))


def window(frames: np.ndarray, keep: float, rng: np.random.Generator) -> np.ndarray:
    """The part `keep` of width and height at a place by chance."""
    rows, columns = (max(2, int(side * keep) // 2 * 2) for side in frames.shape[1:3])
    top = int(rng.integers(frames.shape[1] - rows + 1))
    left = int(rng.integers(frames.shape[2] - columns + 1))
    return frames[:, top : top + rows, left : left + columns]


def paste(host: np.ndarray, guest: np.ndarray, top: int, left: int) -> np.ndarray:
    """The guest over the host, for as long as the guest lasts; the host is repeated if short."""
    canvas = host[np.arange(len(guest)) % len(host)].copy()
    canvas[:, top : top + guest.shape[1], left : left + guest.shape[2]] = guest
    return canvas


def mapped(frames: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """Grey levels through a curve [256] of any numbers, clipped."""
    return np.clip(curve, 0, 255).astype(np.uint8)[frames]


def mixed(frames: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Each pixel's colour times a matrix [3, 3]."""
    mix = frames.astype(np.float32) @ matrix.T.astype(np.float32)
    return np.clip(mix, 0, 255).astype(np.uint8)


def hue_matrix(degrees: float, saturation: float) -> np.ndarray:
    """Turns colours about the grey axis (Rodrigues' formula) and scales their distance to it."""
    grey = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    angle = np.radians(degrees)
    turned = np.cos(angle) * (np.eye(3) - grey) + np.sin(angle) * cross
    return grey + saturation * turned


def blurred(frames: np.ndarray, lines: int) -> np.ndarray:
    """Detail finer than `lines` on the short side is gone: scaled down and up again."""
    small = scale(frames, *fit(frames.shape[2], frames.shape[1], lines))
    return scale(small, frames.shape[2], frames.shape[1])


def noisy(frames: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Other noise in every frame, sum of two even distributions of +-`strength` levels each."""
    shape = (2, *frames.shape[:3], 1)
    noise = rng.integers(-strength, strength + 1, shape, dtype=np.int16).sum(axis=0)
    return np.clip(frames + noise, 0, 255).astype(np.uint8)


def edges(frames: np.ndarray) -> np.ndarray:
    """Strength of each colour's gradient: lines in their colours on black."""
    result = np.empty_like(frames)
    for frame, out in zip(frames, result, strict=True):
        down, right = np.gradient(frame.astype(np.float32), axis=(0, 1))
        out[:] = np.clip(3 * np.hypot(down, right), 0, 255)
    return result


def warped(frames: np.ndarray, homography: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear: pixel (x, y, 1) of the result shows `homography` times it; outside is black."""
    y, x = np.mgrid[:height, :width]
    points = homography @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    across, down = points[:2] / points[2]
    rows, columns = frames.shape[1:3]
    inside = (across >= 0) & (across <= columns - 1) & (down >= 0) & (down <= rows - 1)
    left = np.clip(across.astype(int), 0, columns - 2)
    top = np.clip(down.astype(int), 0, rows - 2)
    right_part = np.float32(np.clip(across - left, 0, 1))[:, None]
    low_part = np.float32(np.clip(down - top, 0, 1))[:, None]
    result = np.empty((len(frames), height, width, 3), np.uint8)
    for frame, out in zip(frames, result, strict=True):
        upper = frame[top, left] * (1 - right_part) + frame[top, left + 1] * right_part
        lower = frame[top + 1, left] * (1 - right_part) + frame[top + 1, left + 1] * right_part
        mix = upper * (1 - low_part) + lower * low_part
        out[:] = (mix * inside[:, None]).reshape(height, width, 3)
    return result


def homography(corners: np.ndarray, height: int, width: int) -> np.ndarray:
    """Maps corners [4, 2] (x, y; clockwise from top left) to those of a height x width picture."""
    targets = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]])
    rows, values = [], []
    for (x, y), (u, v) in zip(corners, targets, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.append(np.linalg.solve(np.array(rows), values), 1.0).reshape(3, 3)
