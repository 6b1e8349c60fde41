"""Journals of other stores, and links where a store keeps its own files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pipeline.errors import StoreError
from pipeline.store import create_or_append, open_store, open_writer
from tests.faulty_disk import Crash, FaultyDisk
from tests.messages import raises
from tests.store_helpers import SPEC, add, assert_holds


def make(path: Path, first_seed: int) -> None:
    path.parent.mkdir()
    with create_or_append(path, SPEC) as writer:
        for seed in range(first_seed, first_seed + 10):
            add(writer, f"v{seed - first_seed}", seed)


def killed_within_a_commit(path: Path, seed: int) -> Path:
    """The commit of one more video is in the journal only; returns the journal."""
    disk = FaultyDisk()
    writer = create_or_append(path, SPEC, disk=disk)
    original = disk.replace

    def crash_after_the_rename(source: Path, target: Path) -> None:
        original(source, target)
        disk.at = disk.steps + 2

    disk.replace = crash_after_the_rename  # type: ignore[method-assign]
    add(writer, "more", seed)
    with pytest.raises(Crash):
        writer.commit()
    writer.close()
    return path.with_name(path.name + ".journal")


def test_a_journal_applies_to_its_own_store_only(tmp_path: Path) -> None:
    """Two stores of equal ids, sizes and places, each killed within the same commit."""
    first, second = tmp_path / "1" / "s.h5", tmp_path / "2" / "s.h5"
    make(first, 0)
    make(second, 50)
    journals = killed_within_a_commit(first, 7), killed_within_a_commit(second, 7)
    assert first.stat().st_size == second.stat().st_size
    own = journals[1].read_bytes()
    shutil.copy(journals[0], journals[1])
    content = second.read_bytes()
    for use in (open_store, open_writer):
        with raises(StoreError, journals[1], "another file"):
            use(second)
    assert second.read_bytes() == content
    journals[1].write_bytes(own)
    for path, seed in ((first, 0), (second, 50)):
        with open_writer(path) as writer:
            assert "more" in writer
        with open_store(path) as store:
            assert_holds(store, "v3", seed + 3)
            assert_holds(store, "more", 7)
            assert store.verify() == []


def test_a_journal_never_makes_a_store_larger(tmp_path: Path) -> None:
    """The store was restored from before the commit; the journal was left."""
    path = tmp_path / "1" / "s.h5"
    make(path, 0)
    before = path.read_bytes()
    killed_within_a_commit(path, 7)
    path.write_bytes(before)
    for use in (open_store, open_writer):
        with raises(StoreError, f"{path}.journal", remedy="copy the store and its journal again"):
            use(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("suffix", [".journal", ".journal.new"])
def test_a_link_for_a_journal_is_not_followed(tmp_path: Path, suffix: str) -> None:
    path, victim = tmp_path / "1" / "s.h5", tmp_path / "victim"
    make(path, 0)
    victim.write_text("precious")
    path.with_name(path.name + suffix).symlink_to(victim)
    if suffix == ".journal":
        for use in (open_store, open_writer):
            with raises(StoreError, f"{path}{suffix}", "link", "nothing was changed"):
                use(path)
    else:
        with create_or_append(path, SPEC) as writer:
            add(writer, "more", 7)
        with open_store(path) as store:
            assert_holds(store, "more", 7)
    assert victim.read_text() == "precious"


@pytest.mark.timeout(20)
def test_a_pipe_for_a_store_or_a_journal_does_not_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.h5")
    with raises(StoreError, tmp_path / "p.h5", "regular file"):
        open_store(tmp_path / "p.h5")
    path = tmp_path / "1" / "s.h5"
    make(path, 0)
    os.mkfifo(tmp_path / "1" / "s.h5.journal")
    with raises(StoreError, f"{path}.journal", "no plain file"):
        open_store(path)
