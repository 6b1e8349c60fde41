"""Videos of which every second is known: what is shown when, and so where two of them match.

    python -m benchmarks.retrieval.dataset.timed SET_DIR [--split validation] [--workers 2]

A timed video is a list of pieces of clips. Two videos match where they show the same frames of a
clip. SET_DIR/SPLIT/timed then holds `videos/`, `queries.txt` and `database.txt` (`id<TAB>path` a
line), `segments.tsv` (query, database video, its category, query start and end, database start and
end in seconds) and `uncounted.tsv` (pairs that are neither a match nor unrelated). The split has
to be built before (`dataset.build`), since pieces are cut from its clips. Existing files are kept.
"""

from __future__ import annotations

import argparse
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.retrieval.dataset import frame_ops
from benchmarks.retrieval.dataset.build import clips_of
from benchmarks.retrieval.dataset.plan import Clip, roles
from benchmarks.retrieval.dataset.sources import FPS, SPLITS
from benchmarks.retrieval.dataset.transforms import KINDS
from tools import clips as files

SEED = 23
HEIGHT, WIDTH = 240, 320
# What happens to the picture of a copied piece. None of these kinds changes the time.
PICTURE_KINDS = (
    "recompressed",
    "scale_aspect",
    "crop_60_80",
    "letterbox",
    "logo_text",
    "overlay",
    "colour",
    "grey",
    "mirror",
    "blur_noise",
    "rotation",
    "camera",
    "pip_50",
    "split_screen",
)
HOST_KINDS = ("pip_50", "split_screen")  # they show a host beside the clip
SPEEDS = (0.5, 0.7, 1.4, 2.0)
COPIES = {"whole": 2, "speed": 1, "reordered": 2, "excerpt": 2, "embedded": 1}  # of every query
PARTS = 8  # of a compilation
COMPILATIONS_OF_A_QUERY = 3
LONG_QUERIES = 8
SHORTEST_MATCH = 1.0  # seconds; pairs that share less are not counted
BITS = "300000"


@dataclass(frozen=True)
class Piece:
    """Frames `first` up to but without `last` of a clip's file.

    Attributes:
        speed: frames of the clip for one frame of the video.
        kind: of `PICTURE_KINDS`; empty shows the clip as it is.
        host: shown beside the clip by `HOST_KINDS`.
    """

    clip: Clip
    first: int
    last: int
    speed: float = 1.0
    kind: str = ""
    host: Clip | None = None

    @property
    def frames(self) -> int:
        """Frames of the video that show this piece."""
        return int((self.last - self.first) / self.speed)


@dataclass(frozen=True)
class TimedVideo:
    """A video as a list of pieces; `category` says how it was put together."""

    name: str
    category: str
    pieces: tuple[Piece, ...]

    @property
    def seconds(self) -> float:
        """Length of the video."""
        return sum(piece.frames for piece in self.pieces) / FPS


Match = tuple[float, float, float, float]  # query start and end, database start and end, seconds


def matches(query: TimedVideo, video: TimedVideo) -> list[Match]:
    """Where both videos show the same frames of a clip, in the order of the query's pieces."""
    found = []
    for ours, our_start in _placed(query):
        for theirs, their_start in _placed(video):
            if ours.clip.name != theirs.clip.name:
                continue
            first, last = max(ours.first, theirs.first), min(ours.last, theirs.last)
            if first < last:
                ends = [
                    start + (frame - piece.first) / FPS / piece.speed
                    for piece, start in ((ours, our_start), (theirs, their_start))
                    for frame in (first, last)
                ]
                found.append((ends[0], ends[1], ends[2], ends[3]))
    return found


def is_uncounted(query: TimedVideo, video: TimedVideo) -> bool:
    """Whether the pair is no match to be found, but not unrelated either.

    It shares less than `SHORTEST_MATCH`, or both show parts of one film: one has the other's clip
    as a host, or another minute of a camera that stands still.
    """
    found = matches(query, video)
    if found:
        return max(min(b - a, d - c) for a, b, c, d in found) < SHORTEST_MATCH
    films = [
        {clip.source.path for piece in v.pieces for clip in (piece.clip, piece.host) if clip}
        for v in (query, video)
    ]
    return bool(films[0] & films[1])


