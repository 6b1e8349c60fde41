"""kill -9 at random moments of a real run, then the same command again, until it goes through.

`KILL_ROUNDS` (default 1) sets how many whole stores are made this way for each back end.
"""

import os
import random
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from pipeline.store import open_store

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(ROOT.glob("examples/*.[mw][pe]*"))
ROUNDS = int(os.environ.get("KILL_ROUNDS", "1"))


def run(listed, store):
    command = [sys.executable, "-m", "tests.extract_run", str(listed), str(store)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """The examples three times over under different ids, and a file that is no video."""
    path = tmp_path_factory.mktemp("kill") / "list.txt"
    lines = [f"{n}/{p.stem}\t{p}" for n in range(3) for p in EXAMPLES]
    path.write_text("\n".join([*lines, f"text\t{__file__}"]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def undisturbed(listed, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "s.h5"
    process = run(listed, path)
    told = process.communicate()[0].split("\n")[:-1]
    assert process.returncode == 0
    with open_store(path) as store:
        assert store.ids == [f"{n}/{p.stem}" for n in range(3) for p in EXAMPLES]
        assert sorted(told) == sorted(store.ids)
        videos = {i: store.read(i) for i in store.ids}
    return videos


@pytest.mark.parametrize("round_number", range(ROUNDS))
@pytest.mark.parametrize("suffix", ["h5", "zarr"])
def test_killed_at_any_moment(listed, undisturbed, tmp_path, suffix, round_number):
    videos = undisturbed
    path = tmp_path / f"s.{suffix}"
    pick = random.Random(f"{suffix} {round_number}")
    told, kills = set(), 0
    for _ in range(200):
        process = run(listed, path)
        # After so many videos were reported, or before the first, and then a random moment later.
        lines = pick.randrange(8)
        heard = list(islice(process.stdout, lines))
        if len(heard) == lines:
            time.sleep(pick.uniform(0, 0.6 if lines == 0 else 0.1))
            process.send_signal(signal.SIGKILL)
        heard += process.communicate()[0].splitlines(keepends=True)
        kills += process.returncode == -signal.SIGKILL
        told |= {line.rstrip("\n") for line in heard}
        if path.exists() and (told or process.returncode == 0):
            with open_store(path) as store:  # a reader, whatever state the kill left
                assert told <= set(store.ids), "reported as stored, then lost"
                assert store.verify() == []
        if process.returncode == 0:
            break
    assert process.returncode == 0
    assert kills > 2
    with open_store(path) as store:
        assert store.ids == list(videos)  # as listed, whatever finished first
        assert list(store.failures) == ["text"]
        for video_id, video in videos.items():
            np.testing.assert_array_equal(store.read(video_id).vectors, video.vectors)
            np.testing.assert_array_equal(store.read(video_id).seconds, video.seconds)
