"""A database of sealed parts, in a folder and in a bucket of a real S3 server."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import StorageError, StoreError
from pipeline.objects import open_objects, storage_path
from pipeline.objects.folder import CLAIM, FolderObjects
from pipeline.records import Failure, VideoRecord
from pipeline.store import copy_store, create_or_append, open_store, open_writer
from pipeline.store.manifest import put_line
from pipeline.store.parts import log as parts_log
from pipeline.store.parts.compact import compact_parts
from pipeline.store.parts.local_parts import CACHE_VARIABLE
from pipeline.store.parts.ranges import joined
from pipeline.store.parts.reader import PartsStore
from pipeline.store.parts.upkeep import DAY, orphans, sweep
from pipeline.store.parts.writer import PartsWriter
from tests.command import run
from tests.messages import raises
from tests.store_helpers import SPEC, add, assert_holds, source_of


def fill(place: str, *ids: str, first_seed: int = 0, frames: int = 5) -> None:
    with create_or_append(place, SPEC) as writer:
        for seed, video_id in enumerate(ids, first_seed):
            add(writer, video_id, seed, frames)


def opened(place: str) -> PartsStore:
    store = open_store(place)
    assert isinstance(store, PartsStore)
    return store


def names(place: str, folder: str) -> list[str]:
    return [info.name for info in open_objects(place).list(folder)]


def puts_in_log(place: str) -> list[str]:
    """The id of every put line of every log entry."""
    objects, found = open_objects(place), []
    for name in names(place, "log"):
        data = objects.get(name)
        assert data is not None
        part, lines = parts_log.read_entry(data, int(name[-8:]), place)
        index = parts_log.LogState(parts_log.Index(place))
        found += [done.id for done in index.apply(part, lines) if done.op == "put"]
    return found


# Objects


@pytest.mark.parametrize("hard_links", [True, False])
def test_one_of_eight_writers_wins_in_a_folder(tmp_path: Path, hard_links: bool) -> None:
    race(FolderObjects(tmp_path / "objects", hard_links))


def test_one_of_eight_writers_wins_in_a_bucket(bucket: str) -> None:
    race(open_objects(f"{bucket}/race"))


def race(objects: Any) -> None:
    for number in range(20):
        won: list[int] = []
        begin = threading.Barrier(8)

        def put(writer: int, name: str, won: list[int], begin: threading.Barrier) -> None:
            begin.wait()
            try:
                if objects.put_if_absent(name, b"%d" % writer):
                    won.append(writer)
            except StorageError:  # without hard links a loser may meet the winner at work
                assert not getattr(objects, "_hard_links", True)

        arguments = f"log/{number}", won, begin
        threads = [threading.Thread(target=put, args=(i, *arguments)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1 and objects.get(f"log/{number}") == b"%d" % won[0]


def test_objects_in_folder_and_bucket_are_alike(place: str, tmp_path: Path) -> None:
    objects = open_objects(place)
    assert objects.get("a/1") is None and objects.size("a/1") is None and objects.list("a") == []
    assert objects.put_if_absent("a/1", b"0123456789") and not objects.put_if_absent("a/1", b"")
    (tmp_path / "file").write_bytes(b"content")
    objects.put_file("a/2", tmp_path / "file")
    assert [(i.name, i.size) for i in objects.list("a")] == [("a/1", 10), ("a/2", 7)]
    assert [i.name for i in objects.list("a", after="a/1")] == ["a/2"]
    assert [bytes(r) for r in objects.get_ranges("a/1", [(2, 4), (8, 10)])] == [b"23", b"89"]
    objects.delete("a/1")
    objects.delete("a/1")
    assert objects.get("a/1") is None and objects.get("a/2") == b"content"
    with raises(StorageError, str(storage_path(place)), "a/1"):
        objects.get_ranges("a/1", [(0, 1)])


def test_a_claim_of_a_killed_writer_is_named(tmp_path: Path) -> None:
    objects = FolderObjects(tmp_path, hard_links=False)
    (tmp_path / f"log{CLAIM}").touch()
    with raises(StorageError, tmp_path / "log", remedy=f"remove log{CLAIM}"):
        objects.put_if_absent("log", b"")
    assert objects.get("log") is None


def test_no_connection_is_named_without_the_library_s_text(monkeypatch: Any) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9/?X-Amz-Signature=secret")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr("pipeline.objects.bucket.RETRIES", {"max_retries": 0})
    with raises(StorageError, "s3://bucket/db", "connection", remedy="network") as caught:
        open_store("s3://bucket/db")
    assert "secret" not in str(caught.value)


# Commits


def test_a_store_in_either_place(place: str) -> None:
    fill(place, "a", "b/ü")
    with create_or_append(place, SPEC) as writer:
        add(writer, "c", seed=2)
        writer.fail(Failure("gone", "missing", "no such file", source_of(0)))
    with opened(place) as store:
        assert store.ids == ["a", "b/ü", "c"] and list(store.failures) == ["gone"]
        for seed, video_id in enumerate(store.ids):
            assert_holds(store, video_id, seed)
        assert store.verify() == [] and store.log_number == 2
    assert len(names(place, "parts")) == 2


@pytest.mark.parametrize(("how", "tries"), [("503", 2), ("cut", 2), ("cut", 1)])
def test_an_answer_lost_after_the_commit_is_our_own_write(
    s3: Any, bucket: str, how: str, tries: int, monkeypatch: Any
) -> None:
    """The server stored the entry; the client tries again and hears that it exists, or gives up."""
    monkeypatch.setattr("pipeline.objects.bucket.RETRIES", {"max_retries": tries - 1})
    place = f"{bucket}/db"
    fill(place, "a")
    lost: list[str] = []

    def lose(method: str, path: str) -> str | None:
        if method == "PUT" and "/log/" in path and not lost:
            lost.append(path)
            return how
        return None

    s3.lose_answer = lose
    fill(place, "b", first_seed=1)
    assert len(lost) == 1
    assert len([r for r in s3.requests if r == ("PUT", lost[0])]) == tries
    with opened(place) as store:
        assert store.ids == ["a", "b"] and store.verify() == []
        assert_holds(store, "b", seed=1)
    assert len(names(place, "log")) == len(names(place, "parts")) == 2


def test_a_server_that_ignores_conditions_is_refused(s3: Any, bucket: str) -> None:
    """Two writers could take one number of the log, and the first would lose its videos."""
    place = f"{bucket}/db"
    s3.ignores_conditions = True
    with raises(StoreError, place, "If-None-Match", remedy=".parts"):
        fill(place, "a")
    assert names(place, "log") == []
    s3.ignores_conditions = False
    fill(place, "a")
    s3.requests.clear()
    fill(place, "b", first_seed=1)
    assert s3.methods()["PUT"] == 2, "asked once in a process"


def test_what_another_writer_stored_meanwhile_is_left_to_it(place: str) -> None:
    fill(place, "a")
    with create_or_append(place, SPEC) as late:
        add(late, "b", seed=5)
        add(late, "d", seed=3)
        late.fail(Failure("c", "missing", "", source_of(0)))
        fill(place, "b", "c", first_seed=1)
        assert late.commit() == ["d"] and late.superseded == ["b", "c"]
        assert late.ids == ["a", "b", "c", "d"]
    with opened(place) as store:
        for seed, video_id in enumerate("abcd"):
            assert_holds(store, video_id, seed)
        assert store.failures == {}
    assert sorted(puts_in_log(place)) == ["a", "b", "c", "d"]


def test_a_part_of_which_nothing_is_left_is_deleted(place: str) -> None:
    with create_or_append(place, SPEC) as late:
        add(late, "a", seed=9)
        fill(place, "a")
        assert late.commit() == [] and late.superseded == ["a"]
    assert len(names(place, "log")) == len(names(place, "parts")) == 1


def test_many_writers_at_once_store_every_video_once(place: str) -> None:
    """Four writers, each id given to two of them, small parts."""
    create_or_append(place, SPEC).close()
    errors: list[Exception] = []

    def work(first: int) -> None:
        try:
            with PartsWriter(storage_path(place), sealed_videos=3) as writer:
                for seed in range(first, first + 20):
                    add(writer, f"v{seed:02}", seed)
                    writer.commit(more_follows=True)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 10, 20, 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with opened(place) as store:
        assert sorted(store.ids) == [f"v{seed:02}" for seed in range(40)]
        for seed in range(40):
            assert_holds(store, f"v{seed:02}", seed)
        assert store.verify() == []
    assert len(puts_in_log(place)) == 40


def test_removing_and_replacing_are_log_entries(place: str) -> None:
    fill(place, "a", "b")
    before = names(place, "parts")
    with open_writer(place) as writer:
        writer.remove("a")
        add(writer, "b", seed=7)
    with opened(place) as store:
        assert store.ids == ["b"]
        assert_holds(store, "b", seed=7)
    assert set(before) < set(names(place, "parts"))


# Reading


def test_ranges_are_joined() -> None:
    assert joined([(0, 10), (20, 30), (5, 12), (100, 110)], gap=10) == [(0, 30), (100, 110)]
    assert joined([(0, 60), (60, 120)], gap=10, most=100) == [(0, 60), (60, 120)]
    assert joined([]) == []


def test_requests_of_a_remote_part(s3: Any, bucket: str) -> None:
    """Two writes for a part with 60 videos; one request for the videos of a block."""
    place = f"{bucket}/db"
    create_or_append(place, SPEC).close()
    s3.requests.clear()
    with create_or_append(place, SPEC) as writer:
        for seed in range(60):
            add(writer, f"v{seed}", seed)
            writer.commit(more_follows=True)
    assert s3.methods()["PUT"] == 2
    s3.requests.clear()
    with opened(place) as store:
        assert len(s3.requests) == 4  # header, checkpoints, log, entry
        s3.requests.clear()
        store.prefetch([(video_id, 0, 5) for video_id in store])
        for seed, video_id in enumerate(store):
            assert_holds(store, video_id, seed)
        assert s3.methods() == {"GET": 1}


def test_parts_are_fetched_once_into_a_local_folder(
    s3: Any, bucket: str, tmp_path: Path, monkeypatch: Any
) -> None:
    """A copy that was cut or changed is fetched again; a folder that cannot be made is named."""
    place, folder = f"{bucket}/db", tmp_path / "cache"
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    fill(place, "v0")
    fill(place, "v1", first_seed=1)

    def parts_read() -> int:
        s3.requests.clear()
        with opened(place) as store:
            store.prefetch([(video_id, 0, 5) for video_id in store])
            for seed, video_id in enumerate(store):
                assert_holds(store, video_id, seed)
        return sum("/parts/" in path for _, path in s3.requests)

    assert [parts_read(), parts_read()] == [2, 0]
    first, second = sorted(folder.rglob("*.h5"))
    first.write_bytes(first.read_bytes()[:-1])
    second.write_bytes(second.read_bytes()[:-1] + b"?")
    assert [parts_read(), parts_read()] == [2, 0]
    (tmp_path / "file").touch()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    with raises(StorageError, tmp_path / "file", remedy=CACHE_VARIABLE):
        parts_read()


def test_a_checkpoint_stands_for_the_entries_before(place: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("pipeline.store.parts.writer.CHECKPOINT_ENTRIES", 4)
    for seed in range(5):
        fill(place, f"v{seed}", first_seed=seed)
    with open_writer(place) as writer:
        writer.remove("v1")
        writer.fail(Failure("gone", "missing", "", source_of(0)))
    assert names(place, "checkpoints") == ["checkpoints/00000004"]
    objects = open_objects(place)
    for number in (1, 2):
        objects.delete(f"log/{number:08}")  # not read any more
    with opened(place) as store:
        assert store.ids == ["v0", "v2", "v3", "v4"] and list(store.failures) == ["gone"]
        assert_holds(store, "v3", seed=3)
        assert any("log/00000001" in problem for problem in store.verify())


@pytest.mark.slow
def test_a_large_store_opens_with_few_requests(s3: Any, bucket: str) -> None:
    """100,032 videos in 1,563 parts, 30 ms on each request."""
    place = f"{bucket}/db"
    create_or_append(place, SPEC).close()
    objects, state = open_objects(place), parts_log.LogState(parts_log.Index(place))
    for number in range(1, 1564):
        ids = [f"folder/clip-{number:05}-{n:02}.mp4" for n in range(64)]
        lines = [
            put_line(
                VideoRecord(video_id, 60, source_of(number)),
                video_id.replace("/", "%2F"),
                60,
                "1c4c78b2",
                (5000 + 4000 * n, 8000 + 4000 * n),
                place=number * 64 + n,
            )
            for n, video_id in enumerate(ids)
        ]
        part = parts_log.Part(number, str(number), f"parts/j-{number}.h5", 300_000, 1.0)
        state.apply(part, lines)
        if number == 1536:
            parts_log.write_checkpoint(objects, state)
        elif number > 1536:  # the entries before are not read
            objects.put_if_absent(parts_log.entry_name(number), parts_log.entry_data(part, lines))
    s3.reset()
    s3.delay = 0.03
    begin = time.process_time()
    with open_store(place) as store:
        assert len(store) == 100_032
    assert time.process_time() - begin < 3, "the server's time included"
    assert len(s3.requests) == 4 + 27


def test_damage_of_log_and_parts_is_found(place: str, tmp_path: Path) -> None:
    fill(place, "a")
    fill(place, "b", first_seed=1)
    objects = open_objects(place)
    _, second = names(place, "parts")
    data = objects.get(second)
    assert data is not None
    (tmp_path / "part").write_bytes(data[:-1])
    objects.delete(second)
    objects.put_file(second, tmp_path / "part")
    with opened(place) as store:
        assert any(second in problem for problem in store.verify())
    entry = objects.get("log/00000002")
    assert entry is not None
    objects.delete("log/00000002")
    objects.put_if_absent("log/00000002", entry.replace(b'"frames":5', b'"frames":4'))
    with raises(StoreError, "log/00000002", "damaged"):
        open_store(place)


# Upkeep


def test_orphans_are_swept_after_a_day(place: str, tmp_path: Path) -> None:
    fill(place, "a", "b")
    fill(place, "b2")
    with open_writer(place) as writer:
        writer.remove("b2")
    objects = open_objects(place)
    (tmp_path / "part").write_bytes(b"of a writer that died behind its upload")
    objects.put_file("parts/dead-0-1.h5", tmp_path / "part")
    with opened(place) as store:
        now = max(info.modified for info in objects.list("parts"))
        later = max(now, *(part.time for part in store.log.parts.values())) + DAY + 60
        assert orphans(objects, store.log, later - 2 * DAY) == []
        found = sweep(objects, store.log, later)
        assert "parts/dead-0-1.h5" in found and len(found) == 2
        assert store.verify() == [] and store.ids == ["a", "b"]


def test_compact_merges_small_parts_and_keeps_the_order(place: str) -> None:
    for seed, video_id in enumerate("abcd"):
        fill(place, video_id, first_seed=seed)
    with open_store(place) as before:
        output = run("compact", place)
        assert "4 parts were merged to 1" in output
        assert_holds(before, "a", seed=0)  # the old parts stay for readers that are open
    with opened(place) as store:
        assert store.ids == list("abcd") and store.verify() == []
        for seed, video_id in enumerate("abcd"):
            assert_holds(store, video_id, seed)
        assert len({entry.part for entry in store.log.index.videos.values()}) == 1
    assert compact_parts(storage_path(place)) == (1, 1)


def test_copies_to_and_from_parts(place: str, tmp_path: Path) -> None:
    fill(place, "a", "b")
    assert copy_store(place, tmp_path / "one.h5") == 2
    assert copy_store(tmp_path / "one.h5", tmp_path / "again.parts") == 2
    assert f"{place}: 2 videos checked, 0 problems" in run("verify", place)
    with open_store(tmp_path / "again.parts") as store:
        assert_holds(store, "b", seed=1)
        assert store.spec == replace(SPEC)


def test_a_full_scratch_disk_loses_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    place = str(tmp_path / "db.parts")
    fill(place, "a")

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    with pytest.raises(StoreError), create_or_append(place, SPEC) as writer:
        add(writer, "b", seed=1)
        monkeypatch.setattr(FolderObjects, "_install", full)
        writer.commit()
    monkeypatch.undo()
    with opened(place) as store:
        assert store.ids == ["a"] and store.verify() == []
    assert np.all([not n.startswith("parts/.tmp") for n in names(place, "parts")])
