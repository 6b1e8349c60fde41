"""The pictures behind the further vectors of a frame, see `layout`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.nets.backend import ops

# 1 4 6 4 1 in both directions: takes away what is finer than about 4 of its pixels.
_BINOMIAL = np.array([1, 4, 6, 4, 1], np.float32) / 16


def softened(x: Any) -> Any:
    """Half the size and low-pass filtered.

    Args:
        x: float32 [B, S, S, 3], S even.

    Returns:
        float32 [B, S / 2, S / 2, 3].
    """
    x = ops.average_pool(x, 2, 2, "valid", data_format="channels_last")
    for axis in (1, 2):
        size = x.shape[axis]
        border = [(0, 0)] * 4
        border[axis] = (2, 2)
        padded = ops.pad(x, border, mode="symmetric")
        parts = [
            float(weight) * (padded[:, i : i + size] if axis == 1 else padded[:, :, i : i + size])
            for i, weight in enumerate(_BINOMIAL)
        ]
        x = sum(parts[1:], parts[0])
    return x


def framed(x: Any, share: float, colour: Sequence[float]) -> Any:
    """The picture at `share` of its side, in the middle of one colour.

    Args:
        x: float32 [B, S, S, 3].
        share: more than 0 and less than 1.
        colour: 3 values, of the same kind as x.

    Returns:
        float32 of the same shape.
    """
    side = x.shape[1]
    size = round(side * share)
    x = ops.convert_to_tensor(x) - np.array(colour, np.float32)
    before = (side - size) // 2
    shrink = np.zeros((side, side), np.float32)
    shrink[before : before + size] = _area_weights(side, size)
    x = ops.einsum("ty,byxc->btxc", shrink, x)
    x = ops.einsum("ux,btxc->btuc", shrink, x)
    return x + np.array(colour, np.float32)


def _area_weights(old: int, new: int) -> np.ndarray:
    """[new, old]: how much of each old pixel a new one is made of, by the area that they share."""
    edges = np.arange(new + 1) * old / new
    first, last = edges[:-1, None], edges[1:, None]
    pixels = np.arange(old)
    shared = np.minimum(last, pixels + 1) - np.maximum(first, pixels)
    return (np.maximum(shared, 0) * new / old).astype(np.float32)


def shrunken(x: Any, divisor: int) -> Any:
    """1 / divisor of the size, in the middle of zeros (the mean colour).

    Args:
        x: float32 [B, S, S, 3].

    Returns:
        float32 of the same shape.
    """
    side = x.shape[1]
    x = ops.average_pool(x, divisor, divisor, "valid", data_format="channels_last")
    before = (side - x.shape[1]) // 2
    after = side - x.shape[1] - before
    return ops.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))
