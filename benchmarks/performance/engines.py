"""Frames a second of the feature network by TensorFlow and by OpenVINO, in turn in one process.

    python benchmarks/performance/engines.py [--frames VIDEO_OR_FOLDER...] [--rounds 5] [--batch 32]

For database and query frames: frames a second by the clock and a core (processor time), the ratio
of each round's pair (median), the least cosine of two descriptors of one frame, and the share of
values that differ as float16, with the largest distance in steps of float16. Needs
`pip install openvino`. Without --frames pictures are drawn. Threads: TF_NUM_INTRAOP_THREADS, else
all cores.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.performance.stage_one import decode, videos
from pipeline.default_model import default_model_dir
from pipeline.nets.extractor.feature_net import FeatureNet
from pipeline.nets.formats.loader import load_model


def drawn(count: int, side: int) -> np.ndarray:
    """Pictures of coloured squares, uint8 [count, side, side, 3]."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 14, 14, 3), np.uint8)
    return coarse.repeat(side // 14, 1).repeat(side // 14, 2)


def float16_steps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How many float16 values lie between two arrays, plus one where they differ."""

    def order(x: np.ndarray) -> np.ndarray:
        bits = x.astype(np.float16).view(np.int16).astype(np.int32)
        return np.where(bits < 0, -(bits & 0x7FFF), bits)

    return np.abs(order(a) - order(b))


def clocks(net: FeatureNet, frames: np.ndarray) -> tuple[float, float]:
    """Seconds of clock and of processors for these frames."""
    wall, cpu = time.perf_counter(), time.process_time()
    net(frames)
    return time.perf_counter() - wall, time.process_time() - cpu


def compare(frames: np.ndarray, model_dir: str, as_queries: bool, rounds: int) -> None:
    """Print the lines for one kind of frames."""
    model, nets = load_model(model_dir), {}
    for engine in ("keras", "openvino"):
        begin = time.perf_counter()
        nets[engine] = FeatureNet(model, "float32", 32, -1, as_queries, engine=engine)
        nets[engine](frames[:1])
        print(f"  {engine}: first frame after {time.perf_counter() - begin:.1f} s")
        if nets[engine].engine != engine:
            raise SystemExit("; ".join(nets[engine].notes))
    outputs = [net(frames) for net in nets.values()]
    turns = [[clocks(net, frames) for net in nets.values()] for _ in range(rounds)]
    taken = np.array(turns)  # [round, engine, clock or processor]
    for engine, seconds in zip(nets, np.median(taken, axis=0), strict=True):
        wall, cpu = len(frames) / seconds
        print(f"  {engine:9} {wall:7.1f} frames/s, {cpu:6.1f} frames per second of a processor")
    ratio = np.median(taken[:, 0] / taken[:, 1], axis=0)
    cosine = (outputs[0] * outputs[1]).sum(-1).min()
    steps = float16_steps(*outputs)
    print(f"  ratio {ratio[0]:.2f} by the clock, {ratio[1]:.2f} in processor time")
    print(f"  least cosine {cosine:.7f}; as float16 {(steps > 0).mean():.2%} of the values differ, "
          f"{(steps > 1).mean():.3%} by more than one step, by {steps.max()} at most")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--frames", nargs="*", default=[], metavar="VIDEO_OR_FOLDER")
    parser.add_argument("--model_dir", default=str(default_model_dir()))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32, help="database frames of a round")
    o = parser.parse_args()
    size = load_model(o.model_dir).input.preprocess
    if o.frames:
        frames = np.concatenate(decode(videos(o.frames), size, "frames"))
        frames = frames[:: max(1, len(frames) // o.batch)][: o.batch]
    else:
        frames = drawn(o.batch, size.crop)
    for name, as_queries, count in (("database", False, o.batch), ("queries", True, o.batch // 4)):
        print(f"{name}, {count} frames")
        compare(frames[:count], o.model_dir, as_queries, o.rounds)


if __name__ == "__main__":
    main()
