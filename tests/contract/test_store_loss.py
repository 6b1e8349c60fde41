"""Manifests that lost something are told from shorter ones, and nobody's arrays are deleted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.errors import StoreError
from pipeline.extraction.run import extract_features
from pipeline.store import copy_store, create_or_append, open_store, open_writer
from tests.messages import raises
from tests.pixelnet import PixelNet
from tests.store_helpers import SPEC, add, assert_holds, change_header, plain

KINDS = ("h5", "zarr")
IDS = ("a", "b/c", "d")
DAMAGES: dict[str, Callable[[list[bytes]], bytes]] = {
    "empty": lambda groups: b"",
    "zeroed": lambda groups: bytes(sum(map(len, groups))),
    "a byte short": lambda groups: b"".join(groups)[:-1],
    "last group gone": lambda groups: b"".join(groups[:-1]),
    "middle group gone": lambda groups: groups[0] + groups[2],
    "first group gone": lambda groups: groups[1] + groups[2],
    "middle group zeroed": lambda groups: groups[0] + bytes(len(groups[1])) + groups[2],
    "last group zeroed": lambda groups: groups[0] + groups[1] + bytes(len(groups[2])),
    "another order": lambda groups: groups[1] + groups[0] + groups[2],
}


def fill(path: Path) -> list[bytes]:
    """A store of three commits; returns the groups of its log (of a Zarr store)."""
    for seed, video_id in enumerate(IDS):
        with create_or_append(path, SPEC) as writer:
            add(writer, video_id, seed)
    if path.suffix == ".h5":
        return []
    lines = (path / "manifest" / "log.jsonl").read_bytes().splitlines(keepends=True)
    return [b"".join(lines[at : at + 2]) for at in (0, 2, 4)]


def make_old(path: Path) -> None:
    """As programs from before seals wrote it."""
    (path / "manifest" / "seal").unlink()
    root = json.loads((path / "zarr.json").read_text())
    del root["attributes"]["store"]["checksum"]
    (path / "zarr.json").write_text(json.dumps(root))


def files(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    return result.exit_code, result.output


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_log_that_lost_something_is_refused_and_nothing_is_deleted(
    tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "store.zarr"
    groups = fill(path)
    (path / "manifest" / "log.jsonl").write_bytes(DAMAGES[damage](groups))
    before = files(path)
    for attempt in (open_store, open_writer, lambda p: create_or_append(p, SPEC)):
        with raises(StoreError, path, "manifest", remedy="copy the store again"):
            attempt(path)
    for command in (("verify", path), ("info", path), ("remove", path, "nosuch")):
        code, said = run(*command)
        assert code == 1 and "the manifest is damaged" in said
    assert files(path) == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    (path / "manifest" / "log.jsonl").write_bytes(b"".join(groups))
    with open_store(path) as store:
        assert store.ids == list(IDS) and store.verify() == []


def test_the_message_says_what_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "store.zarr"
    groups = fill(path)
    (path / "manifest" / "log.jsonl").write_bytes(groups[0])
    sizes = f"{len(groups[0])} of {sum(map(len, groups))} bytes, 1 of 3 commits"
    with raises(StoreError, path, sizes, "videos are missing", remedy="copy the store again"):
        open_store(path)


@pytest.mark.parametrize("content", [None, b"", bytes(1024), b"x" * 1024, bytes(100)])
def test_a_store_whose_seal_is_gone_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "store.zarr"
    fill(path)
    seal = path / "manifest" / "seal"
    whole = seal.read_bytes()
    seal.unlink() if content is None else seal.write_bytes(content)
    for attempt in (open_store, open_writer):
        with raises(StoreError, path, "seal", remedy="copy the store again"):
            attempt(path)
    seal.write_bytes(whole)
    with open_store(path) as store:
        assert store.verify() == []


@pytest.mark.parametrize("slot", [0, 1])
def test_a_torn_seal_leaves_the_one_before(tmp_path: Path, slot: int) -> None:
    path = tmp_path / "store.zarr"
    fill(path)
    seal = path / "manifest" / "seal"
    data = bytearray(seal.read_bytes())
    data[slot * 512 : slot * 512 + 30] = bytes(30)
    seal.write_bytes(data)
    with create_or_append(path, SPEC) as writer:
        assert writer.ids == list(IDS)
        add(writer, "e", seed=4)
    with open_store(path) as store:
        assert store.ids == [*IDS, "e"] and store.verify() == []


def test_a_commit_that_was_not_yet_sealed_counts(tmp_path: Path) -> None:
    """A kill between the log and the seal is no loss."""
    path = tmp_path / "store.zarr"
    fill(path)
    seal = path / "manifest" / "seal"
    before = seal.read_bytes()
    with create_or_append(path, SPEC) as writer:
        add(writer, "e", seed=4)
    seal.write_bytes(before)
    with open_store(path) as store:
        assert store.ids == [*IDS, "e"] and store.verify() == []
    with create_or_append(path, SPEC) as writer:
        writer.remove("a")
    assert b'"groups": 5' in seal.read_bytes()


def test_old_stores_open_append_and_are_sealed_then(tmp_path: Path) -> None:
    path = tmp_path / "store.zarr"
    groups = fill(path)
    make_old(path)
    with open_store(path) as store:
        assert store.ids == list(IDS) and store.verify() == []
    open_writer(path).close()
    assert not (path / "manifest" / "seal").exists()
    with create_or_append(path, SPEC) as writer:
        add(writer, "e", seed=4)
        writer.commit()
        writer.remove("d")
    with open_store(path) as store:
        assert store.ids == ["a", "b/c", "e"] and store.verify() == []
        assert_holds(store, "e", seed=4)
    assert sorted(plain(path)) == ["a", "b/c", "e"]
    (path / "manifest" / "log.jsonl").write_bytes(b"".join(groups))
    with raises(StoreError, path, "3 of 5 commits", remedy="copy the store again"):
        open_store(path)


def test_a_writer_leaves_what_an_old_store_no_longer_names(tmp_path: Path) -> None:
    """Without a seal the loss cannot be told, but nothing is deleted and the arrays are named."""
    path = tmp_path / "store.zarr"
    fill(path)
    make_old(path)
    (path / "manifest" / "log.jsonl").write_bytes(b"")
    arrays = {n: d for n, d in files(path).items() if n.startswith("features/")}
    code, said = run("remove", path, "nosuch")
    assert code == 2 and "nothing was removed" in said
    with create_or_append(path, SPEC) as writer:
        assert len(writer.notes) == 1
        assert (
            "3 arrays in features/ are not in the manifest ('a', 'b%2Fc', 'd')" in writer.notes[0]
        )
        add(writer, "a", seed=9)
    assert {n: d for n, d in files(path).items() if n in arrays} == arrays
    with open_store(path) as store:
        assert_holds(store, "a", seed=9)
        assert store.verify() == [
            f"array features/{key} is not in the manifest" for key in ("a", "b%2Fc", "d")
        ]
    assert run("verify", path)[0] == 1


@pytest.mark.parametrize("content", [None, b"x"])
def test_verify_of_a_store_whose_arrays_are_gone(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "store.zarr"
    fill(path)
    shutil.rmtree(path / "features")
    if content is not None:
        (path / "features").write_bytes(content)
    with open_store(path) as store:
        problems = store.verify()
    assert all(any(i in problem for problem in problems) for i in IDS)
    assert "the folder features cannot be read" in problems[-1]


def test_commands_print_what_a_writer_noted(tmp_path: Path) -> None:
    path, other = tmp_path / "store.zarr", tmp_path / "other.h5"
    fill(path)
    fill(other)
    shutil.copytree(path / "features" / "a", path / "features" / "foreign")
    for command in (("remove", path, "d"), ("copy", other, path)):
        code, said = run(*command)
        assert code == 0 and "note: " in said and "('foreign') and were left alone" in said
    assert (path / "features" / "foreign").is_dir()
    notes: list[str] = []
    assert copy_store(other, path, note=notes.append) == 0 and len(notes) == 1


def test_verify_beside_a_writer_takes_its_work_for_its_own(tmp_path: Path) -> None:
    for kind in KINDS:
        path = tmp_path / f"store.{kind}"
        fill(path)
        with open_store(path) as store, create_or_append(path, SPEC) as writer:
            add(writer, "new", seed=5)
            assert store.verify() == []
            writer.commit()
            assert store.verify() == []


def test_verify_names_a_dataset_that_the_manifest_does_not_know(tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "store.h5"
    fill(path)
    with h5py.File(path, "r+", libver=("v108", "latest")) as file:
        file["features"].create_dataset("foreign", data=[1, 2])
    with open_store(path) as store:
        assert store.verify() == ["dataset /features/foreign is not in the manifest"]


def test_an_hdf5_manifest_that_is_shorter_than_its_seal(tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "store.h5"
    fill(path)
    with h5py.File(path, "r+", libver=("v108", "latest")) as file:
        file["manifest"].resize((0,))
    with raises(StoreError, path, "0 of 3 commits", remedy="copy the store again"):
        open_store(path)
    with h5py.File(path, "r+", libver=("v108", "latest")) as file:
        del file["manifest"].attrs["seal"]
    with raises(StoreError, path, "seal"):
        open_store(path)


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "fps": lambda h: h["spec"].update(fps=2.0),
    "model": lambda h: h["spec"].update(model="another"),
    "fingerprint": lambda h: h.update(fingerprint="0" * 64),
    "dtype": lambda h: h.update(dtype="int8"),
    "version": lambda h: h.update(format_version=2),
    "provenance": lambda h: h.update(provenance={"by": "somebody"}),
    "new field": lambda h: h.update(colour="red"),
    "checksum": lambda h: h.update(checksum="0" * 64),
    "renamed checksum": lambda h: h.update(check=h.pop("checksum")),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_header_is_refused(tmp_path: Path, kind: str, change: str) -> None:
    path = tmp_path / f"store.{kind}"
    create_or_append(path, SPEC).close()
    change_header(path, CHANGES[change])
    for attempt in (open_store, open_writer):
        with raises(StoreError, path, "description", "damaged", remedy="copy it again"):
            attempt(path)
    assert run("verify", path)[0] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_old_header_without_a_checksum(tmp_path: Path, kind: str) -> None:
    """Accepted as it is; not with a fingerprint that its settings do not have."""
    path = tmp_path / f"store.{kind}"
    fill(path)
    change_header(path, lambda h: h.pop("checksum"))
    with open_store(path) as store:
        assert store.ids == list(IDS) and store.verify() == []
    with create_or_append(path, SPEC) as writer:
        add(writer, "e", seed=5)
    change_header(path, lambda h: h["spec"].update(crop=192))
    with raises(StoreError, path, "fingerprint", remedy="copy it again"):
        open_store(path)


def test_a_report_of_stage_one_has_the_notes(tmp_path: Path) -> None:
    path, net = tmp_path / "store.zarr", PixelNet()
    assert extract_features([], path, net).store_notes == []
    (path / "features" / "foreign").mkdir()
    (note,) = extract_features([], path, net).store_notes
    assert "1 arrays in features/ are not in the manifest ('foreign')" in note
