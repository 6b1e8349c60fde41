"""Manifests, headers and metadata of stores changed at random: equal, or refused in words.

FUZZ_MUTATIONS and FUZZ_SEED in the environment say how many changes, and which.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import StoreError
from pipeline.records import Failure
from pipeline.store import create_or_append, open_store, open_writer
from pipeline.store.header import make_header, read_header
from pipeline.store.manifest import close_group, parse
from tests.store_helpers import SPEC, add, source_of

MUTATIONS = int(os.environ.get("FUZZ_MUTATIONS", "600"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
DEEP: Any = json.loads("[" * 300 + "]" * 300)
VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 10**9, 10**18, 10**30, 1.5, float("nan"), float("inf"), "", "../x",
    "/etc/passwd", "a\0b", "\ud800", "..", "a\\b", "3", [], {}, [[]], [1, 2, 3], {"a": 1}, DEEP,
)  # fmt: skip


def fill(path: Path) -> None:
    for seed in range(4):
        with create_or_append(path, SPEC) as writer:
            add(writer, f"dir/v{seed}", seed, note="x" * seed)
            writer.fail(Failure(f"f{seed}", "missing", "gone", source_of(seed)))
    with open_writer(path) as writer:
        writer.remove("dir/v1")


def state(path: Path) -> object:
    """Everything that a reader can get out of a store."""
    with open_store(path) as store:
        records = [store.record(i) for i in store]
        found = [store.read(i) for i in store]
        numbers = [(f.vectors.tobytes(), f.seconds.tobytes()) for f in found]
        assert store.lengths.tolist() == [r.frames for r in records]
        return store.spec, store.provenance, records, numbers, store.failures


def changed_bytes(data: bytes, rng: random.Random) -> bytes:
    out, kind = bytearray(data), rng.randrange(6)
    at, size = rng.randrange(len(data)), rng.choice((1, 1, 8, 100, len(data)))
    if kind == 0:
        out[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del out[at : at + size]
    elif kind == 2:
        out[at : at + size] = bytes(len(out[at : at + size]))
    elif kind == 3:
        out[at:at] = out[at : at + size]
    elif kind == 4:
        out[at : at + 1] = rng.choice((b'"', b"{", b"[" * 9000, b",", b"9" * 5000, b"\xff", b"\n"))
    else:
        lines = data.splitlines(keepends=True)
        rng.shuffle(lines)
        out = bytearray(b"".join(lines[: rng.randint(1, len(lines))]))
    return bytes(out)


def changed_value(value: Any, rng: random.Random) -> Any:
    """The same JSON with one field replaced, renamed, dropped or added somewhere."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        name = rng.choice(sorted(value))
        kind = rng.randrange(5)
        rest = {k: v for k, v in value.items() if k != name}
        if kind == 0:
            return rest
        if kind == 1:
            return rest | {name + "x": value[name]}
        return value | {name: changed_value(value[name], rng)}
    return rng.choice(VALUES)


def outcome(work: Callable[[], object]) -> object:
    """What comes out, or None where it is refused in words. Any other error passes through."""
    try:
        return work()
    except StoreError as error:
        assert str(error) and "\n" not in str(error)
        return None


def test_lines_that_mean_harm(tmp_path: Path) -> None:
    """Whole groups with fitting checksums, as only a person makes them."""
    rng = random.Random(SEED)
    path = tmp_path / "store.zarr"
    fill(path)
    log = (path / "manifest" / "log.jsonl").read_text().splitlines()
    lines = [line for line in log if '"op":"commit"' not in line]

    def read(data: bytes) -> object:
        index, _ = parse(data, "store")
        return [(index.record(i), e.frames, e.rows, e.key) for i, e in index.videos.items()], (
            index.failures
        )

    for _ in range(MUTATIONS):
        some = list(lines)
        at = rng.randrange(len(some))
        if rng.random() < 0.5:
            some[at] = json.dumps(changed_value(json.loads(some[at]), rng), separators=(",", ":"))
        else:
            text = changed_bytes(some[at].encode(), rng).decode("ascii", "replace")
            some[at] = text.encode("ascii", "replace").decode()
        data = close_group(some)
        found = outcome(lambda d=data: read(d))  # type: ignore[misc]
        if found is not None:
            records, _ = found  # type: ignore[misc]
            for record, frames, rows, key in records:
                assert 0 < frames <= 10**9 and rows > 0 and record.own_frames > 0
                assert "/" not in key and "\\" not in key and "\0" not in key and key[0] != "."


def test_headers_that_mean_harm() -> None:
    rng = random.Random(SEED)
    value = json.loads(json.dumps(make_header(SPEC, "float16", {"by": "test"}).as_json()))
    good = read_header(value, "store")
    first = {k: v for k, v in value.items() if k != "checksum"}
    for start in (value, first):
        for _ in range(MUTATIONS // 2):
            changed = changed_value(start, rng)
            found = outcome(lambda c=changed: read_header(c, "store"))  # type: ignore[misc]
            if found is not None and start is value:
                assert found == good or changed == first


@pytest.mark.parametrize("name", ["manifest/log.jsonl", "manifest/seal", "zarr.json", "array"])
def test_files_of_a_zarr_store(tmp_path: Path, name: str) -> None:
    rng = random.Random(SEED)
    path = tmp_path / "store.zarr"
    fill(path)
    good = state(path)
    file = path / {"array": "features/dir%2Fv2/zarr.json"}.get(name, name)
    data = file.read_bytes()
    for number in range(MUTATIONS // 8):
        file.write_bytes(changed_bytes(data, rng))
        assert outcome(lambda: state(path)) in (None, good), number
        if number % 20 == 0:
            before = sorted(p.name for p in (path / "features").iterdir())
            outcome(lambda: open_writer(path).close())
            assert sorted(p.name for p in (path / "features").iterdir()) == before, number
    file.write_bytes(data)
    assert state(path) == good


def test_arrays_outlive_any_damage_of_the_log(tmp_path: Path) -> None:
    """What a writer does to a store whose log is damaged: nothing."""
    rng = random.Random(SEED)
    whole, path = tmp_path / "whole.zarr", tmp_path / "store.zarr"
    fill(whole)
    good = state(whole)
    for _ in range(max(3, MUTATIONS // 100)):
        shutil.copytree(whole, path)
        log = path / "manifest" / "log.jsonl"
        log.write_bytes(changed_bytes(log.read_bytes(), rng))
        outcome(lambda: open_writer(path).close())
        shutil.copy(whole / "manifest" / "log.jsonl", log)
        assert state(path) == good
        shutil.rmtree(path)
