"""Scale and crop one frame exactly as the published pipeline did; numpy only, no state.

The published loader calls OpenCV's `resize(..., fx=ratio, fy=ratio, INTER_CUBIC)` so that the
shorter side becomes 256, then cuts the central 224 x 224 square. Here only the pixels of that
square are computed. The interpolation is Keys' cubic convolution with a = -0.75 (R. G. Keys,
"Cubic convolution interpolation for digital image processing", IEEE TASSP 29(6), 1981), four
taps in each direction, pixel centres at half coordinates, edges replicated, no antialiasing.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pipeline.errors import InputError
from pipeline.records import Preprocess

_A = -0.75  # OpenCV's choice; Keys' own is -0.5, which gives visibly softer frames


def resize_crop(rgb: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """One frame as the network takes it.

    Args:
        rgb: uint8 [H, W, 3], any H and W of at least 1.
        preprocess: sizes in pixels and the method, which must be "bicubic".

    Returns:
        uint8 [crop, crop, 3]; at most one level from OpenCV's, whose weights are fixed-point.

    Raises:
        InputError: the frame has another type or shape, or the method is unknown.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise InputError(f"frame is {rgb.dtype} {rgb.shape}, expected uint8 [H, W, 3]")
    if preprocess.method != "bicubic":
        raise InputError(f"resize method {preprocess.method!r} is unknown, expected 'bicubic'")
    height, width = rgb.shape[:2]
    resize, crop = preprocess.resize, preprocess.crop
    if min(height, width) == resize:  # weights would be (0, 1, 0, 0): only the crop is left
        top, left = (height - crop) // 2, (width - crop) // 2
        return np.ascontiguousarray(rgb[top : top + crop, left : left + crop])
    rows, row_weights = _taps(height, min(height, width), resize, crop)
    columns, column_weights = _taps(width, min(height, width), resize, crop)
    first = int(columns.min())
    strip = rgb[:, first : int(columns.max()) + 1]
    # Rows before columns: whole rows lie together in memory, and fewer values are left after.
    lines = sum(row_weights[k][:, None, None] * strip[rows[k]] for k in range(4))
    assert isinstance(lines, np.ndarray)
    pixels = sum(
        column_weights[k][:, None] * np.take(lines, columns[k] - first, axis=1) for k in range(4)
    )
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


@lru_cache(maxsize=64)
def _taps(length: int, shorter: int, resize: int, crop: int) -> tuple[np.ndarray, np.ndarray]:
    """Source positions [4, crop] int64 and weights [4, crop] float32 along one axis."""
    scale = shorter / resize  # one ratio for both axes, as `fx=ratio, fy=ratio` means
    scaled = round(length / scale)
    start = max(0, (scaled - crop) // 2)
    centre = (np.arange(start, start + crop) + 0.5) * scale - 0.5
    base = np.floor(centre)
    offsets = np.arange(-1, 3)[:, None]
    distance = np.abs(centre - base - offsets)
    positions = np.clip(base.astype(np.int64) + offsets, 0, length - 1)
    return positions, _cubic(distance).astype(np.float32)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' kernel at distances 0 <= x <= 2."""
    near = ((_A + 2) * x - (_A + 3)) * x * x + 1
    far = ((_A * x - 5 * _A) * x + 8 * _A) * x - 4 * _A
    return np.where(x <= 1, near, far)
