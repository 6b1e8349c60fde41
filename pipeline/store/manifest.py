"""The manifest: an append-only log of JSON lines that says what a store holds.

One line a record, closed in groups by a commit line with the length and CRC-32 of its group:

    {"op":"put","id":"a/b","key":"a%2Fb","frames":60,...,"source":{...}}
    {"op":"fail","id":"c","reason":"missing","detail":"...","source":{...}}
    {"op":"remove","id":"d"}
    {"op":"commit","bytes":391,"crc32":"5e1c0a47"}

What no commit line closes does not exist: a video is done when its put record is committed,
and that is written after everything else of it. `seal.py` tells a log that lost commits.
"""

from __future__ import annotations

import copy
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from ..errors import StoreError
from ..inputs import no_garbage_collection
from ..records import Failure, SourceInfo, VideoRecord
from . import checks
from .keys import KeyMaker
from .seal import Seal, cut_off

_COMMIT = b'{"op":"commit",'
_RECORD = b'{"op":"'
_SOURCE = ',"source":'  # not found within any JSON string, where quotes are escaped
# For what msgspec refuses: the halves of surrogates that names hold which are no UTF-8.
_decode = json.scanner.make_scanner(json.JSONDecoder())  # type: ignore[attr-defined]
_BAD = (  # the last comes from the decoder: no JSON
    ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, StopIteration,
)  # fmt: skip


_Whole = Annotated[int, msgspec.Meta(ge=0, le=checks.MAX_NUMBER)]
_Frames = Annotated[int, msgspec.Meta(ge=1, le=checks.MAX_FRAMES)]


class Lines:
    """The lines of a group, cut apart when the first one is asked for: few ever are.

    Args:
        group: ASCII, a line break behind each line.
    """

    def __init__(self, group: bytes | memoryview) -> None:
        self._group = group
        self._lines: list[str] = []

    def __getitem__(self, number: int) -> str:
        if not self._lines:
            self._lines = str(self._group, "ascii").split("\n")
            self._group = b""
        return self._lines[number]


class Entry(msgspec.Struct, gc=False):
    """The place of a video's numbers in a store; nobody changes it once it is in an index.

    Attributes:
        key: name of its dataset or array.
        frames: T.
        rows: frames a chunk; T where the video is in one piece.
        crc32c: checksum (Castagnoli) over the vectors' bytes, then the seconds' bytes.
        at: byte offsets of vectors and seconds in the file (HDF5), or empty.
        place: position in the order of ids; equal ones are in the order of their records.
        insets: frames of each inset, the last of `frames`.
        part: number of the log entry that brought it, in a store of sealed parts.
        lines, row: where its line is.
    """

    key: str
    frames: _Frames
    rows: _Frames
    crc32c: str
    at: tuple[_Whole, ...] = ()
    place: _Whole = -1
    insets: tuple[int, ...] = ()
    part: int = 0
    lines: Any = ("",)
    row: int = 0

    @property
    def line(self) -> str:
        """The whole record as JSON; source and note are parsed only when asked for."""
        return str(self.lines[self.row])


class _Put(Entry, gc=False, kw_only=True):
    """A line that puts a video, as msgspec reads it and checks its numbers."""

    op: Literal["put"]
    id: str


_puts = msgspec.json.Decoder(_Put)


class Applied(NamedTuple):
    """What a record did: put, fail or remove; to which video; and the video's entry before."""

    op: str
    id: str
    old: Entry | None


