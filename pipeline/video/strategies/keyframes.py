"""Keyframes alone, for those in a hurry: a tenth of the work and less where they are far apart.

The rule, `KEYFRAME_SAMPLING`: for k = 0, 1, 2, ... the keyframe nearest to k / fps seconds after
the first frame, the earlier of two equally near. A keyframe that is nearest to several k is a
sample once, at its own time: repeated it would cost bytes and arithmetic in stage two and tell
nothing new. What is a keyframe the container says; the decoder sees no other packet, and of those
only the nearest. One that gives no picture on its own is passed over, like one that is damaged. All
packets are read nevertheless: seeking from one keyframe to the next saves little (benchmarks).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from ..container import AV_ERRORS, reason_text
from ..demuxer import RAW, PacketReader
from ..evidence import LEAST_GAP
from ..sampling import JITTER, Clock, Jump
from .full import FullDecode, is_blank

KEYFRAME_SAMPLING = "nearest-keyframe/1"
REORDERED = 16  # frames by which a packet may be early; more is a new beginning

T = TypeVar("T")
Chosen = tuple[float, T, int]  # seconds, item, for how many k it is the nearest


class Nearest(Generic[T]):
    """Times of keyframes in, the chosen ones out, each as soon as its successor is known.

    Args:
        fps: steps k a second.
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._k = 0
        self._held: tuple[float, T] | None = None

    def push(self, time: float, item: T) -> list[Chosen[T]]:
        """A keyframe appears at `time`, never less than before."""
        held, self._held = self._held, (time, item)
        if held is None:
            return []
        return self._take(held, math.floor((held[0] + time) / 2 * self._fps + 1e-6))

    def finish(self, time: float) -> list[Chosen[T]]:
        """The video ends at `time`."""
        held, self._held = self._held, None
        if held is None:
            return []
        return self._take(held, math.ceil(time * self._fps - 1e-6) - 1)

    def _take(self, held: tuple[float, T], last: int) -> list[Chosen[T]]:
        steps, self._k = last + 1 - self._k, max(self._k, last + 1)
        return [(*held, steps)] if steps > 0 else []


class _Stretch:
    """Tells a clock of stretches without good pictures."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: float | None = None

    def begin(self, seconds: float) -> None:
        """A bad one; only the first of a stretch counts."""
        self._since = seconds if self._since is None else self._since

    def end(self, seconds: float) -> None:
        """A good one."""
        since, self._since = self._since, None
        if since is not None and seconds - since > LEAST_GAP:
            self._clock.jumps.append(Jump(since, seconds - since, True))


class KeyframeDecode:
    """One pass over a file; every chosen keyframe is decoded by itself.

    Attributes:
        packets: keyframes tried; bad, error, unsupported: as of `FullDecode`.
        covered: steps k that the samples so far stand for.
    """

    def __init__(self, reader: PacketReader, clock: Clock, rate: float, fps: float) -> None:
        self.packets = self.bad = self.covered = self.omitted = 0
        self.error, self.unsupported = "", False
        self._reader, self._clock = reader, clock
        self._disorder = max(JITTER, REORDERED / rate)
        self._shown = -math.inf  # the latest time so far, on the container's scale
        self._context = reader.stream.codec_context
        self._nearest: Nearest[Any] = Nearest(fps)
        self._blank, self._bad = _Stretch(clock), _Stretch(clock)  # of packets, of keyframes

    def samples(self) -> Iterator[tuple[float, Any]]:
        """Seconds and frame of each sample."""
        # A container may know more keyframes than there are.
        self._context.skip_frame = "NONKEY"
        for time, packet in self._keyframes():
            yield from self._decoded(self._nearest.push(time, packet))
        if self._clock.now >= 0:
            end = self._reader.end - self._shown if self._reader.end > self._shown else None
            yield from self._decoded(self._nearest.finish(self._clock.end(end)))

    def _keyframes(self) -> Iterator[tuple[float, Any]]:
        """Every keyframe and its time; the clock runs on all packets that are shown in order."""
        reader = self._reader
        for packet in reader.packets():
            if packet.is_discard:  # cut off by an edit list
                continue
            self._tick(reader.seconds(packet.dts if packet.pts is None else packet.pts))
            if is_blank(packet) and self._context.name not in RAW:
                self.bad += 1
                self.error = "nothing but zeros"
                self._blank.begin(self._clock.now)
                continue
            self._blank.end(self._clock.now)
            if packet.is_keyframe:
                yield self._clock.now, packet

    def _tick(self, raw: float | None) -> None:
        if raw is None or raw > self._shown or raw < self._shown - self._disorder:
            self._clock.tick(raw)
            self._shown = self._shown if raw is None else raw

    def _decoded(self, chosen: list[Chosen[Any]]) -> Iterator[tuple[float, Any]]:
        for seconds, packet, steps in chosen:
            self.packets += 1
            bad = self.bad
            frame = self._alone(packet)
            if self.bad > bad:
                self._bad.begin(seconds)
            if frame is not None:
                self._bad.end(seconds)
                self.covered += steps
                yield seconds, frame

    def _alone(self, packet: Any) -> Any:
        """The packet's frame; None if it gives none without others."""
        try:
            frames = [*self._context.decode(packet), *self._context.decode(None)]
        except AV_ERRORS as error:
            self.bad += 1
            self.error = reason_text(error)
            frames = []
        self._context.flush_buffers()
        return frames[0] if frames else None


class KeyframesOfAll(FullDecode):
    """The same rule where no packet gave a keyframe: all is decoded, and the decoder says which
    frames are keyframes. The first frame is taken for one in any case."""

    covered = 0

    def samples(self) -> Iterator[tuple[float, Any]]:
        """Seconds and frame of each sample."""
        nearest: Nearest[Any] = Nearest(self._fps)
        for number, (time, frame) in enumerate(self._timed()):
            if frame.key_frame or not number:
                yield from self._counted(nearest.push(time, frame))
        if self._clock.now >= 0:
            yield from self._counted(nearest.finish(self._clock.end(None)))

    def _timed(self) -> Iterator[tuple[float, Any]]:
        for frame in self._in_order():
            yield self._clock.tick(self._reader.seconds(frame.pts)), frame

    def _counted(self, chosen: list[Chosen[Any]]) -> Iterator[tuple[float, Any]]:
        for seconds, frame, steps in chosen:
            self.covered += steps
            yield seconds, frame
