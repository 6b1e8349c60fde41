"""Photometric changes of a copy; every function takes and returns uint8 [T, H, W, 3]."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...image.luminance import LUMINANCE
from ...video.reencode import reencode, resize_frames


def change_colours(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change hue, saturation and warmth, then contrast, brightness and gamma."""
    saturation = rng.uniform(0.3, 1.9)
    mix = np.tile(LUMINANCE, (3, 1)) * (1 - saturation) + np.eye(3) * saturation
    mix = mix @ _hue(rng.uniform(-90, 90) if rng.random() < 0.6 else 0.0)
    mix = mix * rng.uniform(0.75, 1.25, (3, 1))
    return _map_levels(_mix_channels(frames, mix), _curve(rng))


def remove_colour(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Remove colour, and sometimes add a tint."""
    tint = rng.uniform(0.7, 1.1, 3) if rng.random() < 0.4 else np.ones(3)
    return _map_levels(_mix_channels(frames, np.outer(tint, LUMINANCE)), _curve(rng))


def posterize(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """3 to 6 levels a channel."""
    levels = int(rng.integers(3, 7))
    steps = np.minimum(np.arange(256) * levels // 256, levels - 1)
    return _map_levels(frames, steps * 255 / (levels - 1))


def invert(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Black for white."""
    return 255 - frames


def show_edges(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Show how much neighbours differ, bright on dark or dark on bright."""
    gain = int(rng.integers(2, 5))
    values = frames.astype(np.int16)
    down, right = np.zeros_like(values), np.zeros_like(values)
    down[:, 1:-1] = np.abs(values[:, 2:] - values[:, :-2])
    right[:, :, 1:-1] = np.abs(values[:, :, 2:] - values[:, :, :-2])
    lines = np.minimum(gain * np.maximum(down, right), 255).astype(np.uint8)
    return lines if rng.random() < 0.7 else 255 - lines


def blur(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Remove detail finer than 40 to 130 lines on the short side; then often add noise."""
    height, width = frames.shape[1:3]
    factor = float(np.exp(rng.uniform(np.log(40), np.log(130)))) / min(height, width)
    if factor < 1:
        small = resize_frames(frames, *(max(4, int(side * factor)) for side in (height, width)))
        frames = resize_frames(small, height, width)
    return add_noise(frames, int(rng.integers(3, 30)), rng) if rng.random() < 0.7 else frames


def add_noise(frames: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Other noise in every frame, the same in all channels; spread about `strength` levels."""
    # One field of noise, looked at from another corner in every frame: drawing is what costs.
    height, width = frames.shape[1:3]
    spread = np.rint(rng.normal(0, strength, (2 * height, 2 * width)))
    field: Any = np.clip(spread, -120, 120).astype(np.int16)
    result = np.empty_like(frames)
    for frame, out in zip(frames, result, strict=True):
        top, left = int(rng.integers(height)), int(rng.integers(width))
        noise = field[top : top + height, left : left + width, None]
        out[:] = np.clip(frame + noise, 0, 255)
    return result


def compress(frames: np.ndarray, rng: np.random.Generator, hard: bool) -> np.ndarray:
    """Through a real encoder at a low rate, most often smaller than it is shown.

    Args:
        hard: blocks everywhere and little else, else what a bad copy looks like.
    """
    height, width = frames.shape[1:3]
    lines = rng.uniform(60, 160) if hard else rng.uniform(110, 256)
    factor = min(1.0, lines / min(height, width))
    small = resize_frames(
        frames, *(max(16, int(side * factor) // 2 * 2) for side in (height, width))
    )
    if rng.random() < 0.6:
        decoded = reencode(
            small, "libx264", int(rng.integers(34, 46) if hard else rng.integers(26, 38))
        )
    else:
        decoded = reencode(
            small, "mpeg4", int(rng.integers(16, 32) if hard else rng.integers(5, 16))
        )
    return resize_frames(decoded, height, width)


def film_screen(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Off a screen: moire, flicker, a veil of light and noise (the tilt is `geometry`'s)."""
    height, width = frames.shape[1:3]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = np.ones((height, width), np.float32)
    for _ in range(int(rng.integers(1, 3))):
        angle, length = rng.uniform(0, np.pi), rng.uniform(2.1, 9)
        bend = rng.uniform(0, 4) * np.sin(2 * np.pi * y / rng.uniform(30, 120))
        across = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
        phase = (across + bend) * np.float32(2 * np.pi / length)
        waves += np.float32(rng.uniform(0.03, 0.16)) * np.sin(phase)
    veil, bright = rng.uniform(0, 45), rng.uniform(0.6, 1.0)
    result = np.empty_like(frames)
    for frame, out in zip(frames, result, strict=True):
        flicker = np.float32(bright * rng.uniform(0.85, 1.15))
        out[:] = np.clip(frame * (waves * flicker)[..., None] + np.float32(veil), 0, 255)
    return add_noise(result, int(rng.integers(2, 10)), rng)


def _curve(rng: np.random.Generator) -> np.ndarray:
    """[256]: gamma 0.5 to 2, contrast 0.6 to 1.4 about the middle, brightness by up to 40."""
    levels = (np.arange(256) / 255) ** np.exp(rng.uniform(-0.7, 0.7)) * 255
    return (levels - 128) * rng.uniform(0.6, 1.4) + 128 + rng.uniform(-40, 40)


def _map_levels(frames: np.ndarray, curve: np.ndarray) -> np.ndarray:
    return np.clip(curve, 0, 255).astype(np.uint8)[frames]


def _mix_channels(frames: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Every pixel's colour times [3, 3]; plane by plane, as a product of threes is slow."""
    result = np.empty_like(frames)
    for frame, out in zip(frames, result, strict=True):
        planes = np.ascontiguousarray(frame.transpose(2, 0, 1)).astype(np.float32)
        for channel, row in enumerate(matrix.astype(np.float32)):
            mix = planes[0] * row[0] + planes[1] * row[1] + planes[2] * row[2]
            out[..., channel] = np.clip(mix, 0, 255, out=mix)
    return result


def _hue(degrees: float) -> np.ndarray:
    """[3, 3]: a turn about the grey axis (Rodrigues' formula)."""
    angle = np.radians(degrees)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    along = np.full((3, 3), 1 / 3)
    return np.cos(angle) * (np.eye(3) - along) + along + np.sin(angle) * cross
