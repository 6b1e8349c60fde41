"""Frames a second of the feature network by TensorFlow and by OpenVINO, in turn in one process.

    python benchmarks/performance/engines.py [--frames VIDEO_OR_FOLDER...] [--rounds 5] [--batch 32]
        [--networks keras openvino openvino:bfloat16]

For database and query frames: frames a second by the clock and a core (processor time), the ratio
of each round's time to that of the first network (median), the cosine of two descriptors of one
frame, least and mean, and the share of values that differ as float16. Needs `pip install openvino`.
Without --frames pictures are drawn. Threads: TF_NUM_INTRAOP_THREADS, else all cores.
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


def compare(
    frames: np.ndarray, model_dir: str, as_queries: bool, rounds: int, networks: list[str]
) -> None:
    """Print the lines for one kind of frames."""
    model, nets = load_model(model_dir), {}
    for name in networks:
        engine, _, precision = name.partition(":")
        begin = time.perf_counter()
        net = FeatureNet(model, precision or "float32", 32, -1, as_queries, engine=engine)
        net(frames[:1])
        print(f"  {name}: first frame after {time.perf_counter() - begin:.1f} s")
        if net.engine != engine:
            raise SystemExit("; ".join(net.notes))
        nets[name] = net
    outputs = [net(frames) for net in nets.values()]
    turns = [[clocks(net, frames) for net in nets.values()] for _ in range(rounds)]
    taken = np.array(turns)  # [round, network, clock or processor]
    ratios = np.median(taken[:, :1] / taken, axis=0)
    for i, (name, seconds) in enumerate(zip(nets, np.median(taken, axis=0), strict=True)):
        wall, cpu = len(frames) / seconds
        line = f"  {name:17} {wall:6.1f} frames/s, {cpu:5.1f} per second of a processor"
        if i:
            cosine = (outputs[0] * outputs[i]).sum(-1)
            steps = float16_steps(outputs[0], outputs[i])
            line += (
                f"; ratio {ratios[i][0]:.2f} by the clock, {ratios[i][1]:.2f} in processor time; "
                f"cosine {cosine.min():.7f} least, {cosine.mean():.5f} mean; as float16 "
                f"{(steps > 0).mean():.2%} of the values differ, {(steps > 1).mean():.3%} by more "
                "than one step"
            )
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--frames", nargs="*", default=[], metavar="VIDEO_OR_FOLDER")
    parser.add_argument("--model_dir", default=str(default_model_dir()))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32, help="database frames of a round")
    parser.add_argument("--networks", nargs="+", default=["keras", "openvino"])
    o = parser.parse_args()
    size = load_model(o.model_dir).input.preprocess
    if o.frames:
        frames = np.concatenate(decode(videos(o.frames), size, "frames"))
        frames = frames[:: max(1, len(frames) // o.batch)][: o.batch]
    else:
        frames = drawn(o.batch, size.crop)
    for name, as_queries, count in (("database", False, o.batch), ("queries", True, o.batch // 4)):
        print(f"{name}, {count} frames")
        compare(frames[:count], o.model_dir, as_queries, o.rounds, o.networks)


if __name__ == "__main__":
    main()
