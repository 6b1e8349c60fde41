"""Commits of a whole store interrupted at every step, and disks that are full."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import StoreError
from pipeline.records import Failure
from pipeline.store import StoreWriter, create_or_append, open_store
from pipeline.store.disk import Disk
from pipeline.store.hdf5_child import ScratchFile, append_problems, layout_problems
from pipeline.store.hdf5_guard import ExpectedVideo
from pipeline.store.hdf5_layout import file_end
from pipeline.store.journal import pending_pages
from pipeline.store.limits import Limits
from pipeline.store.transaction import OverlayFile
from tests.faulty_disk import Crash, FaultyDisk
from tests.messages import raises
from tests.store_helpers import SPEC, add, assert_holds, plain, source_of, vectors_of

KINDS = ("h5", "zarr")


@pytest.fixture(autouse=True)
def asked_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of copies are opened here: HDF5 is asked without a process for each."""

    def layout(path: Path, fd: int, expected: list[ExpectedVideo], cpu_seconds: float) -> list[str]:
        pages, end = pending_pages(path, fd, file_end)
        return layout_problems(OverlayFile(fd, end, pages), expected)

    def sound(path: Path, fd: int, datasets: int, cpu_seconds: float) -> None:
        pages, end = pending_pages(path, fd, file_end)
        assert append_problems(ScratchFile(fd, end, pages)) == []

    monkeypatch.setattr("pipeline.store.hdf5.check_layout", layout)
    monkeypatch.setattr("pipeline.store.hdf5.require_sound", sound)


def fill(path: Path) -> None:
    with create_or_append(path, SPEC) as writer:
        for seed in range(30):
            add(writer, f"v{seed}", seed)
        writer.fail(Failure("new1", "missing", "gone", source_of(0)))


def change(writer: StoreWriter) -> None:
    """Some of everything; may be run again on top of itself."""
    add(writer, "new1", seed=101, frames=200)
    add(writer, "v3", seed=103)
    if "v7" in writer:
        writer.remove("v7")
    writer.fail(Failure("v8", "missing", "gone", source_of(8)))
    writer.commit()


def state(path: Path) -> dict[str, object]:
    """Everything that a reader can see, or that no store is there."""
    if not path.exists():
        return {}
    with open_store(path) as store:
        assert store.verify() == []
        videos = {i: (store.checksum(i), store.read(i).vectors.tobytes()) for i in store}
        return {"videos": videos, "order": store.ids, "failures": store.failures}


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "torn", "power"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_commit_interrupted_at_every_step(tmp_path: Path, kind: str, how: str) -> None:
    base, done = tmp_path / f"base.{kind}", tmp_path / f"done.{kind}"
    fill(base)
    copy(base, done)
    with create_or_append(done, SPEC) as writer:
        change(writer)
    before, after, outcomes = state(base), state(done), []
    for at in range(1000):
        path = tmp_path / f"{at}" / f"store.{kind}"
        path.parent.mkdir()
        copy(base, path)
        disk = FaultyDisk(at, torn=how != "kill", power=how == "power", seed=at)
        crashed = interrupted(path, disk)
        found = state(path)
        assert found in (before, after), f"step {at}"
        outcomes.append(found == after)
        with create_or_append(path, SPEC) as writer:
            change(writer)
        assert state(path)["videos"] == after["videos"], f"step {at}"
        assert sorted(plain(path)) == sorted(after["order"])
        assert [p.name for p in path.parent.iterdir()] == [path.name]
        if not crashed:
            break
    assert not outcomes[0] and outcomes[-1] and len(outcomes) > (6 if kind == "zarr" else 15)
    assert all(outcomes[outcomes.index(True) :]) or how == "power"


def interrupted(path: Path, disk: FaultyDisk) -> bool:
    """Change the store until the disk's crash; True if there was one."""
    try:
        writer = create_or_append(path, SPEC, disk=disk)
    except Crash:
        return True
    try:
        change(writer)
    except (Crash, StoreError):
        assert disk.dead
    writer.close()
    return disk.dead


