"""The log of a store of sealed parts: entries, the state they add up to, and checkpoints."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field

from ...errors import StoreError
from ...inputs import no_garbage_collection
from ...objects import ObjectStore
from ..manifest import Applied, Index, close_group, damaged, open_group

HEADER = "store.json"
PARTS, LOG, CHECKPOINTS = "parts", "log", "checkpoints"
CHECKPOINT_ENTRIES = 256  # entries that are read one by one, at most, when a store is opened
_AT_ONCE = 16  # requests
_DIGITS = 8
_HEAD = '{"op":"part",'
_PART_NAME = re.compile(r"parts/[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.h5|")
_MAX_CHECKPOINT = 16 << 30  # bytes unpacked


@dataclass(frozen=True)
class Part:
    """The head of a log entry.

    Attributes:
        number: of the entry.
        attempt: a random name of the commit. It tells an own entry from one of another writer.
        name: of the object with the features; empty for an entry without any.
        size: of that object in bytes.
        time: of the commit, in seconds since the epoch by the writer's clock.
        retired: when the last of its videos was replaced or removed; 0 while it has some.
    """

    number: int
    attempt: str
    name: str
    size: int
    time: float
    retired: float = 0.0

    def line(self) -> str:
        """It as the first line of an entry."""
        value = {"op": "part", **asdict(self)}
        if not self.retired:
            del value["retired"]
        return json.dumps(value, separators=(",", ":"))

    @classmethod
    def parse(cls, line: str) -> Part:
        """Raises ValueError, TypeError, KeyError: the line says what no writer writes."""
        value = json.loads(line)
        if value.pop("op") != "part":
            raise ValueError("no head of an entry")
        part = cls(**value)
        if type(part.number) is not int or part.number < 1 or type(part.attempt) is not str:
            raise ValueError("a number is no entry's")
        if type(part.size) is not int or part.size < 0 or not _PART_NAME.fullmatch(part.name):
            raise ValueError("a name is no part's")
        return part


@dataclass
class LogState:
    """What the log says up to some entry.

    Attributes:
        index: the stored videos and failures.
        parts: by the number of their entry.
        last: number of the last entry; 0 for none.
        checkpoint: number of the last one that is known.
        live: videos of each part that are current.
    """

    index: Index
    parts: dict[int, Part] = field(default_factory=dict)
    last: int = 0
    checkpoint: int = 0
    live: dict[int, int] = field(default_factory=dict)

    def apply(self, part: Part, lines: Iterable[str]) -> list[Applied]:
        """Take in an entry."""
        self.parts[part.number] = part
        self.live.setdefault(part.number, 0)
        self.index.part = part.number
        applied = []
        for line in lines:
            done = self.index.apply(line)
            applied.append(done)
            if done.op == "put":
                self.live[part.number] += 1
            if done.op != "fail" and done.old is not None:
                self._lose(done.old.part, part.time)
        self.last = max(self.last, part.number)
        return applied

    def _lose(self, number: int, time: float) -> None:
        self.live[number] -= 1
        if not self.live[number]:
            self.parts[number] = Part(**{**asdict(self.parts[number]), "retired": time})

    def checkpoint_data(self) -> bytes:
        """The content of a checkpoint: heads of parts, each with the lines that are current."""
        by_part: dict[int, list[str]] = {number: [] for number in self.parts}
        for entry in self.index.videos.values():
            by_part[entry.part].append(entry.line)
        lines: list[str] = []
        for number in sorted(by_part):
            lines += [self.parts[number].line(), *by_part[number]]
        lines += self.index.failure_lines.values()
        return zlib.compress(close_group(lines), 1)

    def check(self, row_bytes: int) -> None:
        """Raise StoreError if the log places a video outside of its part, or is damaged."""
        try:
            self.index.check(offsets=2)
        except (ValueError, TypeError) as error:
            raise damaged(self.index.name, f"({error})") from error
        for video_id, entry in self.index.videos.items():
            size = self.parts[entry.part].size
            vectors, seconds = entry.at
            if vectors + entry.frames * row_bytes > size or seconds + entry.frames * 8 > size:
                raise damaged(self.index.name, f"at video {video_id!r}: it lies outside its part")


def entry_name(number: int) -> str:
    """The name of a log entry."""
    return f"{LOG}/{number:0{_DIGITS}}"


def entry_data(part: Part, lines: list[str]) -> bytes:
    """The content of a log entry."""
    return close_group([part.line(), *lines])


def read_entry(data: bytes, number: int, name: str) -> tuple[Part, list[str]]:
    """Parse a log entry.

    Raises:
        StoreError: it is damaged, or of another number.
    """
    where = f"{name}/{entry_name(number)}"
    head, *lines = open_group(data, where)
    try:
        part = Part.parse(head)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise damaged(where, f"in its first line ({error})") from error
    if part.number != number:
        raise damaged(where, f"as it is entry {part.number}")
    return part, lines


def load(objects: ObjectStore, use_checkpoint: bool = True) -> LogState:
    """Read the log.

    Args:
        use_checkpoint: False reads every entry.

    Raises:
        StoreError: an entry is damaged or missing, or the storage cannot be reached.
    """
    name = str(objects.root)
    state = LogState(Index(name))
    with no_garbage_collection(), ThreadPoolExecutor(_AT_ONCE, "read-log") as pool:
        newest = objects.list(CHECKPOINTS) if use_checkpoint else []
        number = max((_number(info.name) for info in newest), default=0)
        after = entry_name(number) if number else ""
        listing = pool.submit(objects.list, LOG, after=after)
        if number:
            _read_checkpoint(objects, state, number)
        found = [_number(info.name) for info in listing.result()]
        # A folder that is listed while it grows may leave out an entry and show a later one.
        numbers = range(state.last + 1, max(found, default=0) + 1)
        for part, lines in _read_entries(objects, numbers, pool):
            _take_in(state, part, lines)
        state.index.sort()
    return state


def read_tail(objects: ObjectStore, state: LogState) -> list[tuple[Part, list[Applied]]]:
    """Take in the entries that came since; one request if there is none.

    Returns:
        The entries, and what they did.
    """
    found = []
    while (data := objects.get(entry_name(state.last + 1))) is not None:
        part, lines = read_entry(data, state.last + 1, str(objects.root))
        found.append((part, _take_in(state, part, lines)))
    return found


def write_checkpoint(objects: ObjectStore, state: LogState) -> None:
    """Put a checkpoint of the state; several writers may do the same, one wins."""
    objects.put_if_absent(f"{CHECKPOINTS}/{state.last:0{_DIGITS}}", state.checkpoint_data())
    state.checkpoint = state.last


def _number(name: str) -> int:
    text = name.rpartition("/")[2]
    return int(text) if text.isdecimal() and len(text) == _DIGITS else 0


def _read_entries(
    objects: ObjectStore, numbers: Sequence[int], pool: Executor
) -> Iterator[tuple[Part, list[str]]]:
    for number, data in zip(numbers, pool.map(objects.get, map(entry_name, numbers)), strict=True):
        if data is None:
            raise StoreError(
                f"{objects.root}: {entry_name(number)} of its log is missing, so videos are "
                "missing; copy the store again from where it came from"
            )
        yield read_entry(data, number, str(objects.root))


def _read_checkpoint(objects: ObjectStore, state: LogState, number: int) -> None:
    name = f"{CHECKPOINTS}/{number:0{_DIGITS}}"
    where = f"{objects.root}/{name}"
    data = objects.get(name)
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(data or b"", _MAX_CHECKPOINT)
    except zlib.error as error:
        raise damaged(where, f"({error})") from error
    part: Part | None = None
    lines: list[str] = []
    retired: dict[int, Part] = {}
    failures = []
    for line in open_group(text, where):
        if line.startswith(_HEAD):
            if part is not None:
                _take_in(state, part, lines)
            part, lines = _parsed_head(line, where), []
            retired |= {part.number: part} if part.retired else {}
        elif line.startswith('{"op":"fail"'):
            failures.append(line)
        else:
            lines.append(line)
    if part is not None:
        _take_in(state, part, [*lines, *failures])
    state.last = state.checkpoint = number


def _parsed_head(line: str, where: str) -> Part:
    try:
        return Part.parse(line)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise damaged(where, f"in the head of a part ({error})") from error


def _take_in(state: LogState, part: Part, lines: list[str]) -> list[Applied]:
    try:
        return state.apply(part, lines)
    except (
        ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError,
        StopIteration,
    ) as error:  # fmt: skip
        where = f"{state.index.name}/{entry_name(part.number)}"
        raise damaged(where, f"in a line ({error})") from error
