"""Eight clips in a bucket, the included model, one kill: features and scores of one machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.search.partial_results import read_partial
from pipeline.store import open_store
from tests.cluster.test_object_videos import EXAMPLES_ALL, upload
from tests.cluster.test_parts import names, puts_in_log
from tests.command import run

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def extract(listed: Path, store: str, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "extract_features.py", "-v", str(listed), "-o", store, *options]
    return subprocess.Popen([*command, "--workers", "1"], cwd=ROOT, env=os.environ)


def assert_one_step(found: np.ndarray, expected: np.ndarray) -> None:
    """Every value within 2e-5, or within one step of float16 where that is more.

    A batch holds other frames, which may change the last bit. A step is 1.5e-5 for the usual value
    of a descriptor and 1.2e-4 for the largest, 0.23.
    """
    step = np.spacing(np.maximum(np.abs(found), np.abs(expected))).astype(float)
    difference = np.abs(found.astype(float) - expected.astype(float))
    assert (difference <= np.maximum(step, 2e-5)).all(), difference.max()
    assert difference.mean() <= 2e-5


def assert_same_scores(store: str, folder: Path) -> None:
    """All pairs of the videos score as in the store of one process, within 1e-6."""
    tables = []
    for database in (store, str(folder / "local.h5")):
        file = folder / "scores.npz"
        stores = ("--query_store", database, "--database_store", database)
        run("compare", *stores, "--precision", "float32", "--shard", "1/1", "-o", file)
        entries = read_partial(file).scores.entries
        tables.append(np.sort(entries, order=["row", "column", "score"]))
    assert len(tables[0]) == len(tables[1]) >= 64  # of insets as well
    for name in ("row", "column"):
        np.testing.assert_array_equal(tables[0][name], tables[1][name])
    np.testing.assert_allclose(tables[0]["score"], tables[1]["score"], rtol=0, atol=1e-6)


def test_a_killed_shard_in_a_bucket(s3: Any, bucket: str, tmp_path: Path) -> None:
    urls = {path.stem: upload(bucket, path, f"in/{path.name}") for path in EXAMPLES_ALL}
    assert len(urls) == 8
    remote, local = tmp_path / "remote.txt", tmp_path / "local.txt"
    remote.write_text("".join(f"{name}\t{url}\n" for name, url in urls.items()), encoding="utf-8")
    local.write_text("".join(f"{p.stem}\t{p}\n" for p in EXAMPLES_ALL), encoding="utf-8")
    store = f"{bucket}/db"
    first = extract(remote, store, "--shard", "1/2")
    assert first.wait() == 0
    second = extract(remote, store, "--shard", "2/2")
    while second.poll() is None and not [
        p for _, p in s3.requests if p.endswith(EXAMPLES_ALL[-1].name)
    ]:
        time.sleep(0.05)
    second.send_signal(signal.SIGKILL)
    second.wait()
    assert extract(remote, store).wait() == 0
    assert extract(local, str(tmp_path / "local.h5")).wait() == 0
    with open_store(store) as a, open_store(tmp_path / "local.h5") as b:
        assert a.ids == b.ids == list(urls)
        assert a.verify() == []
        for video_id in a.ids:
            found, expected = a.read(video_id), b.read(video_id)
            np.testing.assert_array_equal(found.seconds, expected.seconds)
            assert_one_step(found.vectors, expected.vectors)
    assert_same_scores(store, tmp_path)
    assert sorted(puts_in_log(store)) == sorted(urls)
    assert len(names(store, "parts")) <= 3
