"""Files are replaced as a whole, or not at all."""

import os
import stat

import pytest

from pipeline import atomic
from pipeline.atomic import atomic_write


def test_a_file_is_replaced_when_the_block_ends(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


def test_text_has_the_options_of_open(tmp_path):
    with atomic_write(tmp_path / "a", "w", encoding="utf-8", newline="\n") as file:
        file.write("ä\n")
    assert (tmp_path / "a").read_bytes() == b"\xc3\xa4\n"


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_after_a_failure_in_the_middle_the_old_file_is_whole_and_alone(tmp_path, error):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(type(error)), atomic_write(path) as file:
        file.write(b"half")
        raise error
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("operation", ["sync_file", "os.replace"])
def test_after_a_failure_at_the_end_the_old_file_is_whole_and_alone(
    tmp_path, monkeypatch, operation
):
    def fail(*_):
        raise OSError("disk full")

    path = tmp_path / "a"
    path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(f"{atomic.__name__}.{operation}", fail)
        with pytest.raises(OSError, match="disk full"), atomic_write(path) as file:
            file.write(b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_the_content_is_synced_before_the_name_and_the_folder_after(tmp_path, monkeypatch):
    calls = []
    replace = os.replace

    def sync_file(descriptor):
        mode = os.fstat(descriptor).st_mode
        calls.append("folder" if stat.S_ISDIR(mode) else os.fstat(descriptor).st_size)

    def traced_replace(source, target):
        calls.append("replace")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "sync_file", sync_file)
        patch.setattr(atomic.os, "replace", traced_replace)
        with atomic_write(tmp_path / "a") as file:
            file.write(b"four")
    assert calls == [4, "replace", "folder"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs permissions that count")
def test_a_folder_that_cannot_be_read_takes_files(tmp_path):
    tmp_path.chmod(0o300)
    try:
        with atomic_write(tmp_path / "a") as file:
            file.write(b"new")
    finally:
        tmp_path.chmod(0o700)
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_link_is_replaced_and_not_followed(tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"precious")
    (tmp_path / "a").symlink_to(other)
    with atomic_write(tmp_path / "a") as file:
        file.write(b"new")
    assert other.read_bytes() == b"precious"
    assert not (tmp_path / "a").is_symlink() and (tmp_path / "a").read_bytes() == b"new"
