"""Stage two's overlap: reading, placing on the device and comparing, each alone and all at once.

    python benchmarks/performance/streaming.py FOLDER [--database 1000] [--queries 1 10] [--kind h5
        zarr]
        [--dtype float16 int8 binary] [--precision float32] [--comparator] [--block_mb 32]

Made-up features of 60 frames (`growth.py` makes the stores). For each store and number of queries,
medians of `--rounds` in turn: all blocks read; all blocks placed; all blocks compared, placed
beforehand; and the stage as it runs. Of int8 and binary stores also placing what was decoded
in numpy: in stage two the device decodes. The bar is 1.15 of the slowest of the three alone. As the
three share the processor where there is no GPU, its seconds are printed as well: their sum
over the cores is the other floor.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.performance.growth import make, spec
from benchmarks.performance.similarity import random_weights
from pipeline.config import CompareConfig
from pipeline.decode.pool import available_cores
from pipeline.default_model import default_model_dir
from pipeline.nets.backend import ops
from pipeline.nets.formats.loader import load_model
from pipeline.nets.similarity.pair_scorer import PairScorer
from pipeline.quantization import ENCODINGS, dequantize
from pipeline.search.engine import database_block_frames
from pipeline.search.limits import Limits
from pipeline.search.request import SearchRequest
from pipeline.search.run import score_table
from pipeline.search.score_sink import DenseScores
from pipeline.search.scoring import LoadedBlock, ScoringLoop
from pipeline.search.video_set import VideoSet
from pipeline.store import open_store


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds."""
    begin, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begin, time.process_time() - cpu


def parts(
    queries: VideoSet, database: VideoSet, weights: object, config: CompareConfig
) -> dict[str, Callable[[], object]]:
    """The three steps alone; each does the work of the whole database."""
    scorer = PairScorer(weights, "chamfer", config.precision)  # type: ignore[arg-type]
    loop = ScoringLoop(scorer, "chamfer", config.batch_size)
    query_reader = loop.query_reader(queries)
    reader = loop.reader(database, database_block_frames(config.block_mb, database, Limits()))
    blocks = reader.plan.blocks
    vectors = [reader.read(block) for block in blocks[:2]]
    targets = [
        LoadedBlock(b, scorer.place_targets(v)) for b, v in zip(blocks, vectors, strict=False)
    ]
    resident = [
        LoadedBlock(block, scorer.place_queries(query_reader.read(block)))
        for block in query_reader.plan.blocks
    ]
    sink = DenseScores(np.full((len(queries), len(database)), -np.inf, np.float32))

    def read() -> None:
        for block in blocks:
            reader.read(block)

    def place(on_host: bool = False) -> None:
        for i in range(len(blocks)):
            block = vectors[i % len(vectors)]
            side = scorer.place_targets(dequantize(block, database.spec.dims) if on_host else block)
            ops.convert_to_numpy(ops.cast(side.tiles[-1]["regions"][0, 0], "float32"))

    def work() -> None:
        scores = loop.pair_scores(query_reader, reader)
        for i in range(len(blocks)):
            for block in resident:
                loop.score_block(scores, block, targets[i % len(targets)], sink)

    steps = {"read": read, "place": place, "compare": work}
    if database.dtype.kind != "f":
        steps["decoded on the host, placed"] = lambda: place(on_host=True)
    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--database", type=int, default=1000)
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--kind", nargs="+", choices=("h5", "zarr"), default=["h5", "zarr"])
    parser.add_argument("--dtype", nargs="+", choices=tuple(ENCODINGS), default=["float16"])
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--comparator", action="store_true", help="of random weights")
    parser.add_argument("--block_mb", type=int, default=CompareConfig.block_mb)
    parser.add_argument("--rounds", type=int, default=3)
    o = parser.parse_args()
    config = CompareConfig(precision=o.precision, block_mb=o.block_mb, load_queries=True)
    made_with, weights = spec(), load_model(default_model_dir())
    if o.comparator:
        object.__setattr__(weights, "comparator", random_weights(made_with.dims).comparator)
    for kind, dtype in itertools.product(o.kind, o.dtype):
        ending = f"{dtype}.{kind}"
        database = make(o.folder / f"d{o.database}.{ending}", o.database, 60, made_with, dtype)
        for count in o.queries:
            queries = make(o.folder / f"q{count}.{kind}", count, 60, made_with)
            with open_store(queries) as q, open_store(database) as d:
                sides = VideoSet([q]), VideoSet([d])
                runs = parts(*sides, weights, config)
                runs["whole"] = lambda s=sides: score_table(SearchRequest(*s, weights, config))
                for run in runs.values():
                    run()
                times = [{name: timed(run) for name, run in runs.items()} for _ in range(o.rounds)]
                size = int(sides[1].lengths.sum())
                gigabytes = size * d.frame_bytes / 1e9
            report(f"{kind}, {dtype}, {count} queries", gigabytes, size, times)


def report(
    name: str, gigabytes: float, frames: int, times: list[dict[str, tuple[float, float]]]
) -> None:
    """Seconds of each step; GB/s are of stored bytes."""
    wall = {k: float(np.median([t[k][0] for t in times])) for k in times[0]}
    cpu = {k: float(np.median([t[k][1] for t in times])) for k in times[0]}
    steps = ("read", "place", "compare")
    alone = max(wall[k] for k in steps)
    shared = sum(cpu[k] for k in steps) / available_cores()
    print(f"{name}, {gigabytes:.3f} GB")
    for k in wall:
        print(
            f"  {k:28} {wall[k]:7.3f} s wall {cpu[k]:7.3f} s cpu {gigabytes / wall[k]:7.2f} GB/s "
            f"{frames / wall[k] / 1e6:7.3f} M frames/s"
        )
    print(
        f"  whole / slowest alone {wall['whole'] / alone:.2f}, / processor seconds over cores "
        f"{wall['whole'] / shared:.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
