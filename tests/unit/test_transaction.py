"""A commit interrupted at any single step leaves exactly the state before it or after it."""

from __future__ import annotations

import os
import random
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.errors import StoreError
from pipeline.store.disk import Disk
from pipeline.store.journal import PAGE, journal_path, pending_pages
from pipeline.store.limits import LIMITS, Limits
from pipeline.store.locks import lock_shared
from pipeline.store.transaction import OverlayFile, TransactionalFile
from tests.faulty_disk import Crash, FaultyDisk
from tests.messages import raises

START = 3 * PAGE + 777


def file_end(head: bytes) -> int:
    """The files of this test begin with their own length, as a superblock does."""
    return int(struct.unpack_from("<Q", head)[0])


def make(path: Path) -> bytes:
    content = struct.pack("<Q", START) + random.Random(1).randbytes(START - 8)
    path.write_bytes(content)
    return content


def change(file: TransactionalFile, content: bytes, seed: int) -> bytes:
    """Random writes through `file`; returns what it must hold then."""
    wanted, rng = bytearray(content), random.Random(seed)
    for _ in range(8):
        offset = rng.choice([rng.randrange(8, len(wanted)), len(wanted), START - 5])
        data = rng.randbytes(rng.choice([1, 100, PAGE, 2 * PAGE + 3]))
        wanted += bytes(max(0, offset + len(data) - len(wanted)))
        wanted[offset : offset + len(data)] = data
        file.seek(offset)
        file.write(data)
    head = struct.pack("<Q", len(wanted))
    wanted[:8] = head
    file.seek(0)
    file.write(head)
    return bytes(wanted)


def open_transaction(path: Path, disk: Disk, limits: Limits = LIMITS) -> TransactionalFile:
    return TransactionalFile(path, os.open(path, os.O_RDWR), file_end, disk, limits)


