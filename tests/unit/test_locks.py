"""One writer at a time, whatever became of the one before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import StoreError, StoreLockedError
from pipeline.store.locks import WriterLock, lock_exclusive, lock_shared, unlock

HOLD = """
import sys, time
from pathlib import Path
from pipeline.store.locks import WriterLock
lock = WriterLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    lock = WriterLock(store)
    with pytest.raises(StoreLockedError, match=f"s.h5: process {os.getpid()} on "):
        WriterLock(store)
    lock.release()
    lock.release()
    assert list(tmp_path.iterdir()) == []
    WriterLock(store).release()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    store = tmp_path / "s.zarr"
    command = [sys.executable, "-c", HOLD, str(store)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as child:
        assert child.stdout and child.stdout.readline() == b"held\n"
        with pytest.raises(StoreLockedError, match=f"process {child.pid} on"):
            WriterLock(store)
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert (tmp_path / "s.zarr.lock").exists()
    WriterLock(store).release()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_needs_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk a file can be made, but not filled."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    store = tmp_path / "s.h5"
    monkeypatch.setattr("os.write", full)
    lock = WriterLock(store)
    with pytest.raises(StoreLockedError, match="another process is writing"):
        WriterLock(store)
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="existing folder"):
        WriterLock(tmp_path / "nowhere" / "s.h5")


def test_readers_share_and_exclude_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.touch()
    fds = [os.open(path, os.O_RDONLY) for _ in range(3)]
    lock_shared(fds[0])
    lock_shared(fds[1])
    assert not lock_exclusive(fds[2], patience=0)
    assert not lock_exclusive(fds[2], patience=0.05)
    unlock(fds[0])
    os.close(fds[1])
    assert lock_exclusive(fds[2], patience=0)
    os.close(fds[0])
    os.close(fds[2])
