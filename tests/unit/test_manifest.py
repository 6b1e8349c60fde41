"""The log of JSON lines: what its records add up to, and what a cut or damaged one means."""

from __future__ import annotations

import json

import pytest

from pipeline.errors import StoreError
from pipeline.records import Failure, SourceInfo, VideoRecord
from pipeline.store import manifest
from pipeline.store.manifest import (
    Entry,
    Index,
    close_group,
    fail_line,
    parse,
    put_line,
    remove_line,
)
from tests.messages import raises

SOURCE = SourceInfo("a b/ü.mp4", 10, 20, "h264", 640, 360, 25.0, 3.5)


def put(video_id: str, key: str = "", frames: int = 3, note: str = "") -> str:
    record = VideoRecord(video_id, frames, SOURCE, note)
    return put_line(record, key or video_id, frames, "0000abcd", (7, 9))


def failed(video_id: str) -> str:
    return fail_line(Failure(video_id, "missing", "gone", SOURCE))


def test_records_add_up() -> None:
    log = close_group([put("a"), put("b"), failed("c")])
    log += close_group([put("a", "a~2", 5, "damaged"), remove_line("b"), put("c"), failed("a")])
    index, good = parse(log, "store")
    assert good == len(log)
    assert list(index.videos) == ["a", "c"]
    assert index.record("a") == VideoRecord("a", 5, SOURCE, "damaged")
    assert index.videos["a"].key == "a~2" and index.videos["a"].at == (7, 9)
    assert index.failures == {"a": Failure("a", "missing", "gone", SOURCE)}
    assert index.make_keys().new("a") == "a~3"


def test_lines_are_plain_json() -> None:
    log = close_group([put('line\u2028 "quoted" {"op":"commit",'), failed("x")])
    values = [json.loads(line) for line in log.splitlines()]
    assert [v["op"] for v in values] == ["put", "fail", "commit"]
    assert values[0]["source"]["path"] == "a b/ü.mp4"
    assert values[2]["bytes"] == len(log) - len(log.splitlines(keepends=True)[-1])


def test_what_no_commit_closes_does_not_exist() -> None:
    whole = close_group([put("a")])
    second = close_group([put("b"), put("c")])
    for cut in range(len(second)):
        index, good = parse(whole + second[:cut], "store")
        assert list(index.videos) == ["a"] and good == len(whole), cut


def test_a_last_commit_with_a_hole_does_not_exist() -> None:
    """After a power failure any part of the last write may be missing."""
    whole = close_group([put("a")])
    second = close_group([put("b"), put("c")])
    for start in range(0, len(second) - 8, 5):
        torn = second[:start] + bytes(8) + second[start + 8 :]
        index, good = parse(whole + torn, "store")
        assert list(index.videos) == ["a"] and good == len(whole), start


def test_damage_before_the_last_commit_is_an_error() -> None:
    groups = [close_group([put(name)]) for name in "abc"]
    for damaged in (0, 1):
        for at in range(0, len(groups[damaged]), 7):
            parts = [bytearray(g) for g in groups]
            parts[damaged][at] ^= 1
            with raises(StoreError, "my.zarr", "manifest", "byte", remedy="copy the store again"):
                parse(b"".join(parts), "my.zarr")


@pytest.mark.parametrize("before", [b"", close_group([put("a")])])
def test_a_flipped_bit_in_the_last_commit_is_an_error(before: bytes) -> None:
    """As a commit that was cut short it would be dropped, and the arrays that it names with it."""
    last = close_group([put("b"), failed("c")])
    for at in range(len(last) - 1):
        flipped = bytearray(last)
        flipped[at] ^= 1
        with raises(StoreError, "my.zarr", f"byte {len(before)}", remedy="copy the store again"):
            parse(before + flipped, "my.zarr")


