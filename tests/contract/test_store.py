"""What both back ends promise; every test runs for each."""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import (
    FingerprintMismatchError,
    InputError,
    StoreError,
    StoreLockedError,
)
from pipeline.records import Failure
from pipeline.store import copy_store, create_or_append, disk, open_store, open_writer, read_spec
from pipeline.store.limits import LIMITS, Limits
from tests.messages import raises
from tests.store_helpers import (
    SPEC,
    add,
    assert_holds,
    change_header,
    plain,
    plain_header,
    seconds_of,
    source_of,
    vectors_of,
)

KINDS = ("h5", "zarr", "parts")
IDS = (
    "a/b/c.mp4", "-starts-with-dash", ".", "..", "...", "zarr.json", "c.0.0.0", "__private",
    "A", "a", "ümläut 视频", "100%", "100%25", "~", "x~2", "x", "con", "con.txt", "trailing.",
    "trailing ", " ", "x" * 300, "x" * 299 + "y", "a\\b", "<>:\"|?*", "\ud800 lone",
    '{"op":"commit",', "removed", "features", "manifest",
)  # fmt: skip


@pytest.fixture(params=KINDS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"store.{request.param}"


@pytest.fixture
def locked(path: Path) -> Path:
    """A store that one writer locks; the log decides in one of parts."""
    if path.suffix == ".parts":
        pytest.skip("a store of parts has no lock")
    return path


ROW = SPEC.shared_descriptors * SPEC.dims * 2
# Long videos are those of more than 20 frames, in chunks of about 10.
SMALL = Limits(buffer_bytes=20 * ROW, chunk_bytes=10 * ROW, slab_bytes=7 * ROW)


def failure(video_id: str, detail: str = "no such file") -> Failure:
    return Failure(video_id, "missing", detail, source_of(0))


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(p.relative_to(folder)): (p.stat().st_size, p.stat().st_mtime_ns)
        for p in folder.rglob("*")
    }


# What goes in comes out


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_round_trip(path: Path, dtype: str) -> None:
    with create_or_append(path, SPEC, dtype, provenance={"by": "test", "n": [1, 2]}) as writer:
        add(writer, "b", seed=1, frames=5, note="damaged after 5.0 s")
        add(writer, "a", seed=2, frames=1)
        writer.fail(failure("gone"))
    with open_store(path) as store:
        assert store.ids == list(store) == ["b", "a"] and len(store) == 2
        assert "a" in store and "gone" not in store
        assert store.lengths.tolist() == [5, 1] and store.frames("b") == 5
        assert store.lengths.dtype == np.int64
        assert (store.spec, store.dtype, store.format_version) == (SPEC, np.dtype(dtype), 1)
        assert store.provenance == {"by": "test", "n": [1, 2]}
        assert store.record("b").note == "damaged after 5.0 s" and store.record("a").note == ""
        assert store.failures == {"gone": failure("gone")}
        assert_holds(store, "b", seed=1, frames=5)
        assert_holds(store, "a", seed=2, frames=1)
        assert store.verify() == []


def test_an_empty_store(path: Path) -> None:
    create_or_append(path, SPEC).close()
    with open_store(path) as store:
        assert store.ids == [] and store.lengths.shape == (0,) and store.verify() == []
    assert plain(path) == {}


@pytest.mark.parametrize("frames", [1, 19, 20, 21, 30, 31, 47])
def test_slices_of_short_and_long_videos(path: Path, frames: int) -> None:
    with create_or_append(path, SPEC, limits=SMALL) as writer:
        add(writer, "v", seed=3, frames=frames, piece=8)
    whole = vectors_of(3, frames)
    with open_store(path) as store:
        for start in range(-frames - 1, frames + 2, 3):
            for stop in (None, start + 1, start + 12, frames, frames + 5, -1):
                found = store.read_vectors("v", start, stop)
                np.testing.assert_array_equal(found, whole[start:stop])
        out = np.empty((1, SPEC.shared_descriptors, SPEC.dims), np.float16)
        assert store.read_vectors("v", frames - 1, out=out) is out
        np.testing.assert_array_equal(out, whole[-1:])
        assert store.verify() == []
    np.testing.assert_array_equal(plain(path)["v"][0], whole)


