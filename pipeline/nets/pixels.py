"""The vector of pixels: a picture's luminance on 32 x 32 squares, whitened.

A thumbnail less its mean, of length 1, so that the product of two is their normalised
cross-correlation. Neighbouring squares say nearly the same; after PCA whitening (see `whitening`)
what is left is where edges are, and pictures of the same things differ.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.nets.backend import ops
from pipeline.nets.layout import THUMBNAIL
from pipeline.nets.regions import l2_normalize

SIZE = THUMBNAIL**2
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def thumbnails(frames: Any, size: int = SIZE) -> Any:
    """Vectors of pixels before whitening.

    Args:
        frames: float32 [B, S, S, 3] RGB, S a multiple of `THUMBNAIL`, of any range.
        size: values of a vector; those beyond `SIZE` are zeros.

    Returns:
        float32 [B, size], of length 1; zeros for a picture of one colour.
    """
    luminance = ops.sum(frames * _LUMINANCE, axis=-1)
    square = frames.shape[1] // THUMBNAIL
    split = ops.reshape(luminance, (-1, THUMBNAIL, square, THUMBNAIL, square))
    flat = ops.reshape(ops.mean(split, axis=(2, 4)), (-1, SIZE))
    found = l2_normalize(flat - ops.mean(flat, axis=1, keepdims=True))
    return found if size == SIZE else ops.pad(found, ((0, 0), (0, size - SIZE)))
