"""How many samples a file may give: what its bytes can hold, and a few for which nothing speaks.

A table of samples costs a few bytes and can name pictures and times without end, also the same
bytes again and again. No recorder writes such a table; only an edit list that loops reads bytes
twice.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

# Copies of held pictures that need no further reason: a slide of 83 minutes, a sample a second.
FREE_COPIES = 5_000
COPY_BYTES = 1024  # of the file for each further copy: sound of 8 kbit/s
FREE_PICTURES = 1_000  # different pictures that need no further reason
PICTURE_BYTES = 8  # of the file for each further one: a coded picture that repeats the one before
FREE_OF_SHARED = 100  # copies and pictures, of a file that reads its bytes again
_TABLES = {"mov", "avi"}  # their packets are where a table says; others are read in a row
_MOST_STRETCHES = 1_000


class Allowance:
    """Counts the bytes that packets hold, and tells what they allow.

    Args:
        formats: names of the container format.
        size: bytes of the file.

    Attributes:
        size: bytes of the file that are in packets so far, each counted once.
    """

    def __init__(self, formats: set[str], size: int) -> None:
        self._tables, self._most = bool(formats & _TABLES), max(0, size)
        self.size = self._again = 0
        self._begins: list[int] = []  # of the stretches that were read, ascending and apart
        self._ends: list[int] = []

    def add(self, packet: Any) -> None:
        """Count the next packet of any stream."""
        position, size = packet.pos, packet.size
        if self._tables and position is not None and position >= 0:
            fresh = min(self._add(position, position + size), size)
            self._again += size - fresh
        else:
            fresh = size
        self.size = min(self.size + fresh, self._most)

    def copies(self) -> int:
        """Copies of held pictures that the file may have by now."""
        return self._free(FREE_COPIES) + self.size // COPY_BYTES

    def pictures(self) -> int:
        """Different pictures that the file may have by now."""
        return self._free(FREE_PICTURES) + self.size // PICTURE_BYTES

    def _free(self, usual: int) -> int:
        return min(FREE_OF_SHARED, usual) if 2 * self._again > self.size else usual

    def _add(self, begin: int, end: int) -> int:
        """Take note of a stretch; returns how many of its bytes are new."""
        first = bisect_right(self._begins, begin)
        if first and self._ends[first - 1] >= begin:
            first -= 1
        last = bisect_right(self._begins, end)
        touched = list(zip(self._begins[first:last], self._ends[first:last], strict=True))
        if not touched and len(self._begins) >= _MOST_STRETCHES:
            return 0  # scattered as no film is
        low = min([begin, *(b for b, _ in touched)])
        high = max([end, *(e for _, e in touched)])
        self._begins[first:last], self._ends[first:last] = [low], [high]
        return high - low - sum(e - b for b, e in touched)
