"""Reads a store of sealed parts, from a folder or over the network."""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ...errors import StoreError
from ...objects import ObjectStore, open_objects
from ...program import command
from ..base import FeatureStore
from ..header import Header, not_a_store, read_header
from ..limits import LIMITS, Limits
from ..manifest import Entry
from ..seal import Seal
from .local_parts import part_reader
from .log import HEADER, PARTS, LogState, load
from .ranges import KEPT_BYTES, RangeCache
from .upkeep import sweep


class PartsStore(FeatureStore):
    """See `FeatureStore`."""

    def __init__(
        self, path: Path, limits: Limits = LIMITS, objects: ObjectStore | None = None
    ) -> None:
        self._objects = objects or open_objects(path)
        with ThreadPoolExecutor(1, "read-header") as pool:
            reading = pool.submit(parts_header, path, self._objects)
            try:
                self.log = load(self._objects)
            except StoreError:
                reading.result()  # where there is no store, its error is the better one
                raise
            header = reading.result()
        self.log.check(header.row_bytes)
        self._ranges = self._new_ranges()
        super().__init__(path, header, self.log.index, limits)

    @property
    def log_number(self) -> int:
        """Number of the last log entry that this state has; what is made of it can name it."""
        return self.log.last

    @property
    def seal(self) -> Seal:
        """The state of the log: number of its last entry, and a checksum of that attempt's name."""
        last = self.log.parts.get(self.log.last)
        return Seal(0, self.log.last, zlib.crc32(last.attempt.encode()) if last else 0)

    def close(self) -> None:
        """Drop what was read ahead."""
        self._ranges = self._new_ranges()

    def _new_ranges(self) -> RangeCache:
        sizes = {part.name: part.size for part in self.log.parts.values()}
        return RangeCache(part_reader(self._objects, sizes.__getitem__))

    @property
    def ahead_bytes(self) -> int:
        """See `FeatureStore`."""
        return KEPT_BYTES

    def prefetch(self, wanted: Iterable[tuple[str, int, int]]) -> None:
        """See `FeatureStore`: joined ranges at the manifest's offsets, some parts at a time.

        The times of a video are read as well where its last frame is: they lie behind it.
        """
        ranges: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for video_id, start, stop in wanted:
            entry = self._entry(video_id)
            vectors, seconds = entry.at
            name = self._part(entry)
            row = self._header.row_bytes
            ranges[name].append((vectors + start * row, vectors + stop * row))
            if stop >= entry.frames:
                ranges[name].append((seconds, seconds + entry.frames * 8))
        self._ranges.fetch(ranges)

    def _read_rows(self, entry: Entry, start: int, buffer: memoryview) -> int:
        at = entry.at[0] + start * self._header.row_bytes
        return self._ranges.read_into(self._part(entry), at, buffer)

    def _read_seconds(self, entry: Entry) -> np.ndarray:
        seconds = np.empty(entry.frames, "<f8")
        buffer = memoryview(seconds.data).cast("B")
        size = self._ranges.read_into(self._part(entry), entry.at[1], buffer)
        return seconds[: size // seconds.itemsize]

    def _check_layout(self) -> list[str]:
        """Compare the parts with the log, and the log with the checkpoint that was read."""
        sizes = {info.name: info.size for info in self._objects.list(PARTS)}
        problems = [
            f"{self.path}/{part.name}: has {sizes.get(part.name, 0)} bytes of {part.size}; "
            "copy it again from where it came from"
            for number, part in self.log.parts.items()
            if self.log.live[number] and sizes.get(part.name) != part.size
        ]
        try:
            whole = load(self._objects, use_checkpoint=False)
        except StoreError as error:
            return [*problems, str(error)]
        if whole.last == self.log.last and not same_state(whole, self.log):
            problems.append(
                f"{self.path}: its last checkpoint does not fit its log; delete the checkpoint"
            )
        return problems

    def sweep(self) -> list[str]:
        """Delete what no log entry needs, by the log as it is now; see `upkeep.orphans`.

        Returns:
            The names of the deleted objects.
        """
        return sweep(self._objects, load(self._objects))

    def _part(self, entry: Entry) -> str:
        return self.log.parts[entry.part].name


def parts_header(path: Path, objects: ObjectStore | None = None) -> Header:
    """Read the header alone."""
    data = (objects or open_objects(path)).get(HEADER)
    if data is None:
        raise StoreError(f"{path}: no such store; make one with {command('extract')}")
    try:
        value = json.loads(data)
    except ValueError as error:
        raise not_a_store(str(path)) from error
    return read_header(value, str(path))


def same_state(first: LogState, second: LogState) -> bool:
    """Whether two states hold the same videos and failures."""
    a, b = first.index, second.index
    return {i: (e.line, e.part) for i, e in a.videos.items()} == {
        i: (e.line, e.part) for i, e in b.videos.items()
    } and a.failure_lines == b.failure_lines
