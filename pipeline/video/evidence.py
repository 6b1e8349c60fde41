"""What packets say about a gap between two pictures: a still, a hole, or a leap of the clock.

A picture that stays for long is told by something besides the two times: the sound that goes on
below it, or the length that its own packet names. A hole shows in the file itself, as bytes that no
packet was read from. Where the sound leaps along with the pictures, it is the clock that leaps.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Any, NamedTuple

LEAST_GAP = 0.9  # seconds; gaps below are not looked at
_LEAST_UNREAD = 512  # bytes between two packets; headers of packets and clusters are shorter
_LEAST_UNREAD_LOOSE = 64 << 10  # where packets span pages and padding
_LOOKED_AT = 64 << 10  # bytes of the unread ones
_ZERO_RUN = 4096  # bytes; no padding between packets is so long and zero
_TIGHT = {"matroska", "flv", "avi"}  # nothing but packets and their headers there
_SYNC = b"\x47"
_MULTIPLEX_STEPS = (188, 192, 204)  # bytes of a transport packet
_LATE = 5.0  # seconds; times behind a hole may be right only so much later
_SLACK = 2.0  # seconds by which sound and pictures lie apart in a file
_DISORDER = 48  # pictures behind a gap until which positions and times may be late
_KEPT = 64  # gaps and breaks that are remembered
_KEPT_LOST = 4096  # lost pictures


class Gap(Enum):
    """What is known about the time between two pictures."""

    UNKNOWN = "nothing is known"
    HELD = "the first picture stays"
    HOLE = "bytes in between could not be read"
    LEAP = "the clock leaps"


class _Unread(NamedTuple):
    """Bytes between two packets that were not read, behind a video time in seconds."""

    after: float
    begin: int
    end: int


class _Sound:
    """One sound track: since when it runs without a break, and where its last breaks are."""

    def __init__(self) -> None:
        self.begin = self.end = float("nan")
        self.breaks: deque[tuple[float, float]] = deque(maxlen=_KEPT)

    def add(self, begin: float, end: float) -> None:
        if not abs(begin - self.end) <= LEAST_GAP:  # also at the start
            if begin > self.end:
                self.breaks.append((self.end, begin))
            self.begin = begin
        self.end = max(begin, end)


class Evidence:
    """Takes note of all packets of a file and judges gaps between its pictures.

    Args:
        path: the file.
        formats: names of its container format.
        index: of the video stream.

    Attributes:
        read: the byte behind all packets so far.
    """

    def __init__(self, path: str, formats: set[str], index: int) -> None:
        self._path, self._formats, self._index = path, formats, index
        self._sounds: dict[int, _Sound] = {}
        self._lost: deque[float] = deque(maxlen=_KEPT_LOST)  # times of pictures that are lost
        self.read = 0
        self._last: float | None = None  # latest time of a picture
        self._told: deque[tuple[float, float]] = deque(maxlen=_KEPT)  # lengths named by packets
        self._unread: deque[_Unread] = deque(maxlen=_KEPT)
        self._largest: _Unread | None = None  # since the last picture
        self._back: deque[float] = deque(maxlen=_KEPT_LOST)  # times of pictures after later ones
        self._gap_end = float("-inf")  # of the last gap
        self._since_gap = _DISORDER  # pictures

    def add(self, packet: Any, begin: float | None, end: float | None) -> None:
        """Take note of the next packet, shown from `begin` to `end` in seconds."""
        self._note_position(packet)
        if begin is None or end is None:
            return
        if packet.stream_index == self._index:
            self._note_picture(begin, end)
            self._note_told(packet)
        elif packet.stream.type == "audio":
            self._sounds.setdefault(packet.stream_index, _Sound()).add(begin, end)

    def is_late(self) -> bool:
        """Whether more packets may tell about the last gap: its sound, or those in disorder."""
        if self._since_gap < _DISORDER:
            return True
        return any(sound.end < self._gap_end for sound in self._sounds.values())

    def unread_before(self, packet: Any) -> int:
        """Bytes between the next packet and all before it; 0 if they are headers at most."""
        position = packet.pos
        unread = position - self.read if position is not None and self.read else 0
        return unread if unread > _LEAST_UNREAD else 0

    def judge(self, begin: float, end: float) -> Gap:
        """What is known about a gap; times on the stream's own scale, in seconds."""
        if any(begin < time < end for time in self._lost):
            return Gap.HOLE
        for unread in self._unread:
            near = begin - _LATE <= unread.after <= end + _SLACK
            if near and self._is_damage(unread):
                return Gap.HOLE
        if any(b <= begin + LEAST_GAP and e >= end - LEAST_GAP for b, e in self._told):
            return Gap.HELD
        sounds = self._sounds.values()
        if any(s.begin <= begin + _SLACK and s.end >= end - _SLACK for s in sounds):
            return Gap.HELD
        leap = any(
            abs(b - begin) <= _SLACK and abs(e - end) <= _SLACK for s in sounds for b, e in s.breaks
        )
        # One wrong time, as the next pictures go on from before it.
        leap |= any(begin < time < end - LEAST_GAP for time in self._back)
        return Gap.LEAP if leap else Gap.UNKNOWN

    def _note_told(self, packet: Any) -> None:
        """The length that a packet names is one in decoding order."""
        length = float((packet.duration or 0) * packet.time_base)
        if length > LEAST_GAP:
            for ticks in {packet.pts, packet.dts} - {None}:
                begin = float(ticks * packet.time_base)
                self._told.append((begin, begin + length))

    def add_failure(self) -> None:
        """Reading failed here, and goes on."""
        if self._last is not None:
            self._unread.append(_Unread(self._last, self.read, self.read))

    def add_lost(self, time: float | None) -> None:
        """The picture of this time could not be decoded."""
        if time is not None:
            self._lost.append(time)

    def _note_position(self, packet: Any) -> None:
        unread, before = self.unread_before(packet), self.read
        if packet.pos is not None:
            self.read = max(before, packet.pos + packet.size)
        largest = self._largest
        larger = largest is None or unread > largest.end - largest.begin
        if unread and larger and self._last is not None:
            self._largest = _Unread(self._last, before, before + unread)

    def _note_picture(self, begin: float, end: float) -> None:
        gap = self._last is not None and begin - self._last > LEAST_GAP
        if self._last is not None and begin < self._last - LEAST_GAP:
            self._back.append(begin)
        self._since_gap += 1
        if gap:
            self._gap_end, self._since_gap = begin, 0
        largest, self._largest = self._largest, None
        # Some formats tell positions late, so the pictures behind a gap count as well.
        near = gap or self._since_gap < _DISORDER
        if largest and (near or largest.end - largest.begin > _LEAST_UNREAD_LOOSE):
            self._unread.append(largest)
        self._last = begin if self._last is None else max(self._last, begin)

    def _is_damage(self, unread: _Unread) -> bool:
        """Whether these bytes are none that the format has between packets."""
        if self._formats & _TIGHT or unread.begin == unread.end:
            return True
        middle = (unread.begin + unread.end) // 2
        begin = max(unread.begin, middle - _LOOKED_AT // 2)
        try:
            with open(self._path, "rb") as file:
                file.seek(begin)
                data = file.read(min(unread.end - begin, _LOOKED_AT))
        except OSError:  # the file is gone by now, or its disk fails there
            return True
        if bytes(_ZERO_RUN) in data:
            return True
        if "mpegts" in self._formats:
            return not _is_multiplex(data)
        if "mpeg" in self._formats:
            return len(data) > _LOOKED_AT // 8 and not _has_start_code(data)
        return unread.end - unread.begin > _LEAST_UNREAD_LOOSE


def _is_multiplex(data: bytes) -> bool:
    """Whether most packets of a transport stream begin as they should."""
    for step in _MULTIPLEX_STEPS:
        rows = len(data) // step
        begins = (data[at : rows * step : step].count(_SYNC) for at in range(step))
        if rows and max(begins) > rows / 2:
            return True
    return False


def _has_start_code(data: bytes) -> bool:
    """Whether a pack, a stream or padding of a program stream begins in there."""
    at = data.find(b"\0\0\1")
    while 0 <= at < len(data) - 3:
        if data[at + 3] >= 0xB9:
            return True
        at = data.find(b"\0\0\1", at + 3)
    return False
