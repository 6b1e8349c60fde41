"""What a query frame costs in database frames, with views of all frames and of fewer.

    python benchmarks/performance/query_price.py [--engine keras openvino] [--rounds 5]

Processor time of the feature network on drawn pictures, in turn within one process. Decoding is the
same for both kinds of frames and not in it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.performance.engines import drawn
from pipeline.default_model import default_model_dir
from pipeline.extraction.batching import Slot
from pipeline.extraction.views import SparseViews
from pipeline.nets.extractor.feature_net import FeatureNet
from pipeline.nets.formats.loader import load_model


def processor_seconds(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--engine", nargs="+", default=["keras", "openvino"])
    parser.add_argument("--model_dir", default=str(default_model_dir()))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=12)
    o = parser.parse_args()
    model = load_model(o.model_dir)
    frames = drawn(o.frames, model.input.preprocess.crop)
    slots = [Slot(0, o.frames, np.zeros(o.frames))]
    for engine in o.engine:
        database, queries = (
            FeatureNet(model, "float32", 32, -1, as_queries, engine=engine)
            for as_queries in (False, True)
        )
        kinds: dict[str, Callable[[], object]] = {
            "database frame": lambda net=database: net(frames),  # type: ignore[misc]
            "query frame": lambda net=queries: net(frames),  # type: ignore[misc]
        }
        for step in (2, 3):
            kinds[f"query frame, --view_step {step}"] = lambda net=queries, step=step: SparseViews(  # type: ignore[misc]
                net, step
            )(frames, slots)
        for work in kinds.values():
            work()
        taken = np.array(
            [[processor_seconds(work) for work in kinds.values()] for _ in range(o.rounds)]
        )
        prices = np.median(taken / taken[:, :1], axis=0)
        seconds = np.median(taken, axis=0) / o.frames
        for name, price, second in zip(kinds, prices, seconds, strict=True):
            print(f"{engine:9} {name:27} {1000 * second:6.1f} ms of a processor, {price:4.1f}")


if __name__ == "__main__":
    main()
