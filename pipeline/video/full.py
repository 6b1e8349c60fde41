"""Decodes every packet and samples what comes out: the reference, good for whatever can be read.

A packet that cannot be decoded is counted and passed over, as players do; the video ends only where
nothing is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av

from pipeline.video.packets import PacketReader
from pipeline.video.sampling import BestEffort, Clock, Sampler
from pipeline.video.source import AV_ERRORS, reason_text


class FullDecode:
    """One pass over a file.

    Attributes:
        bad: packets that could not be decoded; error: what the decoder said of the last one;
            unsupported: it said of one that nobody has written this yet.
        packets: those tried so far.
    """

    def __init__(self, reader: PacketReader, clock: Clock, rate: float, fps: float) -> None:
        self.bad = 0
        self.error = ""
        self.unsupported = False
        self._reader, self._clock, self._fps = reader, clock, fps
        self._sampler: Sampler[Any] = Sampler(fps, rate)

    @property
    def packets(self) -> int:
        return self._reader.count

    def samples(self) -> Iterator[tuple[float, Any]]:
        """Seconds and frame of each sample; a frame held on screen comes more than once."""
        best, bad = BestEffort(), 0
        time = duration = None
        seconds, clock = self._reader.seconds, self._clock
        for frame in self._frames():
            # Over a stretch that could not be decoded, the picture before it was not on screen.
            hold = 1.0 / self._fps if self.bad > bad else float("inf")
            bad = self.bad
            time = seconds(best.choose(frame.pts, frame.dts))
            yield from self._sampler.push(clock.tick(time), frame, hold)
            duration = seconds(frame.duration)
        if time is not None and self._reader.end > time and self.bad == bad:
            duration = self._reader.end - time
        if clock.now >= 0:
            yield from self._sampler.finish(clock.end(duration))

    def _frames(self) -> Iterator[Any]:
        """All decoded frames in display order; the decoder is flushed at the end."""
        for packet in self._reader.packets():
            yield from self._decode(packet)
        yield from self._decode(None)

    def _decode(self, packet: Any) -> list[Any]:
        try:
            return list(self._reader.stream.codec_context.decode(packet))
        except av.EOFError:  # flushed already
            return []
        except AV_ERRORS as error:
            self.bad += packet is not None
            self.unsupported |= isinstance(error, av.PatchWelcomeError)
            self.error = reason_text(error)
            return []
