"""Speed and memory of decoding.

    python benchmarks/performance/decode.py speed VIDEO_OR_FOLDER... [--workers 2]
    python benchmarks/performance/decode.py selective VIDEO_OR_FOLDER... [--fps 1]
    python benchmarks/performance/decode.py keyframes VIDEO_OR_FOLDER... [--fps 1]
    python benchmarks/performance/decode.py reading VIDEO_OR_FOLDER...
    python benchmarks/performance/decode.py hwaccel VIDEO_OR_FOLDER... [--device cuda] [--workers 4]
    python benchmarks/performance/decode.py threads VIDEO_OR_FOLDER...
    python benchmarks/performance/decode.py memory [--hours 0.17 1 10]

`speed` compares the pool with OpenCV, which decodes every frame of one video after the other:
seconds of video per second of wall time, and processor seconds per minute of video. `selective`
compares decoding the packets that samples need with decoding all, and checks that the samples are
equal. `keyframes` compares full decoding, selective decoding and keyframes only. `reading` compares
reading all packets with seeking from keyframe to keyframe. `hwaccel` compares software with a
device (on a GPU machine), and checks that the frames are equal. `threads` compares two videos at
once with one thread each, and one video after the other with two threads (`encode_videos.py` makes
videos for both). `memory` repeats one clip up to a number of hours, and prints the peak memory of
the decoding process and of this one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipeline.decode import Ended, decode_videos
from pipeline.inputs import scan_folder
from pipeline.records import Preprocess, VideoRef
from pipeline.video import VideoDecoder


class Full(VideoDecoder):
    """Decodes every packet."""

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, full=True, **how)


class FullTwoThreads(Full):
    """The same with as many threads as the machine of the notes has cores."""

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        context = self._reader.stream.codec_context
        context.thread_count, context.thread_type = 2, "AUTO"


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


def selective(refs: list[VideoRef], fps: float) -> None:
    total = {True: 0.0, False: 0.0}
    for ref in refs:
        samples, spent = {}, {}
        for full in (True, False, True, False):  # the first of each is for the page cache
            decoder = VideoDecoder(ref.path, Preprocess(), fps, full=full)
            begin = time.process_time()
            samples[full] = [(seconds, image.tobytes()) for seconds, image in decoder]
            spent[full] = time.process_time() - begin
        same = "same samples" if samples[True] == samples[False] else "OTHER SAMPLES"
        how = "selective" if decoder.selective else "in full"
        total = {full: total[full] + spent[full] for full in total}
        print(
            f"{Path(ref.path).name:26} {len(samples[True])} samples, cpu s full {spent[True]:.2f}, "
            f"{how} {spent[False]:.2f}: {spent[True] / spent[False]:.2f}x, {same}",
            flush=True,
        )
    print(f"all {total[True]:.2f} and {total[False]:.2f}: {total[True] / total[False]:.2f}x")


def keyframes(refs: list[VideoRef], fps: float) -> None:
    ways: list[dict[str, Any]] = [{"full": True}, {}, {"sampling": "keyframes"}]
    total = np.zeros(len(ways))
    print(f"{'':26} samples, keyframes; cpu s: full, selective, keyframes; gain over both")
    for ref in refs:
        spent, counts = [], []
        for way in ways:
            for _ in range(2):  # the first is for the page cache
                begin = time.process_time()
                count = sum(1 for _ in VideoDecoder(ref.path, Preprocess(), fps, **way))
                cost = time.process_time() - begin
            spent.append(cost)
            counts.append(count)
        total += spent
        full, part, keys = spent
        print(
            f"{Path(ref.path).name:26} {counts[0]:5} {counts[2]:4}   {full:6.2f} {part:6.2f} "
            f"{keys:6.3f}   {full / keys:5.1f}x {part / keys:5.1f}x",
            flush=True,
        )
    full, part, keys = total
    print(f"all {full:.2f} {part:.2f} {keys:.2f}: {full / keys:.1f}x, {part / keys:.1f}x")


def reading(refs: list[VideoRef]) -> None:
    for ref in refs:
        with av.open(ref.path) as container:
            stream = container.streams.video[0]
            begin = time.process_time()
            keys = [p.pts for p in container.demux(stream) if p.size and p.is_keyframe]
            middle = time.process_time()
            size = 0
            for pts in keys:
                container.seek(pts, stream=stream)
                size += next(container.demux(stream)).size
            end = time.process_time()
        print(
            f"{Path(ref.path).name:26} {len(keys)} keyframes, {size / 1e6:.1f} of "
            f"{Path(ref.path).stat().st_size / 1e6:.1f} MB; cpu ms reading all "
            f"{1000 * (middle - begin):.1f}, seeking {1000 * (end - middle):.1f}",
            flush=True,
        )


def hwaccel(refs: list[VideoRef], device: str, workers: int) -> None:
    for name in ("none", device):
        begin = time.perf_counter()
        with decode_videos(refs, Preprocess(), workers=workers, hwaccel=name) as pool:
            for _ in pool:
                pass
        wall, stats = time.perf_counter() - begin, pool.stats
        print(
            f"{name:6} {stats.frames} frames of {stats.videos} videos ({stats.failed} failed), "
            f"{stats.on_device} decoded on a device, {wall:.1f} s wall, {stats.cpu_seconds:.1f} "
            f"cpu s, {stats.video_seconds / wall:.0f}x real time",
            flush=True,
        )
    if not stats.on_device:
        print(f"no device {device!r} here, or none that knows these codecs: nothing was compared")
        return
    for ref in refs:
        same, on = True, VideoDecoder(ref.path, Preprocess(), hwaccel=device)
        pairs = zip(on, VideoDecoder(ref.path, Preprocess()), strict=True)
        for (seconds, image), (other, expected) in pairs:
            same &= seconds == other and np.array_equal(image, expected)
        where = "on the device" if on.on_device else "in software"
        print(f"{Path(ref.path).name:26} {where}, {'same' if same else 'OTHER'} frames", flush=True)


def threads(refs: list[VideoRef]) -> None:
    for turn in (1, 2):
        for text, workers, kind in [
            ("2 videos at once, 1 thread each", 2, "Full"),
            ("1 video at once, 2 threads", 1, "FullTwoThreads"),
            ("2 videos at once, selective", 2, "VideoDecoder"),
        ]:
            module = "pipeline.video" if kind == "VideoDecoder" else "decode"
            begin = time.perf_counter()
            where = f"{module}:{kind}"
            with decode_videos(refs, Preprocess(), workers=workers, decoder=where) as pool:
                for _ in pool:
                    pass
            wall, stats = time.perf_counter() - begin, pool.stats
            print(
                f"{turn} {text:32} {stats.frames} frames, {stats.failed} failed, "
                f"{wall:.1f} s wall, {stats.cpu_seconds:.1f} cpu s",
                flush=True,
            )


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
    speed_parser = commands.add_parser("speed")
    speed_parser.add_argument("videos", nargs="+")
    speed_parser.add_argument("--workers", type=int, default=0)
    memory_parser = commands.add_parser("memory")
    memory_parser.add_argument("--hours", type=float, nargs="+", default=[1 / 6, 1, 10])
    selective_parser = commands.add_parser("selective")
    selective_parser.add_argument("videos", nargs="+")
    selective_parser.add_argument("--fps", type=float, default=1.0)
    for name in ("threads", "reading"):
        commands.add_parser(name).add_argument("videos", nargs="+")
    keyframes_parser = commands.add_parser("keyframes")
    keyframes_parser.add_argument("videos", nargs="+")
    keyframes_parser.add_argument("--fps", type=float, default=1.0)
    hwaccel_parser = commands.add_parser("hwaccel")
    hwaccel_parser.add_argument("videos", nargs="+")
    hwaccel_parser.add_argument("--device", default="cuda")
    hwaccel_parser.add_argument("--workers", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.command == "speed":
        speed(all_refs(arguments.videos), arguments.workers)
    elif arguments.command == "selective":
        selective(all_refs(arguments.videos), arguments.fps)
    elif arguments.command == "keyframes":
        keyframes(all_refs(arguments.videos), arguments.fps)
    elif arguments.command == "reading":
        reading(all_refs(arguments.videos))
    elif arguments.command == "hwaccel":
        hwaccel(all_refs(arguments.videos), arguments.device, arguments.workers)
    elif arguments.command == "threads":
        threads(all_refs(arguments.videos))
    else:
        memory(arguments.hours)


if __name__ == "__main__":
    main()