@pytest.mark.parametrize("tail", [b"x", b"zarr", b"{}\n", b'["op"]\n', b'{"op":"put"\n'])
@pytest.mark.parametrize("before", [b"", close_group([put("a")])])
def test_a_tail_of_something_else_is_an_error(before: bytes, tail: bytes) -> None:
    """A log that another file was written over would be an empty store, and be cut off."""
    with raises(StoreError, "my.zarr", f"byte {len(before)}", remedy="copy the store again"):
        parse(before + tail, "my.zarr")


def test_fields_of_later_versions_are_ignored() -> None:
    value = json.loads(put("a"))
    value["colour"] = "new"
    value["source"]["rotation"] = 90
    index, _ = parse(close_group([json.dumps(value, separators=(",", ":"))]), "store")
    assert index.record("a").source == SOURCE


def test_spaces_in_a_record_do_no_harm() -> None:
    line = json.dumps(json.loads(put("a", note="x")))
    index, _ = parse(close_group([line]), "store")
    assert index.record("a") == VideoRecord("a", 3, SOURCE, "x")


def test_text_that_looks_like_a_field_does_no_harm() -> None:
    tricky = 'a,"source":{},"op":"remove"'
    index, _ = parse(close_group([put(tricky, "key", note=tricky), failed(tricky)]), "store")
    assert index.record(tricky) == VideoRecord(tricky, 3, SOURCE, tricky)
    assert index.failures[tricky].detail == "gone"


def test_an_unknown_record_is_an_error() -> None:
    with raises(StoreError, "my.zarr", "manifest", remedy="copy the store again"):
        parse(close_group(['{"op":"rename","id":"a"}']), "my.zarr")


GROUPS = {
    "new videos": [put("a"), put("b", frames=5, note="x"), put("c")],
    "a video twice": [put("a"), put("b"), put("a", "a~2")],
    "a failure before": [failed("a"), put("a")],
    "a failure within": [put("b"), failed("c"), put("a")],
    "a removal": [put("a"), put("b"), remove_line("a")],
    "no Unicode": [put("a"), put("\ud800 lone", "k")],
    "places": [
        put_line(VideoRecord(i, 3, SOURCE), i, 3, "0000abcd", (7, 9), place=place)
        for i, place in (("a", 4), ("b", 1))
    ],
}


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_is_read_as_its_lines_are(name: str) -> None:
    whole, single = Index(), Index()
    for lines in ([put("first"), failed("z")], GROUPS[name], [put("last")]):
        whole.apply_group("".join(line + "\n" for line in lines).encode("ascii"))
        for line in lines:
            single.apply(line)
    fields = ("line", *(name for name in Entry.__struct_fields__ if name not in ("lines", "row")))
    one, other = (
        [(i, *(getattr(e, f) for f in fields)) for i, e in index.videos.items()]
        for index in (whole, single)
    )
    assert one == other
    assert whole.failure_lines == single.failure_lines
    assert whole.keys == single.keys


def test_new_videos_are_not_read_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def line_by_line(self: Index, line: str) -> None:
        raise AssertionError(line)

    monkeypatch.setattr(Index, "apply", line_by_line)
    index, _ = parse(close_group([put("a"), put("b")]) + close_group([put("c")]), "store")
    assert [entry.place for entry in index.videos.values()] == [0, 1, 2]


@pytest.mark.parametrize(
    "text", [put("a") + "\n\n" + put("b"), put("a").replace('"a"', '"\u00e9"', 1)]
)
def test_lines_that_no_writer_writes_are_an_error(text: str) -> None:
    group = f"{text}\n".encode()
    data = group + manifest._commit_line(group) + b"\n"
    with raises(StoreError, "my.zarr", "manifest is damaged after byte 0"):
        parse(data, "my.zarr")


@pytest.mark.parametrize("value", ["3.5", "true", '"3"', "null", "0", "-1", "[]"])
def test_frames_that_are_no_whole_number_are_an_error(value: str) -> None:
    line = put("a").replace('"frames":3', f'"frames":{value}')
    with raises(StoreError, "my.zarr", remedy="copy the store again"):
        parse(close_group([line]), "my.zarr")
