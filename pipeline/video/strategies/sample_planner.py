"""Plans which packets hold samples, from the times of the packets alone; decodes nothing."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Any

from ..bitstream import UnclearError, Unit
from ..demuxer import PacketReader
from ..sampling import Clock, FrameSampler


@dataclass
class PlannedPacket:
    """A packet and the plan for its frame.

    Attributes:
        packet: of `av`.
        unit: content of the packet.
        decided: whether `needed` and `seconds` are final.
        needed: whether the packet must be decoded.
        seconds: times of the samples that its frame gives.
    """

    packet: Any
    unit: Unit
    decided: bool = False
    needed: bool = False
    seconds: list[float] = field(default_factory=list)

    @property
    def pts(self) -> int:
        return int(self.packet.pts)


class SamplePlanner:
    """Puts packets into display order, as a decoder does, and samples them by their times.

    Attributes:
        depth: number of pictures by which decoding and display order may differ, as FFmpeg found.
        has_reordering: whether the orders differed so far.
    """

    def __init__(
        self, reader: PacketReader, clock: Clock, rate: float, fps: float, depth: int
    ) -> None:
        self.depth, self.has_reordering = depth, False
        self._reader, self._clock = reader, clock
        self._sampler: FrameSampler[PlannedPacket] = FrameSampler(
            fps, rate, reader.allowance.copies
        )
        self._heap: list[tuple[int, int, PlannedPacket]] = []
        self._first = self._released = self._latest = -(1 << 63)
        self._newest: PlannedPacket | None = None
        self._origin: float | None = None

    def is_order_proven(self, candidate: PlannedPacket) -> bool:
        """Tell whether the times are surely in display order.

        Some files number frames in decoding order, which is right only without reordering.
        """
        is_stated = candidate.unit.shown_early is not None  # and compared in `add`
        return is_stated or self.has_reordering or not self.depth

    def add(self, candidate: PlannedPacket) -> list[PlannedPacket]:
        """Take the next packet in decoding order; returns needed packets, in display order.

        Raises:
            UnclearError: no decoder could put the times in order within this depth.
        """
        if self._first == -(1 << 63):
            self._first = candidate.pts
        if candidate.pts < self._first or candidate.pts <= self._released:
            raise UnclearError("times out of order")
        early = candidate.pts < self._latest
        if candidate.unit.shown_early not in (None, early):
            raise UnclearError("times in another order than the pictures'")
        self.has_reordering |= early
        self._latest = max(self._latest, candidate.pts)
        heapq.heappush(self._heap, (candidate.pts, self._reader.count, candidate))
        return self._release() if len(self._heap) > self.depth else []

    def finish(self) -> list[PlannedPacket]:
        """Return the needed packets among the rest."""
        needed = [candidate for _ in range(len(self._heap)) for candidate in self._release()]
        previous = self._newest
        if previous is not None:
            time = self._reader.seconds(previous.pts)
            duration = self._reader.seconds(previous.packet.duration)
            if time is not None and self._reader.end > time:
                duration = self._reader.end - time
            previous.seconds += [s for s, _ in self._sampler.finish(self._clock.end(duration))]
            if self._sampler.omitted:
                raise UnclearError("a picture that is held for very long")
            needed += self._decide(previous)
        return needed

    def _release(self) -> list[PlannedPacket]:
        pts, _, candidate = heapq.heappop(self._heap)
        if pts == self._released:
            raise UnclearError("equal times")
        self._released = pts
        if candidate.packet.is_discard:  # needed by other pictures, cut off by an edit list
            candidate.decided = True
            return []
        previous, self._newest = self._newest, candidate
        samples = list(self._sampler.push(self._tick(candidate), candidate))
        if previous is None:
            return []
        previous.seconds += [seconds for seconds, _ in samples]
        # A long hold needs proof: the frame that ends it must decode.
        candidate.needed = len(samples) > 1
        return self._decide(previous)

    def _decide(self, candidate: PlannedPacket) -> list[PlannedPacket]:
        candidate.decided = True
        candidate.needed |= bool(candidate.seconds)
        return [candidate] if candidate.needed else []

    def _tick(self, candidate: PlannedPacket) -> float:
        timestamp = self._reader.seconds(candidate.pts)
        if timestamp is None:
            raise UnclearError("no time base")
        if self._origin is None:
            self._origin = timestamp
        time = self._clock.tick(timestamp)
        if time != timestamp - self._origin or self._clock.jumps or self._sampler.omitted:
            raise UnclearError("times that are not to be believed")
        return time
