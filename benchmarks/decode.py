"""Speed and memory of decoding.

    python benchmarks/decode.py speed VIDEO_OR_FOLDER... [--workers 2]
    python benchmarks/decode.py memory [--hours 0.17 1 10]

`speed` compares the pool with OpenCV decoding every frame one video after the other, in one run:
seconds of video per second of wall time, and processor seconds per minute of video. `memory` joins
one clip to itself until the file is as long as asked, and prints the peak of the decoding process
and of this one.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import av
import numpy as np

from pipeline.decode import Ended, decode_videos
from pipeline.inputs import scan_folder
from pipeline.records import Preprocess, VideoRef


def all_refs(names: list[str]) -> list[VideoRef]:
    refs = []
    for name in names:
        refs += scan_folder(name) if Path(name).is_dir() else [VideoRef(name, name)]
    return refs


def speed(refs: list[VideoRef], workers: int) -> None:
    with decode_videos(refs, Preprocess(), workers=workers) as pool:
        begin = time.perf_counter()
        failed = [e for e in pool if isinstance(e, Ended) and e.failure]
        wall = time.perf_counter() - begin
    stats = pool.stats
    print(
        f"pool      {stats.videos} videos ({len(failed)} failed), {stats.frames} frames, "
        f"{stats.video_seconds:.0f} s of video in {wall:.1f} s: {stats.video_seconds / wall:.0f}x, "
        f"{60 * stats.cpu_seconds / stats.video_seconds:.2f} cpu s a minute of video"
    )
    begin, cpu = time.perf_counter(), time.process_time()
    frames = sum(opencv(ref.path) for ref in refs)
    wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
    print(
        f"OpenCV    {frames} frames decoded and converted in {wall:.1f} s: "
        f"{stats.video_seconds / wall:.0f}x, {60 * cpu / stats.video_seconds:.2f} cpu s a minute"
    )


def opencv(path: str) -> int:
    import cv2

    capture, count = cv2.VideoCapture(path), 0
    while capture.read()[0]:
        count += 1
    return count


def make_long(path: Path, hours: float) -> Path:
    """A 64x48 H.264 video at 25 frames a second; 10 s of it encoded, then repeated."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 12, 16, 3), dtype=np.uint8)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"g": "250", "crf": "35"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        packets = []
        for number in range(250):
            image = noise[number % 20].repeat(4, axis=0).repeat(4, axis=1)
            packets += stream.encode(av.VideoFrame.from_ndarray(image, "rgb24"))
        packets += stream.encode(None)
        data = [(bytes(p), p.pts, p.dts, p.is_keyframe, p.time_base) for p in packets]
        for turn in range(round(hours * 360)):
            for content, pts, dts, key, base in data:
                packet = av.Packet(content)
                shift = round(turn * 10 / base)
                packet.pts, packet.dts, packet.time_base = pts + shift, dts + shift, base
                packet.stream, packet.is_keyframe = stream, key
                out.mux(packet)
    return path


def peak_mb(pid: int | str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def memory(hours: list[float]) -> None:
    for ending in ("mkv", "mp4"):
        for length in hours:
            with tempfile.TemporaryDirectory() as folder:
                path = str(make_long(Path(folder) / f"long.{ending}", length))
                size = Path(path).stat().st_size / 2**20
                frames, child = 0, 0.0
                with decode_videos([VideoRef("long", path)], Preprocess(), workers=1) as pool:
                    begin = time.perf_counter()
                    for event in pool:
                        if not isinstance(event, Ended):
                            child = max([child, *map(peak_mb, pool.pids)])
                    frames, wall = pool.stats.frames, time.perf_counter() - begin
            print(
                f"{ending} {length:g} h ({size:.0f} MiB): {frames} frames in {wall:.0f} s, "
                f"process {child:.0f} MiB, parent {peak_mb('self'):.0f} MiB at most",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("speed")
    one.add_argument("videos", nargs="+")
    one.add_argument("--workers", type=int, default=0)
    two = commands.add_parser("memory")
    two.add_argument("--hours", type=float, nargs="+", default=[1 / 6, 1, 10])
    arguments = parser.parse_args()
    if arguments.command == "speed":
        speed(all_refs(arguments.videos), arguments.workers)
    else:
        memory(arguments.hours)


if __name__ == "__main__":
    main()
