"""Entries whose file is gone are removed on request, and never when a disk may be offline."""

import os
import shutil

import pytest

from pipeline.extraction.prune import find_losses
from pipeline.records import Failure, SourceInfo
from pipeline.store import create_or_append, open_store
from tests.command import run
from tests.store_helpers import SPEC, seconds_of, vectors_of


def fill(path, videos, failed=()):
    with create_or_append(path, SPEC) as writer:
        for video in videos:
            writing = writer.begin(video.name, SourceInfo(str(video), 1))
            writing.append(vectors_of(1, 3), seconds_of(3))
            writing.finish()
        for video in failed:
            writer.fail(Failure(video.name, "missing", "gone", SourceInfo(str(video))))


def files(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")
    return [folder / name for name in names]


def ids(path):
    with open_store(path) as store:
        return store.ids, list(store.failures)


@pytest.mark.parametrize("kind", ["h5", "zarr"])
def test_gone_files_are_listed_and_removed(tmp_path, kind):
    store, disk = tmp_path / f"s.{kind}", tmp_path / "disk"
    videos = files(disk / "a", "1", "2", "3")
    fill(store, videos, [disk / "a" / "never.mp4"])
    assert "1 of 4 entries would" in run("prune", store, "--dry_run")
    videos[1].unlink()
    said = run("prune", store, "--dry_run")
    assert f"2\t{videos[1]}\n" in said and "2 of 4 entries would be removed" in said
    assert ids(store) == (["1", "2", "3"], ["never.mp4"])
    said = run("prune", store)
    assert f"never.mp4\t{disk / 'a' / 'never.mp4'}" in said and "2 of 4 entries removed" in said
    assert ids(store) == (["1", "3"], [])
    assert "0 of 2 entries" in run("prune", store)


@pytest.mark.parametrize("left", ["empty", "nothing"])
def test_a_disk_that_is_offline_loses_nothing(tmp_path, left):
    store = tmp_path / "s.h5"
    fill(store, [*files(tmp_path / "disk1", "1", "2"), *files(tmp_path / "disk2" / "x", "3")])
    shutil.rmtree(tmp_path / "disk1")
    if left == "empty":  # as a mount point is
        (tmp_path / "disk1").mkdir()
    said = run("prune", store, code=3)
    assert "0 of 3 entries removed" in said and f"{tmp_path / 'disk1'}: 2 entries" in said
    assert ids(store)[0] == ["1", "2", "3"]
    shutil.rmtree(tmp_path / "disk2")
    assert "0 of 3 entries removed" in run("prune", store, code=3)
    assert ids(store)[0] == ["1", "2", "3"]
    assert "2 of 3 entries" in run("prune", store, "--gone", tmp_path / "disk1", code=3)
    assert ids(store)[0] == ["3"]


def test_a_sibling_on_another_device_is_no_evidence(tmp_path, monkeypatch):
    """A mount point that is removed with its disk: the other disks there tell nothing of it."""
    (there,) = files(tmp_path / "top" / "disk2", "3")
    (other,) = files(tmp_path / "other", "4")
    entries = [("1", str(tmp_path / "top" / "disk1" / "1")), ("3", str(there)), ("4", str(other))]
    assert list(find_losses(entries).gone) == ["1"]
    monkeypatch.setattr("pipeline.extraction.prune._device", lambda folder: -2)
    losses = find_losses(entries)
    assert not losses.gone and losses.offline == {str(tmp_path / "top"): ["1"]}


def test_unreadable_is_not_gone(tmp_path, monkeypatch):
    one, two = files(tmp_path / "v", "1", "2")
    (tmp_path / "v" / "link").symlink_to(tmp_path / "nas" / "x")
    real = os.stat

    def stat(path, *args, **kwargs):
        if os.fsdecode(path) == str(two):
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **kwargs)

    monkeypatch.setattr("pipeline.extraction.prune.os.stat", stat)
    entries = [(p.name, str(p)) for p in (one, two, tmp_path / "v" / "link")]
    losses = find_losses([*entries, ("win", "D:\\videos\\a.mp4")])
    assert losses.present == 1 and not losses.gone and not losses.offline
    assert {i: why.rpartition(": ")[2] for i, why in losses.unknown.items()} == {
        "2": "Permission denied",
        "link": "a link that leads nowhere",
        "win": "a path of another system",
    }


def test_names_that_are_no_text_are_found_again(tmp_path):
    from pipeline.inputs import printable_path

    name = os.fsencode(tmp_path) + b"/caf\xe9.mp4"
    try:
        with open(name, "wb"):
            pass
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    losses = find_losses([("a", printable_path(os.fsdecode(name)))])
    assert (losses.present, losses.gone) == (1, {})


def test_an_address_is_no_file_that_is_gone(tmp_path):
    (tmp_path / "there").touch()
    paths = {"a": str(tmp_path / "there"), "b": "https://host/b.mp4"}
    paths["c"] = str(tmp_path / "http:" / "host" / "c.mp4")  # as a path in full has it
    losses = find_losses(paths.items(), gone_folders=[str(tmp_path)])
    assert not losses.gone and not losses.offline and losses.present == 1
    assert sorted(losses.unknown) == ["b", "c"]
    assert paths["c"] in losses.unknown["c"] and "address" in losses.unknown["c"]


def test_relative_paths_start_at_the_current_directory(tmp_path, monkeypatch):
    store = tmp_path / "s.h5"
    monkeypatch.chdir(tmp_path)
    files(tmp_path / "v", "1", "2")
    there = tmp_path / "v" / "1"
    fill(store, [there.relative_to(tmp_path), (tmp_path / "v" / "2").relative_to(tmp_path)])
    (tmp_path / "elsewhere").mkdir()
    files(tmp_path / "elsewhere", "other")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert f"relative, looked for below {tmp_path / 'elsewhere'}" in run("prune", store, code=3)
    assert ids(store)[0] == ["1", "2"]
    monkeypatch.chdir(tmp_path)
    there.unlink()
    run("prune", store)
    assert ids(store)[0] == ["2"]