def test_out_must_fit(path: Path) -> None:
    with create_or_append(path, SPEC) as writer:
        add(writer, "v", seed=3, frames=4)
    with open_store(path) as store:
        good = np.empty((4, SPEC.shared_descriptors, SPEC.dims), np.float16)
        for out in (good[:3], good.astype(np.float32), np.asfortranarray(good)):
            with pytest.raises(ValueError, match="expected C-contiguous float16"):
                store.read_vectors("v", out=out)


def test_plain_libraries_read_the_same(path: Path) -> None:
    with create_or_append(path, SPEC, limits=SMALL) as writer:
        for seed, frames in enumerate((1, 5, 33)):
            add(writer, f"dir/{seed}", seed, frames)
    found = plain(path)
    assert list(found) and sorted(found) == ["dir/0", "dir/1", "dir/2"]
    with open_store(path) as store:
        for video_id, (vectors, seconds) in found.items():
            assert vectors.dtype == np.float16
            np.testing.assert_array_equal(vectors, store.read_vectors(video_id))
            np.testing.assert_array_equal(seconds, store.read(video_id).seconds)
    assert plain_header(path)["spec"]["model"] == "tiny"


def test_videos_of_zeros_are_written_too(path: Path) -> None:
    with create_or_append(path, SPEC) as writer:
        video = writer.begin("black", source_of(0))
        video.append(np.zeros((3, SPEC.shared_descriptors, SPEC.dims)), np.arange(3))
        video.finish()
    with open_store(path) as store:
        assert not store.read("black").vectors.any() and store.verify() == []


def test_any_text_is_an_id(path: Path) -> None:
    with create_or_append(path, SPEC) as writer:
        for seed, video_id in enumerate(IDS):
            add(writer, video_id, seed)
    with open_store(path) as store:
        assert store.ids == list(IDS)
        for seed, video_id in enumerate(IDS):
            assert_holds(store, video_id, seed)
        assert store.verify() == []
    assert len(plain(path)) == len(IDS)


def test_several_videos_open_at_once(path: Path) -> None:
    with create_or_append(path, SPEC, limits=SMALL) as writer:
        videos = {seed: writer.begin(f"v{seed}", source_of(seed)) for seed in range(4)}
        for start in range(0, 40, 8):
            for seed, video in videos.items():
                piece = slice(start, start + 8)
                video.append(vectors_of(seed, 40)[piece], seconds_of(40)[piece])
        for seed in (2, 0, 3, 1):
            videos[seed].finish()
    with open_store(path) as store:
        assert store.ids == ["v2", "v0", "v3", "v1"]
        for seed in range(4):
            assert_holds(store, f"v{seed}", seed, 40)


def test_what_is_appended_is_copied(path: Path) -> None:
    buffer, times = vectors_of(1, 5), seconds_of(5)
    with create_or_append(path, SPEC) as writer:
        video = writer.begin("v", source_of(1))
        video.append(buffer, times)
        buffer[:], times[:] = 0, 0
        video.finish()
    with open_store(path) as store:
        assert_holds(store, "v", seed=1)


# Commit, replace, remove, fail


def test_nothing_is_seen_before_commit(path: Path) -> None:
    with create_or_append(path, SPEC) as writer:
        add(writer, "a", seed=1)
        assert writer.ids == ["a"]
        with open_store(path) as store:
            assert store.ids == []
        assert writer.commit() == ["a"]
        assert writer.commit() == []
        half = writer.begin("b", source_of(2))
        half.append(vectors_of(2, 3), seconds_of(3))
        writer.commit()
        with open_store(path) as store:
            assert store.ids == ["a"]
            assert_holds(store, "a", seed=1)
    with open_store(path) as store:
        assert store.ids == ["a"] and store.verify() == []


def test_appending_keeps_what_is_there(path: Path) -> None:
    for seed in range(3):
        with create_or_append(path, SPEC) as writer:
            assert writer.ids == [f"v{i}" for i in range(seed)]
            add(writer, f"v{seed}", seed)
    with open_store(path) as store:
        for seed in range(3):
            assert_holds(store, f"v{seed}", seed)


def test_an_error_in_between_keeps_what_was_finished(path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), create_or_append(path, SPEC) as writer:
        add(writer, "done", seed=1)
        writer.begin("half", source_of(2)).append(vectors_of(2, 3), seconds_of(3))
        raise KeyboardInterrupt
    with open_store(path) as store:
        assert store.ids == ["done"]


