"""Eight clips in a bucket, the included model, one kill: the features that one machine makes."""

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

from pipeline.store import open_store
from tests.cluster.test_object_videos import EXAMPLES_ALL, upload
from tests.cluster.test_parts import names, puts_in_log

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def extract(listed: Path, store: str, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "extract_features.py", "-v", str(listed), "-o", store, *options]
    return subprocess.Popen([*command, "--workers", "1"], cwd=ROOT, env=os.environ)


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
            # A batch holds other frames, which may change the last bit of float16.
            difference = np.abs(found.vectors.astype(float) - expected.vectors.astype(float))
            assert difference.max() <= 5e-4 and difference.mean() <= 2e-5
    assert sorted(puts_in_log(store)) == sorted(urls)
    assert len(names(store, "parts")) <= 3
