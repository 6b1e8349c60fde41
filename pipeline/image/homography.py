"""Warps pictures by a homography: training tilts copies with it, insets are straightened with it.

Coordinates run from -1 to 1, from left to right and from top to bottom, so a matrix fits pictures
of every size. A matrix maps points of the result to points of the source.
"""

from __future__ import annotations

import numpy as np

_WORD = np.dtype("<u4")  # red is its lowest byte, whatever the machine
CORNERS = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float64)  # clockwise from top left


def homography(points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """[3, 3] that takes four points (x, y) to four others; by the direct linear equations.

    Hartley and Zisserman, "Multiple View Geometry", 2004, section 4.1, with the last value 1.

    Args:
        places, targets: float [4, 2]; no three of either on a line.
    """
    rows, values = [], []
    for (x, y), (u, v) in zip(points, targets, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
        values += [u, v]
    return np.append(np.linalg.solve(np.array(rows), np.array(values)), 1.0).reshape(3, 3)


def warp(
    frames: np.ndarray, matrix: np.ndarray, height: int, width: int, repeat_edge: bool = False
) -> np.ndarray:
    """Resample frames through a matrix: bilinear in eight bits, by sixteenths of a pixel.

    Args:
        frames: uint8 [T, H, W, 3], H and W of 2 or more.
        matrix: [3, 3], maps points of the result to points of the frames.
        height, width: of the result, in pixels.
        repeat_edge: pixels outside of the source repeat its edge; otherwise they are black.

    Returns:
        uint8 [T, height, width, 3].
    """
    indexes, weights = _taps(frames.shape[1:3], matrix, (height, width), repeat_edge)
    # Four bytes a pixel: one gather brings its colours, and one multiplication weights red and
    # blue, of which the sums fit into 16 bits each.
    packed = np.zeros((*frames.shape[:3], 4), np.uint8)
    packed[..., :3] = frames
    words = packed.reshape(len(frames), -1).view(_WORD)
    result = np.empty((len(frames), height * width, 3), np.uint8)
    # Reused for every tap: new arrays would take a third of the time.
    word, part, red_blue, green = np.empty((4, height * width), _WORD)
    for frame, out in zip(words, result, strict=True):
        red_blue[:], green[:] = 0x00800080, 0x80  # one half, so that sums are rounded
        for index, weight in zip(indexes, weights, strict=True):
            np.take(frame, index, out=word, mode="clip")
            np.bitwise_and(word, 0x00FF00FF, out=part)
            part *= weight
            red_blue += part
            word >>= 8
            word &= 0xFF
            word *= weight
            green += word
        # The upper byte of 16 bits is what is left of 256 weights.
        for channel, (sums, byte) in enumerate(((red_blue, 1), (green, 1), (red_blue, 3))):
            out[:, channel] = sums.view(np.uint8)[byte::4]
    return result.reshape(len(frames), height, width, 3)


def _taps(
    source: tuple[int, int], matrix: np.ndarray, result: tuple[int, int], repeat_edge: bool
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Four indexes into the flat source for each pixel of the result, and their weights.

    Args:
        source, result: heights and widths in pixels.

    Returns:
        Four arrays of indexes and four of weights; the weights of a pixel sum to 256, or to 0
        outside of the source.
    """
    (rows, columns), (height, width) = source, result
    y, x = np.mgrid[:height, :width]
    points = np.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1, np.ones(x.shape)])
    u, v, w = matrix @ points.reshape(3, -1)
    w = np.where(np.abs(w) < 1e-6, 1e-6, w)
    across, down = ((u / w + 1) * columns - 1) / 2, ((v / w + 1) * rows - 1) / 2
    inside = (w > 0) & (across > -1) & (across < columns) & (down > -1) & (down < rows)
    full = np.where(inside | repeat_edge, 16, 0)
    left = np.clip(np.floor(across), 0, columns - 2).astype(np.intp)
    top = np.clip(np.floor(down), 0, rows - 2).astype(np.intp)
    right_part = np.rint(np.clip(across - left, 0, 1) * full)
    low_part = np.rint(np.clip(down - top, 0, 1) * 16)
    weights = [
        (full - right_part) * (16 - low_part),
        right_part * (16 - low_part),
        (full - right_part) * low_part,
        right_part * low_part,
    ]
    indexes = [(top + dy) * columns + left + dx for dy in (0, 1) for dx in (0, 1)]
    return indexes, [weight.astype(_WORD) for weight in weights]
