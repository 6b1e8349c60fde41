"""Reads the packets of one video stream, past places that cannot be read, and keeps count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import av

from pipeline.config import MAX_PIXELS
from pipeline.video.source import AV_ERRORS, choose_stream, describe, open_container, reason_text

MAX_READ_ERRORS = 16  # in a row, until reading on is given up
# These say in their header how long they should be, however much of the file is left.
_DECLARES_DURATION = {"mov", "matroska", "avi", "flv", "asf"}


class PacketReader:
    """One pass over a file.

    Args:
        path: the file.
        tick: called for every packet, as a sign of life.
        hwaccel, max_pixels: see `open_container`.

    Attributes:
        stream: the `av` stream; stream_note: which it is, if there are several.
        source: what the container tells of it; formats: names of the container format.
        count: packets of the stream so far.
        failures: places that could not be read; error: what the last one said.
        end: seconds on the stream's own scale at which the last packet so far ends.

    Raises:
        VideoError: the file cannot be opened as a video.
    """

    def __init__(
        self,
        path: str,
        tick: Callable[[], None] = lambda: None,
        hwaccel: str = "none",
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self._tick = tick
        self._container = open_container(path, hwaccel, max_pixels)
        try:
            self.stream, self.stream_note = choose_stream(self._container, path, max_pixels)
            self.source = describe(path, self._container, self.stream)
        except BaseException:
            self._container.close()
            raise
        self.formats = set(self._container.format.name.split(","))
        self.count = self.failures = 0
        self.error = ""
        self.end = float("-inf")
        self._in_a_row = 0  # failures since the last packet
        self._seen_end = 0.0  # seconds since the container's start, of all streams that are read

    @property
    def accelerated(self) -> bool:
        """A device is to decode; it may still leave it to software."""
        return bool(self.stream.codec_context.is_hwaccel)

    def close(self) -> None:
        self._container.close()

    def packets(self) -> Iterator[Any]:
        """The stream's packets, empty ones left out; goes on behind a place that fails."""
        while self._in_a_row < MAX_READ_ERRORS:
            try:
                for packet in self._container.demux(self._watched()):
                    self._tick()
                    self._note_end(packet)
                    # A packet without content says "as before"; the decoder would take it for
                    # the end.
                    if packet.size and packet.stream_index == self.stream.index:
                        self.count += 1
                        yield packet
                return
            except IndexError:  # PyAV at the very end, if streams turned up on the way (damage)
                return
            except AV_ERRORS as error:
                self.failures += 1
                self._in_a_row += 1
                self.error = reason_text(error)

    def is_cut(self) -> bool:
        """The file ended before its time; to be asked at its end."""
        if self._in_a_row:
            return True
        declared = self.source.duration
        if "avi" in self.formats and self.source.fps:  # its duration is corrected to what is there
            declared = max(declared, self.stream.frames / self.source.fps)
        short = declared - self._seen_end > max(1.0, 0.02 * declared)
        return bool(self.formats & _DECLARES_DURATION) and short

    def seconds(self, ticks: int | None) -> float | None:
        """A timestamp of the stream."""
        base = self.stream.time_base
        return float(ticks * base) if ticks is not None and base else None

    def _watched(self) -> list[Any]:
        """The streams to read: one, or all whose length makes up the declared one."""
        if self.stream.duration:
            return [self.stream]
        return [s for s in self._container.streams if s.type in ("video", "audio")]

    def _note_end(self, packet: Any) -> None:
        ticks = packet.pts if packet.pts is not None else packet.dts
        if packet.size:
            self._in_a_row = 0
        if ticks is None or not packet.time_base:
            return
        end = float((ticks + (packet.duration or 0)) * packet.time_base)
        # A stream's own length counts from its start; that of a whole container from zero.
        start = (self._container.start_time or 0) / av.time_base if self.stream.duration else 0
        self._seen_end = max(self._seen_end, end - start)
        if packet.stream_index == self.stream.index:
            self.end = max(self.end, end)