class Index:
    """The state that a manifest's records add up to.

    Args:
        name: of the store, for messages.

    Attributes:
        videos: where the numbers of each video are, by id.
        seal: how much of a manifest it was read from.
        part: of the records that `apply` takes in next, see `Entry`.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.videos: dict[str, Entry] = {}
        self.seal = Seal()
        self.part = 0
        self._next_place = 0
        self._keys: list[str] = []
        self._failures: dict[str, str] = {}

    def apply(self, line: str) -> Applied:
        """Take in one record; a success clears a failure, a failure never clears features."""
        # The source comes last and is half of the line: left for `record` and `failures`.
        head, source, _ = line.partition(_SOURCE)
        record, _ = _decode(head + "}" if source else head, 0)
        op, video_id = record["op"], record["id"]
        old = self.videos.get(video_id)
        if op == "put":
            self._keys.append(record["key"])
            place = old.place if old else self._next_place
            entry = _entry(record, line, place, self.part)
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
        return Applied(op, video_id, old)

    def apply_group(self, data: bytes, start: int = 0, end: int | None = None) -> None:
        """Take in all records of a group.

        Args:
            data: ASCII text; kept, for what is asked for later.
            start, end: where its lines are, without the commit line.

        Raises:
            ValueError, TypeError, KeyError, StopIteration: a line is no record.
        """
        group = memoryview(data)[start:end]
        records = self._new_videos(group)
        # msgspec takes empty lines as well, and a manifest has none.
        if records is not None and len(records) != data.count(b"\n", start, end):
            records = None
        if records is None:
            for line in str(group, "ascii").split("\n")[:-1]:
                self.apply(line)
            return
        place, part, lines = self._next_place, self.part, Lines(group)
        for row, record in enumerate(records.values()):
            if record.place < 0:
                record.place = place
            if record.place >= place:
                place = record.place + 1
            record.part, record.lines, record.row = part, lines, row
        self._next_place = place
        self.videos.update(records)
        self._keys += [record.key for record in records.values()]

    def _new_videos(self, group: bytes | memoryview) -> dict[str, _Put] | None:
        """The records of a group that only puts videos which were never heard of; else None.

        These are nearly all of a long manifest, and msgspec reads them in a fourth of the time.
        """
        try:
            decoded = _puts.decode_lines(group)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None
        records = {record.id: record for record in decoded}
        new = len(records) == len(decoded) and self.videos.keys().isdisjoint(records)
        return records if new and self._failures.keys().isdisjoint(records) else None

    def copy(self) -> Index:
        """The same state, to change by itself."""
        other = copy.copy(self)
        other.videos, other._failures = dict(self.videos), dict(self._failures)
        other._keys = list(self._keys)
        return other

    @property
    def failure_lines(self) -> dict[str, str]:
        """The record of each failed video as JSON, by id."""
        return self._failures

    def sort(self) -> None:
        """Put the videos in the order of their places, those of one place by their parts."""
        places = [entry.place for entry in self.videos.values()]
        parts = {entry.part for entry in self.videos.values()}
        if len(parts) > 1 or places != sorted(places):
            order = sorted(self.videos.items(), key=lambda item: (item[1].place, item[1].part))
            self.videos = dict(order)

    def check(self, offsets: int | None = None) -> None:
        """Raises ValueError or TypeError if a record says what no writer writes.

        Args:
            offsets: how many a video has; None: none or two.
        """
        entries = self.videos.values()
        frames, places = [e.frames for e in entries], [e.at for e in entries]
        checks.check_keys(self._keys)
        checks.check_ids(self.videos)
        checks.check_ids(self._failures)
        checks.check_checksums([e.crc32c for e in entries])
        checks.check_insets([e.insets for e in entries], frames)
        numbers = [e for e in entries if type(e) is not _Put]  # msgspec has checked the others'
        checks.check_whole([e.frames for e in numbers], 1, checks.MAX_FRAMES)
        checks.check_whole([e.rows for e in numbers], 1, checks.MAX_FRAMES)
        checks.check_whole([e.place for e in numbers], 0)
        checks.check_whole(list(chain.from_iterable(e.at for e in numbers)), 0)
        if not set(map(len, places)) <= ({0, 2} if offsets is None else {offsets}):
            raise ValueError("a video has too few or too many offsets")

    @property
    def keys(self) -> list[str]:
        """Every key that a record has ever named."""
        return self._keys

    def make_keys(self) -> KeyMaker:
        """A maker of keys that no record so far has named."""
        maker = KeyMaker()
        for key in self._keys:
            maker.note(key)
        return maker

    def record(self, video_id: str) -> VideoRecord:
        """Raises StoreError if the line says what no writer writes."""
        entry = self.videos[video_id]
        with self._named(video_id):
            value = checks.strict_json(entry.line)
            insets = tuple(value.get("insets", ()))
            same = (value["id"], value["key"], value["frames"], insets)
            if same != (video_id, entry.key, entry.frames, entry.insets):
                raise ValueError("its source is not the last field")
            note = checks.text_from(value.get("note", ""))
            source = checks.source_from(value["source"])
        return VideoRecord(video_id, entry.frames, source, note, entry.insets)

    @property
    def failures(self) -> dict[str, Failure]:
        """Raises StoreError if a line says what no writer writes."""
        return {video_id: self._failure(video_id) for video_id in self._failures}

    def _failure(self, video_id: str) -> Failure:
        with self._named(video_id):
            value = checks.strict_json(self._failures[video_id])
            if value["id"] != video_id:
                raise ValueError("its source is not the last field")
            reason, detail = checks.text_from(value["reason"]), checks.text_from(value["detail"])
            return Failure(video_id, reason, detail, checks.source_from(value["source"]))

    @contextmanager
    def _named(self, video_id: str) -> Iterator[None]:
        try:
            yield
        except _BAD as error:
            raise damaged(self.name, f"at video {video_id!r}") from error

    def has_failed(self, video_id: str) -> bool:
        return video_id in self._failures


def put_line(
    video: VideoRecord,
    key: str,
    rows: int,
    crc32c: str,
    at: tuple[int, ...],
    *,
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
    return _line(value | {"source": video.source.as_json()})


def check_source(source: SourceInfo) -> None:
    """Raises StoreError if a manifest cannot hold it: NaN, or a number type of NumPy."""
    _line(source.as_json())


def fail_line(failure: Failure) -> str:
    """The record of a video that could not be stored."""
    value = {"op": "fail", "id": failure.id, "reason": failure.reason, "detail": failure.detail}
    return _line(value | {"source": failure.source.as_json()})


def remove_line(video_id: str) -> str:
    """The record that takes a video, or its failure, out."""
    return _line({"op": "remove", "id": video_id})


def close_group(lines: list[str]) -> bytes:
    """The bytes to append for one commit."""
    group = "".join(line + "\n" for line in lines).encode("ascii")
    return group + _commit_line(group) + b"\n"


def open_group(data: bytes, name: str) -> list[str]:
    """The lines of one whole commit, which `close_group` made.

    Raises:
        StoreError: `name` is not exactly that.
    """
    if [end for _, end in _groups(data)] != [len(data)]:
        raise damaged(name, "or cut short")
    try:
        return data.decode("ascii").split("\n")[:-2]
    except ValueError as error:
        raise damaged(name, "in its text") from error


def parse(
    data: bytes, name: str, seal: Seal | None = None, offsets: int | None = None
) -> tuple[Index, int]:
    """Read a whole manifest.

    Args:
        data: the log.
        name: of the store, for messages.
        seal: what the log held at least; None for stores of before seals.
        offsets: how many a video has in this kind of store; None: none or two.

    Returns:
        The index, and how many bytes are good. What follows them is a commit that was cut
        short; a writer cuts it off, a reader ignores it.

    Raises:
        StoreError: `name` is damaged before its last commit or within it, which no interrupted
            write does; or it holds less than the seal says.
    """
    index, done = Index(name), Seal()
    sealed = seal is None or seal == done
    with no_garbage_collection():
        try:
            plain = data.isascii()  # msgspec takes UTF-8 as well
            for mark, end in _groups(data):
                if not plain:
                    data[done.size : mark].decode("ascii")
                index.apply_group(data, done.size, mark)
                done = Seal(end, done.groups + 1, zlib.crc32(data[mark:end], done.crc32))
                sealed = sealed or done == seal
            if seal is not None and not sealed:
                raise cut_off(name, seal, done)
            if not _cut_short(data[done.size :]):
                raise damaged(name, f"after byte {done.size}")
            index.check(offsets)
        except _BAD as error:
            raise damaged(name, f"after byte {done.size}") from error
        index.sort()
    index.seal = done
    return index, done.size


def _cut_short(tail: bytes) -> bool:
    """An interrupted write leaves a part of a group, or holes of zeros in it, or nothing.

    A group that is all there and does not fit its checksum was written whole, and the arrays that
    it names are not to be cleared away. Nor is a tail cut short that holds two commits, or a whole
    one behind what does not fit: each was synced before the next was begun. What is no record is
    not of this log.
    """
    *lines, last = tail.split(b"\n")
    if not all(map(_may_be_record, lines)) or not _may_begin_record(last):
        return False
    commits = tail.count(_COMMIT)  # its quotes stand in no string of a record
    if commits > 1 or (commits and _ends_in_a_group(tail)):
        return False
    return not (commits and tail.endswith(b"\n")) or b"\0" in tail


def _may_be_record(line: bytes) -> bool:
    if b"\0" in line or line.startswith(_COMMIT):
        return True
    try:
        return json.loads(line)["op"] in ("put", "fail", "remove")
    except _BAD:
        return False


def _may_begin_record(line: bytes) -> bool:
    return b"\0" in line or line.startswith(_RECORD) or _RECORD.startswith(line)


def _ends_in_a_group(tail: bytes) -> bool:
    mark = tail.find(_COMMIT)
    line, end, _ = tail[mark:].partition(b"\n")
    try:
        start = mark - int(json.loads(line)["bytes"])
    except _BAD:
        return False
    return bool(end) and 0 <= start < mark and line == _commit_line(tail[start:mark])


def _groups(data: bytes) -> Iterator[tuple[int, int]]:
    """(start of the commit line, end) of the groups that fit, up to the first that does not."""
    good, mark = 0, data.find(_COMMIT)
    while mark >= 0:
        # A commit line starts a line; the same text within a note or an id does not.
        if mark == 0 or data[mark - 1] == ord("\n"):
            end = data.find(b"\n", mark) + 1
            with memoryview(data) as view:
                if not end or view[mark : end - 1] != _commit_line(view[good:mark]):
                    return
            yield mark, end
            good = end
        mark = data.find(_COMMIT, mark + 1)


def _commit_line(group: bytes | memoryview) -> bytes:
    return b'{"op":"commit","bytes":%d,"crc32":"%08x"}' % (len(group), zlib.crc32(group))


def _line(value: dict[str, Any]) -> str:
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"a manifest holds plain finite values only: {error} in {value}"
        ) from error


def _entry(record: dict[str, Any], line: str, place: int, part: int) -> Entry:
    at, place = tuple(record.get("at", ())), record.get("place", place)
    insets = tuple(record.get("insets", ()))
    key, frames, rows, crc32c = (record[name] for name in ("key", "frames", "rows", "crc32c"))
    return Entry(key, frames, rows, crc32c, at, place, insets, part, (line,))


def damaged(name: str, where: str) -> StoreError:
    """The error for a manifest that says what no writer writes, or is not whole."""
    return StoreError(
        f"{name}: the manifest is damaged {where}; copy the store again from where it came from, "
        "or extract the features again"
    )
