"""Where steps of brightness are that last: what insets are found by, see `insets`."""

from __future__ import annotations

import numpy as np

_LASTING = 0.35  # quantile over the frames: an edge is there in the rest of them


def lasting_edges(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much each pixel stands out as part of an edge, S of `insets`.

    Args:
        pictures: uint8 RGB [T, S, S, 3], consecutive samples of one video; T of 1 or more.

    Returns:
        of upright edges float32 [y, x], and of those across [x, y], 0 to 1.
    """
    luminance = _luminance(pictures)
    return _upright(luminance), _upright(luminance.transpose(0, 2, 1))


def _luminance(pictures: np.ndarray) -> np.ndarray:
    """uint8 [T, S, S, 3] -> uint8 [T, S, S], by whole numbers: the same on every machine."""
    shares = enumerate((77, 150, 29))
    r, g, b = (np.multiply(pictures[..., i], k, dtype=np.uint16) for i, k in shares)
    return ((r + g + b + 128) >> 8).astype(np.uint8)


def _upright(luminance: np.ndarray) -> np.ndarray:
    """uint8 [T, y, x] -> float32 [y, x]."""
    size = luminance.shape[2]
    right, left = luminance[:, :, 2:], luminance[:, :, :-2]
    steps = np.zeros((size, size), np.float32)
    steps[:, 1:-1] = _quantile(np.maximum(right, left) - np.minimum(right, left))
    wide = np.pad(steps, ((0, 0), (4, 4)), mode="edge")
    around = np.max([wide[:, i : i + size] for i in (0, 1, 7, 8)], axis=0)
    return np.clip((steps - around - 1) / (0.4 * steps + 3), 0, 1)


def _quantile(values: np.ndarray) -> np.ndarray:
    """The `_LASTING` quantile, the lower value of two: uint8 [T, ...] -> [...].

    Odd-even transposition sort: for so few frames its whole-picture minima and maxima of bytes take
    a tenth of the time of `np.partition`.
    """
    frames = list(values)
    for turn in range(len(frames)):
        for i in range(turn % 2, len(frames) - 1, 2):
            pair = frames[i], frames[i + 1]
            frames[i], frames[i + 1] = np.minimum(*pair), np.maximum(*pair)
    return frames[int(_LASTING * (len(frames) - 1))]
