"""Ids as names of datasets and folders."""

from __future__ import annotations

import pytest

from pipeline.store.keys import MAX_LENGTH, KeyMaker, escape, printable


@pytest.mark.parametrize(
    ("video_id", "name"),
    [
        ("clip_01-b.mp4", "clip_01-b.mp4"),
        ("1/1_1_Y", "1%2F1_1_Y"),
        ("-dash", "-dash"),
        ("a b", "a%20b"),
        ("50%", "50%25"),
        ("x~2", "x%7E2"),
        ("ü", "%C3%BC"),
        ("\udcff", "%ED%B3%BF"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        (".hidden", "%2Ehidden"),
        ("end.", "end%2E"),
        ("__x", "%5F_x"),
        ("_x", "_x"),
        ("zarr.json", "%7Aarr.json"),
        ("ZARR.json", "%5AARR.json"),
        ("con", "%63on"),
        ("NUL.txt", "%4EUL.txt"),
        ("console", "console"),
    ],
)
def test_escape(video_id: str, name: str) -> None:
    assert escape(video_id) == name


def test_long_ids_are_cut_and_stay_apart() -> None:
    names = {escape("ü" * 200 + str(i)) for i in range(10)}
    assert len(names) == 10
    assert all(len(name) == MAX_LENGTH and "+" in name for name in names)
    assert escape("x" * MAX_LENGTH) == "x" * MAX_LENGTH
    assert len(escape("x" * (MAX_LENGTH + 1))) == MAX_LENGTH


def test_keys_are_used_once_whatever_the_case() -> None:
    maker = KeyMaker()
    assert [maker.new(i) for i in ("a", "A", "a", "b")] == ["a", "A~2", "a~3", "b"]
    maker.note("B~7")
    assert maker.new("b") == "b~8"


def test_printable_keeps_what_can_be_shown() -> None:
    assert printable("ü") == "ü"
    assert printable("\udcff") == "\\udcff"
