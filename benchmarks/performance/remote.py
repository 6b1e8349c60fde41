"""A search of a database in a bucket against the same database in a local file, in one run.

    python -m benchmarks.performance.remote DATABASE QUERIES [--delay 0.03] [--count 1]
        [--rounds 5] [--profile]

moto's S3 server runs in a process of its own, each of its answers begins after `--delay` seconds.
DATABASE (`.h5`) is copied into its bucket as parts. Medians of `--rounds` searches in turn: seconds
from opening the stores to the last score, processor seconds of the search and of the server, and
requests. A server on the same machine takes processor time from the search; a real one does not. So
a search of the bucket without the delay is printed as well: what it takes more than the local one
is work of server and client, the rest is waiting.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import time
import urllib.request
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipeline.config import CompareConfig
from pipeline.default_model import default_model_dir
from pipeline.nets.formats.loader import load_model
from pipeline.search.engine import pair_scorer
from pipeline.search.request import SearchRequest
from pipeline.search.run import score_shard
from pipeline.search.video_set import VideoSet
from pipeline.store import copy_store, open_store

BUCKET = "s3://bucket/db"


def serve(pipe: Connection) -> None:
    """Serve until told `stop`; answers what was asked and the processor seconds since."""
    from tests.buckets import Server

    server = Server()
    pipe.send(server.url)
    while (told := pipe.recv()) != "stop":
        server.reset()
        server.delay = told
        begin = time.process_time()
        pipe.send(None)
        pipe.recv()
        pipe.send((list(server.requests), time.process_time() - begin))
    server.close()


class RemoteServer:
    """The server's process, seen from outside."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=serve, args=(other,), daemon=True)
        self._process.start()
        url = self._pipe.recv()
        os.environ |= {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }
        urllib.request.urlopen(urllib.request.Request(f"{url}/bucket", method="PUT"))

    def begin(self, delay: float) -> None:
        """Count from here on."""
        self._pipe.send(delay)
        self._pipe.recv()

    def end(self) -> tuple[list[tuple[str, str]], float]:
        """The requests and the server's processor seconds since `begin`."""
        self._pipe.send("end")
        return self._pipe.recv()  # type: ignore[no-any-return]

    def stop(self) -> None:
        """End the process."""
        self._pipe.send("stop")
        self._process.join()


def search(place: str, queries: str, count: int, scorer: object, model: object) -> np.ndarray:
    """All scores of some queries."""
    with open_store(place) as database, open_store(queries) as asked:
        sets = VideoSet([asked], asked.ids[:count]), VideoSet([database])
        request = SearchRequest(*sets, model, CompareConfig(precision="float32", normalize="none"))  # type: ignore[arg-type]
        found = score_shard(request, 0, len(sets[1]), None, scorer=scorer)  # type: ignore[arg-type]
    return np.sort(found.entries, order=["row", "column"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("database")
    parser.add_argument("queries")
    parser.add_argument("--delay", type=float, default=0.03)
    parser.add_argument("--count", type=int, default=1, help="queries")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    server = RemoteServer()
    copy_store(given.database, BUCKET)
    model = load_model(default_model_dir())
    with open_store(given.queries) as asked, open_store(given.database) as database:
        request = SearchRequest(
            VideoSet([asked], asked.ids[: given.count]),
            VideoSet([database]),
            model,
            CompareConfig(precision="float32", normalize="none"),
        )
        scorer = pair_scorer(request)

    def run(place: str) -> np.ndarray:
        return search(place, given.queries, given.count, scorer, model)

    kinds: dict[str, tuple[str, float]] = {
        "local file": (given.database, 0.0),
        "bucket, no delay": (BUCKET, 0.0),
        f"bucket, {1000 * given.delay:.0f} ms": (BUCKET, given.delay),
    }
    expected = run(given.database)  # compiles the network
    seen: dict[str, list[tuple[float, float, float, int]]] = {name: [] for name in kinds}
    for _ in range(given.rounds):
        for name, (place, delay) in kinds.items():
            server.begin(delay)
            begin, cpu = time.perf_counter(), time.process_time()
            scores = run(place)
            wall, own = time.perf_counter() - begin, time.process_time() - cpu
            requests, served = server.end()
            assert scores.tobytes() == expected.tobytes(), f"{name}: other scores"
            seen[name].append((wall, own, served, len(requests)))
    local = statistics.median(row[0] for row in seen["local file"])
    for name, rows in seen.items():
        wall, own, served, requests = (
            statistics.median(column) for column in zip(*rows, strict=True)
        )
        print(
            f"{name:18} {wall:5.2f} s ({wall / local:.2f} of local), processor {own:5.2f} s, "
            f"server {served:5.2f} s, {requests:.0f} requests"
        )
    server.stop()


if __name__ == "__main__":
    main()
