"""Lists and folders to video references."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.inputs import printable_path, read_list, scan_folder
from pipeline.records import VideoRef
from tests.messages import raises


def listing(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    return path


def test_bom_crlf_empty_lines_and_any_characters(tmp_path: Path) -> None:
    text = "\ufeffa\tone.mp4\r\n\r\n   \r\n-b/c d#1\t#dir/zwei drei ü.mp4\r\n日本\t x \ty.mp4 \r\n"
    text += "last\tz"
    refs = read_list(listing(tmp_path, text.encode()))
    assert [(ref.id, ref.path, ref.line) for ref in refs] == [
        ("a", "one.mp4", 1),
        ("-b/c d#1", "#dir/zwei drei ü.mp4", 4),
        ("日本", " x \ty.mp4 ", 5),
        ("last", "z", 6),
    ]


@pytest.mark.parametrize(
    ("content", "named", "remedy"),
    [
        (b"a\tx\nb y.mp4\n", ["line 2", "no tab", "'b y.mp4'"], "`id<TAB>path`"),
        (b"a\tx\n\ty.mp4\n", ["line 2", "empty"], "`id<TAB>path`"),
        (b"a\tx\n\n b\t \n", ["line 3", "empty"], "`id<TAB>path`"),
        (b"a\tx\nb\ty\0z\n", ["line 2", "NUL"], "save the list as plain UTF-8"),
        (b"a\tx\nb\t\xe9.mp4\n", ["line 2", "not UTF-8"], "save the list as UTF-8"),
        ("a\tx\n".encode("utf-16"), ["line 1", "UTF-16"], "save the list as UTF-8"),
        (b"a\tx\nb\ty\n\na\tz\n", ["id 'a'", "lines 1 and 4"], "unique"),
        (b"a\rb\tx\n", ["line 1", r"'a\rb'", "line break"], ""),
        (b"\xef\xbb\xbf\r\n\n", ["no videos"], "`id<TAB>path`"),
        (b"", ["no videos"], "`id<TAB>path`"),
    ],
)
def test_bad_lists_name_file_and_line(
    tmp_path: Path, content: bytes, named: list[str], remedy: str
) -> None:
    path = listing(tmp_path, content)
    with raises(InputError, path, *named, remedy=remedy):
        read_list(path)


def test_missing_list(tmp_path: Path) -> None:
    with raises(InputError, tmp_path / "nowhere.txt", "No such file"):
        read_list(tmp_path / "nowhere.txt")
    with raises(InputError, f"{tmp_path}:", "Is a directory"):
        read_list(tmp_path)


def test_folder_is_walked_in_order(tmp_path: Path) -> None:
    for name in [
        "b.MP4",
        "a/z.mkv",
        "a/b c.webm",
        "a.avi",
        ".c.mp4",
        ".d/e.mp4",
        "notes.txt",
        "mp4",
    ]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    refs = scan_folder(tmp_path)
    assert [ref.id for ref in refs] == ["a.avi", "a/b c.webm", "a/z.mkv", "b.MP4"]
    assert [Path(ref.path) for ref in refs] == [tmp_path / ref.id for ref in refs]


def test_folder_without_videos(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with raises(InputError, f"{tmp_path}:", "no videos", "1 .txt", remedy="--extensions"):
        scan_folder(tmp_path)
    with raises(InputError, tmp_path / "notes.txt", "no such folder"):
        scan_folder(tmp_path / "notes.txt")


def test_names_that_are_no_text(tmp_path: Path) -> None:
    strange = os.fsdecode(b"caf\xe9\t.mp4")
    try:
        (tmp_path / strange).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (ref,) = scan_folder(tmp_path)
    assert ref.id == r"caf\xe9\x09.mp4"
    assert Path(ref.path).read_bytes() == b"x"
    (tmp_path / r"caf\xe9\x09.mp4").touch()
    found = scan_folder(tmp_path)
    assert [ref.id for ref in found] == [r"caf\xe9\x09.mp4"]
    assert ["its id" in why for why in found.unreadable.values()] == [True]


def test_printable_leaves_text_alone() -> None:
    assert printable_path("dir/ü b.mp4") == "dir/ü b.mp4"
    assert printable_path("a\nb") == r"a\x0ab"


def test_a_name_that_the_locale_has_not_is_missing_and_not_the_end_of_the_run() -> None:
    """A list is UTF-8 whatever the locale: here it is one whose file names are ASCII."""
    shown = (
        "from pipeline.video.container import file_info; print(ascii(file_info('v/n\\u00f6.mp4')))"
    )
    settings = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", shown],
        env={**os.environ, **settings},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert r"path='v/n\xf6.mp4', size=-1" in done.stdout


@pytest.mark.parametrize("name", ["city.mp4", "launch.webm"])
def test_a_video_in_place_of_a_list_is_called_one(name: str) -> None:
    path = Path(__file__).parents[2] / "examples" / name
    remedy = f"`{path.stem}<TAB>{path}`"
    with raises(InputError, f"{path}:", "is a video", "folder", remedy=remedy):
        read_list(path)


@pytest.mark.parametrize("video_id", ["RIFF raff", "car free ride", "OggS"])
def test_a_list_that_begins_as_a_container_does_is_a_list(tmp_path: Path, video_id: str) -> None:
    (tmp_path / "list.txt").write_text(f"{video_id}\ta.mp4\n")
    assert read_list(tmp_path / "list.txt") == [VideoRef(video_id, "a.mp4", 1)]


def test_a_list_out_of_a_pipe_is_read_whole(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("a\ta.mp4\nb\tb.mp4\n",))
    writer.start()
    assert [ref.id for ref in read_list(pipe)] == ["a", "b"]
    writer.join(30)
