"""Reads the packets of one video stream, skips places that cannot be read, and keeps count."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import av

from ..config import MAX_PIXELS
from .allowance import Allowance
from .container import AV_ERRORS, choose_stream, open_container, reason_text, source_info
from .evidence import Evidence
from .limits import DEFAULT_LIMITS, DecodeLimits
from .tail import content_end

_MIN_REST = 16 << 10  # bytes
_CHUNK_HEADER = 8  # bytes of AVI; after a hole, positions are behind the header
# Decoders of uncoded pictures; a black picture may be all zeros.
RAW = {"rawvideo", "v210", "v308", "v408", "v410", "r210", "yuv4", "bmp"}
# Formats whose header states the duration, also if the file is cut.
_DECLARES_DURATION = {"mov", "matroska", "avi", "flv", "asf"}
# Formats whose duration comes from the times of the packets.
_SAME_CLOCK = {"mpegts", "mpeg", "flv", "ogg", "nut"}


class PacketReader:
    """Reads a file once.

    Args:
        path: the file.
        tick: called for every packet, to show progress.
        hwaccel, max_pixels: see `container.open_container`.
        limits: when reading stops.

    Attributes:
        stream: the `av` stream.
        stream_note: which stream it is, if there are several.
        source: description of the file by its container.
        formats: names of the container format.
        count: packets of the stream so far.
        allowance: how many samples the packets so far allow.
        failures: number of places that could not be read.
        error: text of the last read error.
        end: seconds on the stream's own scale at which the last packet so far ends.
        evidence: classifies gaps by all packets so far.
        content_end: position in bytes behind which the file has only zeros, if these are left out.
        stopped: why reading stopped before the end; else empty.

    Raises:
        VideoError: the file cannot be opened as a video.
    """

    def __init__(
        self,
        path: str,
        tick: Callable[[], None] = lambda: None,
        hwaccel: str = "none",
        max_pixels: int = MAX_PIXELS,
        limits: DecodeLimits = DEFAULT_LIMITS,
    ) -> None:
        self._tick, self.limits = tick, limits
        self.content_end: int | None = None
        self._open(path, hwaccel, max_pixels)
        zeros = content_end(path, tick)
        # Sample tables say where the pictures are, and uncoded pictures may be zeros.
        if zeros and "mov" not in self.formats and self.stream.codec_context.name not in RAW:
            self._container.close()
            self.content_end = zeros
            self._open(path, hwaccel, max_pixels)
        self.evidence = Evidence(path, self.formats, self.stream.index)
        self.allowance = Allowance(self.formats, self.source.size, limits)
        self.count = self.failures = 0
        self.error = self.stopped = ""
        self.end = self._stated_end = float("-inf")
        self._cut_begin = float("inf")  # begin of pictures that an edit list cuts off at the end
        self._in_a_row = 0  # read errors since the last packet
        more_errors = max(0, self.source.size) // limits.error_bytes
        self._max_in_a_row = limits.max_read_errors + more_errors
        self._seen_end = 0.0  # seconds from the container's start to the end of all packets so far
        self._shift = 0  # ticks by which times are late after a hole
        self._after_hole = False  # no picture after the last hole was found in the index yet
        self._empty = 0  # packets without content in a row
        self.progress()

    def _open(self, path: str, hwaccel: str, max_pixels: int) -> None:
        self._container = open_container(path, hwaccel, max_pixels, self.content_end)
        try:
            self.stream, self.stream_note = choose_stream(self._container, path, max_pixels)
            self.source = source_info(path, self._container, self.stream)
        except BaseException:
            self._container.close()
            raise
        self.formats = set(self._container.format.name.split(","))

    @property
    def accelerated(self) -> bool:
        """Whether a device shall decode; it may still fall back to software."""
        return bool(self.stream.codec_context.is_hwaccel)

    @property
    def header_duration(self) -> float:
        """Length in seconds by the header, independent of packets; 0 if it does not say."""
        same_clock = self._fragmented or bool(self.formats & _SAME_CLOCK)
        return 0.0 if same_clock else self.source.duration

    @property
    def _fragmented(self) -> bool:
        return "mov" in self.formats and not self.stream.frames

    def _is_fragment_lost(self) -> bool:
        """Tell whether much of the file lies behind the last fragment; an index is small."""
        rest = self.source.size - self.evidence.read
        return self._fragmented and rest > max(_MIN_REST, self.source.size // 20)

    def close(self) -> None:
        self._container.close()

    def progress(self) -> None:
        """Record that a sample was yielded: limits on idle reading restart."""
        self._idle_since, self._idle = time.process_time(), 0

    def packets(self) -> Iterator[Any]:
        """Yield the packets of the stream without empty ones; continues after a read error.

        After a gap, packets wait for later evidence about it, such as sound.
        """
        waiting: deque[Any] = deque()
        size, tables = 0, "mov" in self.formats and not self._fragmented
        max_packets, max_bytes = self.limits.max_waiting_packets, self.limits.max_waiting_bytes
        for packet in self._read():
            waiting.append(packet)
            size += packet.size
            late = not tables and self.evidence.is_late()
            if not late or len(waiting) > max_packets or size > max_bytes:
                yield from waiting
                waiting.clear()
                size = 0
        yield from waiting

    def _read(self) -> Iterator[Any]:
        while self._in_a_row < self._max_in_a_row and not self.stopped:
            try:
                for packet in self._container.demux():
                    self._tick()
                    self._correct_times(packet)
                    self._note(packet)
                    # An empty packet repeats a picture; the decoder would take it for the end.
                    if packet.size and packet.stream_index == self.stream.index:
                        self.count += 1
                        yield packet
                    if self._is_idle(packet):
                        break
                else:
                    return
            except IndexError:  # PyAV at the end, if new streams appeared on the way (damage)
                return
            except AV_ERRORS as error:
                self._tick()
                self.evidence.add_failure()
                self.failures += 1
                self._in_a_row += 1
                self.error = reason_text(error)

    def is_cut(self) -> bool:
        """Tell whether the file ended too early; call it after the last packet."""
        unread = self._in_a_row and self.content_end is None  # zeros at the end are no error
        if unread or self._is_fragment_lost():
            return True
        declared = self.source.duration
        if "avi" in self.formats and self.source.fps:  # FFmpeg shortens its duration to the data
            declared = max(declared, self.stream.frames / self.source.fps)
        short = declared - self._seen_end > max(1.0, 0.02 * declared)
        return bool(self.formats & _DECLARES_DURATION) and short

    def seconds(self, ticks: int | None) -> float | None:
        """Convert a timestamp of the stream to seconds."""
        base = self.stream.time_base
        return float(ticks * base) if ticks is not None and base else None

    def _note(self, packet: Any) -> None:
        if packet.is_discard and packet.stream_index == self.stream.index:
            self._note_cut(self.seconds(packet.pts))
            return
        if packet.size:
            self._in_a_row = 0
            self.allowance.add(packet)
        ticks = packet.pts if packet.pts is not None else packet.dts
        begin = end = None
        if ticks is not None and packet.time_base:
            begin = float(ticks * packet.time_base)
            end = float((ticks + (packet.duration or 0)) * packet.time_base)
            self._note_end(packet, end)
        self.evidence.add(packet, begin, end)

    def _correct_times(self, packet: Any) -> None:
        """Correct times after a hole of an AVI file by its index; FFmpeg only counts packets."""
        if "avi" not in self.formats:
            return
        self._after_hole |= bool(self.evidence.unread_before(packet))
        if packet.stream_index != self.stream.index:
            return
        if self._after_hole and packet.pos is not None:
            indexed = self._times_by_position.get(
                packet.pos, self._times_by_position.get(packet.pos - _CHUNK_HEADER)
            )
            if indexed is not None and packet.dts is not None:
                self._shift = indexed - packet.dts
            self._after_hole = False
        if self._shift and packet.dts is not None:
            packet.dts += self._shift
            packet.pts = packet.pts if packet.pts is None else packet.pts + self._shift

    @cached_property
    def _times_by_position(self) -> dict[int, int]:
        """Position of each picture in the index, in bytes -> its time in ticks."""
        return {entry.pos: entry.timestamp for entry in self.stream.index_entries}

    def _note_end(self, packet: Any, end: float) -> None:
        is_main = packet.stream_index == self.stream.index
        # The length of a stream counts from its start, unless an edit list begins with a pause; the
        # length of a container counts from zero.
        if is_main or not self.stream.duration:
            own = self.stream.duration and "mov" not in self.formats
            start = (self._container.start_time or 0) / av.time_base if own else 0
            self._seen_end = max(self._seen_end, end - start)
        if is_main:
            self._stated_end = max(self._stated_end, min(end, self._last_end()))
            self.end = self._stated_end

    def _note_cut(self, begin: float | None) -> None:
        """Record a picture that the edit list cuts off; it may end the one before it."""
        if begin is not None and begin >= self._stated_end:
            self._cut_begin = min(self._cut_begin, begin, self._last_end())
            self.end = self._cut_begin

    def _last_end(self) -> float:
        """Compute where an edit list ends the film, if there may be one; also within a picture."""
        length = self.seconds(self.stream.duration)
        if "mov" not in self.formats or not length:
            return float("inf")
        return (self.seconds(self.stream.start_time) or 0.0) + length

    def _is_idle(self, packet: Any) -> bool:
        """Tell whether too much was read without a sample; sets `stopped`."""
        self._empty = 0 if packet.size else self._empty + 1
        self._idle += 1
        packets, seconds = self.limits.max_idle_packets, self.limits.max_idle_seconds
        if self._empty > packets:
            self.stopped = f"more than {packets} packets without content in a row"
        elif self._idle > packets:
            self.stopped = f"no new sample in {packets} packets"
        elif self._idle % 64 == 0 and time.process_time() - self._idle_since > seconds:
            self.stopped = f"no new sample in {seconds:.0f} s of processor time"
        return bool(self.stopped)