@pytest.mark.parametrize("kind", KINDS)
def test_making_a_store_interrupted_at_every_step(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"store.{kind}"
    for at in range(100):
        disk = FaultyDisk(at)
        try:
            create_or_append(path, SPEC, disk=disk).close()
        except Crash:
            assert not path.exists() or state(path)["videos"] == {}
        if not disk.dead:
            break
    assert at > 3
    with create_or_append(path, SPEC) as writer:
        add(writer, "a", seed=1)
    with open_store(path) as store:
        assert_holds(store, "a", seed=1)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """The system refuses to let any file grow beyond `size` bytes, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_leaves_the_committed_state(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"store.{kind}"
    with create_or_append(path, SPEC) as writer:
        add(writer, "a", seed=1)
    limit = (path.stat().st_size if kind == "h5" else 0) + 40_000
    with files_up_to(limit):
        writer = create_or_append(path, SPEC)
        add(writer, "b", seed=2)
        assert writer.commit() == ["b"]
        with raises(StoreError, path, "committed is intact", remedy="disk"):
            add(writer, "big", seed=3, frames=4000, piece=500)
        with raises(StoreError, path, "writing failed"):
            writer.begin("c", source_of(1))
        with raises(StoreError, path, "writing failed"):
            writer.commit()
        writer.close()
    with open_store(path) as store:
        assert store.ids == ["a", "b"] and store.verify() == []
    with create_or_append(path, SPEC) as writer:
        add(writer, "big", seed=3, frames=4000, piece=500)
    with open_store(path) as store:
        assert_holds(store, "big", seed=3, frames=4000)
        assert store.ids == ["a", "b", "big"] and store.verify() == []
    assert sorted(plain(path)) == ["a", "b", "big"]


class FullDisk(Disk):
    """Refuses the n-th write from the time it is armed."""

    left = -1

    def pwrite(self, fd: int, data: bytes | bytearray | memoryview, offset: int) -> None:
        self.left -= 1
        if self.left == 0:
            raise OSError(28, "No space left on device")
        super().pwrite(fd, data, offset)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_fills_up_within_a_commit(tmp_path: Path, kind: str) -> None:
    base = tmp_path / f"base.{kind}"
    fill(base)
    before = state(base)
    for nth in range(1, 80):
        path, disk = tmp_path / f"{nth}.{kind}", FullDisk()
        copy(base, path)
        writer = create_or_append(path, SPEC, disk=disk)
        disk.left = nth
        try:
            change(writer)
        except StoreError as error:
            assert "No space left on device" in str(error)
        writer.close()
        found = state(path)
        if found != before:
            assert sorted(found["order"]) == sorted({*before["order"], "new1"} - {"v7"})
        with create_or_append(path, SPEC) as writer:
            change(writer)
        assert np.array_equal(plain(path)["new1"][0], vectors_of(101, 200))
        if disk.left > 0:
            break
    assert nth > 1


def test_a_full_disk_keeps_little_of_a_long_video_in_memory(
    tmp_path: Path,
) -> None:
    limits = Limits(slab_bytes=10_000)
    writer, disk = create_or_append(tmp_path / "s.h5", SPEC, limits=limits), FullDisk()
    writer._transaction.disk = disk  # type: ignore[attr-defined]
    disk.left = 1
    with raises(StoreError, tmp_path / "s.h5", "No space left on device", remedy="disk"):
        add(writer, "long", seed=1, frames=20_000, piece=1000)  # 960 kB
    pages = writer._transaction.pages.values()  # type: ignore[attr-defined]
    assert sum(map(len, pages)) < 100_000
    writer.close()


class NoRoom(Disk):
    def sync_path(self, path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))


@pytest.mark.parametrize("kind", KINDS)
def test_no_room_for_a_new_store(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"store.{kind}"
    with raises(StoreError, path, "No space left on device", remedy="make room"):
        create_or_append(path, SPEC, disk=NoRoom())
    assert not path.exists()
    with create_or_append(path, SPEC) as writer:
        add(writer, "a", seed=1)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_no_room_for_the_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    with create_or_append(path, SPEC, limits=Limits(buffer_bytes=10_000)) as writer:
        video = writer.begin("big", source_of(1))
        with (
            files_up_to(20_000),
            raises(StoreError, path, "temporary", "video 'big'", remedy="free disk space"),
        ):
            for start in range(0, 4000, 100):
                video.append(vectors_of(1, 100), np.arange(start, start + 100))
        add(writer, "small", seed=2)
    with open_store(path) as store:
        assert store.ids == ["small"]


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_zarr_ignores_a_torn_last_line(tmp_path: Path, cut: int) -> None:
    """The seal is written after the line: a crash within the line leaves the seal before."""
    path = tmp_path / "store.zarr"
    for video_id in "ab":
        seal = (path / "manifest" / "seal").read_bytes() if video_id == "b" else b""
        with create_or_append(path, SPEC) as writer:
            add(writer, video_id, seed=ord(video_id))
    (path / "manifest" / "seal").write_bytes(seal)
    (path / "manifest" / "unfinished.jsonl").write_text('"b"\n')
    log = path / "manifest" / "log.jsonl"
    whole = log.read_bytes()
    for tail in (whole[:-cut], whole[:-cut] + bytes(cut)):
        log.write_bytes(tail)
        with open_store(path) as store:
            assert store.ids == ["a"]
    with create_or_append(path, SPEC) as writer:
        add(writer, "c", seed=3)
    with open_store(path) as store:
        assert store.ids == ["a", "c"] and store.verify() == []
    assert sorted(plain(path)) == ["a", "c"]


def test_zarr_clears_up_after_a_killed_writer(tmp_path: Path) -> None:
    path = tmp_path / "store.zarr"
    with create_or_append(path, SPEC) as writer:
        add(writer, "a", seed=1)
    (path / "features" / "half" / "deep").mkdir(parents=True)
    (path / "features" / "half" / "c.0.0.0").write_bytes(b"half")
    (path / "features" / "half" / "zarr.0123.partial").write_bytes(b"{")
    for folder in (path, path / "features"):  # as the Zarr library leaves its temporary files
        (folder / f"zarr.{'5f' * 16}.partial").write_bytes(b"{")
    (path / "manifest" / "unfinished.jsonl").write_text('"half"\n"cut sho')
    (path / "README.txt").write_text("not ours")
    with open_store(path) as store:
        assert store.ids == ["a"]
        create_or_append(path, SPEC).close()
        assert (path / "features" / "half").exists()  # a reader is there
    create_or_append(path, SPEC).close()
    assert sorted(p.name for p in path.iterdir()) == [
        "README.txt",
        "features",
        "manifest",
        "zarr.json",
    ]
    assert sorted(p.name for p in (path / "features").iterdir()) == ["a", "zarr.json"]
    assert sorted(p.name for p in (path / "manifest").iterdir()) == [
        "log.jsonl",
        "seal",
        "zarr.json",
    ]


def test_zarr_takes_other_names_where_a_killed_writer_left_some(tmp_path: Path) -> None:
    """A reader keeps them from being deleted, and the killed run begins again meanwhile."""
    path = tmp_path / "store.zarr"
    with create_or_append(path, SPEC) as writer:
        add(writer, "a", seed=1)
    for name in ("b", "B~x"):
        shutil.copytree(path / "features" / "a", path / "features" / name)
    (path / "manifest" / "unfinished.jsonl").write_text('"b"\n"B~x"\n')
    with open_store(path) as reader:
        with create_or_append(path, SPEC) as writer:
            add(writer, "b", seed=2)
        assert_holds(reader, "a", seed=1)
    create_or_append(path, SPEC).close()
    with open_store(path) as store:
        assert store.ids == ["a", "b"] and store.verify() == []
        assert_holds(store, "b", seed=2)
    assert sorted(plain(path)) == ["a", "b"]


def test_a_reader_looks_through_a_waiting_journal(tmp_path: Path) -> None:
    """Killed between journal and file, and no writer since: readers cannot and need not repair."""
    path = tmp_path / "store.h5"
    fill(path)
    disk = FaultyDisk()
    writer = create_or_append(path, SPEC, disk=disk)
    original = disk.replace

    def crash_after_the_rename(source: Path, target: Path) -> None:
        original(source, target)
        disk.at = disk.steps + 2

    disk.replace = crash_after_the_rename  # type: ignore[method-assign]
    with pytest.raises(Crash):
        change(writer)
    writer.close()
    journal = path.with_name("store.h5.journal")
    before = (path.read_bytes(), journal.read_bytes())
    with open_store(path) as store:
        assert "new1" in store and "v7" not in store
        assert_holds(store, "v3", seed=103)
        assert store.verify() == []
    assert (path.read_bytes(), journal.read_bytes()) == before
    with create_or_append(path, SPEC):
        assert not journal.exists()
    assert "new1" in plain(path)
