"""Lists and folders to video references."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.inputs import printable_path, read_list, scan_folder
from pipeline.records import VideoRef


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
    ("content", "message"),
    [
        (b"a\tx\nb y.mp4\n", r"list\.txt, line 2: no tab in 'b y\.mp4'"),
        (b"a\tx\n\ty.mp4\n", r"line 2: empty id or path"),
        (b"a\tx\n\n b\t \n", r"line 3: empty id or path"),
        (b"a\tx\nb\ty\0z\n", r"line 2: holds a NUL"),
        (b"a\tx\nb\t\xe9.mp4\n", r"line 2: not UTF-8"),
        ("a\tx\n".encode("utf-16"), r"line 1: not UTF-8; it looks like UTF-16"),
        (b"a\tx\nb\ty\n\na\tz\n", r"id 'a' is used twice, in lines 1 and 4"),
        (b"a\rb\tx\n", r"line 1: video id 'a\\rb'"),
        (b"\xef\xbb\xbf\r\n\n", r"lists no videos"),
        (b"", r"lists no videos"),
    ],
)
def test_bad_lists_name_file_and_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_list(listing(tmp_path, content))
    assert str(tmp_path / "list.txt") in str(caught.value)


def test_missing_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.txt: cannot read the list: No such file"):
        read_list(tmp_path / "nowhere.txt")
    with pytest.raises(InputError, match="cannot read the list"):
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
    with pytest.raises(InputError, match="no videos in this folder"):
        scan_folder(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
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
    with pytest.raises(
        InputError, match=rf"{re.escape(str(path))}: is a video.*`\w+<TAB>"
    ) as raised:
        read_list(path)
    assert "\n" not in str(raised.value)


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
