"""A file under a known id is compared with the stored one; nothing is taken for it in silence."""

import os
import shutil
import time
from dataclasses import replace

import pytest

from pipeline.config import ExtractConfig
from pipeline.errors import InputError
from pipeline.extraction.identity import Identity, identity
from pipeline.extraction.run import extract_features
from pipeline.inputs import read_list, scan_folder
from pipeline.records import SourceInfo, VideoRef
from pipeline.store import open_store
from pipeline.video.container import file_info
from tests import clips as made
from tests.messages import raises
from tests.pixelnet import PixelNet

CONFIG = ExtractConfig(dtype="float32", batch_size=8, workers=1)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for frames in (20, 31):
        made.write(folder / f"{frames}.mp4", map(made.numbered, range(frames)), rate=5)
    return [folder / "20.mp4", folder / "31.mp4"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "s.h5"


def put(clip, where, seconds=None):
    where.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(clip, where)
    if seconds is not None:
        os.utime(where, ns=(seconds * 10**9 + 7, seconds * 10**9 + 7))
    return where


def extract(videos, path, **options):
    return extract_features(videos, path, PixelNet(), CONFIG, **options)


def frames_of(path):
    with open_store(path) as store:
        return {i: store.frames(i) for i in store.ids}


def test_a_second_card_with_the_same_names_is_refused_and_fits_with_a_prefix(clips, path, tmp_path):
    for card, clip in zip(("card1", "card2"), clips, strict=True):
        put(clip, tmp_path / card / "DCIM" / "DJI_0001.MP4")
    put(clips[0], tmp_path / "card2" / "DCIM" / "DJI_0002.MP4")
    assert extract(scan_folder(tmp_path / "card1"), path).complete
    before = frames_of(path)
    for way in ("never", "changed"):
        report = extract(scan_folder(tmp_path / "card2"), path, replace=way)
        assert not report.complete and report.already == (0 if way == "never" else 1)
        (told,) = report.refused.values()
        assert list(report.refused) == ["DCIM/DJI_0001.MP4"]
        assert str(tmp_path / "card1") in told and str(tmp_path / "card2") in told
        assert f"{clips[0].stat().st_size:,} bytes" in told
        assert frames_of(path)["DCIM/DJI_0001.MP4"] == before["DCIM/DJI_0001.MP4"]
    assert "DCIM/DJI_0002.MP4" in frames_of(path)
    report = extract(scan_folder(tmp_path / "card2", id_prefix="card2/"), path)
    assert report.complete and sorted(report.stored) == [
        "card2/DCIM/DJI_0001.MP4",
        "card2/DCIM/DJI_0002.MP4",
    ]
    report = extract(scan_folder(tmp_path / "card2"), path, replace="all")
    assert "DCIM/DJI_0001.MP4" in report.stored and report.complete


def test_cards_listed_by_equal_relative_paths_are_told_apart(clips, path, tmp_path, monkeypatch):
    for card, clip in zip(("card1", "card2"), clips, strict=True):
        put(clip, tmp_path / card / "a.mp4")
    monkeypatch.chdir(tmp_path / "card1")
    assert extract([VideoRef("a", "a.mp4")], path).stored == ["a"]
    with open_store(path) as store:
        assert store.record("a").source.path == str(tmp_path / "card1" / "a.mp4")
    assert extract([VideoRef("a", "a.mp4")], path).complete
    monkeypatch.chdir(tmp_path / "card2")
    assert list(extract([VideoRef("a", "a.mp4")], path, replace="changed").refused) == ["a"]


def test_a_file_replaced_under_its_path_is_changed(clips, path, tmp_path):
    video = put(clips[0], tmp_path / "v" / "a.mp4", 1_000_000_000)
    listed = [VideoRef("a", str(video))]
    extract(listed, path)
    put(clips[1], video, 1_100_000_000)
    report = extract(listed, path)
    assert list(report.changed) == ["a"] and report.already == 1 and not report.complete
    assert f"{clips[1].stat().st_size:,} bytes of 2004" in report.changed["a"]
    assert f"stored from {clips[0].stat().st_size:,} bytes of 2001" in report.changed["a"]
    report = extract(listed, path, replace="changed")
    assert report.stored == ["a"] and report.complete
    assert extract(listed, path).complete
    os.utime(video, ns=(1, 1_200_000_000 * 10**9))  # the size alone tells nothing
    assert list(extract(listed, path).changed) == ["a"]


def test_a_changed_file_that_fails_is_not_tried_in_every_run(clips, path, tmp_path):
    video = put(clips[0], tmp_path / "a.mp4", 1_000_000_000)
    listed = [VideoRef("a", str(video))]
    extract(listed, path)
    video.write_text("no video at all, whatever its name may say")
    assert list(extract(listed, path, replace="changed").failures) == ["a"]
    report = extract(listed, path, replace="changed")
    assert not report.failures and list(report.known_failures) == ["a"]
    put(clips[1], video)
    assert extract(listed, path, replace="changed").stored == ["a"]


@pytest.mark.parametrize("reason, again", [("missing", True), ("decoder_stalled", False)])
def test_what_failed_is_tried_again_if_it_may_have_changed(clips, path, tmp_path, reason, again):
    from pipeline.records import Failure
    from pipeline.store import open_writer

    video = put(clips[0], tmp_path / "a.mp4", 1_000_000_000)
    extract([VideoRef("other", str(put(clips[1], tmp_path / "b.mp4")))], path)
    with open_writer(path) as writer:
        writer.fail(Failure("a", reason, "as before", file_info(str(video))))
    listed = [VideoRef("a", str(video))]
    report = extract(listed, path)
    assert (report.stored == ["a"]) is again and bool(report.known_failures) is not again
    put(clips[1], video)
    assert extract(listed, path, replace="changed").stored == ["a"]


def test_a_moved_collection_is_not_extracted_again(clips, path, tmp_path):
    put(clips[0], tmp_path / "old" / "x" / "a.mp4", 1_000_000_000)
    put(clips[1], tmp_path / "old" / "b.mp4", 1_000_000_000)
    extract(scan_folder(tmp_path / "old"), path)
    (tmp_path / "old").rename(tmp_path / "new")
    report = extract(scan_folder(tmp_path / "new"), path)
    assert (report.already, report.frames, report.complete) == (2, 0, True) and not report.moved
    os.utime(tmp_path / "new" / "b.mp4")  # copied without times
    report = extract(scan_folder(tmp_path / "new"), path)
    assert report.complete and report.moved == {"b.mp4": str(tmp_path / "old" / "b.mp4")}


def stored_as(path, **changes):
    return replace(file_info(str(path)), **changes)


def test_files_of_one_fixed_size_are_told_by_content(tmp_path):
    first, second = tmp_path / "1" / "a", tmp_path / "2" / "a"
    for path, content, seconds in ((first, b"x" * 300_000, 10**9), (second, b"x" * 299_999, 2)):
        path.parent.mkdir()
        path.write_bytes(content.ljust(300_000, b"y"))
        os.utime(path, (seconds, seconds))
    stored = stored_as(first)
    assert identity(str(second), stored) is Identity.OTHER
    second.write_bytes(first.read_bytes())
    assert identity(str(second), stored) is Identity.MOVED  # a copy
    second.write_bytes(b"z" * 300_000)
    first.unlink()
    assert identity(str(second), stored) is Identity.MOVED  # nothing tells them apart


def test_times_that_a_file_system_cuts_down_are_the_same(tmp_path):
    video = tmp_path / "a.mp4"
    video.write_bytes(b"x")
    exact = 1_234_567_891_234_567_891
    for kept in (exact // g * g for g in (1, 100, 1000, 10**6, 10**9, 2 * 10**9)):
        os.utime(video, ns=(kept, kept))
        assert identity(str(video), stored_as(video, mtime_ns=exact)) is Identity.SAME
    for other in (exact + 1, exact + 10**9, exact // 10**9 * 10**9 + 10**9):
        os.utime(video, ns=(other, other))
        assert identity(str(video), stored_as(video, mtime_ns=exact)) is Identity.CHANGED


def test_what_a_store_does_not_know_is_no_difference(tmp_path):
    video = tmp_path / "a.mp4"
    video.write_bytes(b"xyz")
    assert identity(str(video), SourceInfo("elsewhere/a.mp4")) is Identity.SAME
    assert identity(str(video), SourceInfo("elsewhere/a.mp4", 3)) is Identity.SAME
    assert identity(str(video), SourceInfo("elsewhere/a.mp4", 4)) is Identity.OTHER
    assert identity(str(tmp_path / "gone.mp4"), SourceInfo("x/gone.mp4", 4)) is Identity.SAME
    linked = tmp_path / "linked"
    linked.symlink_to(tmp_path, target_is_directory=True)
    through = str(linked / "a.mp4")
    assert identity(through, SourceInfo(str(video), 4, 5)) is Identity.CHANGED
    assert identity(through, SourceInfo(str(video), 3, 5)) is Identity.CHANGED


def test_an_unmounted_disk_stops_the_run_and_nothing_is_recorded(
    clips, path, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    lines = "".join(f"v{n}\tdisk/{n}.mp4\n" for n in range(300))
    (tmp_path / "list.txt").write_text(lines)
    listed = read_list(tmp_path / "list.txt")
    with raises(InputError, "100 of 300", "missing", tmp_path):
        extract(listed, path)
    assert not path.exists()
    there = [VideoRef("there", str(put(clips[0], tmp_path / "there.mp4")))]
    extract(there, path)
    with raises(InputError, "missing"):
        extract(listed, path)
    with open_store(path) as store:
        assert store.ids == ["there"] and store.failures == {}
    report = extract(listed[:99] + there + listed[99:120], path)  # one is there
    assert len(report.failures) == 120 and report.already == 1
    # These are known to be missing now, and what is new is on another disk.
    new = [VideoRef("new", str(put(clips[1], tmp_path / "new.mp4")))]
    report = extract(listed[:120] + new, path)
    assert report.stored == ["new"] and len(report.failures) == 120
    with raises(InputError, "missing"):
        extract(listed[:120], path)


def test_a_short_list_of_missing_files_is_recorded(path, tmp_path):
    listed = [VideoRef(f"v{n}", str(tmp_path / f"{n}.mp4")) for n in range(9)]
    assert len(extract(listed, path).failures) == 9


def test_stored_videos_of_a_disk_that_is_offline_are_no_obstacle(clips, path, tmp_path):
    videos = [put(clips[0], tmp_path / "disk" / f"{n}.mp4") for n in range(11)]
    listed = [VideoRef(p.name, str(p)) for p in videos]
    extract(listed, path)
    shutil.rmtree(tmp_path / "disk")
    assert extract(listed, path).already == 11
    new = VideoRef("new", str(put(clips[1], tmp_path / "new.mp4")))
    assert extract([*listed, new], path).stored == ["new"]


def test_a_million_lines_are_read_in_little_memory(tmp_path):
    """Bounds are generous; they hold by a factor of three or more."""
    import tracemalloc

    lines = 50_000
    text = "".join(f"f/clip {i:07}.mp4\t/mnt/archive/f/clip {i:07}.mp4\n" for i in range(lines))
    (tmp_path / "list.txt").write_text(text)
    tracemalloc.start()
    begin = time.process_time()
    refs = read_list(tmp_path / "list.txt")
    seconds, (_, most) = time.process_time() - begin, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(refs) == lines and refs[-1].line == lines
    assert most / lines < 400 and seconds < 20
