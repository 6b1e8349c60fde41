"""Both stages on a real Ray cluster on this machine: kills, halving, two nodes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster.extracting import ClusterOptions, ShardTask, extract_on_cluster
from pipeline.errors import InputError, MachineError, ModelError
from pipeline.extraction.report import ExtractReport
from pipeline.inputs import read_list
from pipeline.nets.formats import native
from pipeline.records import VideoRef
from pipeline.store import open_store
from tests import features
from tests.buckets import require
from tests.cluster import ray_network
from tests.cluster.ray_network import ACTORS, PIDS, DeadlyNet, NoNet, job
from tests.cluster.test_compare_shards import assert_same_result, fill
from tests.cluster.test_shards import check_exactly_once, write_list
from tests.command import run
from tests.messages import raises

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One Ray for all tests, on the loopback. Never `ray stop`: it ends every Ray of a machine."""
    require("ray")
    os.environ.update(
        RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0", RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="disabled"
    )
    os.environ[PIDS] = str(tmp_path_factory.mktemp("pids"))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False}
    )
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def pids(ray_cluster: Any) -> Path:
    """Where actors note their processes."""
    folder = Path(os.environ[PIDS])
    for path in folder.iterdir():
        path.unlink()
    return folder


class Killer:
    """Kills an actor whenever an eighth more of the work is done, five times in all."""

    def __init__(self, pids: Path) -> None:
        self._pids, self.killed = pids, list[int]()
        self.videos = 0  # to be extracted

    def tick(self, report: ExtractReport, actors: int) -> None:
        """Look how far the job is; an actor that died by itself is not counted."""
        done = len(report.stored) + len(report.failures)
        alive = [int(path.name) for path in self._pids.iterdir()]
        if len(self.killed) < 5 and alive and done > self.videos * len(self.killed) / 8:
            pid = random.choice(alive)
            (self._pids / str(pid)).unlink()
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.killed.append(pid)


