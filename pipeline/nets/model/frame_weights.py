"""How much the frames of a video count in its score."""

from __future__ import annotations

import numpy as np


def output_weights(
    windows: np.ndarray, padded: int, stride: int, frame_weights: np.ndarray
) -> np.ndarray:
    """Means of the weights of each output's own frames.

    Args:
        windows: [n, 4] int32, halves of windows as `nets.similarity.pair_scorer.PairScorer.maxima`
            takes them.
        padded: rows that they are padded to; stride: rows of an output.
        frame_weights: float32 [frames of the block or more].

    Returns:
        float32 [n, padded / stride]; 0 for outputs that do not count.
    """
    sums = np.concatenate([[0.0], np.cumsum(frame_weights, dtype=np.float64)])
    place = np.arange(padded // stride)[None, :]
    first = np.minimum(windows[:, :1] + place * stride, len(frame_weights))
    last = np.minimum(first + stride, len(frame_weights))
    counted = (place >= windows[:, 2:3]) & (place < windows[:, 3:4])
    return np.where(counted, (sums[last] - sums[first]) / stride, 0).astype(np.float32)
