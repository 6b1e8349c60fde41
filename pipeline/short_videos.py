"""Repeats the frames of short videos; the only place that does so; numpy only.

The comparator halves the frame-to-frame similarity matrix twice, so it needs 4 frames on each side.
Stores hold the true frames; comparing repeats them first.
"""

from __future__ import annotations

import numpy as np

MINIMUM_FRAMES = 4


def repeat_to_min(features: np.ndarray, minimum: int = MINIMUM_FRAMES) -> np.ndarray:
    """Repeat a whole video until it is long enough, by doubling, as the published code does.

    Args:
        features: [T, ...] of any dtype, T of at least 1.
        minimum: smallest number of frames.

    Returns:
        [T * 2**k, ...] with the smallest k that reaches `minimum`; the input itself if k is 0.
        Three frames become six, not four, as for the published scores.

    Raises:
        ValueError: there is no frame to repeat.
    """
    if len(features) == 0:
        raise ValueError("no frames to repeat, expected at least 1")
    while len(features) < minimum:
        features = np.concatenate([features, features])
    return features


def padded_length(frames: int, minimum: int = MINIMUM_FRAMES) -> int:
    """Compute the number of frames that `repeat_to_min` returns for `frames` frames."""
    if frames < 1:
        raise ValueError(f"{frames} frames, expected at least 1")
    while frames < minimum:
        frames *= 2
    return frames
