"""Copies that show something else beside or over the clip; signatures as in `transforms`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.retrieval.dataset import frame_ops
from benchmarks.retrieval.dataset.sources import FPS, SHORT_SIDE

EXCERPT_SECONDS = (3.0, 5.0)


def lettering(length: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """A line of made-up letters, 5 x 4 cells of `size` pixels; bool [7 size, 5 length size]."""
    cells = np.zeros((7, 5 * length), bool)
    for i in range(length):
        cells[1:6, 5 * i : 5 * i + 4] = rng.random((5, 4)) < 0.55
    return cells.repeat(size, axis=0).repeat(size, axis=1)


def captioned(frames: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A ring as logo in a corner, and two lines of text on a band above or below."""
    frames = frames.copy()
    height, width = frames.shape[1:3]
    colours = rng.integers(0, 256, (2, 3), dtype=np.uint8)
    size = max(1, height // 100)
    band = height // 6
    top = height - band if rng.random() < 0.5 else 0
    frames[:, top : top + band] = frames[:, top : top + band] // 3
    for line in (0.05, 0.5):
        text = lettering(width // (7 * size), size, rng)[:, : width - 8]
        where = frames[:, top + int(line * band) :, 8:][:, : len(text), : text.shape[1]]
        where[:, text[: where.shape[1]]] = np.uint8(235)
    radius = height // 9
    y, x = np.mgrid[: 2 * radius, : 2 * radius] - radius
    ring = np.abs(np.hypot(x, y) - radius * 0.7) < radius * 0.25
    down = 6 if top else height - 2 * radius - 6
    right = 6 if rng.random() < 0.5 else width - 2 * radius - 6
    logo = frames[:, down : down + 2 * radius, right : right + 2 * radius]
    logo[:, ring], logo[:, np.hypot(x, y) < radius * 0.3] = colours
    return frames


def overlaid(frames: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A box over 30 to 40 % of the picture: one colour with some lines of text, or a still."""
    height, width = frames.shape[1:3]
    area, wide = rng.uniform(0.3, 0.4), rng.uniform(0.5, 1.0)
    rows, columns = int(height * min(1.0, area / wide)), int(width * wide)
    top, left = (int(rng.integers(free + 1)) for free in (height - rows, width - columns))
    colours = rng.integers(0, 256, (2, 3), dtype=np.uint8)
    box = np.broadcast_to(colours[0], (rows, columns, 3)).copy()
    if rng.random() < 0.5:
        box = frame_ops.resized(other[:1], rows + 1, columns + 1)[0, :rows, :columns]
    else:
        size = max(1, rows // 40)
        for line in range(size, rows - 8 * size, 14 * size):
            text = lettering(columns // (7 * size) + 1, size, rng)[:, :columns]
            box[line : line + len(text), : text.shape[1]][text] = colours[1]
    return frame_ops.paste(frames, np.broadcast_to(box, (len(frames), *box.shape)), top, left)


def picture_in_picture(
    least: float, most: float
) -> Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]:
    """The clip with `least` to `most` of the host's side, near a corner of the host."""

    def change(frames: np.ndarray, host: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        side = rng.uniform(least, most)
        guest = frame_ops.resized(frames, *(int(s * side) for s in host.shape[1:3]))
        top, left = (
            int(free * rng.choice([rng.uniform(0.02, 0.15), rng.uniform(0.85, 0.98)]))
            for free in (host.shape[1] - guest.shape[1], host.shape[2] - guest.shape[2])
        )
        return frame_ops.paste(host, guest, top, left)

    return change


def split_screen(frames: np.ndarray, host: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Clip and host side by side or one over the other, each whole, squeezed or cut to its half."""
    axis = int(rng.integers(1, 3))
    height, width = SHORT_SIDE, SHORT_SIDE * 4 // 3
    shape = (height // 2, width) if axis == 1 else (height, width // 2)
    halves = []
    for part in (frames, host[np.arange(len(frames)) % len(host)]):
        if rng.random() < 0.5:  # keep the aspect: the middle of it
            rows = min(part.shape[1], int(part.shape[2] * shape[0] / shape[1]))
            columns = min(part.shape[2], int(part.shape[1] * shape[1] / shape[0]))
            top, left = (part.shape[1] - rows) // 2, (part.shape[2] - columns) // 2
            part = part[:, top : top + rows, left : left + columns]
        halves.append(frame_ops.resized(part, *shape))
    order = halves if rng.random() < 0.5 else halves[::-1]
    return np.concatenate(order, axis=axis)


def excerpt(frames: np.ndarray, host: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """3 to 5 s of the clip in 15 to 25 s of the host."""
    count = min(len(frames), int(rng.uniform(*EXCERPT_SECONDS) * FPS))
    first = int(rng.integers(len(frames) - count + 1))
    piece = frame_ops.resized(frames[first : first + count], *host.shape[1:3])
    long = host[np.arange(int(rng.uniform(15, 25) * FPS)) % len(host)]
    where = int(rng.uniform(0.1, 0.9) * len(long))
    return np.concatenate([long[:where], piece, long[where:]])
