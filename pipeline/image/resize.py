"""Scales and crops one frame to the square picture that the network takes; numpy only.

"bicubic" scales and crops exactly as the published pipeline did.

The published loader calls OpenCV's `resize(..., fx=ratio, fy=ratio, INTER_CUBIC)` so that the
shorter side becomes 256, then cuts the central 224 x 224 square. Here only the pixels of that
square are computed. The interpolation is Keys' cubic convolution with a = -0.75 (R. G. Keys,
"Cubic convolution interpolation for digital image processing", IEEE TASSP 29(6), 1981), four
taps in each direction, pixel centres at half coordinates, edges replicated, no antialiasing.

"stretch" is an anisotropic resize: it keeps the whole picture, and both sides become `crop` pixels
long. A side that is at least twice as long is first shrunk by means of whole blocks, then by the
same cubic.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..errors import InputError
from ..records import Preprocess

METHODS = "bicubic", "stretch"
_A = -0.75  # OpenCV's choice; Keys' own is -0.5, which gives visibly softer frames


def resize_crop(rgb: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """Scale and crop one frame for the network.

    Args:
        rgb: uint8 [H, W, 3], any H and W of at least 1.
        preprocess: sizes in pixels and the method, "bicubic" or "stretch".

    Returns:
        uint8 [crop, crop, 3]; at most one level from OpenCV's, whose weights are fixed-point.

    Raises:
        InputError: the frame has another type or shape, or the method is unknown.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise InputError(f"frame is {rgb.dtype} {rgb.shape}, expected uint8 [H, W, 3]")
    if preprocess.method not in METHODS:
        raise InputError(
            f"resize method {preprocess.method!r} is unknown, expected one of {METHODS}"
        )
    if preprocess.method == "stretch":
        return _scale_both_sides(rgb, preprocess.crop)
    height, width = rgb.shape[:2]
    resize, crop = preprocess.resize, preprocess.crop
    if min(height, width) == resize:  # weights would be (0, 1, 0, 0): only the crop is left
        top, left = (height - crop) // 2, (width - crop) // 2
        return np.ascontiguousarray(rgb[top : top + crop, left : left + crop])
    rows = _taps(height, min(height, width), resize, crop)
    columns = _taps(width, min(height, width), resize, crop)
    return _scale_cubic(rgb, rows, columns)


def _scale_both_sides(rgb: np.ndarray, side: int) -> np.ndarray:
    """Scale each axis to `side` pixels: uint8 [H, W, 3] -> [side, side, 3]."""
    for axis in (0, 1):
        rgb = _block_means(rgb, rgb.shape[axis] // side, axis)
    if rgb.shape[:2] == (side, side):
        return np.ascontiguousarray(rgb)
    rows, columns = (_taps(length, length, side, side) for length in rgb.shape[:2])
    return _scale_cubic(rgb, rows, columns)


def _block_means(rgb: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Average blocks of `size` rows or columns, rounded; the rest is cut off at both ends."""
    if size < 2:
        return rgb
    count = rgb.shape[axis] // size
    first = (rgb.shape[axis] - count * size) // 2
    slices = (
        rgb[first + i :: size][:count] if axis == 0 else rgb[:, first + i :: size][:, :count]
        for i in range(size)
    )
    total = np.zeros((count, *rgb.shape[1:]) if axis == 0 else (len(rgb), count, 3), np.uint32)
    for part in slices:
        total += part
    return ((total + size // 2) // size).astype(np.uint8)


def _scale_cubic(
    rgb: np.ndarray, vertical: tuple[np.ndarray, np.ndarray], across: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Compute the pixels from the taps of rows and columns: uint8 [height, width, 3]."""
    (rows, row_weights), (columns, column_weights) = vertical, across
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
    """Compute source positions [4, crop] int64 and weights [4, crop] float32 along one axis."""
    scale = shorter / resize  # one ratio for both axes, as `fx=ratio, fy=ratio` means
    resize_frames = round(length / scale)
    start = max(0, (resize_frames - crop) // 2)
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
