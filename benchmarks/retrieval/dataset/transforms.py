"""What may happen to a clip on its way to a copy: one function a kind, listed in `KINDS`.

Each takes the clip's frames and those of an unrelated clip, both uint8 [T, H, W, 3] at
`sources.FPS`, and a random generator, and gives the copy's frames, even sizes. How the copy is
encoded is in the table as well. Same generator state, same frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.retrieval.dataset import compose, frame_ops
from tools.make_copies import letterbox, mirror, same

EASY, HARD = 0.8, 1.25  # shares; what any method finds is not to be most of the set
Change = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Kind:
    """A kind of copy: what changes the frames, and the encoder's bits a second.

    Attributes:
        chained: whether it may be a link of a chain.
        share: how many copies of this kind there are for one of the others.
    """

    change: Change
    bits: int = 500_000
    chained: bool = True
    share: float = 1.0


def _aspect(frames: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    stretch = float(rng.choice([0.7, 0.75, 1.33, 1.45]))
    height = int(rng.integers(90, 200))
    width = int(frames.shape[2] / frames.shape[1] * stretch * height)
    return frame_ops.resized(frames, height, width)


def _crop(least: float, most: float) -> Change:
    return lambda a, _, rng: frame_ops.window(a, rng.uniform(least, most), rng)


def _colour(frames: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    turned = frame_ops.hue_matrix(rng.choice([-1, 1]) * rng.uniform(20, 90), rng.uniform(0.5, 1.8))
    levels = np.arange(256) / 255
    curve = 255 * (levels ** rng.uniform(0.5, 2.0) * rng.uniform(0.7, 1.1) + rng.uniform(0, 0.15))
    return frame_ops.mapped(frame_ops.mixed(frames, turned), curve)


def _grey(frames: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    grey = np.tile([0.3, 0.59, 0.11], (3, 1))
    curve = 255 * (np.arange(256) / 255) ** rng.uniform(0.6, 1.8)
    return frame_ops.mapped(frame_ops.mixed(frames, grey), curve)


def _posterise(frames: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    step = 256 // int(rng.integers(3, 6))
    return frame_ops.mapped(frames, np.arange(256) // step * step + step / 2)


def _blur_noise(frames: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return frame_ops.noisy(frame_ops.blurred(frames, int(rng.integers(70, 120))), 12, rng)


def _crushed(frames: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return frame_ops.noisy(frame_ops.blurred(frames, int(rng.integers(26, 40))), 40, rng)


def _rotated(frames: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    angle = np.radians(rng.choice([-1, 1]) * rng.uniform(4, 18))
    height, width = frames.shape[1:3]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([width - 1, height - 1]) / 2
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = turn, middle - turn @ middle
    return frame_ops.warped(frames, matrix, height, width)


def _camera(frames: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Filmed off a screen: in perspective, with moire, flicker and a veil of light."""
    height, width = frames.shape[1:3]
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) + rng.uniform(0.02, 0.14, (4, 2)) * [
        [1, 1], [-1, 1], [-1, -1], [1, -1],
    ]  # fmt: skip
    corners = corners * [width - 1, height - 1]
    y, x = np.mgrid[:height, :width]
    angle = rng.uniform(0, np.pi)
    phase = 2 * np.pi / rng.uniform(2.2, 5) * (x * np.cos(angle) + y * np.sin(angle))
    waves = 1 + 0.12 * np.sin(phase) * np.sin(2 * np.pi * y / rng.uniform(20, 60))
    seen = frame_ops.warped(frames, frame_ops.homography(corners, height, width), height, width)
    bright = rng.uniform(0.75, 1.1, len(frames)) * (1 + 0.1 * np.sin(np.arange(len(frames))))
    light = seen * np.float32(waves)[..., None] * np.float32(bright)[:, None, None, None]
    return frame_ops.noisy(np.clip(light * 0.85 + 22, 0, 255).astype(np.uint8), 6, rng)


def _speed(frames: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    factor = float(rng.choice([0.5, 0.7, 1.4, 2.0]))
    return frames[np.minimum((np.arange(int(len(frames) / factor)) * factor), 1e9).astype(int)]


def _dropped(frames: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A third of the frames gone in bursts: the one before freezes or the video jumps."""
    count = len(frames)
    gone = np.repeat(rng.random(count // 5 + 1) < 0.35, 5)[:count]
    gone[0] = False
    if rng.random() < 0.5 and (~gone).sum() >= 20:
        return frames[~gone]
    return frames[np.maximum.accumulate(np.where(gone, 0, np.arange(count)))]


def _reordered(frames: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    parts = np.array_split(frames, int(rng.integers(3, 6)))
    order = np.roll(rng.permutation(len(parts)), 1)
    if (np.diff(order) == 1).all():
        order = order[::-1]
    return np.concatenate([parts[i] for i in order])


def _chain(frames: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Three different kinds, one after another."""
    links = [name for name, kind in KINDS.items() if kind.chained]
    for name in rng.choice(links, 3, replace=False):
        frames = KINDS[str(name)].change(frames, other, rng)
    return frames


KINDS: dict[str, Kind] = {
    "recompressed": Kind(lambda a, _, rng: same(a), 70_000, chained=False, share=EASY),
    "scale_aspect": Kind(_aspect, share=EASY),
    "crop_60_80": Kind(_crop(0.6, 0.8)),
    "crop_40_50": Kind(_crop(0.4, 0.5), chained=False, share=HARD),
    "letterbox": Kind(lambda a, _, rng: letterbox(a), share=EASY),
    "logo_text": Kind(compose.captioned),
    "overlay": Kind(compose.overlaid),
    "colour": Kind(_colour, share=EASY),
    "grey": Kind(_grey, share=EASY),
    "posterise": Kind(_posterise, chained=False),
    "negate": Kind(lambda a, _, rng: 255 - a, chained=False),
    "edges": Kind(lambda a, _, rng: frame_ops.edges(a), chained=False),
    "mirror": Kind(lambda a, _, rng: mirror(a), share=EASY),
    "blur_noise": Kind(_blur_noise),
    "crushed": Kind(_crushed, 150_000, chained=False),
    "speed": Kind(_speed, share=EASY),
    "frame_drops": Kind(_dropped, share=EASY),
    "rotation": Kind(_rotated),
    "camera": Kind(_camera, share=HARD),
    "pip_25_35": Kind(compose.picture_in_picture(0.25, 0.35), chained=False, share=HARD),
    "pip_50": Kind(compose.picture_in_picture(0.48, 0.52), chained=False, share=HARD),
    "split_screen": Kind(compose.split_screen, chained=False, share=HARD),
    "excerpt": Kind(compose.excerpt, chained=False, share=HARD),
    "reordered": Kind(_reordered, share=EASY),
    "chain_3": Kind(_chain, 250_000, chained=False, share=2 * HARD),
}

# Chosen by what they do, not by how anything fares on them: much of the picture is cut away,
# covered, shrunk, beside another one, or its detail is gone.
HARD_KINDS = (
    "crop_60_80",
    "crop_40_50",
    "overlay",
    "edges",
    "crushed",
    "camera",
    "pip_25_35",
    "pip_50",
    "split_screen",
    "chain_3",
)
