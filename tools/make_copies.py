"""Makes copies of the example clips, as they are found in the wild, to try the pipeline on.

    python tools/make_copies.py OUT_DIR [--examples FOLDER]

Every clip is copied five ways (see `COPIES`). OUT_DIR then holds the copies, `queries.txt` (the
untouched clips), `database.txt` (the copies), both as `id<TAB>path` lines, and `truth.txt`:
`id of a copy<TAB>ids of the clips in it, comma-separated`. Same input, same pixels.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.clips import Clip, fit, read_clip, scale, write_clip

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SUFFIXES = (".mp4", ".webm", ".mkv", ".avi")
FPS = 10.0  # of the copies: half or less of the originals', as re-uploads often have
SHORT_SIDE = 288  # pixels, at most, before a copy is made
_X264 = {"preset": "ultrafast"}


@dataclass(frozen=True)
class Copies:
    """What `make_copies` wrote.

    Attributes:
        queries, database: list files, `id<TAB>path` lines.
        truth: id of a copy -> ids of the clips it shows.
    """

    queries: Path
    database: Path
    truth: dict[str, tuple[str, ...]]


def same(frames: np.ndarray) -> np.ndarray:
    """Nothing but the encoder changes the frames."""
    return scale(frames, *fit(frames.shape[2], frames.shape[1], 240))


def crop(frames: np.ndarray, keep: float = 0.7) -> np.ndarray:
    """The part `keep` of width and height, off centre."""
    height, width = frames.shape[1:3]
    rows, columns = int(height * keep) // 2 * 2, int(width * keep) // 2 * 2
    top, left = (height - rows) // 3, (width - columns) * 2 // 3
    return frames[:, top : top + rows, left : left + columns]


def letterbox(frames: np.ndarray, width: int = 320, height: int = 240) -> np.ndarray:
    """Scaled into width x height, aspect kept, the rest black."""
    factor = min(width / frames.shape[2], height / frames.shape[1])
    columns, rows = int(frames.shape[2] * factor), int(frames.shape[1] * factor)
    canvas = np.zeros((len(frames), height, width, 3), np.uint8)
    top, left = (height - rows) // 2, (width - columns) // 2
    canvas[:, top : top + rows, left : left + columns] = scale(frames, columns, rows)
    return canvas


def mirror(frames: np.ndarray) -> np.ndarray:
    """Left and right exchanged."""
    return same(frames)[:, :, ::-1]


def insert(host: np.ndarray, guest: np.ndarray, seconds: float = 5.0) -> np.ndarray:
    """The middle `seconds` of `guest`, scaled to the host's size, in the middle of `host`."""
    host = same(host)
    count = min(len(guest), round(seconds * FPS))
    first = (len(guest) - count) // 2
    piece = scale(guest[first : first + count], host.shape[2], host.shape[1])
    half = len(host) // 2
    return np.concatenate([host[:half], piece, host[half:]])


# Kind -> (what is done to the frames, container, encoder, its options).
COPIES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str, str, dict[str, str]]] = {
    "recompressed": (same, ".avi", "mpeg4", {"b": "120000"}),
    "cropped": (crop, ".mp4", "libx264", {**_X264, "crf": "30"}),
    "letterboxed": (letterbox, ".mkv", "libx264", {**_X264, "crf": "26"}),
    "mirrored": (mirror, ".avi", "mjpeg", {"b": "1500000"}),
}


def make_copies(out_dir: str | Path, examples: str | Path = EXAMPLES) -> Copies:
    """Write copies of all clips in a folder, and the lists; see the module's text.

    Args:
        out_dir: folder to write into, made if missing; files of the same names are replaced.
        examples: folder of clips; their names without suffix become the ids.

    Raises:
        ValueError: fewer than two clips: a piece of one goes into another.
    """
    out = Path(out_dir).resolve()
    paths = sorted(p for p in Path(examples).resolve().iterdir() if p.suffix in SUFFIXES)
    if len(paths) < 2:
        raise ValueError(f"{examples}: {len(paths)} video files, at least 2 are needed")
    clips = {path.stem: read_clip(path, FPS, SHORT_SIDE).frames for path in paths}
    files: dict[str, Path] = {}
    truth: dict[str, tuple[str, ...]] = {}
    names = list(clips)
    for i, name in enumerate(names):
        for kind, (change, suffix, codec, options) in COPIES.items():
            copy = f"{name}_{kind}"
            files[copy], truth[copy] = out / f"{copy}{suffix}", (name,)
            write_clip(files[copy], Clip(change(clips[name]), FPS), codec, options)
        guest = names[(i + 1) % len(names)]
        copy = f"{guest}_in_{name}"
        files[copy], truth[copy] = out / f"{copy}.mp4", (guest, name)
        frames = insert(clips[name], clips[guest])
        write_clip(files[copy], Clip(frames, FPS), "libx264", {**_X264, "crf": "28"})
    queries = _write_list(out / "queries.txt", {p.stem: str(p) for p in paths})
    database = _write_list(out / "database.txt", {k: str(p) for k, p in files.items()})
    _write_list(out / "truth.txt", {k: ",".join(v) for k, v in truth.items()})
    return Copies(queries, database, truth)


def read_truth(path: str | Path) -> dict[str, tuple[str, ...]]:
    """`truth.txt` as `Copies.truth` has it."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    pairs = (line.split("\t") for line in lines)
    return {copy: tuple(names.split(",")) for copy, names in pairs}


def _write_list(path: Path, lines: dict[str, str]) -> Path:
    text = "".join(f"{key}\t{value}\n" for key, value in lines.items())
    path.write_text(text, encoding="utf-8")
    return path


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--examples", type=Path, default=EXAMPLES, help="folder of clips")
    options = parser.parse_args()
    copies = make_copies(options.out_dir, options.examples)
    print(f"{len(copies.truth)} copies listed in {copies.database}")


if __name__ == "__main__":
    main()
