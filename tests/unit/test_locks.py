"""One writer at a time, whatever became of the one before."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import StoreError, StoreLockedError
from pipeline.store import create_or_append, open_store, open_writer, read_spec
from pipeline.store.locks import WriterLock, lock_exclusive, lock_shared, unlock
from tests.messages import raises
from tests.store_helpers import SPEC, add, assert_holds

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
    with raises(StoreLockedError, store, f"process {os.getpid()}"):
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
        with raises(StoreLockedError, store, f"process {child.pid}"):
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
    with raises(StoreLockedError, store, "another process"):
        WriterLock(store)
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with raises(StoreError, tmp_path / "nowhere", remedy="existing folder"):
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


NO_LOCKS = [errno.ENOSYS, errno.EOPNOTSUPP, 524, errno.ENOLCK, errno.EINVAL]


@pytest.mark.parametrize("kind", ["h5", "zarr"])
@pytest.mark.parametrize("number", NO_LOCKS)
def test_without_locks_reading_goes_on_and_writing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, number: int
) -> None:
    path = tmp_path / f"s.{kind}"
    with create_or_append(path, SPEC) as writer:
        add(writer, "a", seed=1)

    def flock(fd: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    with open_store(path) as store:
        assert_holds(store, "a", seed=1)
        assert store.verify() == []
    assert read_spec(path) == SPEC
    for use in (open_writer, lambda p: create_or_append(p, SPEC)):
        with raises(StoreError, path, "file system", remedy="local"):
            use(path)
    with path.parent.joinpath("f").open("wb") as file, raises(StoreError, remedy="local"):
        lock_exclusive(file.fileno(), patience=0)
    with open_store(path) as store:
        assert store.ids == ["a"]


@pytest.mark.parametrize("kind", ["h5", "zarr"])
@pytest.mark.parametrize("how", ["link", "dangling", "second name"])
def test_a_lock_that_leads_elsewhere_is_refused(tmp_path: Path, kind: str, how: str) -> None:
    path, victim = tmp_path / f"s.{kind}", tmp_path / "victim"
    lock = tmp_path / f"s.{kind}.lock"
    if how != "dangling":
        victim.write_text("precious")
    if how == "second name":
        os.link(victim, lock)
    else:
        lock.symlink_to(victim)
    with raises(StoreError, lock, "link", "nothing was changed"):
        create_or_append(path, SPEC)
    assert os.path.lexists(lock)
    assert not path.exists()
    assert victim.read_text() == "precious" if how != "dangling" else not victim.exists()


def test_one_store_under_two_names_has_one_lock(tmp_path: Path) -> None:
    path, link = tmp_path / "s.h5", tmp_path / "elsewhere" / "t.h5"
    link.parent.mkdir()
    with create_or_append(path, SPEC) as writer:
        add(writer, "a", seed=1)
        writer.commit()
        link.symlink_to(path)
        with pytest.raises(StoreLockedError):
            open_writer(link)
    with create_or_append(link, SPEC) as writer:
        add(writer, "b", seed=2)
    assert link.is_symlink() and [p.name for p in link.parent.iterdir()] == ["t.h5"]
    with open_store(path) as store:
        assert store.ids == ["a", "b"]
