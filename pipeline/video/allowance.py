"""Limits the samples of a file by the bytes that were read of it, plus some that are free.

The sample table of a container costs a few bytes and can name any number of pictures and times, and
the same bytes many times. No recorder writes such a table; only a looping edit list reads bytes
twice.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from .limits import DEFAULT_LIMITS, DecodeLimits

_TABLES = {"mov", "avi"}  # formats with a table of packets; others are read from start to end
_MAX_SPANS = 1_000


class Allowance:
    """Counts the bytes of packets and computes how many samples they allow.

    Args:
        formats: names of the container format.
        size: bytes of the file.
        limits: bytes per copy and per picture, and how many are free.

    Attributes:
        size: bytes of the file that are in packets so far, each counted once.
    """

    def __init__(self, formats: set[str], size: int, limits: DecodeLimits = DEFAULT_LIMITS) -> None:
        self._tables, self._file_size = bool(formats & _TABLES), max(0, size)
        self._limits = limits
        self.size = self._reread = 0
        # Spans of the file that were read: ascending, without overlap.
        self._begins: list[int] = []
        self._ends: list[int] = []

    def add(self, packet: Any) -> None:
        """Count the next packet of any stream."""
        position, size = packet.pos, packet.size
        if self._tables and position is not None and position >= 0:
            fresh = min(self._add(position, position + size), size)
            self._reread += size - fresh
        else:
            fresh = size
        self.size = min(self.size + fresh, self._file_size)

    def copies(self) -> int:
        """Number of copies of held pictures that the bytes so far allow."""
        return self._free(self._limits.free_copies) + self.size // self._limits.copy_bytes

    def pictures(self) -> int:
        """Number of different pictures that the bytes so far allow."""
        return self._free(self._limits.free_pictures) + self.size // self._limits.picture_bytes

    def _free(self, usual: int) -> int:
        reread = 2 * self._reread > self.size
        return min(self._limits.free_if_reread, usual) if reread else usual

    def _add(self, begin: int, end: int) -> int:
        """Record a span of the file; returns how many of its bytes were not read before."""
        first = bisect_right(self._begins, begin)
        if first and self._ends[first - 1] >= begin:
            first -= 1
        last = bisect_right(self._begins, end)
        touched = list(zip(self._begins[first:last], self._ends[first:last], strict=True))
        if not touched and len(self._begins) >= _MAX_SPANS:
            return 0  # no recorder scatters packets like this
        low = min([begin, *(b for b, _ in touched)])
        high = max([end, *(e for _, e in touched)])
        self._begins[first:last], self._ends[first:last] = [low], [high]
        return high - low - sum(e - b for b, e in touched)
