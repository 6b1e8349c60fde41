"""kill -9 at random moments, again and again: nothing reported is lost, nothing torn is seen.

KILL_ROUNDS in the environment says how many kills each back end gets.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.store import open_store
from tests.store_child import expected, frames_of
from tests.store_helpers import assert_holds, plain

pytestmark = pytest.mark.slow  # processes are started and killed
OPERATIONS = 250
ROUNDS = int(os.environ.get("KILL_ROUNDS", "3"))
ROOT = Path(__file__).parents[2]


def start(path: Path) -> subprocess.Popen[str]:
    """The child, at the moment before it opens the store."""
    command = [sys.executable, "-m", "tests.store_child", str(path), str(OPERATIONS)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout and child.stdout.readline() == "ready\n"
    return child


def last_reported(child: subprocess.Popen[str]) -> int:
    """The last operation that the child printed as committed; -1 if none."""
    output, _ = child.communicate()
    lines = [line for line in output.splitlines(keepends=True) if line.endswith("\n")]
    return int(lines[-1]) if lines else -1


def check(path: Path, reported: int) -> None:
    """The store is exactly as after some number of operations, all reported ones included."""
    if not path.exists():
        assert reported == -1
        return
    with open_store(path) as store:
        found = {i: int(store.record(i).note) for i in store}
        failed = {i: int(f.detail) for i, f in store.failures.items()}
        states = [expected(n) for n in range(max(0, reported + 1), OPERATIONS + 1)]
        assert (found, failed) in states, f"reported {reported}"
        for video_id, operation in found.items():
            assert_holds(store, video_id, operation, frames_of(operation))
        assert store.verify() == []


def check_finished(path: Path) -> None:
    check(path, OPERATIONS - 1)
    with open_store(path) as store:
        order = store.ids
    assert set(plain(path)) == set(order)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.timeout(60 + 20 * ROUNDS)
@pytest.mark.parametrize("kind", ["h5", "zarr"])
def test_kill_at_random_moments(tmp_path: Path, kind: str) -> None:
    rng, kills, number = random.Random(os.urandom(8)), 0, 0
    path = undisturbed = tmp_path / "undisturbed" / f"store.{kind}"
    path.parent.mkdir()
    began = time.monotonic()
    assert last_reported(start(path)) >= OPERATIONS - 3
    duration = time.monotonic() - began
    check_finished(path)
    while kills < ROUNDS:
        number += 1
        path = tmp_path / f"{number}" / f"store.{kind}"
        path.parent.mkdir()
        kills += kill_until_finished(path, ROUNDS - kills, duration, rng)
        check_finished(path)
        with open_store(path) as store, open_store(undisturbed) as other:
            assert store.ids == other.ids and store.failures == other.failures
            assert [store.checksum(i) for i in store] == [other.checksum(i) for i in other]


def kill_until_finished(path: Path, kills: int, duration: float, rng: random.Random) -> int:
    """Start the child over and over, and kill it up to so many times; returns how often."""
    done = 0
    while True:
        child = start(path)
        if done < kills:
            time.sleep(rng.uniform(0, duration / 5))
            child.kill()
        reported = last_reported(child)
        check(path, reported)
        if child.returncode == 0:
            return done
        assert child.returncode == -9
        done += 1
