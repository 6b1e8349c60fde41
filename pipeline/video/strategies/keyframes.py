"""Samples keyframes only: a tenth of the work, or less where keyframes are far apart.

The rule, `KEYFRAME_SAMPLING`: for k = 0, 1, 2, ... the keyframe nearest to k / fps seconds after
the first frame; of two equally near ones the earlier. A keyframe that is nearest to several k is
sampled once, at its own time: copies would cost space and time and add no information. The
container says what is a keyframe, and the decoder gets only the chosen ones. A keyframe that gives
no picture on its own is skipped, like a damaged one. All packets are read nevertheless, as seeking
from one keyframe to the next saves little (see benchmarks/NOTES.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from ..container import AV_ERRORS, reason_text
from ..demuxer import RAW, PacketReader
from ..evidence import MIN_GAP
from ..sampling import JITTER, Clock, Jump
from .full import FullDecode, is_blank

KEYFRAME_SAMPLING = "nearest-keyframe/1"
REORDERED = 16  # frames by which a packet may be early; more is a new start

T = TypeVar("T")
Chosen = tuple[float, T, int]  # seconds, item, number of k that it is nearest to


class NearestKeyframes(Generic[T]):
    """Takes the times of keyframes and returns the chosen ones, when the next one is known.

    Args:
        fps: steps k per second.
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._k = 0
        self._pending: tuple[float, T] | None = None

    def push(self, time: float, item: T) -> list[Chosen[T]]:
        """Take a keyframe that appears at `time`, never less than before."""
        pending, self._pending = self._pending, (time, item)
        if pending is None:
            return []
        return self._choose(pending, math.floor((pending[0] + time) / 2 * self._fps + 1e-6))

    def finish(self, time: float) -> list[Chosen[T]]:
        """Take the end of the video at `time`."""
        pending, self._pending = self._pending, None
        if pending is None:
            return []
        return self._choose(pending, math.ceil(time * self._fps - 1e-6) - 1)

    def _choose(self, pending: tuple[float, T], last: int) -> list[Chosen[T]]:
        steps, self._k = last + 1 - self._k, max(self._k, last + 1)
        return [(*pending, steps)] if steps > 0 else []


class _BadSegment:
    """Records segments without good pictures in a clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: float | None = None

    def begin(self, seconds: float) -> None:
        """Begin a segment at the first bad picture; later ones change nothing."""
        self._since = seconds if self._since is None else self._since

    def end(self, seconds: float) -> None:
        """End the segment at a good picture."""
        since, self._since = self._since, None
        if since is not None and seconds - since > MIN_GAP:
            self._clock.jumps.append(Jump(since, seconds - since, True))


class KeyframeDecode:
    """Decodes a file once; every chosen keyframe is decoded by itself.

    Attributes:
        packets: number of keyframes tried.
        bad, error, unsupported: see `FullDecode`.
        covered: number of steps k that the samples so far stand for.
    """

    def __init__(self, reader: PacketReader, clock: Clock, rate: float, fps: float) -> None:
        self.packets = self.bad = self.covered = self.omitted = 0
        self.error, self.unsupported = "", False
        self._reader, self._clock = reader, clock
        self._disorder = max(JITTER, REORDERED / rate)
        self._latest = -math.inf  # the latest time so far, on the container's scale
        self._context = reader.stream.codec_context
        self._nearest: NearestKeyframes[Any] = NearestKeyframes(fps)
        self._blank_packets, self._bad_keyframes = (
            _BadSegment(clock),
            _BadSegment(clock),
        )  # of packets, of keyframes

    def samples(self) -> Iterator[tuple[float, Any]]:
        """Yield seconds and frame of each sample."""
        # A container may mark more keyframes than there are.
        self._context.skip_frame = "NONKEY"
        for time, packet in self._keyframes():
            yield from self._decode_chosen(self._nearest.push(time, packet))
        if self._clock.now >= 0:
            end = self._reader.end - self._latest if self._reader.end > self._latest else None
            yield from self._decode_chosen(self._nearest.finish(self._clock.end(end)))

    def _keyframes(self) -> Iterator[tuple[float, Any]]:
        """Yield every keyframe and its time; all packets that are shown in order move the clock."""
        reader = self._reader
        for packet in reader.packets():
            if packet.is_discard:  # cut off by an edit list
                continue
            self._tick(reader.seconds(packet.dts if packet.pts is None else packet.pts))
            if is_blank(packet) and self._context.name not in RAW:
                self.bad += 1
                self.error = "nothing but zeros"
                self._blank_packets.begin(self._clock.now)
                continue
            self._blank_packets.end(self._clock.now)
            if packet.is_keyframe:
                yield self._clock.now, packet

    def _tick(self, timestamp: float | None) -> None:
        if (
            timestamp is None
            or timestamp > self._latest
            or timestamp < self._latest - self._disorder
        ):
            self._clock.tick(timestamp)
            self._latest = self._latest if timestamp is None else timestamp

    def _decode_chosen(self, chosen: list[Chosen[Any]]) -> Iterator[tuple[float, Any]]:
        for seconds, packet, steps in chosen:
            self.packets += 1
            bad = self.bad
            frame = self._decode_alone(packet)
            if self.bad > bad:
                self._bad_keyframes.begin(seconds)
            if frame is not None:
                self._bad_keyframes.end(seconds)
                self.covered += steps
                yield seconds, frame

    def _decode_alone(self, packet: Any) -> Any:
        """Decode a packet without others; None if it gives no frame."""
        try:
            frames = [*self._context.decode(packet), *self._context.decode(None)]
        except AV_ERRORS as error:
            self.bad += 1
            self.error = reason_text(error)
            frames = []
        self._context.flush_buffers()
        return frames[0] if frames else None


class FullKeyframeDecode(FullDecode):
    """Applies the same rule if no packet gave a keyframe: decodes everything.

    The decoder says which frames are keyframes. The first frame always counts as one.

    Attributes:
        covered: number of steps k that the samples so far stand for.
    """

    covered = 0

    def samples(self) -> Iterator[tuple[float, Any]]:
        """Yield seconds and frame of each sample."""
        nearest: NearestKeyframes[Any] = NearestKeyframes(self._fps)
        for number, (time, frame) in enumerate(self._timed_frames()):
            if frame.key_frame or not number:
                yield from self._count_steps(nearest.push(time, frame))
        if self._clock.now >= 0:
            yield from self._count_steps(nearest.finish(self._clock.end(None)))

    def _timed_frames(self) -> Iterator[tuple[float, Any]]:
        for frame in self._in_order():
            yield self._clock.tick(self._reader.seconds(frame.pts)), frame

    def _count_steps(self, chosen: list[Chosen[Any]]) -> Iterator[tuple[float, Any]]:
        for seconds, frame, steps in chosen:
            self.covered += steps
            yield seconds, frame
