"""Decodes every packet and samples the frames: the reference, for every readable file.

A packet that cannot be decoded is counted and skipped, as players do. The video ends only at the
end of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av

from ..container import AV_ERRORS, reason_text
from ..demuxer import PacketReader
from ..sampling import BestEffort, Clock, FrameSampler

# Decoders that skip zeros silently; no packet of these codecs begins with 16 zeros.
_SILENT = {"mpeg1video", "mpeg2video", "av1", "libdav1d", "libaom-av1"}
_ZEROS = 16
_ROUND_DAMAGE = 4  # frames beyond the decoder's reorder depth that damage may put out of order


class FullDecode:
    """Decodes a file once.

    Attributes:
        bad: number of packets that could not be decoded.
        error: the decoder's text for the last of these.
        unsupported: whether the decoder called one of these not implemented.
        packets: number of packets tried so far.
    """

    def __init__(self, reader: PacketReader, clock: Clock, rate: float, fps: float) -> None:
        self.bad = 0
        self.error = ""
        self.unsupported = False
        self._reader, self._clock, self._fps = reader, clock, fps
        self._context = reader.stream.codec_context
        self._sampler: FrameSampler[Any] = FrameSampler(fps, rate, reader.allowance.copies)

    @property
    def packets(self) -> int:
        return self._reader.count

    @property
    def omitted(self) -> int:
        """Number of steps k / fps without a sample, because the file is too small for more."""
        return self._sampler.omitted

    def samples(self) -> Iterator[tuple[float, Any]]:
        """Yield seconds and frame of each sample; a frame held on screen is repeated."""
        best, bad = BestEffort(), 0
        time = duration = None
        seconds, clock = self._reader.seconds, self._clock
        for frame in self._in_order():
            time = seconds(best.choose(frame.pts, frame.dts))
            now = clock.tick(time)
            # During a segment that could not be decoded, the picture before it was not on screen.
            hold = 1.0 / self._fps if self.bad > bad else clock.hold
            bad = self.bad
            yield from self._sampler.push(now, frame, hold)
            duration = seconds(frame.duration)
        # If the clock leaped, the latest time may be wrong.
        leaped = any(not jump.hole for jump in clock.jumps)
        if time is not None and self._reader.end > time and self.bad == bad and not leaped:
            duration = self._reader.end - time
        if clock.now >= 0:
            yield from self._sampler.finish(clock.end(duration))

    def _in_order(self) -> Iterator[Any]:
        """Yield frames in order; near damage some decoders give a late frame too early."""
        bad, window = 0, self._context.reorder_depth + _ROUND_DAMAGE
        waiting: list[Any] = []
        for frame in self._frames():
            damage, bad = self.bad > bad, self.bad
            if not (damage or waiting) or frame.pts is None:
                yield from _by_time(waiting)
                waiting = []
                yield frame
                continue
            waiting.append(frame)
            if len(waiting) == window:
                yield from _by_time(waiting)
                waiting = []
        yield from _by_time(waiting)

    def _frames(self) -> Iterator[Any]:
        """Yield all frames as the decoder gives them; flushes it at the end."""
        for packet in self._reader.packets():
            yield from self._decode(packet)
        yield from self._decode(None)

    def _decode(self, packet: Any) -> list[Any]:
        if packet is not None and self._is_blank(packet):
            self._lose(packet, "nothing but zeros")
            return []
        try:
            return list(self._context.decode(packet))
        except av.EOFError:  # flushed already
            return []
        except AV_ERRORS as error:
            self.unsupported |= isinstance(error, av.PatchWelcomeError)
            self._lose(packet, reason_text(error))
            return []

    def _is_blank(self, packet: Any) -> bool:
        return self._context.name in _SILENT and is_blank(packet)

    def _lose(self, packet: Any, why: str) -> None:
        self.error = why
        if packet is not None:
            self.bad += 1
            self._reader.evidence.add_lost(self._reader.seconds(packet.pts))


def is_blank(packet: Any) -> bool:
    """Tell whether a packet begins with 16 zeros; no coded picture does, an uncoded one may."""
    return not any(memoryview(packet)[:_ZEROS])


def _by_time(frames: list[Any]) -> list[Any]:
    return sorted(frames, key=lambda frame: frame.pts)
