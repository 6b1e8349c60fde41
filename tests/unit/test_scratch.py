"""Folders that killed processes left are removed, those of living ones are not."""

import os
import subprocess
import sys
import tempfile
import time

import pytest

from pipeline import scratch
from pipeline.scratch import scratch_folder

DAY = 24 * 3600


@pytest.fixture(autouse=True)
def temporary(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def make(folder, days, lock=True):
    """A folder as a run of so many days ago made it."""
    folder.mkdir()
    (folder / "features.h5").write_bytes(b"large")
    if lock:
        (folder / scratch._LOCK).touch()
    then = time.time() - days * DAY
    os.utime(folder, (then, then))
    return folder


def test_a_folder_is_removed_with_its_content(temporary):
    with scratch_folder() as path:
        (temporary / path / "part").write_bytes(b"x")
    assert list(temporary.iterdir()) == []


def test_only_old_folders_of_dead_processes_are_removed(temporary):
    old = make(temporary / "visil-index-old", 1.1)
    others = [
        make(temporary / "visil-index-new", 0.9),
        make(temporary / "another-old", 9),
        make(temporary / "visil-index-foreign", 9, lock=False),
    ]
    (temporary / "visil-index-link").symlink_to(others[1])
    with scratch_folder():
        assert not old.exists()
    assert all((folder / "features.h5").exists() for folder in others)
    assert (temporary / "visil-index-link").is_symlink()


def test_a_living_process_keeps_its_folder(temporary):
    code = (
        "from pipeline.scratch import scratch_folder\n"
        "with scratch_folder() as path:\n"
        "    print(path, flush=True)\n"
        "    input()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert child.stdout is not None
    folder = child.stdout.readline().strip()
    os.utime(folder, (0, 0))
    with scratch_folder():
        assert os.path.isdir(folder)
    child.kill()
    child.communicate()
    with scratch_folder():
        assert not os.path.exists(folder)
