"""Classifies gaps between two pictures by their packets: a still, a hole, or a leap of the clock.

A still has other evidence than the two times: sound that continues below it, or the duration in its
own packet. A hole shows in the file, as bytes that no packet was read from. If the sound leaps
together with the pictures, the clock leaps.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Any, NamedTuple

from .remote import open_bytes

MIN_GAP = 0.9  # seconds; shorter gaps are not judged
_MIN_UNREAD = 512  # bytes between two packets; headers of packets and clusters are shorter
_MIN_UNREAD_LOOSE = 64 << 10  # the same in formats with pages and padding
_INSPECTED_BYTES = 64 << 10  # of the unread bytes
_ZERO_RUN = 4096  # bytes; padding between packets has no run of zeros of this length
_TIGHT = {"matroska", "flv", "avi"}  # formats that hold packets and their headers only
_SYNC = b"\x47"
_MULTIPLEX_STEPS = (188, 192, 204)  # bytes of a transport packet
_LATE_SECONDS = 5.0  # times behind a hole may be wrong for this long
_SLACK_SECONDS = 2.0  # by which sound and pictures may lie apart in a file
_DISORDER_PICTURES = 48  # pictures after a gap whose positions and times may be late
_MAX_REMEMBERED = 64  # gaps and breaks that are remembered
_MAX_LOST = 4096  # lost pictures


class Gap(Enum):
    """What is known about the time between two pictures."""

    UNKNOWN = "nothing is known"
    HELD = "the first picture stays"
    HOLE = "bytes in between could not be read"
    LEAP = "the clock leaps"


class _Unread(NamedTuple):
    """Bytes between two packets that were not read; they follow a video time in seconds."""

    after: float
    begin: int
    end: int


class _Sound:
    """One sound track: since when it runs without a break, and its last breaks."""

    def __init__(self) -> None:
        self.begin = self.end = float("nan")
        self.breaks: deque[tuple[float, float]] = deque(maxlen=_MAX_REMEMBERED)

    def add(self, begin: float, end: float) -> None:
        if not abs(begin - self.end) <= MIN_GAP:  # also at the start
            if begin > self.end:
                self.breaks.append((self.end, begin))
            self.begin = begin
        self.end = max(begin, end)


class Evidence:
    """Records all packets of a file and judges gaps between its pictures.

    Args:
        path: the file.
        formats: names of its container format.
        index: number of the video stream.

    Attributes:
        read: position in bytes behind all packets so far.
    """

    def __init__(self, path: str, formats: set[str], index: int) -> None:
        self._path, self._formats, self._index = path, formats, index
        self._sounds: dict[int, _Sound] = {}
        self._lost_times: deque[float] = deque(maxlen=_MAX_LOST)
        self.read = 0
        self._last: float | None = None  # latest time of a picture
        # Begin and end of pictures whose packets have a long duration.
        self._packet_spans: deque[tuple[float, float]] = deque(maxlen=_MAX_REMEMBERED)
        self._unread: deque[_Unread] = deque(maxlen=_MAX_REMEMBERED)
        self._largest: _Unread | None = None  # since the last picture
        # Times of pictures that follow a later picture in the file.
        self._backward_times: deque[float] = deque(maxlen=_MAX_LOST)
        self._gap_end = float("-inf")  # of the last gap
        self._since_gap = _DISORDER_PICTURES  # pictures

    def add(self, packet: Any, begin: float | None, end: float | None) -> None:
        """Record the next packet, shown from `begin` to `end` in seconds."""
        self._note_position(packet)
        if begin is None or end is None:
            return
        if packet.stream_index == self._index:
            self._note_picture(begin, end)
            self._note_packet_span(packet)
        elif packet.stream.type == "audio":
            self._sounds.setdefault(packet.stream_index, _Sound()).add(begin, end)

    def is_late(self) -> bool:
        """Tell whether later packets may explain the last gap: sound, or packets out of order."""
        if self._since_gap < _DISORDER_PICTURES:
            return True
        return any(sound.end < self._gap_end for sound in self._sounds.values())

    def unread_before(self, packet: Any) -> int:
        """Count bytes between the next packet and all before it; 0 if they can be headers."""
        position = packet.pos
        unread = position - self.read if position is not None and self.read else 0
        return unread if unread > _MIN_UNREAD else 0

    def judge(self, begin: float, end: float) -> Gap:
        """Classify the gap between two times, in seconds on the stream's own scale."""
        if any(begin < time < end for time in self._lost_times):
            return Gap.HOLE
        for unread in self._unread:
            near = begin - _LATE_SECONDS <= unread.after <= end + _SLACK_SECONDS
            if near and self._is_damage(unread):
                return Gap.HOLE
        if any(b <= begin + MIN_GAP and e >= end - MIN_GAP for b, e in self._packet_spans):
            return Gap.HELD
        sounds = self._sounds.values()
        if any(s.begin <= begin + _SLACK_SECONDS and s.end >= end - _SLACK_SECONDS for s in sounds):
            return Gap.HELD
        leap = any(
            abs(b - begin) <= _SLACK_SECONDS and abs(e - end) <= _SLACK_SECONDS
            for s in sounds
            for b, e in s.breaks
        )
        # A single wrong time: the next pictures continue from before it.
        leap |= any(begin < time < end - MIN_GAP for time in self._backward_times)
        return Gap.LEAP if leap else Gap.UNKNOWN

    def _note_packet_span(self, packet: Any) -> None:
        """Record a long duration of a packet; it counts in decoding order."""
        length = float((packet.duration or 0) * packet.time_base)
        if length > MIN_GAP:
            for ticks in {packet.pts, packet.dts} - {None}:
                begin = float(ticks * packet.time_base)
                self._packet_spans.append((begin, begin + length))

    def add_failure(self) -> None:
        """Record that reading failed here and was resumed."""
        if self._last is not None:
            self._unread.append(_Unread(self._last, self.read, self.read))

    def add_lost(self, time: float | None) -> None:
        """Record that the picture of this time could not be decoded."""
        if time is not None:
            self._lost_times.append(time)

    def _note_position(self, packet: Any) -> None:
        unread, before = self.unread_before(packet), self.read
        if packet.pos is not None:
            self.read = max(before, packet.pos + packet.size)
        largest = self._largest
        larger = largest is None or unread > largest.end - largest.begin
        if unread and larger and self._last is not None:
            self._largest = _Unread(self._last, before, before + unread)

    def _note_picture(self, begin: float, end: float) -> None:
        gap = self._last is not None and begin - self._last > MIN_GAP
        if self._last is not None and begin < self._last - MIN_GAP:
            self._backward_times.append(begin)
        self._since_gap += 1
        if gap:
            self._gap_end, self._since_gap = begin, 0
        largest, self._largest = self._largest, None
        # Some formats give positions late, so the pictures after a gap count as well.
        near = gap or self._since_gap < _DISORDER_PICTURES
        if largest and (near or largest.end - largest.begin > _MIN_UNREAD_LOOSE):
            self._unread.append(largest)
        self._last = begin if self._last is None else max(self._last, begin)

    def _is_damage(self, unread: _Unread) -> bool:
        """Tell whether the format never has such bytes between packets."""
        if self._formats & _TIGHT or unread.begin == unread.end:
            return True
        middle = (unread.begin + unread.end) // 2
        begin = max(unread.begin, middle - _INSPECTED_BYTES // 2)
        try:
            with open_bytes(self._path) as file:
                file.seek(begin)
                data = file.read(min(unread.end - begin, _INSPECTED_BYTES))
        except OSError:  # the file is gone by now, or its disk fails there
            return True
        if bytes(_ZERO_RUN) in data:
            return True
        if "mpegts" in self._formats:
            return not _is_multiplex(data)
        if "mpeg" in self._formats:
            return len(data) > _INSPECTED_BYTES // 8 and not _has_start_code(data)
        return unread.end - unread.begin > _MIN_UNREAD_LOOSE


def _is_multiplex(data: bytes) -> bool:
    """Tell whether most packets of a transport stream begin with the sync byte."""
    for step in _MULTIPLEX_STEPS:
        rows = len(data) // step
        begins = (data[at : rows * step : step].count(_SYNC) for at in range(step))
        if rows and max(begins) > rows / 2:
            return True
    return False


def _has_start_code(data: bytes) -> bool:
    """Tell whether a pack, a stream or padding of a program stream begins in the bytes."""
    at = data.find(b"\0\0\1")
    while 0 <= at < len(data) - 3:
        if data[at + 3] >= 0xB9:
            return True
        at = data.find(b"\0\0\1", at + 3)
    return False
