"""Which packets hold the samples, from the times of the packets alone; decodes nothing."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Any

from ..bitstream import UnclearError, Unit
from ..demuxer import PacketReader
from ..sampling import Clock, Sampler


@dataclass
class Picture:
    """A packet and what is known of its frame.

    Attributes:
        decided: `seconds` and `needed` are final.
        seconds: of the samples it gives; needed: must be decoded.
    """

    packet: Any
    unit: Unit
    decided: bool = False
    needed: bool = False
    seconds: list[float] = field(default_factory=list)

    @property
    def pts(self) -> int:
        return int(self.packet.pts)


class Foresight:
    """Puts pictures into display order as a decoder would and asks the sampler about each.

    Attributes:
        depth: pictures by which decoding and display order may differ, as the container's
            demuxer found.
        has_reordering: they did differ.
    """

    def __init__(
        self, reader: PacketReader, clock: Clock, rate: float, fps: float, depth: int
    ) -> None:
        self.depth, self.has_reordering = depth, False
        self._reader, self._clock = reader, clock
        self._sampler: Sampler[Picture] = Sampler(fps, rate, reader.allowance.copies)
        self._heap: list[tuple[int, int, Picture]] = []
        self._first = self._released = self._latest = -(1 << 63)
        self._newest: Picture | None = None
        self._origin: float | None = None

    def is_order_proven(self, picture: Picture) -> bool:
        """Some files number frames in decoding order, which is right without reordering only."""
        told = picture.unit.shown_early is not None  # and compared in `add`
        return told or self.has_reordering or not self.depth

    def add(self, picture: Picture) -> list[Picture]:
        """Take the next picture in decoding order; returns needed ones, in display order.

        Raises:
            UnclearError: times that no decoder could have put in order in this depth.
        """
        if self._first == -(1 << 63):
            self._first = picture.pts
        if picture.pts < self._first or picture.pts <= self._released:
            raise UnclearError("times out of order")
        early = picture.pts < self._latest
        if picture.unit.shown_early not in (None, early):
            raise UnclearError("times in another order than the pictures'")
        self.has_reordering |= early
        self._latest = max(self._latest, picture.pts)
        heapq.heappush(self._heap, (picture.pts, self._reader.count, picture))
        return self._release() if len(self._heap) > self.depth else []

    def finish(self) -> list[Picture]:
        """The needed ones among the rest."""
        needed = [picture for _ in range(len(self._heap)) for picture in self._release()]
        last = self._newest
        if last is not None:
            time = self._reader.seconds(last.pts)
            duration = self._reader.seconds(last.packet.duration)
            if time is not None and self._reader.end > time:
                duration = self._reader.end - time
            last.seconds += [s for s, _ in self._sampler.finish(self._clock.end(duration))]
            if self._sampler.omitted:
                raise UnclearError("a picture that is held for very long")
            needed += self._decide(last)
        return needed

    def _release(self) -> list[Picture]:
        pts, _, picture = heapq.heappop(self._heap)
        if pts == self._released:
            raise UnclearError("equal times")
        self._released = pts
        if picture.packet.is_discard:  # decoded for others' sake, cut off by an edit list
            picture.decided = True
            return []
        last, self._newest = self._newest, picture
        samples = list(self._sampler.push(self._tick(picture), picture))
        if last is None:
            return []
        last.seconds += [seconds for seconds, _ in samples]
        # A long hold is believed only if the frame that ends it is good.
        picture.needed = len(samples) > 1
        return self._decide(last)

    def _decide(self, picture: Picture) -> list[Picture]:
        picture.decided = True
        picture.needed |= bool(picture.seconds)
        return [picture] if picture.needed else []

    def _tick(self, picture: Picture) -> float:
        raw = self._reader.seconds(picture.pts)
        if raw is None:
            raise UnclearError("no time base")
        if self._origin is None:
            self._origin = raw
        time = self._clock.tick(raw)
        if time != raw - self._origin or self._clock.jumps or self._sampler.omitted:
            raise UnclearError("times that are not to be believed")
        return time
