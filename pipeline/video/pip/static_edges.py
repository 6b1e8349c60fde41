"""Static edges: steps of brightness that stay in place; see `detector`."""

from __future__ import annotations

import numpy as np

_QUANTILE = 0.35  # over the frames; an edge is present in the other 65 %


def static_edges(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute how much each pixel stands out as part of a static edge, S of `detector`.

    Args:
        pictures: uint8 RGB [T, S, S, 3], consecutive samples of one video; T of 1 or more.

    Returns:
        S of upright edges, float32 [y, x], and of edges across, float32 [x, y]; 0 to 1.
    """
    luminance = _luminance(pictures)
    return _upright_edges(luminance), _upright_edges(luminance.transpose(0, 2, 1))


def _luminance(pictures: np.ndarray) -> np.ndarray:
    """Compute luminance in integers, so that it is equal on every machine.

    uint8 [T, S, S, 3] -> uint8 [T, S, S].
    """
    shares = enumerate((77, 150, 29))
    r, g, b = (np.multiply(pictures[..., i], k, dtype=np.uint16) for i, k in shares)
    return ((r + g + b + 128) >> 8).astype(np.uint8)


def _upright_edges(luminance: np.ndarray) -> np.ndarray:
    """Compute S of upright edges: uint8 [T, y, x] -> float32 [y, x]."""
    size = luminance.shape[2]
    right, left = luminance[:, :, 2:], luminance[:, :, :-2]
    steps = np.zeros((size, size), np.float32)
    steps[:, 1:-1] = _quantile(np.maximum(right, left) - np.minimum(right, left))
    wide = np.pad(steps, ((0, 0), (4, 4)), mode="edge")
    around = np.max([wide[:, i : i + size] for i in (0, 1, 7, 8)], axis=0)
    return np.clip((steps - around - 1) / (0.4 * steps + 3), 0, 1)


def _quantile(values: np.ndarray) -> np.ndarray:
    """Take the `_QUANTILE` quantile, the lower of two values: uint8 [T, ...] -> [...].

    This is an odd-even transposition sort. For few frames its minima and maxima of whole pictures
    take a tenth of the time of `np.partition`.
    """
    frames = list(values)
    for turn in range(len(frames)):
        for i in range(turn % 2, len(frames) - 1, 2):
            pair = frames[i], frames[i + 1]
            frames[i], frames[i + 1] = np.minimum(*pair), np.maximum(*pair)
    return frames[int(_QUANTILE * (len(frames) - 1))]
