"""How stage two's time and memory grow: made-up features of real shapes, each run a process.

    python benchmarks/performance/growth.py FOLDER [--database 100 1000 10000] [--queries 1 10 100]
        [--frames 60] [--kind h5] [--max_pairs 200000]

Makes the stores in FOLDER (676 KB a video of 60 frames), then runs `compute_similarity.py` with the
shipped model for every combination of at most `--max_pairs` pairs and prints, of the whole
process: wall seconds, processor seconds, peak memory, and of the comparison alone: seconds,
milliseconds a pair, seconds waited for features to be read and placed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipeline.default_model import default_model_dir
from pipeline.nets.formats.loader import load_model
from pipeline.records import FeatureSpec, SourceInfo
from pipeline.store import create_or_append, open_store
from pipeline.video import SAMPLING

ROOT = Path(__file__).resolve().parents[2]


def spec() -> FeatureSpec:
    """That of stores made with the shipped model, so that the command takes these."""
    weights = load_model(default_model_dir())
    size = weights.input
    return FeatureSpec(
        weights.name, weights.features_digest, weights.regions, weights.dims, 1.0,
        size.resize, size.crop, size.method, SAMPLING,
    )  # fmt: skip


def make(
    path: Path, videos: int, frames: int, made_with: FeatureSpec, dtype: str = "float16"
) -> Path:
    """A store of `videos` videos of unit vectors; kept from an earlier run if it fits."""
    if path.exists():
        with open_store(path) as store:
            if len(store) == videos and store.spec == made_with:
                return path
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    with create_or_append(path, made_with, dtype) as writer:
        for i in range(videos):
            x = rng.standard_normal(
                (frames, made_with.shared_descriptors, made_with.dims), np.float32
            )
            video = writer.begin(f"v{i}", SourceInfo(f"v{i}.mp4"))
            video.append(x / np.linalg.norm(x, axis=2, keepdims=True), np.arange(frames))
            video.finish()
            if i % 200 == 199:
                writer.commit()
    return path


def measure(command: list[str]) -> tuple[float, float, float, str]:
    """Wall and processor seconds, peak MiB, and what it said to standard error."""
    begin = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(said)
    wall = time.perf_counter() - begin
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, said


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--database", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--kind", choices=("h5", "zarr"), default="h5")
    parser.add_argument("--max_pairs", type=int, default=200_000)
    parser.add_argument("options", nargs="*", help="passed on, after `--`: e.g. --load_queries")
    o = parser.parse_args()
    made_with = spec()
    print(" videos queries   wall s    cpu s  peak MiB  compare s  ms/pair  waited s")
    for videos in o.database:
        store = make(o.folder / f"d{videos}.{o.kind}", videos, o.frames, made_with)
        for queries in o.queries:
            if videos * queries > o.max_pairs:
                continue
            asked = make(o.folder / f"q{queries}.{o.kind}", queries, o.frames, made_with)
            command = [sys.executable, "compute_similarity.py", "--query_store", str(asked)]
            command += ["--database_store", str(store), "-o", str(o.folder / "r.json"), *o.options]
            wall, cpu, peak, said = measure(command)
            found = re.search(r"in ([\d.]+) s \(([\d.]+) s waiting", said)
            assert found, said
            compare, waited = (float(x) for x in found.groups())
            print(
                f"{videos:7} {queries:7} {wall:8.1f} {cpu:8.1f} {peak:9.0f} {compare:10.2f} "
                f"{1e3 * compare / (videos * queries):8.3f} {waited:12.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
