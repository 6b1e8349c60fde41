"""The similarity network in plain numpy, one pair at a time: what the batched engine must equal.

Written from the paper's formulas and the golden facts, sharing no code with `pipeline/`.
"""

from __future__ import annotations

import numpy as np


def f2f(query: np.ndarray, target: np.ndarray, symmetric: bool = False) -> np.ndarray:
    """[Tq, R, C], [Tt, R, C] -> [Tq, Tt] float64."""
    s = np.einsum("qic,tjc->qitj", query.astype(np.float64), target.astype(np.float64))
    result = s.max(axis=3).mean(axis=1)
    return (result + s.max(axis=1).mean(axis=2)) / 2 if symmetric else result


def comparator(matrix: np.ndarray, layers: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """[Tq, Tt] -> [Tq // 4, Tt // 4], clipped."""
    x = matrix[:, :, None]
    for i, (kernel, bias) in enumerate(layers[:3]):
        x = np.pad(x, [(1, 1), (1, 1), (0, 0)], mode="symmetric")
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(0, 1))
        x = np.maximum(np.einsum("hwcij,ijcf->hwf", windows, kernel, optimize=True) + bias, 0)
        if i < 2:
            h, w = x.shape[0] // 2, x.shape[1] // 2
            x = x[: 2 * h, : 2 * w].reshape(h, 2, w, 2, -1).max(axis=(1, 3))
    kernel, bias = layers[3]
    return np.clip((x @ kernel[0, 0] + bias)[:, :, 0], -1, 1)


def chamfer(matrix: np.ndarray, symmetric: bool = False) -> float:
    """[a, b] -> mean over a of the maximum over b; symmetric: both ways, averaged."""
    score = matrix.max(axis=1).mean()
    return float((score + matrix.max(axis=0).mean()) / 2 if symmetric else score)


def similarity(
    query: np.ndarray,
    target: np.ndarray,
    layers: list[tuple[np.ndarray, np.ndarray]] | None = None,
    symmetric: bool = False,
) -> float:
    """Video-to-video similarity of whole videos, short ones repeated by doubling."""
    query, target = (_repeat(v) for v in (query, target))
    matrix = f2f(query, target, symmetric)
    return chamfer(matrix if layers is None else comparator(matrix, layers), symmetric)


def _repeat(video: np.ndarray) -> np.ndarray:
    while len(video) < 4:
        video = np.concatenate([video, video])
    return video
