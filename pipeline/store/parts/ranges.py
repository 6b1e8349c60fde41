"""Ranges of parts, joined and read ahead, so that a block of videos takes one request a part."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from .local_parts import RangeReader

JOINED_GAP = 1 << 20  # bytes between two ranges that are read as well
MAX_RANGE = 64 << 20  # bytes of a joined range
KEPT_BYTES = 256 << 20
_AT_ONCE = 8  # parts

Range = tuple[int, int]


def joined(ranges: Iterable[Range], gap: int = JOINED_GAP, most: int = MAX_RANGE) -> list[Range]:
    """Join ranges [start, stop) that are at most `gap` apart, up to `most` bytes."""
    found: list[Range] = []
    for start, stop in sorted(ranges):
        if found and start - found[-1][1] <= gap and stop - found[-1][0] <= most:
            found[-1] = found[-1][0], max(found[-1][1], stop)
        else:
            found.append((start, stop))
    return found


class RangeCache:
    """Ranges of objects that were read ahead; the oldest ones are dropped.

    Args:
        objects: what the parts are read from.
        kept_bytes: about this many stay.
    """

    def __init__(self, objects: RangeReader, kept_bytes: int = KEPT_BYTES) -> None:
        self._objects = objects
        self._kept_bytes = kept_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int], memoryview] = OrderedDict()
        self._size = 0

    def fetch(self, wanted: dict[str, list[Range]]) -> None:
        """Read ranges of several parts, several parts at a time.

        Args:
            wanted: [start, stop) by the name of the part.
        """
        jobs = []
        for name, ranges in wanted.items():
            missing = [r for r in ranges if self._find(name, *r) is None]
            if missing:
                jobs.append((name, joined(missing)))
        if len(jobs) == 1:
            self._fetch(*jobs[0])
        elif jobs:
            with ThreadPoolExecutor(min(_AT_ONCE, len(jobs)), "read-parts") as pool:
                list(pool.map(lambda job: self._fetch(*job), jobs))

    def read_into(self, name: str, start: int, buffer: memoryview) -> int:
        """Fill a buffer from `start` bytes on; returns bytes read, fewer at the end of the part."""
        found = self._find(name, start, start + len(buffer))
        if found is None:
            found = self._objects.get_ranges(name, [(start, start + len(buffer))])[0]
        buffer[: len(found)] = found
        return len(found)

    def _fetch(self, name: str, ranges: list[Range]) -> None:
        found = self._objects.get_ranges(name, ranges)
        with self._lock:
            for (start, _), data in zip(ranges, found, strict=True):
                self._size += len(data) - len(self._kept.pop((name, start), b""))
                self._kept[name, start] = data
            while self._size > self._kept_bytes and len(self._kept) > len(ranges):
                self._size -= len(self._kept.popitem(last=False)[1])

    def _find(self, name: str, start: int, stop: int) -> memoryview | None:
        with self._lock:
            for (other, at), data in reversed(self._kept.items()):
                if other == name and at <= start and stop <= at + len(data):
                    return data[start - at : stop - at]
        return None
