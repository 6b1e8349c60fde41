"""Longer videos made of short ones, in the usual codecs and sizes, for `decode.py`.

python benchmarks/encode_videos.py FOLDER SOURCE... [--seconds 60]
"""

from __future__ import annotations

import argparse
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


def looped(sources: list[str], height: int) -> Any:
    """Frames of the sources, each forth and back for about ten seconds, without end."""
    while True:
        for source in sources:
            with av.open(source) as container:
                frames = list(islice(container.decode(video=0), 125))
            for frame in frames + frames[::-1]:
                yield frame.reformat(height * 16 // 9 // 2 * 2, height)


def encode(folder: str, sources: list[str], seconds: float) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, (codec, height, options) in KINDS.items():
        with av.open(f"{folder}/{name}", "w") as out:
            stream = out.add_stream(codec, rate=25, options=options)
            stream.width, stream.height = height * 16 // 9 // 2 * 2, height
            stream.pix_fmt = {"mjpeg": "yuvj420p", "prores": "yuv422p10le"}.get(codec, "yuv420p")
            stream.codec_context.thread_count = 2
            if "b" in options:
                stream.bit_rate = int(options["b"].replace("k", "000").replace("M", "000000"))
            for number, frame in enumerate(islice(looped(sources, height), round(25 * seconds))):
                frame = frame.reformat(format=stream.pix_fmt)
                frame.pts, frame.time_base, frame.pict_type = number, Fraction(1, 25), 0
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        print(name, Path(f"{folder}/{name}").stat().st_size >> 10, "KiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    encode(arguments.folder, arguments.videos, arguments.seconds)


if __name__ == "__main__":
    main()
