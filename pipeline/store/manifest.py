"""The manifest: an append-only log of JSON lines that says what a store holds.

One line a record, closed in groups by a commit line with the length and CRC-32 of its group:

    {"op":"put","id":"a/b","key":"a%2Fb","frames":60,...,"source":{...}}
    {"op":"fail","id":"c","reason":"missing","detail":"...","source":{...}}
    {"op":"remove","id":"d"}
    {"op":"commit","bytes":391,"crc32":"5e1c0a47"}

What no commit line closes does not exist: a video is done when its put record is committed,
and that is written after everything else of it.
"""

from __future__ import annotations

import gc
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

from pipeline.errors import StoreError
from pipeline.records import Failure, SourceInfo, VideoRecord
from pipeline.store.keys import KeyMaker

_COMMIT = b'{"op":"commit",'
_SOURCE = ',"source":'  # not found within any JSON string, where quotes are escaped
_decode = json.JSONDecoder().raw_decode


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a video's numbers are.

    Attributes:
        key: name of its dataset or array.
        frames: T.
        rows: frames a chunk; T where the video is in one piece.
        crc32c: checksum (Castagnoli) over the vectors' bytes, then the seconds' bytes.
        at: byte offsets of vectors and seconds in the file (HDF5), or empty.
        place: position in the order of ids; equal ones are in the order of their records.
        insets: frames of each inset, the last of `frames`.
        line: the whole record as JSON; source and note are parsed only when asked for.
    """

    key: str
    frames: int
    rows: int
    crc32c: str
    at: tuple[int, ...]
    place: int
    insets: tuple[int, ...]
    line: str


class Index:
    """The state that a manifest's records add up to."""

    def __init__(self) -> None:
        self.videos: dict[str, Entry] = {}
        self._next_place = 0
        self._keys: list[str] = []
        self._failures: dict[str, str] = {}

    def apply(self, line: str) -> None:
        """Take in one record; a success clears a failure, a failure never clears features."""
        # The source comes last and is half of the line: left for `record` and `failures`.
        head, source, _ = line.partition(_SOURCE)
        record, _ = _decode(head + "}" if source else head)
        op, video_id = record["op"], record["id"]
        if op == "put":
            self._keys.append(record["key"])
            known = self.videos.get(video_id)
            entry = _entry(record, line, known.place if known else self._next_place)
            self.videos[video_id] = entry
            self._next_place = max(self._next_place, entry.place + 1)
            self._failures.pop(video_id, None)
        elif op == "fail":
            self._failures[video_id] = line
        elif op == "remove":
            self.videos.pop(video_id, None)
            self._failures.pop(video_id, None)
        else:
            raise ValueError(f"unknown record {op!r}")

    def sort(self) -> None:
        """Put the videos in the order of their places."""
        places = [entry.place for entry in self.videos.values()]
        if any(a > b for a, b in pairwise(places)):
            self.videos = dict(sorted(self.videos.items(), key=lambda item: item[1].place))

    def make_keys(self) -> KeyMaker:
        """A maker of keys that no record so far has named."""
        maker = KeyMaker()
        for key in self._keys:
            maker.note(key)
        return maker

    def record(self, video_id: str) -> VideoRecord:
        value = json.loads(self.videos[video_id].line)
        source = _source(value["source"])
        insets = tuple(value.get("insets", ()))
        return VideoRecord(video_id, value["frames"], source, value.get("note", ""), insets)

    @property
    def failures(self) -> dict[str, Failure]:
        parsed = ((key, json.loads(line)) for key, line in self._failures.items())
        return {k: Failure(k, v["reason"], v["detail"], _source(v["source"])) for k, v in parsed}

    def has_failed(self, video_id: str) -> bool:
        return video_id in self._failures


def put_line(
    video: VideoRecord,
    key: str,
    rows: int,
    crc32c: str,
    at: tuple[int, ...],
    place: int | None = None,
) -> str:
    """The record of a stored video."""
    value: dict[str, Any] = {"op": "put", "id": video.id, "key": key, "frames": video.frames}
    value |= {"rows": rows, "crc32c": crc32c}
    if at:
        value["at"] = at
    if place is not None:
        value["place"] = place
    if video.insets:
        value["insets"] = video.insets
    if video.note:
        value["note"] = video.note
    return _line(value | {"source": asdict(video.source)})