def test_replacing(path: Path) -> None:
    with create_or_append(path, SPEC) as writer:
        add(writer, "a", seed=1)
        add(writer, "b", seed=2)
    before = open_store(path)
    with create_or_append(path, SPEC) as writer:
        add(writer, "a", seed=3, frames=9)
        with open_store(path) as store:
            assert_holds(store, "a", seed=1)
        assert writer.commit() == ["a"]
        with open_store(path) as store:
            assert store.ids == ["a", "b"] and store.lengths.tolist() == [9, 5]
            assert_holds(store, "a", seed=3, frames=9)
    assert_holds(before, "a", seed=1)
    assert before.verify() == []
    before.close()
    create_or_append(path, SPEC).close()
    assert sorted(plain(path)) == ["a", "b"]
    np.testing.assert_array_equal(plain(path)["a"][0], vectors_of(3, 9))


def test_replacing_twice_before_a_commit(path: Path) -> None:
    with create_or_append(path, SPEC) as writer:
        for seed in range(3):
            add(writer, "a", seed)
        assert writer.commit() == ["a"]
    with open_store(path) as store:
        assert_holds(store, "a", seed=2)
        assert store.verify() == []
    assert list(plain(path)) == ["a"]


def test_a_failed_or_abandoned_replacement_keeps_the_old(path: Path) -> None:
    with create_or_append(path, SPEC) as writer:
        add(writer, "a", seed=1)
        writer.commit()
        video = writer.begin("a", source_of(2))
        video.append(vectors_of(2, 3), seconds_of(3))
        video.abandon()
        writer.fail(failure("a", "disk unplugged"))
    with open_store(path) as store:
        assert_holds(store, "a", seed=1)
        assert store.failures == {"a": failure("a", "disk unplugged")}
    with create_or_append(path, SPEC) as writer:
        assert writer.failures["a"].detail == "disk unplugged"
        add(writer, "a", seed=4)
    with open_store(path) as store:
        assert_holds(store, "a", seed=4)
        assert store.failures == {}


def test_the_last_failure_counts(path: Path) -> None:
    with create_or_append(path, SPEC) as writer:
        writer.fail(failure("a", "first"))
        writer.fail(failure("a", "second"))
        assert writer.commit() == []
    with open_store(path) as store:
        assert store.failures["a"].detail == "second" and len(store) == 0


def test_removing(path: Path) -> None:
    with create_or_append(path, SPEC) as writer:
        for seed, video_id in enumerate("abc"):
            add(writer, video_id, seed)
        writer.fail(failure("gone"))
    with open_writer(path) as writer:
        writer.remove("b")
        writer.remove("gone")
        assert writer.ids == ["a", "c"]
        with raises(StoreError, path, "no video 'b'"):
            writer.remove("b")
        add(writer, "new", seed=7)
        writer.remove("new")
        assert writer.commit() == []
    with open_store(path) as store:
        assert store.ids == ["a", "c"] and store.failures == {}
        with raises(StoreError, path, "no video 'b'"):
            store.read("b")
    assert sorted(plain(path)) == ["a", "c"]
    with create_or_append(path, SPEC) as writer:
        add(writer, "b", seed=9)
    with open_store(path) as store:
        assert store.ids == ["a", "c", "b"]
        assert_holds(store, "b", seed=9)
        assert store.verify() == []


def test_versions_never_share_a_key(path: Path) -> None:
    """A reader of an old state must never find new numbers in the old place."""
    keys = []
    for seed in range(4):
        with create_or_append(path, SPEC) as writer:
            add(writer, "a", seed)
            keys.append(writer._index.videos["a"].key)
            if seed == 2:
                writer.commit()
                writer.remove("a")
    assert keys == ["a", "a~2", "a~3", "a~4"]


# Readers and writers at once


def test_readers_keep_their_snapshot(path: Path) -> None:
    with create_or_append(path, SPEC) as writer:
        for seed, video_id in enumerate("abc"):
            add(writer, video_id, seed)
    with open_store(path) as store:
        for _ in range(2):
            with create_or_append(path, SPEC) as writer:
                add(writer, "a", seed=50)
                if "c" in writer:
                    writer.remove("c")
                add(writer, "d", seed=51)
        assert store.ids == ["a", "b", "c"]
        for seed, video_id in enumerate("abc"):
            assert_holds(store, video_id, seed)
        assert store.verify() == []
    with open_store(path) as store:
        assert store.ids == ["a", "b", "d"]


