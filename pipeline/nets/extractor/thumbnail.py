"""The thumbnail descriptor: a picture's luminance on 32 x 32 squares, whitened.

A thumbnail less its mean, of length 1, so that the product of two is their normalised
cross-correlation. Neighbouring squares say nearly the same; after PCA whitening (see `whitening`)
what is left is where edges are, and pictures of the same things differ.
"""

from __future__ import annotations

from typing import Any

from ...image.luminance import LUMINANCE
from ..backend import ops
from ..layers.whitening import l2_normalize
from ..model.descriptors import THUMBNAIL

SIZE = THUMBNAIL**2
_SMALLEST = 1e-3  # between squares; one level of blue in one pixel of 224 x 224 gives twice that


def thumbnails(frames: Any, size: int = SIZE) -> Any:
    """Thumbnail descriptors before whitening.

    Args:
        frames: float32 [B, S, S, 3] RGB from 0 to 255, S a multiple of `THUMBNAIL`.
        size: values of a vector; those beyond `SIZE` are zeros.

    Returns:
        float32 [B, size], of length 1; zeros for a picture of one colour.
    """
    luminance = ops.sum(frames * LUMINANCE, axis=-1)
    square = frames.shape[1] // THUMBNAIL
    split = ops.reshape(luminance, (-1, THUMBNAIL, square, THUMBNAIL, square))
    flat = ops.reshape(ops.mean(split, axis=(2, 4)), (-1, SIZE))
    vectors = l2_normalize(flat - ops.mean(flat, axis=1, keepdims=True))
    # What rounding leaves of one colour is no picture.
    spread = ops.max(flat, axis=1, keepdims=True) - ops.min(flat, axis=1, keepdims=True)
    vectors = ops.where(spread < _SMALLEST, 0.0, vectors)
    return vectors if size == SIZE else ops.pad(vectors, ((0, 0), (0, size - SIZE)))
