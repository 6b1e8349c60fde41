"""Symbolic links, pipes and foreign files in a store and beside it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pipeline.errors import StoreError
from pipeline.store import create_or_append, open_store, open_writer
from tests.contract.test_store_loss import files, fill, make_old
from tests.messages import raises
from tests.store_helpers import SPEC, add, assert_holds

KINDS = ("h5", "zarr")


@pytest.mark.parametrize(
    "name",
    ["features", "manifest", "zarr.json", "manifest/log.jsonl", "manifest/seal",
     "manifest/unfinished.jsonl", "features/zarr.json", "manifest/zarr.json"],
)  # fmt: skip
def test_nothing_is_written_through_a_link_in_a_store(tmp_path: Path, name: str) -> None:
    path, other = tmp_path / "store.zarr", tmp_path / "other.zarr"
    fill(path)
    fill(other)
    with create_or_append(other, SPEC) as writer:
        add(writer, "only here", seed=8)
    (other / "manifest" / "unfinished.jsonl").write_text("")
    before, linked = files(other), path / name
    if linked.is_dir():
        shutil.rmtree(linked)
    else:
        linked.unlink(missing_ok=True)
    linked.symlink_to(other / name)
    with pytest.raises(StoreError, match=r"symbolic link|the manifest is damaged"):  # noqa: SIM117
        with create_or_append(path, SPEC) as writer:
            add(writer, "new", seed=7)
    assert files(other) == before


def test_the_first_seal_of_an_old_store_follows_no_link(tmp_path: Path) -> None:
    path, victim = tmp_path / "store.zarr", tmp_path / "victim"
    fill(path)
    make_old(path)
    victim.write_text("precious")
    (path / "manifest" / "seal.new").symlink_to(victim)
    writer = create_or_append(path, SPEC)
    add(writer, "e", seed=4)
    with raises(StoreError, path / "manifest" / "seal.new", "symbolic link"):
        writer.commit()
    writer.close()
    assert victim.read_text() == "precious"
    with open_store(path) as store:
        assert store.verify() == []


def test_a_link_among_the_arrays_is_left_alone(tmp_path: Path) -> None:
    path, other = tmp_path / "store.zarr", tmp_path / "other.zarr"
    fill(path)
    fill(other)
    before = files(other)
    for name in ("e", "gone"):
        (path / "features" / name).symlink_to(other / "features" / "a")
    (path / "manifest" / "unfinished.jsonl").write_text('"gone"\n')
    with create_or_append(path, SPEC) as writer:
        assert "('e')" in writer.notes[0]
        add(writer, "e", seed=4)
    with open_store(path) as store:
        assert_holds(store, "e", seed=4)
    assert files(other) == before
    assert (path / "features" / "gone").is_symlink()


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_that_is_named_by_a_link(tmp_path: Path, kind: str) -> None:
    real, link = tmp_path / "disk" / f"real.{kind}", tmp_path / f"link.{kind}"
    real.parent.mkdir()
    fill(real)
    link.symlink_to(real)
    with create_or_append(link, SPEC) as writer:
        assert real.with_name(real.name + ".lock").exists()
        add(writer, "e", seed=4)
    assert link.is_symlink()
    for path in (real, link):
        with open_store(path) as store:
            assert_holds(store, "e", seed=4)
    link.unlink()
    link.symlink_to(tmp_path / "nowhere")
    for attempt in (open_writer, lambda p: create_or_append(p, SPEC)):
        with pytest.raises(StoreError, match=r"no such store|symbolic link to .*nowhere"):
            attempt(link)
    assert link.is_symlink() and not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_where_a_new_store_is_put_together(tmp_path: Path, kind: str) -> None:
    path, new = tmp_path / f"store.{kind}", tmp_path / f"store.{kind}.new"
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "precious").write_text("precious")
    for target in (victim, victim / "precious"):
        new.symlink_to(target)
        with raises(StoreError, new, "symbolic link"):
            create_or_append(path, SPEC)
        new.unlink()
    fill(tmp_path / "foreign.zarr")
    for foreign in (tmp_path / "foreign.zarr", victim, victim / "precious"):
        foreign.rename(new)
        with raises(StoreError, new, "in the way", remedy="move"):
            create_or_append(path, SPEC)
        new.rename(foreign)
    assert (victim / "precious").read_text() == "precious"
    with open_store(tmp_path / "foreign.zarr") as store:
        assert store.verify() == []


def test_the_rest_of_an_attempt_is_cleared_away(tmp_path: Path) -> None:
    for path, other in ((tmp_path / "a.zarr", "x.zarr"), (tmp_path / "b.h5", "y.h5")):
        create_or_append(tmp_path / other, SPEC).close()
        (tmp_path / other).rename(path.with_name(path.name + ".new"))
        with create_or_append(path, SPEC) as writer:
            add(writer, "a", seed=1)
        assert not path.with_name(path.name + ".new").exists()
        with open_store(path) as store:
            assert_holds(store, "a", seed=1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["c.0.0.0", "zarr.json"])
def test_a_pipe_in_the_place_of_a_file_does_not_hang(tmp_path: Path, name: str) -> None:
    path = tmp_path / "store.zarr"
    fill(path)
    file = path / "features" / "a" / name
    file.unlink()
    os.mkfifo(file)
    with open_store(path) as store:
        with raises(StoreError, path, "video 'a'"):
            store.read("a")
        assert len(store.verify()) >= 1
    (path / "manifest" / "seal").unlink()
    os.mkfifo(path / "manifest" / "seal")
    for attempt in (open_store, open_writer):
        with raises(StoreError, path, "seal", remedy="copy the store again"):
            attempt(path)


def test_a_log_that_is_one_large_hole(tmp_path: Path) -> None:
    path = tmp_path / "store.zarr"
    fill(path)
    os.truncate(path / "manifest" / "log.jsonl", 1 << 40)
    for attempt in (open_store, open_writer):
        with raises(StoreError, path, "manifest", "hole", remedy="copy the store again"):
            attempt(path)


@pytest.mark.timeout(60)
def test_a_pipe_in_place_of_a_description_is_not_waited_for(tmp_path: Path) -> None:
    """The zarr library opens it as a file, and would wait for its other end."""
    path = tmp_path / "store.zarr"
    create_or_append(path, SPEC).close()
    (path / "features" / "zarr.json").unlink()
    os.mkfifo(path / "features" / "zarr.json")
    with raises(StoreError, path / "features" / "zarr.json", "no plain file"):
        open_writer(path)