def plan_timed(clips: Sequence[Clip]) -> tuple[list[TimedVideo], list[TimedVideo]]:
    """Queries and database of a split; depends on nothing but the clips.

    Queries are the split's query clips as they are, and some that show a few of them, one after
    another, among distractors. The database holds copies of the query clips and all distractors.
    """
    rng = np.random.default_rng(SEED)
    asked, distractors = roles(clips)
    queries = [TimedVideo(c.name, "clip", (_whole(c),)) for c in asked]
    for number in range(min(LONG_QUERIES, len(asked) // 2)):
        parts = [asked[i] for i in rng.choice(len(asked), 2, replace=False)]
        others = _hosts(parts[0], distractors, rng)
        chosen = [next(others), parts[0], next(others), parts[1]]
        pieces = tuple(_whole(c) for c in chosen)
        queries.append(TimedVideo(f"long_{number}", "long", pieces))
    database = []
    for clip in asked:
        for category, count in COPIES.items():
            for number in range(count):
                pieces = _CATEGORIES[category](clip, distractors, rng)
                name = f"{clip.name}-{category}-{number}"
                database.append(TimedVideo(name, category, tuple(pieces)))
    database += _compilations(asked, distractors, rng)
    database += [TimedVideo(c.name, "distractor", (_whole(c),)) for c in distractors]
    return queries, database


def _placed(video: TimedVideo) -> Iterator[tuple[Piece, float]]:
    """Pieces and the second at which each begins."""
    frames = 0
    for piece in video.pieces:
        yield piece, frames / FPS
        frames += piece.frames


def _length(clip: Clip) -> int:
    return clip.last - clip.first


def _whole(clip: Clip) -> Piece:
    return Piece(clip, 0, _length(clip))


def _hosts(clip: Clip, distractors: Sequence[Clip], rng: np.random.Generator) -> Iterator[Clip]:
    """Distractors of other parents by chance, each once before any comes again."""
    others = [d for d in distractors if d.source.parent != clip.source.parent]
    if not others:
        raise ValueError(f"{clip.name}: no distractor of another parent")
    while True:
        yield from (others[i] for i in rng.permutation(len(others)))


def _copied(
    clip: Clip,
    first: int,
    last: int,
    distractors: Sequence[Clip],
    rng: np.random.Generator,
    speed: float = 1.0,
) -> Piece:
    kind = str(rng.choice(PICTURE_KINDS))
    host = next(_hosts(clip, distractors, rng)) if kind in HOST_KINDS else None
    return Piece(clip, first, last, speed, kind, host)


def _trimmed(clip: Clip, rng: np.random.Generator) -> tuple[int, int]:
    """First and last frame of a copy that lacks up to half a second at either end."""
    most = int(FPS / 2)
    return int(rng.integers(most + 1)), _length(clip) - int(rng.integers(most + 1))


def _whole_copy(clip: Clip, others: Sequence[Clip], rng: np.random.Generator) -> list[Piece]:
    return [_copied(clip, *_trimmed(clip, rng), others, rng)]


def _speed(clip: Clip, others: Sequence[Clip], rng: np.random.Generator) -> list[Piece]:
    speed = float(rng.choice(SPEEDS))
    return [_copied(clip, *_trimmed(clip, rng), others, rng, speed)]


def _reordered(clip: Clip, others: Sequence[Clip], rng: np.random.Generator) -> list[Piece]:
    """Three to five parts in another order, at most as many as last 2 s each."""
    count = min(int(rng.integers(3, 6)), max(2, int(_length(clip) / FPS / 2)))
    ends = np.linspace(0, _length(clip), count + 1).astype(int)
    order = np.roll(rng.permutation(count), 1)
    if (np.diff(order) == 1).any():
        order = np.arange(count)[::-1]
    whole = _copied(clip, 0, _length(clip), others, rng)
    return [Piece(clip, int(ends[i]), int(ends[i + 1]), 1.0, whole.kind, whole.host) for i in order]


def _among_hosts(
    clip: Clip, piece: Piece, frames: int, others: Sequence[Clip], rng: np.random.Generator
) -> list[Piece]:
    """The piece at a place by chance in a video of so many frames."""
    room = max(0, frames - piece.frames)
    before = int(rng.uniform(0.05, 0.95) * room)
    hosts = _hosts(clip, others, rng)
    return [*_filled(hosts, before), piece, *_filled(hosts, room - before)]


def _filled(hosts: Iterator[Clip], frames: int) -> list[Piece]:
    """Pieces of hosts, as many as make so many frames."""
    pieces = []
    while frames > 0:
        host = next(hosts)
        count = min(frames, _length(host))
        pieces.append(Piece(host, 0, count))
        frames -= count
    return pieces


def _excerpt(clip: Clip, others: Sequence[Clip], rng: np.random.Generator) -> list[Piece]:
    """3 to 5 s of the clip in a minute of others."""
    count = min(_length(clip), int(rng.uniform(3.0, 5.0) * FPS))
    first = int(rng.integers(_length(clip) - count + 1))
    piece = _copied(clip, first, first + count, others, rng)
    return _among_hosts(clip, piece, int(60 * FPS), others, rng)


def _embedded(clip: Clip, others: Sequence[Clip], rng: np.random.Generator) -> list[Piece]:
    """All of the clip, but for half a second at its ends, in 30 to 50 s."""
    piece = _copied(clip, *_trimmed(clip, rng), others, rng)
    return _among_hosts(clip, piece, int(rng.uniform(30, 50) * FPS), others, rng)


def _compilations(
    clips: Sequence[Clip], distractors: Sequence[Clip], rng: np.random.Generator
) -> list[TimedVideo]:
    """`PARTS` pieces of 4 to 8 s of different clips, one after another."""
    made = []
    for number in range(max(1, len(clips) * COMPILATIONS_OF_A_QUERY // PARTS)):
        pieces = []
        for i in rng.permutation(len(clips))[:PARTS]:
            count = min(_length(clips[i]), int(rng.uniform(4.0, 8.0) * FPS))
            first = int(rng.integers(_length(clips[i]) - count + 1))
            pieces.append(_copied(clips[i], first, first + count, distractors, rng))
        made.append(TimedVideo(f"compilation_{number}", "compilation", tuple(pieces)))
    return made


_CATEGORIES: dict[
    str, Callable[[Clip, Sequence[Clip], np.random.Generator], list[Piece]]
] = {
    "whole": _whole_copy,
    "speed": _speed,
    "reordered": _reordered,
    "excerpt": _excerpt,
    "embedded": _embedded,
}  # fmt: skip


def render(video: TimedVideo, split_dir: Path) -> np.ndarray:
    """All frames, uint8 [T, HEIGHT, WIDTH, 3]; the same for the same name."""
    rng = np.random.default_rng([SEED, zlib.crc32(video.name.encode())])
    seed = int(rng.integers(1 << 31))  # parts of a reordered clip look alike
    parts = []
    for piece in video.pieces:
        frames = _frames(split_dir, piece.clip)[piece.first : piece.last]
        frames = frames[(np.arange(piece.frames) * piece.speed).astype(int)]
        if piece.kind:
            other = frames if piece.host is None else _frames(split_dir, piece.host)
            own = np.random.default_rng([seed, zlib.crc32(piece.clip.name.encode())])
            frames = KINDS[piece.kind].change(frames, other, own)
        parts.append(frame_ops.resized(frames, HEIGHT, WIDTH))
    return np.concatenate(parts)


def write_video(video: TimedVideo, split_dir: Path) -> None:
    """Make one file, unless it exists."""
    path = split_dir / "timed" / "videos" / f"{video.name}.mp4"
    if path.exists():
        return
    unfinished = path.with_name(f"unfinished_{path.name}")
    clip = files.Clip(render(video, split_dir), FPS)
    files.write_clip(unfinished, clip, "libx264", {"preset": "ultrafast", "b": BITS})
    os.replace(unfinished, path)


def build_timed(split: str, out: Path, workers: int) -> tuple[list[TimedVideo], list[TimedVideo]]:
    """Videos, lists and truth of one split.

    Raises:
        FileNotFoundError: the split was not built.
    """
    split_dir = out / split
    queries, database = plan_timed(clips_of(split, split_dir))
    folder = split_dir / "timed"
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        make = partial(write_video, split_dir=split_dir)
        for _ in pool.map(make, [*queries, *database], chunksize=4):
            pass
    for name, videos in (("queries", queries), ("database", database)):
        paths = [(folder / "videos" / f"{v.name}.mp4").resolve() for v in videos]
        _text(
            folder / f"{name}.txt", [f"{v.name}\t{p}" for v, p in zip(videos, paths, strict=True)]
        )
    _text(folder / "segments.tsv", list(_segment_lines(queries, database)))
    pairs = ((q, v) for q in queries for v in database if is_uncounted(q, v))
    _text(folder / "uncounted.tsv", [f"{q.name}\t{v.name}" for q, v in pairs])
    return queries, database


def _segment_lines(queries: Sequence[TimedVideo], database: Sequence[TimedVideo]) -> Iterator[str]:
    for query in queries:
        for video in database:
            if not is_uncounted(query, video):
                for ends in matches(query, video):
                    times = "\t".join(f"{t:.3f}" for t in ends)
                    yield f"{query.name}\t{video.name}\t{video.category}\t{times}"


@lru_cache(maxsize=40)
def _frames(split_dir: Path, clip: Clip) -> np.ndarray:
    """All frames of a clip as `dataset.build` wrote it, scaled to one size."""
    frames = files.read_clip(split_dir / "clips" / f"{clip.name}.mp4", FPS).frames
    return frame_ops.resized(frames[: _length(clip)], HEIGHT, WIDTH)


def _text(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def main(report: Callable[[str], None] = print) -> int:
    """Command line; exit code 2 if the split was not built."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("set_dir", type=Path)
    parser.add_argument("--split", choices=SPLITS, default="validation")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    try:
        queries, database = build_timed(options.split, options.set_dir, options.workers)
    except FileNotFoundError as error:
        report(str(error))
        return 2
    seconds = sum(video.seconds for video in database)
    report(f"{len(queries)} queries, {len(database)} database videos, {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
