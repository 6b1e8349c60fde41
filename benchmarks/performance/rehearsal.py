"""A job of many machines that keep dying, on object storage: is every video there exactly once?

    python -m benchmarks.performance.rehearsal [s3://BUCKET/PREFIX] [--videos 10000]
        [--worker_kills 8] [--driver_kills 2] [--access_log FILE]

A Ray cluster on this machine, a driver as a process of its own, the decoder and the network of the
tests (every tenth video fails). Drivers and actors are killed by kill -9, evenly over the work; a
driver that was killed is started again. Then all that was stored is read and compared with what the
network gives, log entries are searched for ids that came in twice, and orphans are swept.

The server is that of the URL, with endpoint and credentials from the environment; its access log,
given by name, tells the write requests (lines with "PUT or "POST). Without a URL it is moto's, in a
process of its own.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.performance.remote import BUCKET, RemoteServer
from pipeline.objects import open_objects
from tests.cluster.ray_network import PIDS
from tests.cluster.test_shards import check_exactly_once, write_list

ROOT = Path(__file__).resolve().parents[2]
SHARD_VIDEOS = 50  # as the driver of `ray_network` cuts
WRITES = ('"PUT ', '"POST ')


class Actors:
    """The actors at work, by the notes that they leave in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.killed = folder, 0
        os.environ[PIDS] = str(folder)

    def kill_one(self) -> None:
        """Kill an actor, if one is at work."""
        notes = list(self._folder.iterdir())
        random.shuffle(notes)
        for note in notes:
            note.unlink()
            with suppress(OSError):
                if b"ray::" in Path("/proc", note.name, "cmdline").read_bytes():
                    os.kill(int(note.name), signal.SIGKILL)
                    self.killed += 1
                    return


def run_job(given: argparse.Namespace, listed: Path, place: str, address: str) -> tuple[int, int]:
    """Run drivers until one ends by itself; returns how many actors and drivers were killed."""
    objects = open_objects(place)
    actors = Actors(listed.parent / "pids")
    shards = -(-given.videos // SHARD_VIDEOS)
    drivers = 0
    command = [sys.executable, "-m", "tests.cluster.ray_network", str(listed), place, address]
    driver = subprocess.Popen(command, cwd=ROOT)
    while driver.poll() is None:
        time.sleep(0.2)
        done = len(objects.list("log")) / shards
        if drivers < given.driver_kills and done > (drivers + 1) / (given.driver_kills + 2):
            driver.kill()
            driver.wait()
            drivers += 1
            driver = subprocess.Popen(command, cwd=ROOT)
        elif actors.killed < given.worker_kills and done > actors.killed / given.worker_kills:
            actors.kill_one()
    if driver.returncode:
        raise SystemExit(f"the driver ended with {driver.returncode}")
    return actors.killed, drivers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("place", nargs="?")
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--worker_kills", type=int, default=8)
    parser.add_argument("--driver_kills", type=int, default=2)
    parser.add_argument("--access_log", type=Path)
    given = parser.parse_args()
    server = None if given.place else RemoteServer()
    place = f"{given.place or BUCKET}/{secrets.token_hex(4)}"
    os.environ.update(
        RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0", RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="disabled"
    )
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pids").mkdir()
        os.environ[PIDS] = str(Path(folder, "pids"))
        listed = write_list(Path(folder), range(given.videos))
        logged = given.access_log.stat().st_size if given.access_log else 0
        if server:
            server.begin(0.0)
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 2, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        begin = time.perf_counter()
        try:
            killed, drivers = run_job(given, listed, place, cluster.address)
        finally:
            cluster.shutdown()
        seconds = time.perf_counter() - begin
        writes: float = float("nan")
        if server:
            writes = sum(method in ("PUT", "POST") for method, _ in server.end()[0])
        elif given.access_log:
            with open(given.access_log, encoding="utf-8", errors="replace") as file:
                file.seek(logged)
                writes = sum(any(word in line for word in WRITES) for line in file)
        parts = len(open_objects(place).list("parts"))
        check_exactly_once(place, range(given.videos))
        left = len(open_objects(place).list("parts"))
    print(
        f"{place}: {given.videos} listed videos, {killed} actors and {drivers} drivers killed: "
        f"each is stored or failed exactly once, its vectors are right; {seconds:.0f} s, "
        f"{writes:.0f} write requests ({writes / given.videos:.3f} a video), {parts} parts, "
        f"{parts - left} orphans swept"
    )
    if server:
        server.stop()


if __name__ == "__main__":
    main()