def check_source(source: SourceInfo) -> None:
    """Raises StoreError if a manifest cannot hold it: NaN, or a number type of NumPy."""
    _line(asdict(source))


def fail_line(failure: Failure) -> str:
    """The record of a video that could not be stored."""
    value = {"op": "fail", "id": failure.id, "reason": failure.reason, "detail": failure.detail}
    return _line(value | {"source": asdict(failure.source)})


def remove_line(video_id: str) -> str:
    """The record that takes a video, or its failure, out."""
    return _line({"op": "remove", "id": video_id})


def close_group(lines: list[str]) -> bytes:
    """The bytes to append for one commit."""
    group = "".join(line + "\n" for line in lines).encode("ascii")
    return group + _commit_line(group) + b"\n"


def parse(data: bytes, name: str) -> tuple[Index, int]:
    """Read a whole manifest.

    Returns:
        The index, and how many bytes are good. What follows them is a commit that was cut
        short; a writer cuts it off, a reader ignores it.

    Raises:
        StoreError: `name` is damaged before its last commit or within it, which no interrupted
            write does.
    """
    index, good = Index(), 0
    with _no_garbage_collection():
        for start, mark, end in _groups(data):
            if start != good:
                raise damaged(name, good)
            try:
                for line in data[start:mark].decode("ascii").split("\n")[:-1]:
                    index.apply(line)
            except (ValueError, KeyError, TypeError) as error:
                raise damaged(name, good) from error
            good = end
        if not _cut_short(data[good:]):
            raise damaged(name, good)
        index.sort()
    return index, good


def _cut_short(tail: bytes) -> bool:
    """An interrupted write leaves a part of a group, or holes of zeros in it, or nothing.

    A group that is all there and does not fit its checksum was written whole, and the arrays that
    it names are not to be cleared away.
    """
    there = _COMMIT in tail and tail.endswith(b"\n")  # its quotes stand in no string of a record
    return not there or b"\0" in tail


def _groups(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(start, start of the commit line, end) of every group whose checksum fits."""
    mark = data.find(_COMMIT)
    while mark >= 0:
        end = data.find(b"\n", mark) + 1
        # A commit line starts a line; the same text within a note or an id does not.
        if end and (mark == 0 or data[mark - 1] == ord("\n")):
            start = mark - _group_bytes(data[mark:end])
            with memoryview(data) as view:
                if 0 <= start < mark and view[mark : end - 1] == _commit_line(view[start:mark]):
                    yield start, mark, end
        mark = data.find(_COMMIT, mark + 1)


def _group_bytes(line: bytes) -> int:
    """What a commit line says of its group's length; 0 if it is no such line."""
    try:
        return int(json.loads(line)["bytes"])
    except (ValueError, KeyError, TypeError):
        return 0


def _commit_line(group: bytes | memoryview) -> bytes:
    value = {"op": "commit", "bytes": len(group), "crc32": f"{zlib.crc32(group):08x}"}
    return _line(value).encode("ascii")


def _line(value: dict[str, Any]) -> str:
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"a manifest holds plain finite values only: {error} in {value}"
        ) from error


def _entry(record: dict[str, Any], line: str, place: int) -> Entry:
    at, place = tuple(record.get("at", ())), record.get("place", place)
    insets = tuple(record.get("insets", ()))
    return Entry(
        record["key"], record["frames"], record["rows"], record["crc32c"], at, place, insets, line
    )


def _source(value: dict[str, Any]) -> SourceInfo:
    known = {f.name for f in fields(SourceInfo)}
    return SourceInfo(**{k: v for k, v in value.items() if k in known})


def damaged(name: str, good: int) -> StoreError:
    """The error for a manifest of which only the first `good` bytes are."""
    return StoreError(
        f"{name}: the manifest is damaged after byte {good}; copy the store again from where it "
        "came from, or extract the features again"
    )


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A hundred thousand new records hold no cycles, but make the collector walk them often."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