@pytest.mark.slow
def test_readers_beside_a_busy_writer(path: Path) -> None:
    """Every state that a reader finds is whole, and never older than what it knew before."""
    stop, errors, opened = threading.Event(), [], []

    def read() -> None:
        try:
            known = 0
            while not stop.is_set():
                with open_store(path) as store:
                    assert len(store) >= known
                    known = len(store)
                    for video_id in store.ids[-3:]:
                        assert_holds(store, video_id, int(video_id), 1 + int(video_id) % 7)
                opened.append(known)
        except BaseException as error:
            errors.append(error)

    create_or_append(path, SPEC).close()
    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    with create_or_append(path, SPEC) as writer:
        for seed in range(60):
            add(writer, str(seed), seed, 1 + seed % 7)
            writer.commit()
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(set(opened)) > 3


def test_a_plain_hdf5_reader_does_not_stop_a_writer(
    tmp_path: Path,
) -> None:
    """HDF5 locks what it has open; commits then wait in the journal."""
    import h5py

    limits = Limits(patience=0.01, last_patience=0.01)
    path = tmp_path / "store.h5"
    with create_or_append(path, SPEC) as writer:
        add(writer, "a", seed=1)
    with h5py.File(path, "r", locking=True) as file:
        with create_or_append(path, SPEC, limits=limits) as writer:
            for seed in range(2, 30):
                add(writer, str(seed), seed)
                writer.commit()
                with open_store(path) as store:
                    assert_holds(store, str(seed), seed)
        with create_or_append(path, SPEC, limits=limits) as writer:
            add(writer, "a", seed=50)
        assert list(file["features"]) == ["a"]
        np.testing.assert_array_equal(file["features"]["a"], vectors_of(1, 5))
    with open_store(path) as store:
        assert len(store) == 29 and store.verify() == []
    create_or_append(path, SPEC).close()
    assert [p.name for p in tmp_path.iterdir()] == ["store.h5"]
    assert len(plain(path)) == 29
    with open_store(path) as store:
        assert_holds(store, "a", seed=50)


def test_the_superblock_tells_the_end_after_every_commit(tmp_path: Path) -> None:
    """The journal is matched to its file by that figure."""
    path = tmp_path / "store.h5"
    with create_or_append(path, SPEC) as writer:
        for seed in range(40):
            add(writer, str(seed % 7), seed, frames=1 + 13 * (seed % 5))
            if seed % 6 == 5:
                writer.remove(str(seed % 7))
            writer.commit()
            assert int.from_bytes(path.read_bytes()[28:36], "little") == path.stat().st_size


def test_many_threads_read_one_store(path: Path) -> None:
    with create_or_append(path, SPEC, limits=SMALL) as writer:
        for seed in range(8):
            add(writer, str(seed), seed, frames=5 + 9 * seed)
    errors: list[BaseException] = []
    with open_store(path) as store:

        def read(offset: int) -> None:
            try:
                for i in range(80):
                    seed = (i + offset) % 8
                    assert_holds(store, str(seed), seed, 5 + 9 * seed)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=read, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors


def test_a_second_writer_is_refused(locked: Path) -> None:
    with create_or_append(locked, SPEC) as writer:
        with raises(StoreLockedError, locked, f"process {os.getpid()}", "is writing"):
            create_or_append(locked, SPEC)
        with raises(StoreLockedError, locked, "is writing"):
            open_writer(locked)
        add(writer, "a", seed=1)
    with open_writer(locked) as writer:
        assert writer.ids == ["a"]


def test_a_lock_file_left_behind_is_no_obstacle(locked: Path) -> None:
    locked.with_name(locked.name + ".lock").write_text("1 elsewhere\n")
    with create_or_append(locked, SPEC) as writer:
        add(writer, "a", seed=1)
    assert sorted(p.name for p in locked.parent.iterdir()) == [locked.name]


def test_reading_changes_nothing(path: Path) -> None:
    with create_or_append(path, SPEC) as writer:
        add(writer, "a", seed=1)
    before = listing(path.parent)
    with open_store(path) as store:
        store.read("a")
        store.verify()
    assert listing(path.parent) == before


