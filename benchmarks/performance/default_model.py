"""How well the shipped model finds copies, with whitening of several sizes and without.

A first, small measurement on parents that the whitening was not fitted on: every parent (the
clips of `examples/`, videos and panned photographs of Debian 12 packages listed in
`retrieval_sources.txt`) is a query; the database holds the copies of all parents made as
`KINDS` says, and the other parents. mAP as in FIVR-200K: mean over queries of the average
precision, a video being relevant if it shows the query's parent, be it around a piece of
another. uAP: average precision of all pairs in one ranking, so scores must be comparable
between queries.

    python benchmarks/performance/default_model.py UNPACKED_PACKAGES WORK_FOLDER [--precision
        bfloat16]
    python benchmarks/performance/default_model.py UNPACKED_PACKAGES WORK_FOLDER --keyframes 8

`--keyframes` compares the two ways of sampling instead, with the model's own whitening: all videos
are H.264 with scene cuts where x264 finds them and a keyframe at least every so many seconds, and
copies begin 3 s into their parent, as they would otherwise have their keyframes where it has them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipeline.nets.extractor.feature_net import FeatureNet
from pipeline.nets.formats.loader import load_model
from pipeline.nets.model.model import Model
from pipeline.nets.model.whitening import Whitening, unit_vectors
from pipeline.video import sample_frames
from tools.clips import Clip, fit, read_clip, scale, write_clip
from tools.make_copies import EXAMPLES, FPS, SUFFIXES, crop, letterbox, mirror, same

SOURCES = Path(__file__).with_name("retrieval_sources.txt")
SECONDS = 10.0
Change = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (frames, frames of another) -> copy


def pan(photo: np.ndarray, seconds: float = 6.0) -> np.ndarray:
    """A photograph [H, W, 3] as a clip: a window of 80 % moves over it."""
    height, width = (int(side * 0.8) // 2 * 2 for side in photo.shape[:2])
    steps = np.linspace(0, 1, round(seconds * FPS))
    tops = ((photo.shape[0] - height) * steps).astype(int)
    lefts = ((photo.shape[1] - width) * steps).astype(int)
    return np.stack(
        [photo[y : y + height, x : x + width] for y, x in zip(tops, lefts, strict=True)]
    )


def picture_in_picture(frames: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Half as wide and high, in a corner of the other video."""
    host = same(other)[np.arange(len(frames)) % len(other)].copy()
    rows, columns = host.shape[1] // 2, host.shape[2] // 2
    host[:, 8 : 8 + rows, 8 : 8 + columns] = scale(frames, columns, rows)
    return host


