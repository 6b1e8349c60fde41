"""Overlays of a copy: bars, captions, boxes, another video around or beside the clip.

Frames are uint8 [T, H, W, 3]. A host is frames of an unrelated clip, of any size and length.
"""

from __future__ import annotations

import numpy as np

from ...video.reencode import resize_frames


def add_bars(frames: np.ndarray, host: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Black (or dark) bars above and below, or on both sides, 8 to 28 % of the side each."""
    height, width = frames.shape[1:3]
    share = rng.uniform(0.08, 0.28)
    canvas = np.empty_like(frames)
    canvas[:] = rng.integers(0, 30, 3) if rng.random() < 0.4 else 0
    if rng.random() < 0.6:
        edge = int(height * share)
        canvas[:, edge : height - edge] = resize_frames(frames, height - 2 * edge, width)
    else:
        edge = int(width * share)
        canvas[:, :, edge : width - edge] = resize_frames(frames, height, width - 2 * edge)
    return canvas


def add_captions(frames: np.ndarray, host: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One to three lines of writing, some on a band, and a mark in a corner."""
    frames = frames.copy()
    height, width = frames.shape[1:3]
    for _ in range(int(rng.integers(1, 4))):
        size = int(rng.integers(max(1, height // 130), max(2, height // 45) + 1))
        text = letters_image(int(rng.integers(6, 26)), size, rng)[: height - 2, : width - 2]
        top = int(rng.integers(height - text.shape[0]))
        left = int(rng.integers(width - text.shape[1]))
        if rng.random() < 0.5:
            band = frames[:, max(0, top - 2 * size) : top + text.shape[0] + 2 * size]
            band[:] = band // 4 if rng.random() < 0.5 else rng.integers(0, 256, 3, dtype=np.uint8)
        place = frames[:, top : top + text.shape[0], left : left + text.shape[1]]
        place[:, text] = rng.choice([0, 255]) if rng.random() < 0.7 else rng.integers(0, 256, 3)
    side = int(height * rng.uniform(0.1, 0.25))
    top, left = (int(rng.choice([4, span - side - 4])) for span in (height, width))
    y, x = (np.mgrid[:side, :side] - side / 2) / (side / 2)
    distance = np.hypot(x, y) if rng.random() < 0.5 else np.maximum(np.abs(x), np.abs(y))
    mark = frames[:, top : top + side, left : left + side]
    mark[:, (distance < 0.9) & (distance > 0.55)] = rng.integers(0, 256, 3, dtype=np.uint8)
    mark[:, distance < 0.3] = rng.integers(0, 256, 3, dtype=np.uint8)
    return frames


def cover(frames: np.ndarray, host: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """15 to 40 % of the picture under a box: a colour, a still, or writing."""
    frames = frames.copy()
    height, width = frames.shape[1:3]
    area, wide = rng.uniform(0.15, 0.4), rng.uniform(0.45, 1.0)
    rows, columns = int(height * min(1.0, area / wide)), int(width * wide)
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    box = np.empty((rows, columns, 3), np.uint8)
    box[:] = rng.integers(0, 256, 3)
    if rng.random() < 0.4:
        box = resize_frames(host[:1], rows, columns)[0]
    elif rng.random() < 0.7:
        size = int(rng.integers(1, 4))
        for line in range(2 * size, rows - 8 * size, 12 * size):
            text = letters_image(columns // (5 * size), size, rng)[:, : columns - size]
            box[line : line + len(text), : text.shape[1]][text] = rng.integers(0, 256, 3)
    frames[:, top : top + rows, left : left + columns] = box
    return frames


def show_as_inset(frames: np.ndarray, host: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The clip as a picture in the host's, 25 to 55 % of its side, anywhere."""
    height, width = frames.shape[1:3]
    share = rng.uniform(0.25, 0.55)
    rows, columns = int(height * share), int(width * share * np.exp(rng.uniform(-0.1, 0.1)))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    canvas = resize_frames(_repeat_to(host, frames), height, width).copy()
    canvas[:, top : top + rows, left : left + columns] = resize_frames(frames, rows, columns)
    return canvas


def place_beside(frames: np.ndarray, host: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Clip and host share the picture, each squeezed into its part or cut to its shape."""
    height, width = frames.shape[1:3]
    share = rng.uniform(0.4, 0.6)
    across = rng.random() < 0.6
    edge = int((width if across else height) * share)
    first = (height, edge) if across else (edge, width)
    second = (height, width - edge) if across else (height - edge, width)
    pair = [frames, _repeat_to(host, frames)]
    if rng.random() < 0.5:
        pair.reverse()
    cut = rng.random() < 0.5
    shapes = zip(pair, (first, second), strict=True)
    parts = [resize_frames(_cut_to_shape(p, *s) if cut else p, *s) for p, s in shapes]
    return np.concatenate(parts, axis=2 if across else 1)


def letters_image(letters: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """bool [7 size, 6 letters size]: made-up letters of 5 x 4 cells, words between gaps."""
    cells = np.zeros((7, letters * 6), bool)
    for i in np.flatnonzero(rng.random(letters) > 0.15):
        strokes = rng.random((5, 4)) < 0.25
        strokes[:, int(rng.integers(4))] |= rng.random(5) < 0.9
        strokes[int(rng.integers(5))] |= rng.random(4) < 0.9
        cells[1:6, 6 * i + 1 : 6 * i + 5] = strokes
    return cells.repeat(size, axis=0).repeat(size, axis=1)


def _repeat_to(host: np.ndarray, frames: np.ndarray) -> np.ndarray:
    return host[np.arange(len(frames)) % len(host)]


def _cut_to_shape(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of the picture, as large as fits with this aspect."""
    rows, columns = frames.shape[1:3]
    tall = max(2, min(rows, int(columns * height / width)))
    wide = max(2, min(columns, int(rows * width / height)))
    top, left = (rows - tall) // 2, (columns - wide) // 2
    return frames[:, top : top + tall, left : left + wide]