def test_a_moved_store_works(path: Path, tmp_path: Path) -> None:
    with create_or_append(path, SPEC) as writer:
        add(writer, "a/b", seed=1)
    target = tmp_path / "other machine" / f"renamed{path.suffix}"
    target.parent.mkdir()
    shutil.move(path, target)
    with open_store(target) as store:
        assert_holds(store, "a/b", seed=1)
    with create_or_append(target, SPEC) as writer:
        add(writer, "c", seed=2)
    with open_store(target) as store:
        assert store.ids == ["a/b", "c"] and store.verify() == []


# Refusals


def test_other_settings_are_refused_by_name(path: Path) -> None:
    create_or_append(path, SPEC).close()
    other = replace(SPEC, fps=2.0, crop=192, model="another name")
    with raises(FingerprintMismatchError, path, "fps: 2.0", "1.0 there", "crop: 192", "224 there"):
        create_or_append(path, other)
    create_or_append(path, replace(SPEC, model="another name")).close()
    with raises(StoreError, path, "float16", "float32"):
        create_or_append(path, SPEC, "float32")
    with raises(StoreError, "int4", remedy="float16, int8, binary"):
        create_or_append(path, SPEC, "int4")
    open_writer(path).close()


def test_bad_frames_are_refused(path: Path) -> None:
    with create_or_append(path, SPEC) as writer:
        video = writer.begin("v", source_of(1))
        good, times = vectors_of(1, 4), seconds_of(4)
        broken = good.copy()
        broken[1, 1, 1] = np.nan
        for vectors, seconds, *named in (
            (good[:, :2], times, "(4, 2, 8)", "expected (frames, 3, 8)"),
            (good[0], times, "expected (frames, 3, 8)"),
            (good, times[:3], "(3,) times", "4 frames"),
            (good, times[::-1], "never descend"),
            (good, times * np.nan, "finite"),
            (broken, times, "not finite"),
            (good.astype(np.float32) * 1e6, times, "not finite", "float16"),
        ):
            with raises(StoreError, path, "'v'", *named):
                video.append(vectors, seconds)
        video.append(good, times)
        with raises(StoreError, path, "descend"):
            video.append(good, times)
        with raises(StoreError, path, "written already"):
            writer.begin("v", source_of(1))
        video.append(good[:0], times[:0])
        video.finish()
        with raises(StoreError, path, "finished"):
            video.append(good, times)
        with raises(StoreError, path, "no frames"):
            writer.begin("w", source_of(1)).finish()
    with raises(StoreError, path, "closed"):
        writer.begin("x", source_of(1))
    with open_store(path) as store:
        assert store.ids == ["v"]
        np.testing.assert_array_equal(store.read("v").vectors, good)


def test_sources_that_are_not_plain_are_refused(path: Path) -> None:
    with create_or_append(path, SPEC) as writer:
        for source in (replace(source_of(1), fps=np.nan), replace(source_of(1), size=np.int64(3))):
            with raises(StoreError, source.path, "finite values only"):
                writer.begin("v", source)
            with raises(StoreError, source.path, "finite values only"):
                writer.fail(Failure("v", "missing", "", source))
        add(writer, "v", seed=1)
    with open_store(path) as store:
        assert store.ids == ["v"]


def test_paths_that_are_no_store(path: Path, tmp_path: Path) -> None:
    with raises(StoreError, path, "no such store"):
        open_store(path)
    with raises(StoreError, path, "no such store"):
        open_writer(path)
    with raises(StoreError, tmp_path / "nowhere", remedy="existing folder"):
        create_or_append(tmp_path / "nowhere" / path.name, SPEC)
    for name in ("store", "store.json", "store.h5.bak"):
        with raises(InputError, tmp_path / name, remedy=".h5, .hdf5, .zarr or .parts"):
            open_store(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_garbage_is_refused_and_left_alone(path: Path) -> None:
    for garbage in (b"", b"short", bytes(100_000), b"\x89HDF\r\n\x1a\n" + bytes(100)):
        path.write_bytes(garbage)
        for attempt in (open_store, open_writer, lambda p: create_or_append(p, SPEC)):
            with raises(StoreError, path):
                attempt(path)
        assert path.read_bytes() == garbage
    path.unlink()
    path.mkdir()
    if path.suffix == ".parts":  # another machine may be making it: an empty folder is none
        (path / "notes.txt").touch()
    for attempt in (open_store, open_writer, lambda p: create_or_append(p, SPEC)):
        with raises(StoreError, path):
            attempt(path)
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name]


