"""Memory of the scores that a search keeps, against the number of its pairs.

    python -m benchmarks.performance.sparse_scores [--queries 100]
        [--videos 10000 100000 1000000]

Each row is a process of its own that takes in made-up scores of all pairs, as the network gives
them, block by block: into a table (`all`), or with `--top_k 100` or a threshold that 1 of 10,000
pairs reaches. Printed is how much the peak of its memory grew.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import numpy as np

from pipeline.output.selection import Selection
from pipeline.search.score_sink import BestScores, DenseScores

_BLOCK = 800  # videos in a block of 32 MiB
SELECTIONS = {
    "all": Selection(),
    "top_k 100": Selection(top_k=100),
    "threshold": Selection(threshold=0.9999),
}


def take_in(what: str, queries: int, videos: int) -> None:
    """Put scores of all pairs into a sink, and tell memory and time."""
    rng = np.random.default_rng(0)
    before, begin = _peak(), time.process_time()
    sink: BestScores | DenseScores
    if what == "all":
        sink = DenseScores(np.full((queries, videos), -np.inf, np.float32))
    else:
        sound = np.ones(videos, bool)
        sink = BestScores(SELECTIONS[what], (queries, videos), lambda a, b: sound[a:b])
    for start in range(0, videos, _BLOCK):
        end = min(videos, start + _BLOCK)
        rows, columns = np.divmod(np.arange(queries * (end - start)), end - start)
        sink.begin_block(end)
        sink.put(rows, columns + start, rng.random(len(rows), np.float32))
    kept = queries * videos
    if isinstance(sink, BestScores):
        kept = sum(len(chunk.entries) for chunk in sink.finish().chunks)
    seconds = time.process_time() - begin
    print(
        f"{what}, {queries} x {videos} pairs: {(_peak() - before) / 1e3:.0f} MB, {kept} kept, "
        f"{1e9 * seconds / queries / videos:.0f} ns a pair"
    )


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(arguments: list[str] | None = None) -> None:
    """Run each row in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--videos", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--only", choices=list(SELECTIONS))
    given = parser.parse_args(arguments)
    for what in [given.only] if given.only else SELECTIONS:
        for videos in given.videos:
            if given.only:
                take_in(what, given.queries, videos)
                continue
            command = [sys.executable, "-m", "benchmarks.performance.sparse_scores"]
            command += ["--queries", str(given.queries), "--videos", str(videos), "--only", what]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
