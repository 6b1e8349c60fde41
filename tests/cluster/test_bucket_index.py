"""The candidate index of a store in a bucket: versions beside the log, copies on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.candidates import CandidateIndex, code_rule, update_index
from pipeline.candidates.builder import IndexReport
from pipeline.candidates.file import DamagedIndexError
from pipeline.errors import FingerprintMismatchError, StorageError, StoreError
from pipeline.nets.model.descriptors import standard_layout
from pipeline.objects import open_objects
from pipeline.store import create_or_append, open_store, open_writer
from pipeline.store.parts.local_parts import CACHE_VARIABLE
from tests import features
from tests.messages import raises

RULE = code_rule(standard_layout(features.REGIONS), features.DIMS)
SPEC = features.spec("ab" * 32)


@pytest.fixture
def place(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store of 20 videos; copies of its index go to a folder of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    add(f"{bucket}/db", range(20))
    return f"{bucket}/db"


def add(place: str, numbers: range) -> None:
    with create_or_append(place, SPEC, "float32") as writer:
        for number in numbers:
            video = writer.begin(f"v{number}", features.SourceInfo("x"))
            video.append(features.region_vectors(6, number), np.arange(6.0))
            video.finish()


def update(place: str) -> IndexReport:
    with open_store(place) as store:
        return update_index(store, RULE)


def best(place: str, number: int) -> tuple[str, int]:
    """The best candidate of a video, and how many videos were in no index."""
    with open_store(place) as store:
        index = CandidateIndex(store, RULE)
        numbers, _ = index.candidates(features.region_vectors(6, number), 3)
        return store.ids[int(numbers[0])], index.added


def versions(place: str) -> set[str]:
    return {info.name.split("/")[1] for info in open_objects(place).list("candidates")}


def test_an_index_lies_beside_the_log_and_follows_it(s3: Any, place: str) -> None:
    with raises(StoreError, place, remedy=f"visil-index index {place}"):
        best(place, 3)
    s3.reset()
    report = update(place)
    assert (report.added, report.videos, str(report.folder)) == (20, 20, f"{place}/candidates")
    reads = [path for method, path in s3.requests if method == "GET" and "/parts/" in path]
    assert len(reads) == 1, "codes are read by joined ranges"
    (first,) = versions(place)
    assert first.startswith("00000001-"), "made from log entry 1"
    assert best(place, 7) == ("v7", 0)
    s3.reset()
    assert update(place).added == 0 and versions(place) == {first}
    assert s3.methods()["PUT"] == 0, "nothing changed"
    add(place, range(20, 24))
    with open_writer(place) as writer:
        writer.remove("v7")
    assert best(place, 22) == ("v22", 4), "read from the store until the index knows them"
    report = update(place)
    assert (report.added, report.removed) == (4, 1)
    second = max(versions(place))
    assert second.startswith("00000003-") and versions(place) == {first, second}
    assert best(place, 22) == ("v22", 0) and best(place, 7)[0] != "v7"


def test_a_copy_is_fetched_once(s3: Any, place: str, tmp_path: Path, monkeypatch: Any) -> None:
    update(place)

    def fetched() -> int:
        s3.reset()
        assert best(place, 5) == ("v5", 0)
        return sum(m == "GET" and "/candidates/" in path for m, path in s3.requests)

    assert [fetched(), fetched()] == [3, 0]  # header, rows and codes
    (tmp_path / "file").touch()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    with raises(StorageError, tmp_path / "file", remedy=CACHE_VARIABLE):
        best(place, 5)


def test_a_damaged_version_is_named_and_a_lost_connection_is_no_damage(
    s3: Any, place: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("pipeline.objects.bucket.RETRIES", {"max_retries": 0})
    s3.lose_answer = lambda method, path: "503" if "/parts/" in path else None
    with raises(StorageError, place, "parts/", remedy="run the"):
        update(place)
    assert versions(place) == set()
    s3.reset()
    update(place)
    objects = open_objects(place)
    (codes,) = [i.name for i in objects.list("candidates") if "/codes-" in i.name]
    objects.delete(codes)
    (tmp_path / "codes").write_bytes(bytes(20 * 6 * features.DIMS))
    objects.put_file(codes, tmp_path / "codes")
    with raises(DamagedIndexError, "codes-", remedy=f"visil-index index {place}"):
        best(place, 5)


def test_an_index_of_another_model_is_refused(place: str) -> None:
    update(place)
    other = code_rule(standard_layout(features.REGIONS - 1), features.DIMS)
    with (
        open_store(place) as store,
        raises(FingerprintMismatchError, f"{place}/candidates", remedy="remove the folder"),
    ):
        update_index(store, other)