def test_killed_actors_and_a_killed_driver(ray_cluster: Any, pids: Path, tmp_path: Path) -> None:
    """3,000 listed, five actors and a driver killed, every fifth shard given out twice."""
    numbers, place = range(3000), str(tmp_path / "db.parts")
    listed = write_list(tmp_path, numbers)
    command = [sys.executable, "-m", "tests.cluster.ray_network", str(listed), place]
    driver = subprocess.Popen([*command, ray_cluster.address], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not list(Path(place).glob("log/0*3")) and time.monotonic() < deadline:
        time.sleep(0.1)
    driver.kill()
    assert driver.wait() == -signal.SIGKILL
    with open_store(place) as store:
        assert 0 < len(store) < 2700
    for path in pids.iterdir():
        path.unlink()
    killer = Killer(pids)

    def some_twice(tasks: list[ShardTask]) -> list[ShardTask]:
        killer.videos = sum(len(task.videos) for task in tasks)
        return [task for n, task in enumerate(tasks) for _ in range(1 + (n % 5 == 0))]

    cluster = ClusterOptions(actors=ACTORS, shard_videos=50)
    videos = read_list(listed)
    report = extract_on_cluster(videos, job(place), cluster, killer.tick, change_tasks=some_twice)
    assert len(killer.killed) == 5
    assert not report.complete and not set(report.stored) & set(report.failures)
    check_exactly_once(place, numbers)


def test_a_video_that_kills_its_actors_is_named(
    ray_cluster: Any, pids: Path, tmp_path: Path
) -> None:
    place = str(tmp_path / "db.parts")
    videos = read_list(write_list(tmp_path, range(4, 6)))
    cluster = ClusterOptions(actors=ACTORS, shard_videos=2)
    report = extract_on_cluster(videos, job(place, DeadlyNet), cluster)
    assert [f.reason for f in report.failures.values()] == ["decoder_crashed"]
    with open_store(place) as store:
        assert store.ids == ["v00004"]
        assert store.failures["v00005"].reason == "decoder_crashed"


def test_two_nodes_and_one_is_removed(ray_cluster: Any, pids: Path, tmp_path: Path) -> None:
    numbers, place = range(300), str(tmp_path / "db.parts")
    videos = read_list(write_list(tmp_path, numbers))
    node = ray_cluster.add_node(num_cpus=2)
    removed: list[bool] = []

    def progress(_: Any, actors: int) -> None:
        if not removed and list(Path(place).glob("log/0*1")):
            removed.append(True)
            ray_cluster.remove_node(node, allow_graceful=False)

    cluster = ClusterOptions(actors=ray_network.ActorOptions(actors=4), shard_videos=30)
    report = extract_on_cluster(videos, job(place), cluster, progress)
    assert removed and report.listed == 300
    check_exactly_once(place, numbers)


def test_a_mount_that_is_nowhere_ends_the_job(ray_cluster: Any, pids: Path, tmp_path: Path) -> None:
    place = str(tmp_path / "db.parts")
    videos = [VideoRef(f"v{n}", str(tmp_path / f"missing-{n}")) for n in range(30)]
    with raises((InputError, MachineError), "missing", remedy="mount"):  # type: ignore[arg-type]
        extract_on_cluster(videos, job(place), ClusterOptions(actors=ACTORS, shard_videos=15))


def test_actors_that_cannot_start_end_the_job(ray_cluster: Any, tmp_path: Path) -> None:
    """No video is to blame."""
    place = str(tmp_path / "db.parts")
    videos = read_list(write_list(tmp_path, range(4)))
    with raises(ModelError, "model.json", remedy="copy the model"):
        extract_on_cluster(videos, job(place, NoNet), ClusterOptions(actors=ACTORS))
    assert not Path(place).exists()


def test_other_stores_are_refused(tmp_path: Path) -> None:
    with raises(InputError, tmp_path / "db.h5", remedy=".parts"):
        extract_on_cluster([], job(str(tmp_path / "db.h5")), ClusterOptions())


def test_stage_two_is_the_result_of_one_process(ray_cluster: Any, tmp_path: Path) -> None:
    """Four parts; both through the command, as a user runs it."""
    model = features.model(attention=False)
    native.write(model, tmp_path / "model")
    queries = fill(tmp_path / "q.h5", model, {f"q{n}": 5 + n for n in range(3)}, 1)
    database = fill(
        tmp_path / "db.parts", model, {f"v{n:03}": 4 + n % 13 for n in range(160)}, 2, parts=4
    )
    stores = ("--query_store", queries, "--database_store", database)
    fixed = ("--model_dir", tmp_path / "model", "--precision", "float32")
    run("index", database, "--model_dir", tmp_path / "model")
    for options in (
        ("--top_k", 7, "--normalize", "database"),
        ("--adapt",),
        ("--candidates", 9, "--top_k", 5, "--normalize", "database"),
    ):
        one, many = tmp_path / "one.json", tmp_path / "many.json"
        run("compare", *stores, *fixed, *options, "-o", one)
        run("compare", *stores, *fixed, *options, "-o", many, "--cluster", "ray", "--actors", 2)
        assert_same_result(many, one, exact="--adapt" not in options)


def test_searches_and_duplicates_are_those_of_one_process(ray_cluster: Any, tmp_path: Path) -> None:
    """Stored videos in a folder of parts; as a collection they are several blocks."""
    model = features.model(attention=False)
    native.write(model, tmp_path / "model")
    videos = {f"v{n:03}": 4 + n % 13 for n in range(80)}
    database = fill(tmp_path / "db.parts", model, videos, 2, parts=3)
    fixed = ("--model_dir", tmp_path / "model", "--precision", "float32")
    one, many = tmp_path / "one.json", tmp_path / "many.json"
    run("index", database, "--model_dir", tmp_path / "model")
    for command in (
        ("search", "--id", "v007", "--id", "v020", "--index", database, "--threshold", -1),
        ("duplicates", database, "--threshold", -0.55),
        ("duplicates", database, "--threshold", -0.55, "--candidates", 5),
    ):
        expected = run(*command, *fixed, "--output", one)
        found = run(*command, *fixed, "--output", many, "--cluster", "ray", "--actors", 2)
        assert many.read_bytes() == one.read_bytes()
        assert one.read_text().count('"v0') > 10
        assert found.count("v007") == expected.count("v007")
