"""Where moved videos are found, and which files are taken for them."""

import os

import pytest

from pipeline.errors import InputError
from pipeline.records import SourceInfo
from pipeline.source_files import SourceFiles


def written(path, content=b"video"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def source(path):
    status = os.stat(path)
    return SourceInfo(str(path), size=status.st_size, mtime_ns=status.st_mtime_ns)


def test_a_file_is_found_where_it_was_and_below_the_root(tmp_path):
    path = written(tmp_path / "old" / "films" / "a.mp4")
    stored = source(path)
    assert SourceFiles().find(stored).path == str(path)
    wrong = written(tmp_path / "new" / "a.mp4", b"another one")
    right = written(tmp_path / "new" / "films" / "a.mp4")
    path.unlink()
    assert SourceFiles().find(stored) == (None, "the file is not there")
    files = SourceFiles(tmp_path / "new")
    assert files.find(stored).path == str(right)
    assert files.locate(stored.path) == str(right)
    right.unlink()
    assert files.find(stored) == (None, "the file there is not the one that was stored")
    wrong.unlink()
    assert files.locate(stored.path) == stored.path


def test_another_file_at_the_same_place_is_not_taken(tmp_path):
    path = written(tmp_path / "a.mp4")
    stored = source(path)
    written(path, b"longer than before")
    assert SourceFiles().find(stored).path is None
    assert SourceFiles().find(SourceInfo("")).reason == "the store has no path"


def test_a_path_of_another_system_does_not_leave_the_root(tmp_path):
    root, secret = tmp_path / "root", written(tmp_path / "secret.mp4")
    inside = written(root / "films" / "b.mp4")
    files = SourceFiles(root)
    assert files.locate(r"D:\films\b.mp4") == str(inside)
    outside = r"D:\..\secret.mp4"
    assert files.locate(outside) == outside
    assert secret.exists()


def test_a_root_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        SourceFiles(tmp_path / "missing")
