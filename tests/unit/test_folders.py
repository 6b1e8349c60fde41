"""Nothing in a folder ends the walk, and nothing is left out without a word."""

import os
from collections import Counter
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.inputs import left_out_text, scan_folder, split_extensions
from tests.messages import raises


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def ids(found) -> list[str]:
    return [ref.id for ref in found]


def test_paths_below_the_current_directory_are_short(tmp_path, monkeypatch):
    touch(tmp_path, "a.mp4", "z/c.mp4")
    monkeypatch.chdir(tmp_path)
    assert [ref.path for ref in scan_folder(".")] == ["a.mp4", "z/c.mp4"]
    assert [ref.path for ref in scan_folder("./z/.")] == ["z/c.mp4"]
    assert ids(scan_folder("./z/.")) == ["c.mp4"]


def test_an_unreadable_folder_costs_itself_only(tmp_path, monkeypatch):
    touch(tmp_path, "a.mp4", "lost+found/b.mp4", "z/c.mp4")
    real = os.scandir

    def scandir(path):
        if os.path.basename(path) == "lost+found":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr("pipeline.folders.os.scandir", scandir)
    found = scan_folder(tmp_path)
    assert ids(found) == ["a.mp4", "z/c.mp4"]
    ((path, why),) = found.unreadable.items()
    assert path == str(tmp_path / "lost+found") and "Permission denied" in why


def test_a_folder_that_fails_while_it_is_read_keeps_what_came_before(tmp_path, monkeypatch):
    touch(tmp_path, "a.mp4", "b.mp4")
    real = os.scandir

    class Failing:
        def __init__(self, path):
            self.entries = real(path)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.entries.close()

        def __iter__(self):
            yield next(self.entries)
            raise OSError(5, "Input/output error")

    monkeypatch.setattr("pipeline.folders.os.scandir", Failing)
    found = scan_folder(tmp_path)
    assert len(found) == 1 and ["Input/output" in why for why in found.unreadable.values()] == [
        True
    ]


def test_a_root_that_cannot_be_read_is_refused(tmp_path, monkeypatch):
    def scandir(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pipeline.folders.os.scandir", scandir)
    with raises(InputError, tmp_path, "Permission denied"):
        scan_folder(tmp_path)


def test_links_that_lead_nowhere_are_named(tmp_path):
    touch(tmp_path, "a.mp4")
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nas" / "gone.mp4")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "linked.mp4").symlink_to(tmp_path / "a.mp4")
    found = scan_folder(tmp_path)
    assert ids(found) == ["a.mp4", "linked.mp4"]
    assert sorted(found.unreadable) == [str(tmp_path / "circle"), str(tmp_path / "gone.mp4")]
    assert all("leads nowhere" in why for why in found.unreadable.values())


def test_links_to_folders_are_counted_or_followed_once(tmp_path):
    videos, other = tmp_path / "videos", tmp_path / "other"
    touch(videos, "sub/a.mp4")
    touch(other, "b.mp4", "deep/c.mp4")
    (videos / "1").symlink_to(other)
    (videos / "2").symlink_to(other)
    (videos / "loop").symlink_to(videos)
    (videos / "again").symlink_to(videos / "sub")
    (other / "back").symlink_to(tmp_path)  # above the root: the root is known by then
    found = scan_folder(videos)
    assert ids(found) == ["sub/a.mp4"]
    assert sorted(found.links) == ["1", "2", "again", "loop"]
    found = scan_folder(videos, follow_links=True)
    assert not found.links and not found.unreadable
    assert len(ids(found)) == 3 and "sub/a.mp4" in ids(found)
    assert {Path(i).name for i in ids(found)} == {"a.mp4", "b.mp4", "c.mp4"}


def test_files_left_out_are_counted_by_extension(tmp_path):
    touch(tmp_path, "a.mp4", "b.INSV", "c.insv", "d.txt", "README", ".hidden.mp4", "é.Tar.gz")
    found = scan_folder(tmp_path)
    assert ids(found) == ["a.mp4"]
    assert found.left_out == Counter({"insv": 2, "txt": 1, "": 1, "gz": 1})
    text = left_out_text(found.left_out, 2)
    assert text.startswith("2 .insv, ") and "1 without extension" in text
    assert text.endswith(", 2 links to folders")
    many = Counter({f"x{n}": 1 for n in range(30)})
    assert left_out_text(many, 0).endswith(", 22 with other extensions")
    assert left_out_text(Counter(), 0) == ""


def test_more_extensions_and_all_files(tmp_path):
    touch(tmp_path, "a.mp4", "b.INSV", "c.m2t", "d.txt", "README")
    found = scan_folder(tmp_path, extensions=split_extensions("insv, .M2T"))
    assert ids(found) == ["a.mp4", "b.INSV", "c.m2t"] and not found.unsure
    assert found.left_out == Counter({"txt": 1, "": 1})
    found = scan_folder(tmp_path, ["insv"], all_files=True)
    assert ids(found) == ["README", "a.mp4", "b.INSV", "c.m2t", "d.txt"] and not found.left_out
    assert found.unsure == {"README", "c.m2t", "d.txt"}


@pytest.mark.parametrize("text", ["", "insv,,mod", "a/b", "*.*", "tar.gz"])
def test_what_is_no_extension_is_refused(text):
    with raises(InputError, "extension", remedy="insv,m2t,mod"):
        split_extensions(text)


def test_a_folder_without_known_videos_says_what_is_there(tmp_path):
    touch(tmp_path, "a.insv", "b.insv")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    with raises(InputError, tmp_path, "2 .insv", "1 cannot be read", "gone"):
        scan_folder(tmp_path)


def test_names_with_line_breaks_and_very_deep_folders(tmp_path):
    touch(tmp_path, "a\nb\t.mp4", "back\\slash.mp4", "/".join(["d"] * 300) + "/x.mp4")
    found = scan_folder(tmp_path)
    assert ids(found) == [r"a\x0ab\x09.mp4", "back\\slash.mp4", "d/" * 300 + "x.mp4"]
    assert all(Path(ref.path).read_bytes() == b"x" for ref in found)


def test_a_prefix_stands_before_every_id(tmp_path):
    touch(tmp_path, "a.mp4", "b.xyz")
    found = scan_folder(tmp_path, all_files=True, id_prefix="card2/")
    assert ids(found) == ["card2/a.mp4", "card2/b.xyz"] and found.unsure == {"card2/b.xyz"}
    with pytest.raises(InputError, match=r"id prefix 'a\\tb'"):
        scan_folder(tmp_path, id_prefix="a\tb")