def excerpt(frames: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The middle 4 s, with two rounds of the other video before and one after."""
    other = same(other)
    count = min(len(frames), round(4 * FPS))
    first = (len(frames) - count) // 2
    piece = scale(frames[first : first + count], other.shape[2], other.shape[1])
    return np.concatenate([other, other, piece, other])


def blur(frames: np.ndarray) -> np.ndarray:
    """Detail below about 6 % of the picture's height is gone."""
    small = fit(frames.shape[2], frames.shape[1], 32)
    return scale(scale(frames, *small), *fit(frames.shape[2], frames.shape[1], 240))


def darken(frames: np.ndarray) -> np.ndarray:
    """Grey and dark: gamma 1.8, no colour."""
    grey = same(frames).mean(axis=-1, keepdims=True) / 255
    return np.broadcast_to((grey**1.8 * 255).astype(np.uint8), (*grey.shape[:3], 3))


def banner(frames: np.ndarray) -> np.ndarray:
    """A striped box over the lower third."""
    frames = same(frames).copy()
    top = frames.shape[1] * 2 // 3
    frames[:, top:] = np.where(np.arange(frames.shape[2]) // 8 % 2, 230, 40)[:, None]
    return frames


def faster(frames: np.ndarray) -> np.ndarray:
    """Twice the speed."""
    return same(frames)[::2]


# Kind -> (change, bits a second of the MPEG-4 encoder).
KINDS: dict[str, tuple[Change, int]] = {
    "low bit rate": (lambda a, _: same(a), 60_000),
    "crop 70 %": (lambda a, _: crop(a, 0.7), 400_000),
    "crop 50 %": (lambda a, _: crop(a, 0.5), 400_000),
    "letterbox": (lambda a, _: letterbox(a), 400_000),
    "mirror": (lambda a, _: mirror(a), 400_000),
    "grey, dark": (lambda a, _: darken(a), 400_000),
    "blur": (lambda a, _: blur(a), 200_000),
    "banner": (lambda a, _: banner(a), 400_000),
    "speed 2": (lambda a, _: faster(a), 400_000),
    "excerpt": (excerpt, 400_000),
    "picture in picture": (picture_in_picture, 400_000),
    "crop, mirror, grey": (lambda a, _: darken(mirror(crop(a, 0.75))), 150_000),
}


HOSTED = ("excerpt", "picture in picture")


def parents(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """(name, frames) of the examples and of every listed file."""
    listed = [folder / line.split("\t")[1] for line in SOURCES.read_text().splitlines()]
    examples = sorted(p for p in EXAMPLES.iterdir() if p.suffix in SUFFIXES)
    for path in [*examples, *listed]:
        if path.suffix == ".jpg":
            yield path.stem, pan(read_clip(path, FPS, 400).frames[0])
        else:
            yield path.stem, read_clip(path, FPS, 360, duration=SECONDS).frames


@dataclass(frozen=True)
class Entry:
    """One video: a query (kind "") or a copy of `parent`, with `host` around it if any."""

    parent: str
    kind: str
    path: Path
    host: str = ""


def write_set(folder: Path, work: Path, keyframe: float = 0.0) -> list[Entry]:
    """Queries and copies of all parents; existing files are kept.

    With `keyframe` they are H.264 with one at least every so many seconds and copies lack the
    first 3 s (a third if shorter), else MPEG-4.
    """
    codec = "libx264" if keyframe else "mpeg4"
    options = {"g": str(round(keyframe * FPS)), "preset": "veryfast"} if keyframe else {}
    clips = dict(parents(folder))
    names = list(clips)
    entries = []
    for i, name in enumerate(names):
        # Half the list away, so that the other video is rarely of the same studio.
        other = names[(i + len(names) // 2) % len(names)]
        for kind, (change, bits) in {"": (lambda a, _: a, 1_500_000), **KINDS}.items():
            path = work / f"{name}_{''.join(filter(str.isalnum, kind))}.mkv"
            if not path.exists():
                own = clips[name]
                if kind and keyframe:
                    own = own[min(round(3 * FPS), len(own) // 3) :]
                frames = change(own, clips[other])
                frames = scale(frames, *fit(frames.shape[2], frames.shape[1], 400))
                write_clip(path, Clip(frames, FPS), codec, {"b": str(bits), **options})
            entries.append(Entry(name, kind, path, other if kind in HOSTED else ""))
    return entries


def unwhitened(weights: Model) -> Model:
    """The model with the identity in place of its whitening."""
    size = len(weights.whitening.mean)
    identity = Whitening(np.zeros(size, np.float32), np.eye(size, dtype=np.float32), np.ones(size))
    return Model(
        **{**vars(weights), "whitening": identity, "features_digest": "", "attention": None}
    )


def extract(
    weights: Model, paths: list[Path], precision: str = "float32", sampling: str = "frames"
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Region vectors float32 [T, R, D] of every file, one frame a second, not whitened, and their
    seconds [T]."""
    net = FeatureNet(unwhitened(weights), precision)
    found = [list(sample_frames(str(p), net.preprocess, sampling=sampling)) for p in paths]
    vectors = net(np.stack([image for video in found for _, image in video]))
    parts = np.split(vectors, np.cumsum([len(video) for video in found])[:-1])
    return parts, [np.array([seconds for seconds, _ in video]) for video in found]


def whiten(videos: list[np.ndarray], whitening: Whitening | None) -> list[np.ndarray]:
    """As `pipeline.nets.layers.whitening` does, in numpy; None leaves the vectors alone."""
    if whitening is None:
        return videos
    matrix = whitening.eigenvectors / np.sqrt(whitening.eigenvalues)
    white = [(video - whitening.mean) @ matrix for video in videos]
    return [unit_vectors(v) for v in white]


def score_matrix(queries: list[np.ndarray], database: list[np.ndarray]) -> np.ndarray:
    """Chamfer similarity over regions, then over frames (ViSiL_f); [queries, database]."""
    scores = np.empty((len(queries), len(database)))
    everything = np.concatenate(database)
    ends = np.cumsum([len(video) for video in database])[:-1]
    columns = everything.reshape(-1, everything.shape[-1]).T
    for i, query in enumerate(queries):
        dots = query.reshape(-1, query.shape[-1]) @ columns
        dots = dots.reshape(*query.shape[:2], *everything.shape[:2])
        frames = dots.max(axis=3).mean(axis=1)
        scores[i] = [part.max(axis=1).mean() for part in np.split(frames, ends, axis=1)]
    return scores


def average_precision(scores: np.ndarray, relevant: np.ndarray) -> float:
    """Area under precision over recall of one ranking; both [N]."""
    hits = relevant[np.argsort(-scores, kind="stable")]
    return float((np.cumsum(hits)[hits] / (np.flatnonzero(hits) + 1)).mean())


def evaluate(entries: list[Entry], videos: list[np.ndarray]) -> dict[str, float]:
    """Figures by name: mAP, uAP, scores of strangers, recall, and the mAP of each kind alone.

    `stranger 1 %` is the score that 1 % of the pairs without a common parent exceed (the false
    positive rate of a threshold there), `recall 1 %` the part of the copies above it.
    """
    parent, host, kinds = (
        np.array([getattr(entry, key) for entry in entries]) for key in ("parent", "host", "kind")
    )
    queries = np.flatnonzero(kinds == "")
    scores = score_matrix([videos[i] for i in queries], videos)
    own = parent[queries][:, None] == parent
    shown = own | (parent[queries][:, None] == host)
    rest = ~(own & (kinds == ""))  # a query is not its own neighbour
    result = {
        "mAP": _mean_ap(scores, shown, rest),
        "uAP": average_precision(scores[rest], shown[rest]),
    }
    for percent in (1, 0.1):
        bar = float(np.percentile(scores[~shown], 100 - percent))
        result[f"stranger {percent} %"] = bar
        result[f"recall {percent} %"] = float((scores[shown & rest] > bar).mean())
    for kind in KINDS:
        of_kind = own & (kinds == kind)
        result[kind] = _mean_ap(scores, of_kind, of_kind | ~shown)
    return result


def _mean_ap(scores: np.ndarray, relevant: np.ndarray, counted: np.ndarray) -> float:
    rows = zip(scores, relevant, counted, strict=True)
    return float(np.mean([average_precision(s[c], r[c]) for s, r, c in rows]))


def both_samplings(
    weights: Model, paths: list[Path], precision: str
) -> dict[str, list[np.ndarray]]:
    """Whitened vectors of every video by frames and by keyframes; these as they are stored, once
    each, and repeated for every second that they are the nearest to."""
    frames, _ = extract(weights, paths, precision)
    keys, times = extract(weights, paths, precision, "keyframes")
    nearest = [
        np.abs(np.arange(len(video))[:, None] - seconds).argmin(axis=1)
        for video, seconds in zip(frames, times, strict=True)
    ]
    repeated = [video[rows] for video, rows in zip(keys, nearest, strict=True)]
    print(f"{sum(map(len, frames))} frames, {sum(map(len, keys))} keyframes")
    columns = {"frames": frames, "keyframes": keys, "repeated": repeated}
    return {name: whiten(videos, weights.whitening) for name, videos in columns.items()}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", type=Path, help="below which the packages are unpacked")
    parser.add_argument("work", type=Path, help="folder for the clips")
    parser.add_argument("--model_dir", type=Path, default=EXAMPLES.parent / "model")
    parser.add_argument("--precision", default="float32", help="of the backbone")
    parser.add_argument(
        "--keyframes", type=float, default=0.0, metavar="SECONDS", help="compare keyframe sampling"
    )
    options = parser.parse_args()
    weights = load_model(options.model_dir)
    entries = write_set(options.folder, options.work, options.keyframes)
    paths = [entry.path for entry in entries]
    print(f"{len({e.parent for e in entries})} parents, {len(paths)} videos")
    if options.keyframes:
        columns = both_samplings(weights, paths, options.precision)
    else:
        videos, _ = extract(weights, paths, options.precision)
        variants: dict[str, Whitening | None] = {"not whitened": None}
        for dims in (128, 256, 512):
            if dims <= weights.dims:
                variants[f"{dims} dims"] = weights.whitening.first(dims)
        columns = {name: whiten(videos, whitening) for name, whitening in variants.items()}
        print(f"{sum(map(len, videos))} frames")
    table = {name: evaluate(entries, videos) for name, videos in columns.items()}
    print(f"{'':20}" + "".join(f"{name:>14}" for name in table))
    for row in next(iter(table.values())):
        print(f"{row:20}" + "".join(f"{column[row]:14.3f}" for column in table.values()))


if __name__ == "__main__":
    main()
