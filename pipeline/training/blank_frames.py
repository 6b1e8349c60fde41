"""Draws nearly empty frames, and finds the space in which a feature network puts them.

Black, white, one colour, a fade, a card with a few words: such frames are alike in videos that
have nothing to do with each other. The pictures are drawn here, so that the space can be found
again for any network, from nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..nets.model.blank import Blank

if TYPE_CHECKING:
    from ..nets.extractor.feature_net import FeatureNet


DIRECTIONS = 32  # chosen on validation videos, see benchmarks/NOTES.md


RAMPS = (
    ((0, 0, 0), (255, 255, 255)), ((0, 0, 0), (96, 96, 96)), ((255, 255, 255), (160, 160, 160)),
    ((0, 0, 60), (90, 120, 200)), ((90, 20, 0), (255, 190, 90)),
)  # fmt: skip


CARDS = (
    ((0, 0, 0), (235, 235, 235)), ((0, 0, 0), (120, 120, 120)), ((255, 255, 255), (20, 20, 20)),
    ((20, 30, 80), (255, 255, 255)),
)  # fmt: skip


LINES = ((1, 6), (3, 5), (5, 7), (2, 12))  # number and height in pixels


def blank_space(net: FeatureNet, count: int = DIRECTIONS, seed: int = 0) -> Blank:
    """The space of a network's blank region vectors.

    Its directions are the principal ones (about zero, not about the mean) of `blank_frames`. A
    vector with as much in them as nine tenths of other blank pictures have does not count at all;
    with less than a third of that it counts in full.

    Args:
        net: the model's feature network; whitening included, with full dims.
        count: directions, less than a quarter of the dims.
        seed: of the pictures.
    """
    size = net.preprocess.crop
    first, more = (
        net(blank_frames(size, s))[:, : net.layout.regions].reshape(-1, net.dims)
        for s in (seed, seed + 1)
    )
    directions = np.linalg.svd(first, full_matrices=False)[2][:count]
    blank = Blank(np.ascontiguousarray(directions, np.float32), 0.0, 1.0)
    high = float(np.quantile(blank.excess(more), 0.1))
    return Blank(blank.directions, high / 3, high)


def blank_frames(size: int, seed: int = 0) -> np.ndarray:
    """Pictures with next to nothing in them.

    Args:
        size: side in pixels, a multiple of 8.
        seed: of colours, noise and of the strokes that stand for words.

    Returns:
        uint8 [N, size, size, 3] RGB.
    """
    rng = np.random.default_rng(seed)
    plain = [np.broadcast_to(c, (size, size, 3)) for c in _colours(rng)]
    pictures = [*plain, *_gradients(size), *_cards(size, rng)]
    pictures += [p + rng.normal(0, rng.uniform(1, 5), p.shape) for p in pictures]
    pictures += [_coded(p, rng.uniform(4, 24)) for p in pictures[len(pictures) // 2 :]]
    return np.stack([np.clip(np.rint(p), 0, 255).astype(np.uint8) for p in pictures])


def _colours(rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Black, white, much near these, greys and colours of all kinds."""
    for low, high, count in ((0, 1, 1), (255, 256, 1), (1, 24, 8), (236, 255, 8), (24, 236, 8)):
        for grey in rng.uniform(low, high, count):
            yield np.full(3, grey, np.float32)
    for brightness in np.linspace(0.1, 1, 32):
        yield (rng.uniform(0, 255, 3) * brightness).astype(np.float32)


def _coded(picture: np.ndarray, step: float) -> np.ndarray:
    """Add the blocks of lossy compression: 8x8 cosine transform, rounded to `step`."""
    k, n = np.mgrid[:8, :8]
    transform = np.cos(np.pi * (2 * n + 1) * k / 16) * np.where(k, 0.5, np.sqrt(0.125))
    blocks = picture.reshape(len(picture) // 8, 8, -1, 8, 3)
    waves = np.einsum("ki,aibjc,lj->akblc", transform, blocks, transform, optimize=True)
    coarse = np.rint(waves / step) * step
    pixels = np.einsum("ki,akblc,lj->aibjc", transform, coarse, transform, optimize=True)
    return pixels.reshape(picture.shape)


def _gradients(size: int) -> Iterator[np.ndarray]:
    """Draw gradients between two colours, down, across and from the centre outwards."""
    steps = np.linspace(0, 1, size, dtype=np.float32)
    down = np.broadcast_to(steps[:, None, None], (size, size, 1))
    distance = np.hypot(*np.meshgrid(steps - 0.5, steps - 0.5))[..., None] / np.sqrt(0.5)
    for first, last in RAMPS:
        a, b = np.array(first, np.float32), np.array(last, np.float32)
        for ramp in (down, down.swapaxes(0, 1), distance, 1 - distance):
            yield a + (b - a) * ramp


def _cards(size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Lines of strokes as high and wide as small letters, on black, white or a colour."""
    for ground, ink in CARDS:
        for lines, height in LINES:
            picture = np.empty((size, size, 3), np.float32)
            picture[:] = ground
            tops = np.linspace(0, size, lines + 2)[1:-1] - height / 2
            for top in tops.astype(int):
                _line(picture, int(top), height, ink, rng)
            yield picture


def _line(
    picture: np.ndarray,
    top: int,
    height: int,
    ink: tuple[int, int, int],
    rng: np.random.Generator,
) -> None:
    size = len(picture)
    left, right = int(size * rng.uniform(0.1, 0.35)), int(size * rng.uniform(0.65, 0.9))
    stem, step = max(1, height // 5), max(3, round(height * 0.7))
    for x in range(left, right, step):
        if rng.random() < 0.15:  # between words
            continue
        picture[top : top + height, x : x + stem] = ink
        row = top + int(rng.integers(0, 3)) * (height - stem) // 2
        picture[row : row + stem, x : x + step - stem] = ink
