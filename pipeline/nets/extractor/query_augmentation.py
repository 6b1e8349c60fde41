"""Pictures of query augmentations, see `nets.model.descriptors`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backend import ops
from ..model.descriptors import QueryAugmentation

# 1 4 6 4 1 in both directions: takes away what is finer than about 4 of its pixels.
_BINOMIAL = np.array([1, 4, 6, 4, 1], np.float32) / 16


@dataclass(frozen=True)
class Colours:
    """Colours of the backbone's input, float [3] each; its mean colour is `mean`."""

    black: np.ndarray
    white: np.ndarray
    mean: np.ndarray


def lowpass_pictures(x: Any, augmentation: QueryAugmentation, colours: Colours) -> list[Any]:
    """The pictures of an augmentation at half size and low-pass filtered.

    Args:
        x: float32 [B, S, S, 3], S a multiple of 4.

    Returns:
        `augmentation.pictures` of float32 [B, S / 2, S / 2, 3].
    """
    kind, amount = augmentation.kind, augmentation.amount
    if kind in ("pad_black", "pad_mean"):
        return [halve_and_lowpass(pad(x, amount, getattr(colours, kind.removeprefix("pad_"))))]
    if kind == "crops":
        return [low_pass(part) for part in _crops(x, amount, augmentation.parts)]
    return [low_pass(picture) for picture in full_pictures(halve(x), augmentation, colours)]


def full_pictures(x: Any, augmentation: QueryAugmentation, colours: Colours) -> list[Any]:
    """The pictures of an augmentation, as large as the picture itself.

    Args:
        x: float32 [B, S, S, 3].

    Returns:
        `augmentation.pictures` of float32 [B, S, S, 3].
    """
    kind, amount = augmentation.kind, augmentation.amount
    if kind in ("pad_black", "pad_mean"):
        return [pad(x, amount, getattr(colours, kind.removeprefix("pad_")))]
    if kind == "downscale":
        return [downscale(x, int(amount))]
    if kind == "rotate":
        return [rotate(x, angle, colours.black) for angle in augmentation.angles]
    if kind == "edges":
        return [edges(x, amount, colours.black, colours.white)]
    return [ops.flip(x, axis=2)]


def halve_and_lowpass(x: Any) -> Any:
    """Half the size and low-pass filtered.

    Args:
        x: float32 [B, S, S, 3], S even.

    Returns:
        float32 [B, S / 2, S / 2, 3].
    """
    return low_pass(halve(x))


def halve(x: Any) -> Any:
    """Means of 2 x 2 pixels."""
    return ops.average_pool(x, 2, 2, "valid", data_format="channels_last")


def low_pass(x: Any) -> Any:
    """Binomial filter in both directions, the picture mirrored at its edges."""
    for axis in (1, 2):
        padded = _mirrored(x, axis, 2)
        size = x.shape[axis]
        parts = [
            float(weight) * (padded[:, i : i + size] if axis == 1 else padded[:, :, i : i + size])
            for i, weight in enumerate(_BINOMIAL)
        ]
        x = sum(parts[1:], parts[0])
    return x


def _mirrored(x: Any, axis: int, width: int) -> Any:
    border = [(0, 0)] * 4
    border[axis] = (width, width)
    return ops.pad(x, border, mode="symmetric")


def pad(x: Any, share: float, colour: np.ndarray) -> Any:
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
    colour = np.asarray(colour, np.float32)
    before = (side - size) // 2
    shrink = np.zeros((side, side), np.float32)
    shrink[before : before + size] = _area_weights(side, size)
    return _resampled(ops.convert_to_tensor(x) - colour, shrink, shrink) + colour


