"""What `visil-index extract` says of files it did not take, or that are others than before."""

import os
import re
import shutil
from types import SimpleNamespace

import pytest

from pipeline.cli import common
from pipeline.store import open_store
from tests import clips
from tests.command import run
from tests.messages import assert_names, assert_output
from tests.pixelnet import PixelNet


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
    """In place of the shipped one, which takes seconds to load."""
    weights = SimpleNamespace(name="pixels", with_dims=lambda dims: None)
    load = lambda model_dir: weights  # noqa: E731
    load.cache_clear = lambda: None
    monkeypatch.setattr(common, "load_weights", load)
    monkeypatch.setattr(
        "pipeline.nets.extractor.feature_net.FeatureNet", lambda *_, **__: PixelNet()
    )


@pytest.fixture
def clip(tmp_path):
    clips.write(tmp_path / "clip.mp4", map(clips.numbered, range(20)), rate=5)
    return tmp_path / "clip.mp4"


def put(source, *targets):
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def test_two_cards(tmp_path, clip):
    clips.write(tmp_path / "other.mp4", map(clips.numbered, range(35)), rate=5)
    put(clip, tmp_path / "card1" / "DCIM" / "a.mp4")
    put(tmp_path / "other.mp4", tmp_path / "card2" / "DCIM" / "a.mp4")
    store = tmp_path / "s.h5"
    common_part = ("extract", "--store", store, "--video_dir")
    run(*common_part, tmp_path / "card1")
    said = run(*common_part, tmp_path / "card2", code=3)
    assert_output(said, "refused", "--replace all", remedy="--id_prefix")
    assert str(tmp_path / "card1" / "DCIM" / "a.mp4") in said
    assert str(tmp_path / "card2" / "DCIM" / "a.mp4") in said
    assert_output(said, "0 videos stored", "0 were there", "0 failed", "1 refused")
    said = run(*common_part, tmp_path / "card2", "--id_prefix", "card2/")
    assert_output(said, "1 videos stored", "0 were there", "0 failed")
    assert "refused" not in said
    os.utime(tmp_path / "card2" / "DCIM" / "a.mp4", (5, 5))
    said = run(*common_part, tmp_path / "card2", "--id_prefix", "card2/", code=3)
    assert_output(said, "changed", "--id_prefix", remedy="--replace changed")
    assert_output(said, "1 were there", "0 failed", "1 changed")
    (tmp_path / "list.txt").write_text(f"DCIM/a.mp4\t{tmp_path / 'other.mp4'}\n")
    listed = ("--video_file", tmp_path / "list.txt", "--id_prefix", "l/")
    run("extract", "--store", store, *listed)
    with open_store(store) as opened:
        assert opened.ids == ["DCIM/a.mp4", "card2/DCIM/a.mp4", "l/DCIM/a.mp4"]


def test_what_was_left_out_is_counted_in_the_last_line(tmp_path, clip):
    folder, store = tmp_path / "v", tmp_path / "s.h5"
    put(clip, folder / "a.mp4", folder / "b.insv", folder / "c", folder / ".hidden.mp4")
    for name in ("1.txt", "2.txt"):
        (folder / name).write_text("some words, and no video")
    (folder / "empty.dat").touch()
    (folder / "link").symlink_to(tmp_path)
    args = ("extract", "--video_dir", folder, "--store", store)
    last = run(*args).splitlines()[-1]
    counts = re.findall(r"(\d+) (\.?\w+)", last)
    assert counts == [
        ("2", ".txt"),
        *(("1", kind) for kind in (".insv", "without", ".dat", "link")),
    ]
    assert_names(last, "left out", "--all_files", "--extensions", "--follow_links")
    said = run(*args, "--extensions", "insv")
    assert_output(said, "1 videos stored", "1 were there", "0 failed")
    assert ".insv" not in said
    said = run(*args, "--all_files")
    assert_output(said, "1 videos stored", "2 were there", "0 failed")
    assert "2 .txt" in said and "1 .dat" in said and "without" not in said
    hints = said.splitlines()[-1].partition("; ")[2]
    assert "--all_files" not in hints and "--extensions" not in hints
    assert_names(hints, "FFmpeg", remedy="--follow_links")
    with open_store(store) as opened:
        assert opened.ids == ["a.mp4", "b.insv", "c"] and opened.failures == {}
    (folder / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    said = run(*args, code=3)
    assert_output(said, folder / "gone.mp4", "link")


def test_a_damaged_video_of_an_unknown_extension_is_a_failure(tmp_path, clip):
    folder = tmp_path / "v"
    put(clip, folder / "a.mp4")
    (folder / "b.insv").write_bytes(clip.read_bytes()[:300])
    said = run(
        "extract", "--video_dir", folder, "--all_files", "--store", tmp_path / "s.h5", code=3
    )
    assert "b.insv: broken" in said


def test_options_of_folders_are_refused_for_lists(tmp_path, clip):
    (tmp_path / "list.txt").write_text(f"a\t{clip}\n")
    args = ("extract", "--video_file", tmp_path / "list.txt", "--store", tmp_path / "s.h5")
    for option in (("--all_files",), ("--extensions", "mod"), ("--follow_links",)):
        assert_output(run(*args, *option, code=2), "error", option[0], "folder", "list")


def test_a_wrong_working_directory_is_one_message(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text("".join(f"v{n}\tx/{n}.mp4\n" for n in range(30)))
    said = run("extract", "--video_file", "list.txt", "--store", "s.h5", code=2)
    assert said.startswith("error: ") and said.count("\n") == 1
    assert_output(
        said, "30 of 30", "all missing", "x/0.mp4", tmp_path, remedy="change to the directory"
    )
    assert not (tmp_path / "s.h5").exists()
