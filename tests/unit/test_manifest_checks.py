"""Records that no writer writes end in one sentence, also where their checksums fit."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from pipeline.errors import StoreError
from pipeline.records import SourceInfo, VideoRecord
from pipeline.store.keys import KeyMaker, are_keys
from pipeline.store.manifest import close_group, parse, put_line
from pipeline.store.seal import Seal, read_seal, whole_file
from tests.messages import raises

GOOD = json.loads(put_line(VideoRecord("a", 3, SourceInfo("a.mp4")), "a", 3, "0000abcd", (7, 9)))


def log(**changes: Any) -> bytes:
    value = GOOD | changes
    value["source"] = value.pop("source")  # the last, as writers have it
    return close_group([json.dumps(value, separators=(",", ":"))])


@pytest.mark.parametrize(
    "key",
    ["", ".", "..", "../a", "a/b", "/etc/passwd", "a\\b", "a\0", "a\nb", "ü", ".hidden", "end.",
     "zarr.json", "ZARR.json", "x" * 250, None, 3, ["a"], {"a": 1}],
)  # fmt: skip
def test_keys_that_lead_elsewhere(key: Any) -> None:
    with raises(StoreError, "my.zarr", "manifest", remedy="copy the store again"):
        parse(log(key=key), "my.zarr")


def test_keys_that_this_program_makes() -> None:
    maker = KeyMaker()
    ids = ("a", "A", "..", "a/b", "zarr.json", "x" * 500, "ü" * 99, "a..b", " ", "~", "\ud800")
    keys = [maker.new(i) for i in ids for _ in range(3)]
    assert are_keys(keys) and are_keys([])
    maker.note("b~" + "9" * 199)
    assert maker.new("b") == "b~2"


@pytest.mark.parametrize("field", ["frames", "rows", "place"])
@pytest.mark.parametrize(
    "value", ["3", -1, True, 10**19, 10**400, 2.0, None, [], "x", float("nan")]
)
def test_numbers_that_are_none(field: str, value: Any) -> None:
    with raises(StoreError, "my.zarr", "manifest", remedy="copy the store again"):
        parse(log(**{field: value}), "my.zarr")


@pytest.mark.parametrize(
    "changes",
    [{"id": ""}, {"id": "a\tb"}, {"id": 5}, {"id": []}, {"crc32c": "xyz"}, {"crc32c": "0000ABCD"},
     {"crc32c": 7}, {"at": [1]}, {"at": [1, -2]}, {"at": ["1", 2]}, {"at": 5}, {"at": [1, 2, 3]},
     {"insets": [3]}, {"insets": [-1]}, {"insets": "12"}, {"insets": 4}, {"op": "rename"}],
)  # fmt: skip
def test_other_fields(changes: dict[str, Any]) -> None:
    with raises(StoreError, "my.zarr", "manifest", remedy="copy the store again"):
        parse(log(**changes), "my.zarr")


@pytest.mark.parametrize(
    "changes",
    [{"source": []}, {"source": {}}, {"source": {"path": 5}}, {"note": 5},
     {"source": {"path": "a", "size": "1"}}, {"source": {"path": "a", "fps": float("inf")}},
     {"source": {"path": "a", "width": True}}, {"source": {"path": "a", "size": 10**30}}],
)  # fmt: skip
def test_what_is_read_only_when_asked_for(changes: dict[str, Any]) -> None:
    index, _ = parse(log(**changes), "my.zarr")
    with raises(StoreError, "my.zarr", "manifest", "video 'a'", remedy="copy the store again"):
        index.record("a")


def test_nested_twice_and_behind_the_source() -> None:
    line = json.dumps(GOOD, separators=(",", ":"))
    with raises(StoreError, "my.zarr", "manifest", remedy="copy the store again"):
        parse(close_group([line.replace('"frames":3', '"frames":' + "[" * 50_000)]), "my.zarr")
    for text in ('"note":"x","note":"y",', '"note":"x",'):
        index, _ = parse(close_group([line[:-1] + f',{text[:-1]},"frames":9}}']), "my.zarr")
        with raises(StoreError, "my.zarr", "manifest", "video 'a'", remedy="copy the store again"):
            index.record("a")


def test_many_false_commits_take_no_time() -> None:
    began = time.process_time()
    false = b'{"op":"commit","bytes":3000000,"crc32":"00000000"}\n'
    with raises(StoreError, "my.zarr", "manifest", "byte 0", remedy="copy the store again"):
        parse(b"x" * 3_000_000 + b"\n" + false * 60_000, "my.zarr")
    assert time.process_time() - began < 20


def test_a_seal_names_bytes_commits_and_their_chain() -> None:
    first, second = log(), close_group(['{"op":"remove","id":"a"}'])
    seal = Seal().after(first).after(second)
    assert (seal.size, seal.groups) == (len(first + second), 2)
    assert parse(first + second, "my.zarr")[0].seal == seal
    assert read_seal(whole_file(seal), "my.zarr") == seal
    assert parse(first + second, "my.zarr", Seal().after(first))[1] == len(first + second)
    for lost in (b"", first, second, second + first):
        with raises(StoreError, "my.zarr", "manifest", remedy="copy the store again"):
            parse(lost, "my.zarr", seal)
