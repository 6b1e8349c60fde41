"""Compares the time of stage one with a naive loop and with the sum of its parts, in one run.

    python benchmarks/performance/stage_one.py VIDEO_OR_FOLDER... [--model_dir model/]
        [--precision auto] [--sampling frames] [--engine keras]

The naive loop is that of the research code: OpenCV decodes every frame of one video after the
other, every round(rate)-th frame is resized, and a video is one float32 batch of its own size (at
most `MAX_BATCH` frames). The lower bound ("floor") is the processor time of decoding alone plus
that of the network alone, divided by the number of cores; where other programs use the machine,
compare processor times. The naive loop needs `pip install opencv-python-headless`, and is left out
without it.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipeline.config import ExtractConfig
from pipeline.decode import Frames, decode_videos
from pipeline.decode.pool import available_cores
from pipeline.errors import PipelineError
from pipeline.extraction.run import extract_features
from pipeline.image.resize import resize_crop
from pipeline.inputs import scan_folder
from pipeline.nets.backend import compiled_for_shapes
from pipeline.nets.extractor.feature_net import FeatureNet
from pipeline.nets.formats.loader import load_model
from pipeline.nets.model.model import Model
from pipeline.records import Preprocess, VideoRef
from pipeline.video import probe


def videos(names: list[str]) -> list[VideoRef]:
    """List all files that can be opened as videos."""
    refs = []
    for name in names:
        refs += scan_folder(name) if Path(name).is_dir() else [VideoRef(name, name)]
    return [ref for ref in refs if _opens(ref.path)]


def _opens(path: str) -> bool:
    try:
        probe(path)
    except PipelineError:
        return False
    return True


MAX_BATCH = 300  # frames of one video at once in the naive loop: 1200 would take over 10 GB


def naive_net(weights: Model) -> FeatureNet:
    """Build the network in float32, compiled once for batches of all sizes."""
    net, crop = FeatureNet(weights, "float32", 1), weights.input.preprocess.crop
    net._run = compiled_for_shapes(net._forward, [((None, crop, crop, 3), "uint8")])
    net(np.zeros((1, crop, crop, 3), np.uint8))
    return net


def naive(refs: list[VideoRef], net: FeatureNet, size: Preprocess) -> int:
    """Run the naive loop; returns the number of frames that went through the network."""
    import cv2

    frames = 0
    for ref in refs:
        capture = cv2.VideoCapture(ref.path)
        rate = capture.get(cv2.CAP_PROP_FPS)
        step = max(1, round(rate if 0 < rate <= 144 else 25))
        picked, count = [], 0
        while True:
            good, frame = capture.read()
            if not good:
                break
            if count % step == 0:
                picked.append(resize_crop(np.ascontiguousarray(frame[..., ::-1]), size))
            count += 1
        if picked:
            net.batch_size = min(len(picked), MAX_BATCH)
            net(np.stack(picked))
            frames += len(picked)
    return frames


def measure(work):  # type: ignore[no-untyped-def]
    """Return result, wall seconds, and processor seconds of this process and ended children."""
    before = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    begin = time.perf_counter()
    result = work()
    wall = time.perf_counter() - begin
    after = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    used = [a.ru_utime + a.ru_stime - b.ru_utime - b.ru_stime
            for a, b in zip(after, before, strict=True)]  # fmt: skip
    return result, wall, sum(used)


def decode(refs: list[VideoRef], size: Preprocess, sampling: str) -> list[np.ndarray]:
    with decode_videos(refs, size, sampling=sampling) as events:
        return [event.images for event in events if isinstance(event, Frames)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--model_dir", default="model/")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--sampling", default="frames")
    parser.add_argument("--engine", default="keras")
    o = parser.parse_args()
    refs, weights = videos(o.videos), load_model(o.model_dir)
    seconds = sum(probe(r.path).duration for r in refs)
    size, config = (
        weights.input.preprocess,
        # Insets would be work that neither the floor nor the naive loop does.
        ExtractConfig(precision=o.precision, sampling=o.sampling, insets=0, engine=o.engine),
    )
    net = FeatureNet(weights, o.precision, config.batch_size, engine=o.engine)
    net(np.zeros((1, size.crop, size.crop, 3), np.uint8))  # compiled before the clock runs

    images, decode_wall, decode_cpu = measure(lambda: decode(refs, size, o.sampling))
    frames = np.concatenate(images)
    _, net_wall, net_cpu = measure(lambda: net(frames))
    floor = (decode_cpu + net_cpu) / available_cores()
    with tempfile.TemporaryDirectory() as folder:
        report, wall, cpu = measure(lambda: extract_features(refs, f"{folder}/s.h5", net, config))
    print(f"{len(refs)} videos, {seconds:.0f} s of video, {len(frames)} frames")
    print(f"network: {net.engine}, {net.precision}")
    print(f"decoding alone  {decode_wall:7.1f} s wall {decode_cpu:7.1f} s cpu")
    print(f"network alone   {net_wall:7.1f} s wall {net_cpu:7.1f} s cpu")
    print(f"stage one       {wall:7.1f} s wall {cpu:7.1f} s cpu, {wall / floor:.2f} of the floor")
    stats = report.decode
    fill = stats.queued_byte_seconds / wall / size.crop**2 / 3
    print(
        f"                network busy {report.network_seconds / wall:.0%} of the wall time, "
        f"waiting for frames {stats.starved_seconds / wall:.0%}; queue holds {fill:.0f} frames "
        f"on average of at most {stats.capacity_bytes / size.crop**2 / 3:.0f}; decoding waited "
        f"for room {stats.blocked_seconds:.1f} s"
    )
    print(f"                in processor time {cpu / (decode_cpu + net_cpu):.2f} of the parts")
    if find_spec("cv2") is None:
        return
    plain = naive_net(weights)
    count, naive_wall, naive_cpu = measure(lambda: naive(refs, plain, size))
    print(f"naive loop      {naive_wall:7.1f} s wall {naive_cpu:7.1f} s cpu, {count} frames")
    print(f"ratio naive / stage one: {naive_wall / wall:.1f}")


if __name__ == "__main__":
    main()
