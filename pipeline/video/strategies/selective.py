"""Decodes only the packets that the sampled frames need, and stops when that is uncertain.

Packets have the times of their frames, so the frames are chosen before anything is decoded. Of the
packets between two chosen ones

* packets before an entry (`bitstream`) are not decoded at all,
* of the rest, the decoder skips pictures that no other picture refers to (`skip_frame`).

Neither changes a bit of the chosen pictures. The decoder's frames are checked against the plan.
`UnclearError` is raised at the first sign of trouble: timestamps missing or out of order, a place
that cannot be read, an error of the decoder (which runs in strict mode), a chosen frame that does
not come. The caller then decodes the file in full. All samples up to then are right.

Damage inside a packet that no sample needs is not noticed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from ..bitstream import UnclearError, inspector
from ..container import AV_ERRORS
from ..demuxer import PacketReader
from ..sampling import Clock
from .sample_planner import PlannedPacket, SamplePlanner

# Codecs with a gain, in containers that give each picture its own packet and time. In other codecs
# (VP8, VP9, AV1, Theora, H.263, GIF, ...) nearly every picture is needed by another one. FFV1's
# decoder hides damage with old pictures and reports no error.
_CONTAINERS = {
    "h264": {"mov", "matroska", "mpegts"},
    "hevc": {"mov", "matroska", "mpegts"},
    "mpeg4": {"mov", "matroska", "avi"},
    "mpeg1video": {"mpeg", "mpegts", "matroska"},
    "mpeg2video": {"mpeg", "mpegts", "matroska"},
    "mjpeg": {"mov", "matroska", "avi"},
    "prores": {"mov", "matroska"},
}


def is_applicable(reader: PacketReader) -> bool:
    """Tell whether `SelectiveDecode` supports this kind of file."""
    context = reader.stream.codec_context
    inspect = inspector(context.name, bytes(context.extradata or b""))
    return inspect is not None and bool(_CONTAINERS.get(context.name, set()) & reader.formats)


class SelectiveDecode:
    """Decodes a file once; gives the same samples as `FullDecode`."""

    bad, error, unsupported = 0, "", False

    def __init__(self, reader: PacketReader, clock: Clock, rate: float, fps: float) -> None:
        self._reader, self._context = reader, reader.stream.codec_context
        self._context.options = dict(self._context.options) | {"err_detect": "explode"}
        inspect = inspector(self._context.name, bytes(self._context.extradata or b""))
        if inspect is None:
            raise UnclearError("a codec not known here")
        self._inspect = inspect
        self._planner = SamplePlanner(reader, clock, rate, fps, self._context.reorder_depth)
        self._waiting: deque[PlannedPacket] = deque()  # in decoding order
        self._idle = 0  # packets at the front that are no samples
        self._bytes = 0
        self._expected: deque[PlannedPacket] = deque()  # chosen, not yielded yet; in display order
        self._last: int | None = None

    def samples(self) -> Iterator[tuple[float, Any]]:
        """Yield seconds and frame of each sample; a frame held on screen is repeated.

        Raises:
            UnclearError: the file must be decoded in full.
        """
        for packet in self._reader.packets():
            candidate = self._inspect_packet(packet)
            self._waiting.append(candidate)
            self._bytes += packet.size
            self._expected += self._planner.add(candidate)
            yield from self._advance()
        self._expected += self._planner.finish()
        yield from self._advance()
        yield from self._decode(None)
        if self._expected or self._reader.failures:
            raise UnclearError("a frame did not come, or the file could not be read")

    def _inspect_packet(self, packet: Any) -> PlannedPacket:
        changed = packet.has_sidedata("new_extradata") or packet.has_sidedata("param_change")
        if changed or packet.is_corrupt or self._reader.failures or packet.pts is None:
            raise UnclearError("damage, or settings beside the stream")
        unit = self._inspect(memoryview(packet))
        if self._reader.count == 1 and not unit.entry:
            raise UnclearError("does not begin where decoding can begin")
        return PlannedPacket(packet, unit)

    def _advance(self) -> Iterator[tuple[float, Any]]:
        """Decode or drop packets at the front of the queue whose plan is final."""
        while self._idle < len(self._waiting) and self._waiting[self._idle].decided:
            candidate = self._waiting[self._idle]
            if self._idle and candidate.unit.entry and self._droppable():
                self._drop()
            if candidate.needed:
                yield from self._feed(self._idle + 1)
            else:
                self._idle += 1
        if self._bytes > self._reader.limits.max_undecoded_bytes:
            yield from self._feed(self._idle)

    def _droppable(self) -> bool:
        """Tell whether the packets before the entry at `_idle` are needed no more.

        Pictures that are decoded after the entry and shown before it (an open group) are planned by
        now, as the picture shown after the entry is.
        """
        waiting, entry = self._waiting, self._waiting[self._idle]
        for n, another in enumerate(waiting):
            leading = n > self._idle and another.pts < entry.pts
            if leading and (another.needed or not another.decided):
                return False
            if (n < self._idle or leading) and not another.unit.parameters <= entry.unit.parameters:
                return False
        return self._planner.is_order_proven(entry)

    def _drop(self) -> None:
        entry = self._waiting[self._idle]
        remaining = [
            p for n, p in enumerate(self._waiting) if n >= self._idle and p.pts >= entry.pts
        ]
        self._waiting, self._idle = deque(remaining), 0
        self._bytes = sum(candidate.packet.size for candidate in remaining)

    def _feed(self, count: int) -> Iterator[tuple[float, Any]]:
        self._idle = 0
        skip = "NONREF" if self._planner.has_reordering else "DEFAULT"
        for _ in range(count):
            candidate = self._waiting.popleft()
            self._bytes -= candidate.packet.size
            self._context.skip_frame = "DEFAULT" if candidate.needed else skip
            yield from self._decode(candidate.packet)

    def _decode(self, packet: Any) -> Iterator[tuple[float, Any]]:
        try:
            frames = self._context.decode(packet)
        except AV_ERRORS as error:
            raise UnclearError(str(error)) from error
        for frame in frames:
            self._check(frame)
            if self._expected and self._expected[0].pts == frame.pts:
                for seconds in self._expected.popleft().seconds:
                    yield seconds, frame

    def _check(self, frame: Any) -> None:
        last, self._last = self._last, frame.pts
        if frame.is_corrupt or frame.pts is None or (last is not None and frame.pts <= last):
            raise UnclearError("damaged, or in another order than foretold")
        if self._expected and self._expected[0].pts < frame.pts:
            raise UnclearError("a chosen frame did not come")
