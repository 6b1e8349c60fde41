"""Longer videos made of short ones, in the usual codecs and sizes.

    python benchmarks/performance/encode_videos.py FOLDER SOURCE... [--seconds 60]     # for
        `decode.py`
    python benchmarks/performance/encode_videos.py FOLDER SOURCE... --mixed            # for
        `stage_one.py`

`--mixed` makes a folder as archives are: 240 to 1080 lines, 5 s to 20 min, mostly H.264. Long ones
are the sources one after the other, over and over, so scenes change as often as in the sources.
Files that are there are kept; `--only 'h264*'` makes a part, as all of it takes minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from fnmatch import fnmatch
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av

KINDS = {  # name: codec, height, its options as commonly used
    "h264_720.mp4": ("libx264", 720, {"preset": "medium"}),  # 3 B-frames, a keyframe in 250
    "h264_720_gop1s.mp4": ("libx264", 720, {"preset": "medium", "g": "25"}),
    "h264_720_gop2s.ts": ("libx264", 720, {"preset": "medium", "g": "50"}),
    "h264_720_baseline.mp4": ("libx264", 720, {"preset": "medium", "profile": "baseline"}),
    "h264_1080.mkv": ("libx264", 1080, {"preset": "medium"}),
    "hevc_720.mp4": ("libx265", 720, {"preset": "fast", "x265-params": "log-level=none"}),
    "vp9_720.webm": ("libvpx-vp9", 720, {"deadline": "good", "cpu-used": "5", "b": "1500k"}),
    "vp8_480.webm": ("libvpx", 480, {"deadline": "good", "cpu-used": "5", "b": "1M"}),
    "mpeg4_480.avi": ("mpeg4", 480, {"bf": "2", "g": "250", "b": "1500k"}),
    "mpeg4_480_no_b.mp4": ("mpeg4", 480, {"g": "250", "b": "1500k"}),
    "mpeg2_576.ts": ("mpeg2video", 576, {"bf": "2", "g": "12", "b": "5M"}),
    "mjpeg_720.avi": ("mjpeg", 720, {"b": "20M"}),
    "prores_720.mov": ("prores", 720, {}),
}

MEDIUM, VERYFAST = {"preset": "medium"}, {"preset": "veryfast"}
HEVC = {"preset": "fast", "x265-params": "log-level=none"}
MIXED = {  # name: codec, height, its options, seconds
    "h264_360_20min.mp4": ("libx264", 360, VERYFAST, 1200),
    "h264_480_5min.mp4": ("libx264", 480, VERYFAST, 300),
    "h264_720_2min.mp4": ("libx264", 720, MEDIUM, 120),
    "h264_720_20s.mkv": ("libx264", 720, MEDIUM, 20),
    "h264_720_phone.mp4": ("libx264", 720, {"preset": "veryfast", "g": "25", "bf": "0"}, 12),
    "h264_1080_1min.mp4": ("libx264", 1080, VERYFAST, 60),
    "h264_1080_15s.mkv": ("libx264", 1080, MEDIUM, 15),
    "h264_360_45s.mp4": ("libx264", 360, MEDIUM, 45),
    "h264_360_8s.mp4": ("libx264", 360, VERYFAST, 8),
    "h264_240_5s.mp4": ("libx264", 240, MEDIUM, 5),
    "h264_240_90s.mp4": ("libx264", 240, VERYFAST, 90),
    "hevc_720_30s.mp4": ("libx265", 720, HEVC, 30),
    "hevc_1080_8s.mp4": ("libx265", 1080, HEVC, 8),
    "vp9_480_1min.webm": (
        "libvpx-vp9", 480, {"deadline": "realtime", "cpu-used": "6", "b": "1M"}, 60
    ),
    "mpeg4_480_90s.avi": ("mpeg4", 480, {"bf": "2", "g": "250", "b": "1500k"}, 90),
    "mpeg2_576_30s.ts": ("mpeg2video", 576, {"bf": "2", "g": "12", "b": "5M"}, 30),
    "mjpeg_480_15s.avi": ("mjpeg", 480, {"b": "10M"}, 15),
}  # fmt: skip


def looped(sources: list[str], height: int) -> Any:
    """Frames of the sources, each forth and back for about ten seconds, without end."""
    while True:
        for source in sources:
            with av.open(source) as container:
                frames = list(islice(container.decode(video=0), 125))
            for frame in frames + frames[::-1]:
                yield frame.reformat(height * 16 // 9 // 2 * 2, height)


def joined(sources: list[str], height: int) -> Any:
    """Frames of the sources, each played once, over and over."""
    while True:
        for source in sources:
            with av.open(source) as container:
                for frame in container.decode(video=0):
                    yield frame.reformat(
                        height * 16 // 9 // 2 * 2, height, interpolation="FAST_BILINEAR"
                    )


def write(
    path: Path, frames: Iterator[Any], codec: str, height: int, options: dict[str, str]
) -> None:
    """Encode frames of that height at 25 a second; the file has its name once it is whole."""
    part = path.with_name(f"part_{path.name}")
    with av.open(str(part), "w") as out:
        stream = out.add_stream(codec, rate=25, options=options)
        stream.width, stream.height = height * 16 // 9 // 2 * 2, height
        stream.pix_fmt = {"mjpeg": "yuvj420p", "prores": "yuv422p10le"}.get(codec, "yuv420p")
        stream.codec_context.thread_count = 2
        if "b" in options:
            stream.bit_rate = int(options["b"].replace("k", "000").replace("M", "000000"))
        for number, frame in enumerate(frames):
            frame = frame.reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base, frame.pict_type = number, Fraction(1, 25), 0
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    part.rename(path)
    print(path.name, path.stat().st_size >> 10, "KiB", flush=True)


def encode(folder: Path, sources: list[str], seconds: float) -> None:
    for name, (codec, height, options) in KINDS.items():
        frames = islice(looped(sources, height), round(25 * seconds))
        write(folder / name, frames, codec, height, options)


def encode_mixed(folder: Path, sources: list[str], only: str) -> None:
    for number, (name, (codec, height, options, seconds)) in enumerate(MIXED.items()):
        if not fnmatch(name, only) or (folder / name).exists():
            continue
        first = number % len(sources)  # every video begins with another one
        frames = joined(sources[first:] + sources[:first], height)
        write(folder / name, islice(frames, 25 * seconds), codec, height, options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--mixed", action="store_true", help="a folder as archives are")
    parser.add_argument("--only", default="*", help="with --mixed: pattern of names to make")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if arguments.mixed:
        encode_mixed(arguments.folder, arguments.videos, arguments.only)
    else:
        encode(arguments.folder, arguments.videos, arguments.seconds)


if __name__ == "__main__":
    main()
