"""Damaged HDF5 stores: what is read is right, or an error names the file; nothing else happens.

FUZZ_MUTATIONS says how many, FUZZ_SEED which; a failure prints both.
"""

from __future__ import annotations

import os
import random
import resource
from pathlib import Path

import pytest

from pipeline.errors import StoreError
from pipeline.records import Failure
from pipeline.store import FeatureStore, create_or_append, open_store, open_writer
from tests.store_helpers import SPEC, add, source_of

MUTATIONS = int(os.environ.get("FUZZ_MUTATIONS", "120"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
CHECK_EVERY = 60  # of them also by HDF5 in a process of its own, which takes half a second


def make(path: Path) -> bytes:
    """Two commits; a video replaced, one removed, one failed; groups of both kinds of storage."""
    with create_or_append(path, SPEC) as writer:
        for seed in range(12):
            add(writer, f"v{seed}", seed)
        writer.commit()
        add(writer, "v3", 103)
        writer.remove("v4")
        writer.fail(Failure("gone", "missing", "gone", source_of(0)))
    return path.read_bytes()


def mutate(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    dense = min(8192, len(data))  # where the header and the groups begin
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        at = rng.randrange(rng.choice([dense, len(changed)])) % max(1, len(changed))
        kind = rng.randrange(6)
        if kind == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at] = rng.choice([0, 1, 127, 128, 255])
        elif kind == 2:
            size = rng.choice([16, 512, 4096])
            start = at // size * size
            changed[start : start + size] = bytes(len(changed[start : start + size]))
        elif kind == 3:
            del changed[max(100, at) :]
        elif kind == 4:
            size, source = rng.choice([8, 64, 512]), rng.randrange(len(changed))
            piece = changed[source : source + size]
            changed[at : at + len(piece)] = piece[: len(changed) - at]
        else:  # a size or an address
            value = rng.choice([0, 1, len(data), 1 << 31, 12 << 30, (1 << 63) - 1, (1 << 64) - 1])
            changed[at : at + 8] = value.to_bytes(8, "little")[: len(changed[at : at + 8])]
    return bytes(changed)


def stored(store: FeatureStore, video_id: str) -> tuple[bytes, bytes] | None:
    """What is read of one video, with its checksum; None if an error names the file."""
    try:
        times = store.read(video_id).seconds.tobytes()
        return store.read_stored(video_id).tobytes(), times
    except StoreError as error:
        assert str(store.path) in str(error)
        return None


@pytest.mark.timeout(60 + MUTATIONS // 5)
def test_a_damaged_store(tmp_path: Path) -> None:
    path, counts = tmp_path / "s.h5", {"refused": 0, "named": 0, "equal": 0}
    whole = make(path)
    with open_store(path) as store:
        wanted = {i: stored(store, i) for i in store}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(MUTATIONS):
        rng = random.Random(f"{SEED} {number}")
        path.unlink()
        path.write_bytes(mutate(whole, rng))
        where = f"FUZZ_SEED={SEED}, mutation {number}"
        try:
            store = open_store(path)
        except StoreError as error:
            assert str(path) in str(error), where
            counts["refused"] += 1
            continue
        with store:
            assert set(store) == set(wanted), where
            found = {i: stored(store, i) for i in store}
            bad = [i for i, value in found.items() if value is None]
            assert all(found[i] == wanted[i] for i in found if i not in bad), where
            counts["named" if bad else "equal"] += 1
            if number % CHECK_EVERY == 0:
                problems = store.verify()
                assert problems or not bad, where
                assert all(i in " ".join(problems) for i in bad), where
                append(path, where)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 1 << 20, "over 1 GB"
    print(counts)
    assert min(counts.values()) > 0


def append(path: Path, where: str) -> None:
    """A writer adds a video to the damaged store, or refuses it and leaves it as it is."""
    before = path.read_bytes()
    try:
        with open_writer(path) as writer:
            add(writer, "more", 7)
    except StoreError as error:
        assert str(path) in str(error), where
        assert path.read_bytes() == before or "writing failed" in str(error), where
    else:
        with open_store(path) as store:
            assert "more" in store, where