def seen_by_reader(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        pages, end = pending_pages(path, fd, file_end)
        return OverlayFile(fd, end, pages).read(end)
    finally:
        os.close(fd)


def test_reads_see_writes_and_the_file_does_not(tmp_path: Path) -> None:
    path = tmp_path / "f"
    before = make(path)
    file = open_transaction(path, Disk())
    after = change(file, before, seed=2)
    file.seek(0)
    assert file.read(len(after)) == after
    file.seek(PAGE - 3)
    assert file.read(PAGE) == after[PAGE - 3 : 2 * PAGE - 3]
    assert seen_by_reader(path) == before == path.read_bytes()[:START]
    file.commit()
    assert path.read_bytes() == after
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f"]


def test_commits_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "f"
    content = make(path)
    file = open_transaction(path, Disk())
    for seed in range(5):
        content = change(file, content, seed)
        file.commit()
        assert path.read_bytes() == content


def test_next_writer_cuts_off_what_was_not_committed(tmp_path: Path) -> None:
    path = tmp_path / "f"
    before = make(path)
    change(open_transaction(path, Disk()), before, seed=2)
    assert path.stat().st_size > START
    open_transaction(path, Disk())
    assert path.read_bytes() == before


def test_nothing_gets_through_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "f"
    before = make(path)
    disk = FaultyDisk(at=-1)
    file = open_transaction(path, disk)
    disk.at = disk.steps
    file.seek(START)
    file.write(b"too much")
    file.seek(START - 4)
    file.write(b"only in memory")
    file.seek(START - 4)
    assert file.read(14) == b"only in memory"
    file.seek(10 * PAGE)
    file.write(b"far away")
    file.seek(10 * PAGE)
    assert file.read(8) == b"far away"
    assert path.read_bytes() == before
    with pytest.raises(Crash):
        file.commit()


@pytest.mark.parametrize("power", [False, True], ids=["kill", "power"])
@pytest.mark.parametrize("torn", [False, True], ids=["clean", "torn"])
def test_interrupted_at_every_step(tmp_path: Path, torn: bool, power: bool) -> None:
    outcomes, at, finished = set(), -1, False
    while not finished:
        at += 1
        path = tmp_path / f"f{at}"
        before = make(path)
        disk = FaultyDisk(at, torn, power, seed=at)
        try:
            file = open_transaction(path, disk)
            after = change(file, before, seed=2)
            file.commit()
            finished = True
        except Crash:
            after = change(open_transaction(clone(path, before), Disk()), before, seed=2)
        seen = seen_by_reader(path)
        assert seen in (before, after), f"step {at}"
        outcomes.add(seen == after)
        crash_while_recovering(path, torn, power)
        open_transaction(path, Disk())
        assert path.read_bytes() == seen, f"step {at}"
        assert not journal_path(path).exists()
    assert outcomes == {False, True} and at > 10


def clone(path: Path, content: bytes) -> Path:
    copy = path.with_name(path.name + ".clone")
    copy.write_bytes(content)
    return copy


def crash_while_recovering(path: Path, torn: bool, power: bool) -> None:
    for at in range(8):
        with suppress(Crash):
            open_transaction(path, FaultyDisk(at, torn, power, seed=at))


IMPATIENT = Limits(patience=0.0, last_patience=0.0)


def test_commits_wait_in_the_journal_while_somebody_reads(tmp_path: Path) -> None:
    path = tmp_path / "f"
    content = before = make(path)
    with path.open("rb") as reader:
        lock_shared(reader.fileno())
        file = open_transaction(path, Disk(), IMPATIENT)
        for seed in range(3):
            content = change(file, content, seed)
            file.commit()
            assert seen_by_reader(path) == content
            assert path.read_bytes()[:START] == before
        change(file, content, seed=9)
        file.finish()
        assert seen_by_reader(path) == content
        file = open_transaction(path, Disk(), IMPATIENT)
        content = change(file, content, seed=10)
        file.commit()
        assert path.read_bytes()[:START] == before
    change(file, content, seed=11)
    file.finish()
    assert path.read_bytes()[: len(content)] == content
    assert not journal_path(path).exists()
    open_transaction(path, Disk(), IMPATIENT)
    assert path.read_bytes() == content


def test_a_waiting_commit_goes_with_the_next(tmp_path: Path) -> None:
    path = tmp_path / "f"
    content = make(path)
    file = open_transaction(path, Disk(), IMPATIENT)
    with path.open("rb") as reader:
        lock_shared(reader.fileno())
        content = change(file, content, seed=1)
        file.commit()
    content = change(file, content, seed=2)
    file.commit()
    assert path.read_bytes() == content and not journal_path(path).exists()


def test_a_journal_of_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f"
    before = make(path)
    disk = FaultyDisk(at=-1)
    file = open_transaction(path, disk)
    change(file, before, seed=2)
    disk.at = disk.steps + 5  # sync, write, sync, rename, sync of the folder: journal complete
    with pytest.raises(Crash):
        file.commit()
    assert seen_by_reader(path) != before
    other = struct.pack("<Q", START + 1) + bytes(START + 40_000)
    path.write_bytes(other)
    refused(path)
    assert path.read_bytes() == other


def test_a_damaged_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f"
    before = make(path)
    disk = FaultyDisk(at=-1)
    file = open_transaction(path, disk)
    after = change(file, before, seed=2)
    disk.at = disk.steps + 5
    with pytest.raises(Crash):
        file.commit()
    assert seen_by_reader(path) == after
    journal = journal_path(path)
    data = bytearray(journal.read_bytes())
    for damaged in (data[:-1], data[:20], b"", data[:50] + b"?" + data[51:]):
        journal.write_bytes(damaged)
        refused(path)


def refused(path: Path) -> None:
    """Reader and writer refuse the journal by name, and neither file changes."""
    files = [path.read_bytes(), journal_path(path).read_bytes()]
    for use in (seen_by_reader, lambda p: open_transaction(p, Disk())):
        with raises(StoreError, journal_path(path), remedy="copy the store and its journal again"):
            use(path)
    assert [path.read_bytes(), journal_path(path).read_bytes()] == files


def killed_behind_the_rename(path: Path) -> bytes:
    """A file whose commit is in its journal only; returns what the file holds then."""
    before, disk = make(path), FaultyDisk(at=-1)
    file = open_transaction(path, disk)
    after = change(file, before, seed=2)
    disk.at = disk.steps + 5
    with pytest.raises(Crash):
        file.commit()
    return after


def test_a_journal_fits_one_byte_for_byte(tmp_path: Path) -> None:
    """A file of the same length that differs in one byte under a page, or behind its old end."""
    path = tmp_path / "f"
    after = killed_behind_the_rename(path)
    whole, journal = path.read_bytes(), journal_path(path).read_bytes()
    half = bytearray(whole)
    half[: PAGE // 2] = after[: PAGE // 2]  # a page that was being written
    path.write_bytes(half)
    assert seen_by_reader(path) == after
    _, page, length = struct.unpack_from("<IQI", journal, 24)
    assert (page, length) == (0, PAGE)
    other = bytearray(whole)
    other[100] = next(v for v in range(256) if v not in (whole[100], after[100]))
    path.write_bytes(other)
    refused(path)


def test_a_journal_of_before_has_no_mark_and_applies(tmp_path: Path) -> None:
    path = tmp_path / "f"
    after = killed_behind_the_rename(path)
    data = journal_path(path).read_bytes()
    at = 28
    for _ in range(struct.unpack_from("<I", data, 24)[0]):
        at += 12 + int(struct.unpack_from("<I", data, at + 8)[0])
    old = data[:at]
    journal_path(path).write_bytes(old + struct.pack("<I", zlib.crc32(old)))
    assert seen_by_reader(path) == after
    open_transaction(path, Disk())
    assert path.read_bytes() == after and not journal_path(path).exists()


@pytest.mark.parametrize("offset, length", [(1 << 40, 16), (8 * PAGE, 16), (3, 16), (0, PAGE + 1)])
def test_a_page_outside_of_the_file_is_refused(tmp_path: Path, offset: int, length: int) -> None:
    path = tmp_path / "f"
    make(path)
    data = struct.pack("<8sQQIQI", b"VSJOURN1", START, START, 1, offset, length) + bytes(length)
    journal_path(path).write_bytes(data + struct.pack("<I", zlib.crc32(data)))
    refused(path)


def test_an_absurd_journal_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "f"
    make(path)
    for count in (1, 2**32 - 1):
        with journal_path(path).open("wb") as file:
            file.write(struct.pack("<8sQQI", b"VSJOURN1", START, START, count))
            file.truncate(
                1 << 40
            )  # a hole: reading it would take the memory of a thousand machines
        fd = os.open(path, os.O_RDONLY)
        with raises(StoreError, journal_path(path), "1099511627776 bytes"):
            pending_pages(path, fd, file_end)
        os.close(fd)
