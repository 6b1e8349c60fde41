"""The videos, frame sequences and photographs that the set is made of, and the clips cut of them.

`sources.tsv` has one source a line: package, version, path, parent, split, clips at most. All
sources of one parent (a film, a game, a place that was filmed) are in one split. A camera that
never moves gives one clip or two, as parts of such a video are hardly different videos. A path
with `*` is a sequence of pictures, shown `FPS` a second; a photograph becomes a clip by panning
and zooming.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tools.clips import fit, read_clip, scale

TABLE = Path(__file__).with_name("sources.tsv")
SPLITS = ("train", "validation", "test")
STILLS = (".jpg", ".jpeg", ".png", ".webp", ".ppm", ".pgm")
FPS = 10.0  # of all clips and copies
SHORT_SIDE = 240  # pixels
SHORTEST, LONGEST = 5.0, 14.0  # seconds of a clip


@dataclass(frozen=True)
class Source:
    """One line of `sources.tsv`; `path` is below the folder of unpacked packages.

    `most_clips` is how many clips are cut from it at most.
    """

    package: str
    version: str
    path: str
    parent: str
    split: str
    most_clips: int = 1

    @property
    def is_photo(self) -> bool:
        """A single picture."""
        return "*" not in self.path and Path(self.path).suffix.lower() in STILLS

    @property
    def name(self) -> str:
        """Short and unique: file name and four letters for the whole path."""
        stem = Path(self.path).parent.name if "*" in self.path else Path(self.path).stem
        plain = "".join(c if c.isalnum() else "_" for c in stem)[:24].strip("_")
        return f"{plain}_{zlib.crc32(self.path.encode()):08x}"[:-4]


def read_sources(table: Path = TABLE) -> list[Source]:
    """All lines of the table.

    Raises:
        ValueError: a line without six columns, an unknown split, or a parent in two splits.
    """
    sources, split_of = [], {}
    for number, line in enumerate(table.read_text(encoding="utf-8").splitlines(), start=1):
        columns = line.split("\t")
        if len(columns) != 6 or columns[4] not in SPLITS:
            raise ValueError(
                f"{table}:{number}: expected package, version, path, parent, split, clips"
            )
        source = Source(*columns[:5], int(columns[5]))
        if split_of.setdefault(source.parent, source.split) != source.split:
            raise ValueError(f"{table}:{number}: parent {source.parent} is in two splits")
        sources.append(source)
    return sources


def missing(sources: list[Source], folder: Path) -> list[Source]:
    """Those whose file is not below the folder."""
    return [s for s in sources if not any(folder.glob(_escaped(s.path)))]


def read_source(source: Source, folder: Path) -> np.ndarray:
    """All frames a source has to show, uint8 [T, H, W, 3] at `FPS`, short side `SHORT_SIDE`.

    Short ones run there and back until they last `SHORTEST` seconds.
    """
    if source.is_photo:
        photo = read_clip(folder / source.path, 1.0, short_side=640).frames[0]
        return pan(photo, np.random.default_rng(zlib.crc32(source.path.encode())))
    if "*" in source.path:
        pictures = sorted(folder.glob(source.path))
        frames = np.concatenate([read_clip(p, 1.0, SHORT_SIDE).frames[:1] for p in pictures])
    else:
        frames = read_clip(folder / source.path, FPS, SHORT_SIDE).frames
    frames = scale(frames, *fit(frames.shape[2], frames.shape[1], SHORT_SIDE))
    round_trip = np.concatenate([frames, frames[::-1]])
    rounds = max(1, int(np.ceil(SHORTEST * FPS / len(round_trip))))
    return frames if len(frames) >= SHORTEST * FPS else np.concatenate([round_trip] * rounds)


def pan(photo: np.ndarray, rng: np.random.Generator, seconds: float = 8.0) -> np.ndarray:
    """A window that moves over a photograph [H, W, 3] and changes its size; 4:3."""
    most = min(photo.shape[0], photo.shape[1] * 3 // 4)
    heights = np.linspace(*(most * rng.uniform(0.55, 0.95, 2)), round(seconds * FPS))
    wheres = np.linspace(rng.uniform(0, 1, 2), rng.uniform(0, 1, 2), len(heights))
    frames = []
    for height, (down, right) in zip(heights.astype(int), wheres, strict=True):
        width = height * 4 // 3
        top, left = int((photo.shape[0] - height) * down), int((photo.shape[1] - width) * right)
        window = photo[top : top + height, left : left + width]
        frames.append(scale(window[None], SHORT_SIDE * 4 // 3, SHORT_SIDE)[0])
    return np.stack(frames)


def cut(frame_count: int, name: str, most_clips: int) -> list[tuple[int, int]]:
    """First and last + 1 frame of the clips of a source, one after another, 5 to 14 s each.

    Lengths by chance, but always the same for a name; a short source is one clip.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    cuts, first = [], 0
    while len(cuts) < most_clips and (not cuts or frame_count - first >= SHORTEST * FPS):
        length = int(rng.uniform(SHORTEST + 1, LONGEST) * FPS)
        if frame_count - first - length < SHORTEST * FPS:  # no rest too short for a clip
            length = min(frame_count - first, int(LONGEST * FPS))
        cuts.append((first, first + length))
        first += length
    return cuts


def _escaped(path: str) -> str:
    """A pattern for glob in which only `*` is special."""
    return "".join(f"[{c}]" if c in "[?" else c for c in path)
