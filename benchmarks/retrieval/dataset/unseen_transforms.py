"""What else happens to videos on the web: kinds of copies besides those of `transforms`.

The model's looks, insets and whitening were chosen while the kinds there were looked at. These were
written afterwards, to see what else it finds; signatures as there. Views for turned telephones and
lit rooms were then chosen on their validation copies (benchmarks/NOTES.md).
"""

from __future__ import annotations

import numpy as np

from benchmarks.retrieval.dataset import frame_ops
from benchmarks.retrieval.dataset.sources import FPS, SHORT_SIDE
from benchmarks.retrieval.dataset.transforms import KINDS, Kind
from tools.make_copies import same

TALL = 9 / 16  # width by height, of a telephone held upright
# Colours of a thermal camera, cold to hot.
_HEAT = np.array(
    [[0, 0, 20], [60, 0, 120], [160, 20, 130], [230, 70, 60], [250, 160, 20], [255, 250, 190]]
)


def _quarter_turn(frames: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.rot90(frames, int(rng.choice([1, 3])), axes=(1, 2))


def _tall_crop(frames: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Full height, as wide as an upright telephone shows: a third of most pictures."""
    height, width = frames.shape[1:3]
    columns = min(width, int(height * TALL) // 2 * 2)
    left = int((width - columns) * rng.uniform(0.25, 0.75))
    return frames[:, :, left : left + columns]


def _blurred_bars(frames: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The clip across an upright picture, what is left filled with itself, large and blurred."""
    height, width = frames.shape[1:3]
    rows, columns = SHORT_SIDE * 4 // 3, int(SHORT_SIDE * 4 / 3 * TALL) // 2 * 2
    part = min(width, int(height * columns / rows) // 2 * 2)
    middle = frames[:, :, (width - part) // 2 :][:, :, :part]
    canvas = frame_ops.blurred(frame_ops.resized(middle, rows, columns), 24)
    inside = frame_ops.resized(frames, int(columns * height / width), columns)
    return frame_ops.paste(canvas, inside, (rows - inside.shape[1]) // 2, 0)


def _shaped(
    host: np.ndarray, guest: np.ndarray, mask: np.ndarray, corners: np.ndarray
) -> np.ndarray:
    """The guest over the host where the mask [h, w] is 1, its corner at corners [T, 2]."""
    canvas = host[np.arange(len(guest)) % len(host)].copy()
    height, width = mask.shape
    for frame, top, picture in zip(canvas, corners.astype(int), guest, strict=True):
        place = frame[top[0] : top[0] + height, top[1] : top[1] + width]
        mixed = place + (picture.astype(np.float32) - place) * mask[..., None]
        place[:] = mixed.astype(np.uint8)
    return canvas


def _round_pip(frames: np.ndarray, host: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rounded like an app's window, with a soft edge, 35 to 55 % of the side."""
    rows, columns = (int(s * rng.uniform(0.35, 0.55)) // 2 * 2 for s in host.shape[1:3])
    radius = min(rows, columns) * rng.uniform(0.15, 0.5)
    y, x = (np.abs(np.arange(n) - (n - 1) / 2) for n in (rows, columns))
    away = np.hypot(
        np.maximum(y - rows / 2 + radius, 0)[:, None], np.maximum(x - columns / 2 + radius, 0)
    )
    mask = np.clip((radius - away) / 3, 0, 1)
    free = np.array(host.shape[1:3]) - (rows, columns)
    place = np.tile(free * rng.uniform(0.02, 0.98, 2), (len(frames), 1))
    return _shaped(host, frame_ops.resized(frames, rows, columns), mask, place)


def _moving_pip(frames: np.ndarray, host: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half the side, on its way from one place to another all the time."""
    side = rng.uniform(0.4, 0.55)
    guest = frame_ops.resized(frames, *(int(s * side) for s in host.shape[1:3]))
    free = np.array(host.shape[1:3]) - guest.shape[1:3]
    ends = rng.uniform(0, 1, (2, 2)) * free
    way = np.linspace(0, 1, len(guest))[:, None]
    mask = np.ones(guest.shape[1:3], np.float32)
    return _shaped(host, guest, mask, ends[0] * (1 - way) + ends[1] * way)


def _on_picture(frames: np.ndarray, host: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """60 to 75 % of the side, somewhere on a still."""
    side = rng.uniform(0.6, 0.75)
    guest = frame_ops.resized(frames, *(int(s * side) for s in host.shape[1:3]))
    free = np.array(host.shape[1:3]) - guest.shape[1:3]
    return frame_ops.paste(host[:1], guest, *(free * rng.uniform(0, 1, 2)).astype(int))


def _hand_held(frames: np.ndarray, host: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Filmed off a screen in a lit room by a hand that is never still."""
    height, width = same(frames).shape[1:3]
    inset = rng.uniform(0.05, 0.16, (4, 2))
    room = frame_ops.blurred(frame_ops.resized(host[:1], height, width), 20)[0]
    steps = np.cumsum(rng.normal(0, 1, (len(frames), 2)), axis=0)
    sway = 0.035 * np.sin(steps * 0.5)
    shown = []
    for frame, move in zip(frames, sway, strict=True):
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) + move
        corners = corners + inset * [[1, 1], [-1, 1], [-1, -1], [1, -1]]
        matrix = frame_ops.homography(corners * [width - 1, height - 1], *frame.shape[:2])
        # A level of 1 at least, so that what is black in the clip is not taken for the room.
        seen = frame_ops.warped(np.maximum(frame, 1)[None], matrix, height, width)[0]
        shown.append(np.where(seen.any(axis=-1, keepdims=True), seen, room))
    light = np.stack(shown) * np.float32(0.8) + 30
    return frame_ops.noisy(np.clip(light, 0, 255).astype(np.uint8), 6, rng)


def _blended(frames: np.ndarray, host: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another clip shines through, by 30 to 45 %."""
    frames = same(frames)
    other = frame_ops.resized(host, *frames.shape[1:3])[np.arange(len(frames)) % len(host)]
    share = np.float32(rng.uniform(0.3, 0.45))
    return (frames * (1 - share) + other * share).astype(np.uint8)


def _stickers(frames: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Six discs and squares that wander over the picture."""
    frames = frames.copy()
    height, width = frames.shape[1:3]
    y, x = np.mgrid[:height, :width]
    time = np.arange(len(frames)) / FPS
    for number in range(6):
        radius = height * rng.uniform(0.08, 0.16)
        colour = rng.integers(0, 256, 3)
        speed, phase = rng.uniform(0.2, 1.0, 2), rng.uniform(0, 2 * np.pi, 2)
        for frame, t in zip(frames, time, strict=True):
            down, across = (np.sin(speed * t + phase) + 1) / 2 * (height, width)
            dy, dx = np.abs(y - down), np.abs(x - across)
            frame[(np.hypot(dy, dx) if number % 2 else np.maximum(dy, dx)) < radius] = colour
    return frames


def _false_colour(frames: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    grey = (frames.astype(np.float32) @ np.float32([0.3, 0.59, 0.11])).astype(np.uint8)
    heat = _HEAT[::-1] if rng.random() < 0.3 else _HEAT
    levels = np.linspace(0, 255, len(heat))
    return np.stack([np.interp(np.arange(256), levels, c) for c in heat.T], -1).astype(np.uint8)[
        grey
    ]


def _tape(frames: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An old cassette: colours smeared and shifted, trembling lines, noise, a torn lower edge."""
    frames = same(frames)
    height, width = frames.shape[1:3]
    smeared = frame_ops.resized(frame_ops.resized(frames, height, width // 10), height, width)
    grey = frames.mean(axis=-1, keepdims=True)
    colour = np.roll(smeared, int(rng.integers(3, 9)), axis=2)
    mix = grey + 0.8 * (colour - colour.mean(axis=-1, keepdims=True))
    result = np.clip(mix, 0, 255).astype(np.uint8)
    for frame in result:
        shifts = rng.integers(-1, 2, height)
        shifts[-height // 16 :] += int(rng.integers(5, 25))
        columns = (np.arange(width) + shifts[:, None]) % width
        frame[:] = np.take_along_axis(frame, columns[..., None], axis=1)
    return frame_ops.noisy(result, 16, rng)


def _zooming(frames: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """From the whole picture to half its side, or back."""
    height, width = same(frames).shape[1:3]
    keeps = np.linspace(1, 0.5, len(frames))[:: int(rng.choice([-1, 1]))]
    place = rng.uniform(0, 1, 2)
    return _windows(frames, keeps, np.tile(place, (len(frames), 1)), height, width)


def _shaken(frames: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another 85 % of the picture at every frame."""
    height, width = same(frames).shape[1:3]
    places = rng.uniform(0, 1, (len(frames), 2))
    return _windows(frames, np.full(len(frames), 0.85), places, height, width)


def _windows(
    frames: np.ndarray, keeps: np.ndarray, places: np.ndarray, height: int, width: int
) -> np.ndarray:
    """Of every frame a part `keep` of its sides, at a share of the free way, at one size."""
    shown = []
    for frame, keep, place in zip(frames, keeps, places, strict=True):
        rows, columns = (max(2, int(side * keep)) for side in frame.shape[:2])
        top, left = ((np.array(frame.shape[:2]) - (rows, columns)) * place).astype(int)
        part = frame[None, top : top + rows, left : left + columns]
        shown.append(frame_ops.resized(part, height, width)[0])
    return np.stack(shown)


def _quad(frames: np.ndarray, host: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of four pictures; the others are of one host at three times."""
    height, width = SHORT_SIDE // 2, SHORT_SIDE * 2 // 3
    time = np.arange(len(frames))
    parts = [frame_ops.resized(frames, height, width)]
    small = frame_ops.resized(host, height, width)
    parts += [small[(time + len(small) * i // 3) % len(small)] for i in range(3)]
    a, b, c, d = (parts[i] for i in rng.permutation(4))
    return np.concatenate([np.concatenate([a, b], 2), np.concatenate([c, d], 2)], 1)


def _fisheye(frames: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bent outwards as by a door viewer; what lies outside is black."""
    frames = same(frames)
    height, width = frames.shape[1:3]
    y, x = np.mgrid[:height, :width]
    down, across = (y - height / 2) / (height / 2), (x - width / 2) / (width / 2)
    bend = 1 + rng.uniform(0.25, 0.5) * (down**2 + across**2)
    row = np.rint((down * bend + 1) * height / 2).astype(int)
    column = np.rint((across * bend + 1) * width / 2).astype(int)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    taken = frames[:, np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    return taken * inside[..., None].astype(np.uint8)


def _slides(frames: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One still for every two seconds."""
    step = int(2 * FPS)
    first = int(rng.integers(step))
    return frames[np.minimum(np.arange(len(frames)) // step * step + first, len(frames) - 1)]


def _chain(frames: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two of these kinds and one of the benchmark's, in any order."""
    links = [name for name, kind in WILD_KINDS.items() if kind.chained]
    known = [name for name, kind in KINDS.items() if kind.chained]
    names = [*rng.choice(links, 2, replace=False), rng.choice(known)]
    for name in rng.permutation(names):
        kind = WILD_KINDS.get(str(name)) or KINDS[str(name)]
        frames = kind.change(frames, other, rng)
    return frames


def _backwards(frames: np.ndarray, *_: object) -> np.ndarray:
    return frames[::-1]


WILD_KINDS: dict[str, Kind] = {
    "quarter_turn": Kind(_quarter_turn, chained=False),
    "upside_down": Kind(lambda a, _, rng: a[:, ::-1, ::-1], chained=False),
    "tall_crop": Kind(_tall_crop),
    "blurred_bars": Kind(_blurred_bars),
    "round_pip": Kind(_round_pip, chained=False),
    "moving_pip": Kind(_moving_pip, chained=False),
    "on_picture": Kind(_on_picture),
    "quad": Kind(_quad, chained=False),
    "hand_held": Kind(_hand_held, chained=False),
    "blended": Kind(_blended),
    "stickers": Kind(_stickers),
    "false_colour": Kind(_false_colour),
    "tape": Kind(_tape),
    "fisheye": Kind(_fisheye),
    "zooming": Kind(_zooming, chained=False),
    "shaken": Kind(_shaken),
    "slides": Kind(_slides),
    "backwards": Kind(_backwards),
    "other_chain": Kind(_chain, 250_000, chained=False),
}
EVERY_KIND = KINDS | WILD_KINDS
