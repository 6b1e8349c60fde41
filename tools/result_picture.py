"""Draws one query of the demo with its best matches and their scores: the picture of README.md.

    pip install pillow
    make demo
    python tools/result_picture.py results.json demo docs/result.jpg

Every still is a frame of the query in `examples/` or of a copy in the folder of the demo.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.clips import read_clip
from tools.demo import calibrated_threshold, read_results
from tools.make_copies import EXAMPLES, SUFFIXES, read_truth

COLUMNS = 4
WIDTH, HEIGHT = 220, 165  # pixels of one still
TEXT = 40  # pixels below a still
GAP = 8
BLACK, COPY, UNRELATED = "#1f2328", "#1a7f37", "#cf222e"


def video_path(folder: Path, name: str) -> Path:
    """The file in `folder` that is called `name` with one of the endings of a video."""
    return next(folder / f"{name}{s}" for s in SUFFIXES if (folder / f"{name}{s}").exists())


def still(path: Path, position: float) -> Image.Image:
    """One frame of a video, fitted into WIDTH x HEIGHT on white.

    Args:
        path: video file.
        position: 0 for the first frame, 1 for the last.
    """
    frames: np.ndarray = read_clip(path, fps=5.0).frames
    frame = Image.fromarray(frames[round(position * (len(frames) - 1))])
    frame.thumbnail((WIDTH, HEIGHT))
    tile = Image.new("RGB", (WIDTH, HEIGHT + TEXT), "white")
    tile.paste(frame, ((WIDTH - frame.width) // 2, (HEIGHT - frame.height) // 2))
    return tile


def labelled(tile: Image.Image, name: str, text: str, colour: str) -> Image.Image:
    """The tile with a name and a second line of text below its still."""
    draw = ImageDraw.Draw(tile)
    draw.text((4, HEIGHT + 2), name, BLACK, font=ImageFont.load_default(14))
    draw.text((4, HEIGHT + 19), text, colour, font=ImageFont.load_default(15))
    return tile


def position_of(query: str, shown: tuple[str, ...]) -> float:
    """Where a copy shows the query: a piece of the first clip is in the middle of the second."""
    return 0.15 if len(shown) == 2 and query == shown[1] else 0.5


def picture(results: Path, folder: Path, query: str, unrelated: int) -> Image.Image:
    """The query, all of its copies by falling score, and the best unrelated videos."""
    scores = read_results(results)[0][query]
    truth = read_truth(folder / "truth.txt")
    ranking = sorted(scores, key=lambda name: -scores[name])
    names = [name for name in ranking if query in truth[name]]
    names += [name for name in ranking if query not in truth[name]][:unrelated]
    tiles = [labelled(still(video_path(EXAMPLES, query), 0.5), query, "the query", BLACK)]
    for name in names:
        tile = still(video_path(folder, name), position_of(query, truth[name]))
        is_copy = scores[name] >= calibrated_threshold()
        text = f"{scores[name]:.3f}  {'copy' if is_copy else 'unrelated'}"
        tiles.append(labelled(tile, name, text, COPY if is_copy else UNRELATED))
    rows = -(-len(tiles) // COLUMNS)
    size = (COLUMNS * (WIDTH + GAP) + GAP, rows * (HEIGHT + TEXT + GAP) + GAP)
    sheet = Image.new("RGB", size, "white")
    for i, tile in enumerate(tiles):
        row, column = divmod(i, COLUMNS)
        sheet.paste(tile, (GAP + column * (WIDTH + GAP), GAP + row * (HEIGHT + TEXT + GAP)))
    return sheet


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("results", type=Path, help="JSON file of stage two")
    parser.add_argument("folder", type=Path, help="folder that make_copies.py filled")
    parser.add_argument("output", type=Path, help="picture to write (.jpg or .png)")
    parser.add_argument("--query", default="launch", help="id of the query")
    parser.add_argument("--unrelated", type=int, default=1, help="unrelated videos to show")
    options = parser.parse_args()
    sheet = picture(options.results, options.folder, options.query, options.unrelated)
    sheet.save(options.output, quality=85)


if __name__ == "__main__":
    main()