def test_files_of_other_programs_are_refused(path: Path) -> None:
    if path.suffix == ".h5":
        import h5py

        with h5py.File(path, "w", libver="v108") as file:
            file["features"] = np.arange(5)
    else:
        import zarr

        zarr.create_group(path).create_array("features", shape=(3,), dtype="f4")
    for attempt in (open_store, open_writer, lambda p: create_or_append(p, SPEC)):
        with raises(StoreError, path):
            attempt(path)


def test_a_newer_format_is_refused(path: Path) -> None:
    create_or_append(path, SPEC).close()
    change_header(path, lambda header: header.update(format_version=4))
    for attempt in (open_store, open_writer):
        with raises(StoreError, path, "format version 4", "up to 3", remedy="upgrade"):
            attempt(path)


# Damage


def damage(path: Path, needle: bytes) -> None:
    """Flip a bit of the first byte of `needle` wherever it lies in the store's files."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    for file in files:
        data = bytearray(file.read_bytes())
        at = data.find(needle)
        if at >= 0:
            data[at] ^= 1
            file.write_bytes(data)
            return
    raise AssertionError("needle not found")


def test_verify_and_read_find_a_flipped_bit(path: Path) -> None:
    with create_or_append(path, SPEC) as writer:
        for seed, video_id in enumerate("abc"):
            add(writer, video_id, seed)
    damage(path, vectors_of(1, 5)[2].tobytes())
    calls: list[tuple[int, int]] = []
    with open_store(path) as store:
        assert store.verify(lambda done, total: calls.append((done, total))) == [
            "b: the checksum does not fit"
        ]
        assert calls == [(1, 3), (2, 3), (3, 3)]
        with raises(StoreError, path, "video 'b'", "checksum"):
            store.read("b")
        assert_holds(store, "c", seed=2)


def test_a_damaged_manifest_is_refused(path: Path) -> None:
    for seed in range(3):
        with create_or_append(path, SPEC) as writer:
            add(writer, f"video number {seed}", seed)
    damage(path, b'video number 1","key"')
    for attempt in (open_store, open_writer):
        with raises(StoreError, path, "manifest", "damaged"):
            attempt(path)


def test_a_truncated_store_is_refused_or_found_by_verify(path: Path) -> None:
    with create_or_append(path, SPEC) as writer:
        add(writer, "a", seed=1)
    if path.is_file():
        path.write_bytes(path.read_bytes()[:-1])
        for attempt in (open_store, open_writer):
            with raises(StoreError, path, "truncated"):
                attempt(path)
        return
    if path.suffix == ".parts":
        (part,) = path.glob("parts/*")
        part.write_bytes(part.read_bytes()[:-1])
        with open_store(path) as store:
            assert len(store.verify()) == 1 and "bytes of" in store.verify()[0]
            part.unlink()
            assert "copy it again" in store.verify()[-1]
        return
    chunk = path / "features" / "a" / "c.0.0.0"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with open_store(path) as store:
        assert len(store.verify()) == 1 and "ends too early" in store.verify()[0]
        shutil.rmtree(path / "features" / "a")
        assert "is gone" in store.verify()[0]


# Copies


@pytest.mark.parametrize("kind", KINDS)
def test_copying_between_back_ends(path: Path, kind: str, tmp_path: Path) -> None:
    with create_or_append(path, SPEC, "float32", {"by": "test"}, limits=SMALL) as writer:
        for seed in range(4):
            add(writer, f"v/{seed}", seed, frames=3 + 20 * seed, note=f"note {seed}")
        add(writer, "v/1", seed=9, frames=70)
        writer.remove("v/2")
        writer.fail(failure("gone"))
    target = tmp_path / f"copy.{kind}"
    assert copy_store(path, target, limits=SMALL) == 3
    with open_store(path) as old, open_store(target) as new:
        assert new.ids == old.ids == ["v/0", "v/1", "v/3"]
        assert (new.spec, new.dtype, new.provenance) == (SPEC, np.float32, {"by": "test"})
        assert new.failures == old.failures
        for video_id in old:
            assert new.record(video_id) == old.record(video_id)
            np.testing.assert_array_equal(new.read(video_id).vectors, old.read(video_id).vectors)
        assert new.verify() == []
    assert sorted(plain(target)) == ["v/0", "v/1", "v/3"]


def test_copying_goes_on_merges_and_refuses_conflicts(path: Path, tmp_path: Path) -> None:
    other = tmp_path / f"other{path.suffix}"
    with create_or_append(path, SPEC) as writer:
        add(writer, "a", seed=1)
        add(writer, "b", seed=2)
    with create_or_append(other, SPEC) as writer:
        add(writer, "b", seed=2)
        add(writer, "c", seed=3)
    assert copy_store(path, other) == 1
    assert copy_store(path, other) == 0
    with open_store(other) as store:
        assert store.ids == ["b", "c", "a"]
    with create_or_append(other, SPEC) as writer:
        add(writer, "a", seed=77)
    with raises(StoreError, other, "another video 'a'"):
        copy_store(path, other)
    with raises(InputError, path, "onto itself"):
        copy_store(path, path)


def test_copying_reclaims_space(path: Path, tmp_path: Path) -> None:
    with create_or_append(path, SPEC) as writer:
        for seed in range(20):
            add(writer, "a", seed, frames=500)
            writer.commit()
    target = tmp_path / "small.h5"
    copy_store(path, target)
    one = 500 * SPEC.shared_descriptors * SPEC.dims * 2
    assert target.stat().st_size < 5 * one


def test_a_damaged_video_is_not_copied(path: Path, tmp_path: Path) -> None:
    with create_or_append(path, SPEC) as writer:
        add(writer, "a", seed=1)
        add(writer, "b", seed=2)
    damage(path, vectors_of(2, 5)[0].tobytes())
    target = tmp_path / "copy.zarr"
    with raises(StoreError, path, "video 'b'", "damaged"):
        copy_store(path, target)
    with open_store(target) as store:
        assert store.ids == ["a"]


# Insets


def add_with_insets(
    path: Path, limits: Limits = LIMITS, dtype: str = "float16", frames: int = 30
) -> dict[int, np.ndarray]:
    """A video whose insets come in between its frames; inset (0: the video) -> its vectors."""
    parts = {0: vectors_of(1, frames), 1: vectors_of(2, 20), 2: vectors_of(3, 3)}
    with create_or_append(path, SPEC, dtype, limits=limits) as writer:
        video = writer.begin("v", source_of(1))
        for start in range(0, frames, 10):
            for inset in (2, 1, 0):
                piece = parts[inset][start : start + 10]
                video.append(piece, seconds_of(frames)[start : start + len(piece)], inset)
        assert video.finish("noted").insets == (20, 3)
        add(writer, "plain", seed=9)
    return parts


@pytest.mark.parametrize("small", [False, True])
def test_insets_lie_behind_the_video(path: Path, small: bool) -> None:
    parts = add_with_insets(path, SMALL if small else LIMITS)
    with open_store(path) as store:
        found = store.read("v")
        np.testing.assert_array_equal(found.vectors, np.concatenate(list(parts.values())))
        times = [seconds_of(30)[: len(vectors)] for vectors in parts.values()]
        np.testing.assert_array_equal(found.seconds, np.concatenate(times))
        assert store.frames("v") == 53 and store.insets("v") == (20, 3)
        record = store.record("v")
        assert (record.frames, record.own_frames, record.insets) == (53, 30, (20, 3))
        assert record.note == "noted"
        assert store.insets("plain") == store.record("plain").insets == ()
        assert store.verify() == []
    np.testing.assert_array_equal(plain(path)["v"][0], found.vectors)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [None, "int8"])
def test_a_copy_keeps_insets(path: Path, kind: str, dtype: str | None, tmp_path: Path) -> None:
    parts = add_with_insets(path, SMALL)
    target = tmp_path / f"copy.{kind}"
    assert copy_store(path, target, dtype=dtype, limits=SMALL) == 2
    with open_store(path) as old, open_store(target) as new:
        assert new.record("v") == old.record("v") and new.verify() == []
        a, b = old.read("v"), new.read("v")
        np.testing.assert_array_equal(a.seconds, b.seconds)
        if dtype is None:
            np.testing.assert_array_equal(a.vectors, b.vectors)
        else:
            x = np.concatenate(list(parts.values())).astype("f4")
            cosines = (x * b.vectors).sum(-1) / np.linalg.norm(x, axis=-1)
            assert cosines.min() > 0.999
    assert copy_store(path, target, dtype=dtype) == 0


def test_times_begin_anew_in_each_inset_only(path: Path) -> None:
    with create_or_append(path, SPEC, "float16") as writer:
        video = writer.begin("v", source_of(1))
        video.append(vectors_of(1, 2), np.array([5.0, 6.0]))
        video.append(vectors_of(1, 1), np.array([4.0]), 1)
        for inset, late in ((0, 5.5), (1, 3.0)):
            with raises(StoreError, path, "descend"):
                video.append(vectors_of(1, 1), np.array([late]), inset)
        video.finish()
        video = writer.begin("empty", source_of(1))
        video.append(vectors_of(1, 2), np.zeros(2))
        video.append(vectors_of(1, 0), np.zeros(0), 1)
        video.append(vectors_of(1, 3), np.zeros(3), 2)
        assert video.finish().insets == (3,)
        only = writer.begin("w", source_of(1))
        only.append(vectors_of(1, 1), np.array([0.0]), 1)
        with raises(StoreError, path, "no frames"):
            only.finish()
    with open_store(path) as store:
        assert store.ids == ["v", "empty"]
        assert store.seconds("v").tolist() == [5.0, 6.0, 4.0]


def test_programs_from_before_insets_refuse_such_a_store(path: Path) -> None:
    """They would take insets for the video itself, and add videos without any."""
    with create_or_append(path, replace(SPEC, insets="edges/1 2"), "int8") as writer:
        video = writer.begin("v", source_of(1))
        video.append(vectors_of(1, 2).astype("f4"), np.arange(2.0))
        video.finish()
    assert plain_header(path)["format_version"] == 3
    with open_store(path) as store:
        assert store.format_version == 3 and store.spec.insets == "edges/1 2"


def test_a_disk_that_fails_while_insets_are_summed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_self: object, _size: int) -> None:
        raise OSError(28, "No space left on device")

    with create_or_append(path, SPEC, "float16") as writer:
        video = writer.begin("v", source_of(1))
        video.append(vectors_of(1, 2), np.arange(2.0))
        video.append(vectors_of(1, 2), np.arange(2.0), 1)
        monkeypatch.setattr("pipeline.store.video_writer._Part.slabs", full)
        with raises(StoreError, path, "temporary", "video 'v'"):
            video.finish()
        monkeypatch.undo()
        add(writer, "w", seed=1)
    with open_store(path) as store:
        assert store.ids == ["w"]


def test_what_a_store_was_made_with_is_read_without_its_manifest(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(SPEC, insets="edges/2 2")
    with create_or_append(path, spec, "int8") as writer:
        video = writer.begin("v", source_of(1))
        video.append(vectors_of(1, 2).astype("f4"), np.arange(2.0))
        video.finish()
        assert read_spec(path) == spec  # beside a writer
    for module in ("hdf5", "zarr_store"):
        monkeypatch.setattr(f"pipeline.store.{module}.parse", lambda *_: pytest.fail("read it"))
    assert read_spec(path) == spec
    for wrong, error, remedy in (
        (tmp_path / f"none{path.suffix}", StoreError, "make one with"),
        (tmp_path / "x.txt", InputError, ".h5"),
    ):
        with raises(error, wrong, remedy=remedy):
            read_spec(wrong)
    other = tmp_path / f"other{path.suffix}"
    other.mkdir() if path.suffix == ".zarr" else other.write_bytes(b"no store" * 100)
    with raises(StoreError, other):
        read_spec(other)


# Reading ahead


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system cannot be told")
def test_the_system_is_told_what_is_read_next(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if path.suffix == ".parts":
        pytest.skip("a store of parts reads ahead by itself")
    with create_or_append(path, SPEC, "float16", limits=SMALL) as writer:
        add(writer, "short", seed=1, frames=5)
        add(writer, "long", seed=2, frames=35)
    monkeypatch.setattr(disk, "_ADVISED_BYTES", 4 * ROW)
    told: list[int] = []
    with open_store(path) as store:
        monkeypatch.setattr(os, "posix_fadvise", lambda fd, start, size, how: told.append(size))
        store.prefetch([("short", 1, 4), ("long", 3, 33)])
    assert sum(told) >= 33 * ROW  # neighbours in one file are joined over what is between
    assert max(told) <= 4 * ROW


def test_a_file_that_is_gone_is_told_of_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "store.zarr"
    with create_or_append(path, SPEC, "float16") as writer:
        add(writer, "a", seed=1, frames=5)
    shutil.rmtree(path / "features" / "a")
    with open_store(path) as store:
        store.prefetch([("a", 0, 5)])
        with raises(StoreError, path, "'a'", remedy="copy it again"):
            store.read_stored("a")
