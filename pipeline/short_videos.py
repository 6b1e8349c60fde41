"""Short videos: the one place where frames are repeated; numpy only.

The comparator halves the frame-to-frame matrix twice, so it needs 4 frames on each side. Stores
keep the true frames; whoever compares calls this first.
"""

from __future__ import annotations

import numpy as np

MINIMUM_FRAMES = 4


def repeat_to_min(features: np.ndarray, minimum: int = MINIMUM_FRAMES) -> np.ndarray:
    """Repeat a whole video until it is long enough, as the published code does: by doubling.

    Args:
        features: [T, ...] of any dtype, T of at least 1.
        minimum: least number of frames wanted.

    Returns:
        [T * 2**k, ...] with the smallest k that reaches `minimum`; the input itself if k is 0.
        Three frames become six, not four: that is what the published scores were made with.

    Raises:
        ValueError: there is no frame to repeat.
    """
    if len(features) == 0:
        raise ValueError("no frames to repeat, expected at least 1")
    while len(features) < minimum:
        features = np.concatenate([features, features])
    return features


def padded_length(frames: int, minimum: int = MINIMUM_FRAMES) -> int:
    """Frames that `repeat_to_min` makes of `frames`, without touching any."""
    if frames < 1:
        raise ValueError(f"{frames} frames, expected at least 1")
    while frames < minimum:
        frames *= 2
    return frames