def _crops(x: Any, share: float, parts: int) -> list[Any]:
    """Squares of `share` of the side, parts x parts of them, each at half the picture's size."""
    side = x.shape[1]
    size = round(side * share)
    shrink = _area_weights(size, side // 2)
    first = [round((side - size) * i / (parts - 1)) for i in range(parts)] if parts > 1 else None
    crops = []
    for top in first or [(side - size) // 2]:
        for left in first or [(side - size) // 2]:
            part = x[:, top : top + size, left : left + size]
            crops.append(part if size == side // 2 else _resampled(part, shrink, shrink))
    return crops


def _resampled(x: Any, rows: np.ndarray, columns: np.ndarray) -> Any:
    """Each new row and column as a sum of old ones: [new, old] each."""
    x = ops.einsum("ty,byxc->btxc", rows, x)
    return ops.einsum("ux,btxc->btuc", columns, x)


def rotate(x: Any, degrees: float, colour: np.ndarray) -> Any:
    """Turned about its middle, bilinear; what comes in at the corners is of one colour.

    Args:
        x: float32 [B, S, S, 3].
        degrees: clockwise.
        colour: 3 values, of the same kind as x.

    Returns:
        float32 of the same shape.
    """
    side = x.shape[1]
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    middle = (side - 1) / 2
    y, x_ = np.mgrid[:side, :side] - middle
    row, column = cosine * y - sine * x_ + middle, sine * y + cosine * x_ + middle
    top, left = np.floor(row).astype(int), np.floor(column).astype(int)
    colour = np.asarray(colour, np.float32)
    flat = ops.reshape(ops.convert_to_tensor(x) - colour, (-1, side * side, 3))
    result = 0.0
    for r, c in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        weight = (1 - np.abs(row - r)) * (1 - np.abs(column - c))
        weight = weight * ((r >= 0) & (r < side) & (c >= 0) & (c < side))
        place = (np.clip(r, 0, side - 1) * side + np.clip(c, 0, side - 1)).ravel()
        taken = ops.take(flat, place.astype(np.int32), axis=1)
        result = result + taken * weight.ravel().astype(np.float32)[:, None]
    return ops.reshape(result, (-1, side, side, 3)) + colour


def edges(x: Any, gain: float, black: np.ndarray, white: np.ndarray) -> Any:
    """Strength of each colour's gradient (Sobel, change from pixel to pixel), on black.

    Args:
        x: float32 [B, S, S, 3].
        gain: factor of the gradient; what exceeds white is white.
        black, white: [3] each, of the same kind as x.

    Returns:
        float32 of the same shape.
    """
    wide = _mirrored(_mirrored(ops.convert_to_tensor(x), 1, 1), 2, 1)
    size = x.shape[1]
    squares = 0.0
    for axis in (1, 2):
        across = wide[:, :, 2:] - wide[:, :, :size] if axis == 2 else wide[:, 2:] - wide[:, :size]
        if axis == 2:
            smooth = across[:, :size] + 2 * across[:, 1 : size + 1] + across[:, 2:]
        else:
            smooth = across[:, :, :size] + 2 * across[:, :, 1 : size + 1] + across[:, :, 2:]
        squares = squares + ops.square(smooth / 8)
    black, white = np.asarray(black, np.float32), np.asarray(white, np.float32)
    return black + ops.minimum(gain * ops.sqrt(squares), white - black)


def _area_weights(old: int, new: int) -> np.ndarray:
    """[new, old]: how much of each old pixel a new one is made of, by the area that they share."""
    borders = np.arange(new + 1) * old / new
    first, last = borders[:-1, None], borders[1:, None]
    pixels = np.arange(old)
    shared = np.minimum(last, pixels + 1) - np.maximum(first, pixels)
    return (np.maximum(shared, 0) * new / old).astype(np.float32)


def downscale(x: Any, divisor: int) -> Any:
    """1 / divisor of the size, in the middle of zeros (the mean colour).

    Args:
        x: float32 [B, S, S, 3].

    Returns:
        float32 of the same shape.
    """
    side = x.shape[1]
    small = side // divisor
    before = (side - small) // 2 * divisor
    after = side * divisor - small * divisor - before
    x = x[:, : small * divisor, : small * divisor]
    # The border comes before the pooling: OpenVINO joins a border with a convolution behind it,
    # and then pads the convolution anew.
    x = ops.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))
    return ops.average_pool(x, divisor, divisor, "valid", data_format="channels_last")
