"""Chooses the frames of a video that are sampled, from their times alone; decodes nothing.

The rule, `SAMPLING`: for k = 0, 1, 2, ... the frame on screen at k / fps seconds after the first
frame; a frame that appears half a frame later still counts. At a constant integer rate these are
exactly the frames of the published loader (every round(rate)-th). At 29.97 and similar rates they
follow the clock, where the published rule drifts. The held picture of a slideshow is sampled once
for every step that it is shown.

`Clock` corrects the times of a container, `FrameSampler` chooses. `allowance` limits what a small
file can claim.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from typing import Generic, NamedTuple, TypeVar

from .evidence import MIN_GAP, Gap

SAMPLING = "shown-at/1"

MAX_STEP = 0.1  # seconds; limits "half a frame" in slideshows
MAX_HOLD = 86400.0  # seconds that one picture may stay, whatever the evidence
MAX_UNPROVEN_HOLD = 30.0  # the same without evidence; joined parts are 45 s apart and more
UNPROVEN_BUDGET = 600.0  # seconds of holds without evidence in one video
MAX_RATE = 1000.0  # frames per second; fast cameras have 960
MIN_RATE = 1 / 60  # frames per second where time is counted in frames, as in AVI
STUCK_FRAMES = 8  # frames without progress of time, after which frames are counted instead
JITTER = 1.0  # seconds backwards that are disorder, not a new start

T = TypeVar("T")


def nominal_rate(*candidates: float | None) -> float:
    """Return the first plausible frame rate, else 25.

    Above 144, where the published loader takes 25, all candidates must agree: headers have 1000 and
    more for "unknown".
    """
    rates = [float(rate) for rate in candidates if rate and math.isfinite(rate) and rate > 0]
    for rate in rates:
        if rate <= 144:
            return rate
    if len(rates) > 1 and max(rates) <= min(MAX_RATE, 1.1 * min(rates)):
        return rates[0]
    return 25.0


class Jump(NamedTuple):
    """A gap between two pictures that is not filled.

    Attributes:
        at: seconds of play time at which the gap begins.
        length: seconds on the container's clock.
        hole: pictures are missing; else the clock leaps and play time continues without a gap.
    """

    at: float
    length: float
    hole: bool

    def __str__(self) -> str:
        if self.hole:
            return f"no pictures from {self.at:.1f} to {self.at + self.length:.1f} s (damaged)"
        return (
            f"the clock leaps by {self.length:.1f} s at {self.at:.1f} s; "
            "play time goes on without a gap"
        )


Judge = Callable[[float, float], Gap]


class Clock:
    """Turns container timestamps into seconds since the first frame, never backwards.

    A timestamp that is missing, does not advance for long, falls back or leaps without evidence in
    the file is replaced by the step of one frame. Later timestamps are relative to it. So a damaged
    timestamp cannot cause hours of repeated frames, and joined recordings continue. A hole keeps
    the container's time.

    Args:
        step: seconds per frame, used where the timestamps are no help.
        duration: length in seconds that the container's header claims, if it does not derive from
            the same timestamps; else 0.
        judge: classifies a gap from its begin and end on the container's scale.
        counted: count frames by `step` and ignore the timestamps.

    Attributes:
        now: the latest time.
        hold: longest time in seconds that the frame before was on screen.
        jumps: gaps that are not filled.
    """

    def __init__(
        self,
        step: float,
        duration: float = 0.0,
        judge: Judge = lambda begin, end: Gap.UNKNOWN,
        counted: bool = False,
    ) -> None:
        self.now, self.hold = -1.0, math.inf
        self.jumps: list[Jump] = []
        self._step, self._duration, self._judge, self._counted = step, duration, judge, counted
        self._origin: float | None = None
        self._stuck = 0
        self._budget = UNPROVEN_BUDGET

    def tick(self, timestamp: float | None) -> float:
        """Compute the time of the next frame in display order from its timestamp in seconds."""
        timestamp = None if self._counted else timestamp
        self.hold = math.inf
        if self.now < 0:
            self._origin, self.now = timestamp, 0.0
        else:
            self.now = self._next(timestamp)
        return self.now

    def _next(self, timestamp: float | None) -> float:
        counted = self.now + self._step
        if timestamp is None:
            return counted
        if self._origin is not None:
            time = timestamp - self._origin
            forward = time > self.now + 1e-6  # more than rounding
            self._stuck = 0 if forward else self._stuck + 1
            if forward and self._accepts(time):
                return time
            if not forward and time >= self.now - JITTER and self._stuck < STUCK_FRAMES:
                return self.now
        self._origin = timestamp - counted
        return counted

    def _accepts(self, time: float) -> bool:
        """Tell whether the clock may advance to `time`; records gaps that are not filled."""
        gap, step = time - self.now, min(self._step, MAX_STEP)
        if gap <= max(MIN_GAP, min(self._step, MAX_UNPROVEN_HOLD)):
            return True
        kind = self._gap_kind(self.now, time)
        if kind is Gap.HOLE and gap <= MAX_HOLD:
            self.hold = step
            self.jumps.append(Jump(self.now + step, gap - step, True))
            return True
        if self._believable(time, kind):
            return True
        self.jumps.append(Jump(self.now + self._step, gap - self._step, False))
        return False

    def _gap_kind(self, begin: float, end: float) -> Gap:
        origin = self._origin or 0.0
        return self._judge(begin + origin, end + origin)

    def _believable(self, time: float, kind: Gap) -> bool:
        gap = time - self.now
        if kind is Gap.HELD or time <= self._duration + 1.0:
            return gap <= MAX_HOLD
        if kind is Gap.LEAP or gap > min(MAX_UNPROVEN_HOLD, self._budget):
            return False
        self._budget -= gap if gap > 1.0 else 0.0
        return True

    def end(self, duration: float | None) -> float:
        """Compute when the last frame leaves the screen; `duration` is its own claim in seconds."""
        step = min(self._step, MAX_STEP)
        if self._counted or not duration or duration <= step:
            return self.now + step
        end = self.now + duration
        return end if self._believable(end, self._gap_kind(self.now, end)) else self.now + step


class BestEffort:
    """Chooses between a frame's two timestamps: the one that ran backwards less often so far.

    Some AVI files have presentation times in decoding order; then the decoding times are the right
    ones. FFmpeg's `best_effort_timestamp` chooses in the same way.
    """

    def __init__(self) -> None:
        self._last: list[int | None] = [None, None]
        self._faults = [0, 0]

    def choose(self, pts: int | None, dts: int | None) -> int | None:
        """Return the better timestamp; None if there is none."""
        for i, value in enumerate((pts, dts)):
            if value is not None:
                last = self._last[i]
                self._faults[i] += last is not None and value <= last
                self._last[i] = value
        if pts is not None and (dts is None or self._faults[0] <= self._faults[1]):
            return pts
        return dts


class FrameSampler(Generic[T]):
    """Takes the times of all frames and returns the sampled frames, one frame late.

    Whether a frame is sampled is known when the next one comes, so the last one needs `finish`. The
    seconds of a sample ascend strictly. They are the frame's own time if it is within a frame of
    k / fps; else the frame is held on screen and they are k / fps.

    Args:
        fps: samples per second.
        rate: nominal frames per second of the video.
        max_copies: computes how many more samples of held pictures the file may give by now.

    Attributes:
        omitted: number of steps k / fps without a sample, because there were too many copies.
    """

    def __init__(
        self, fps: float, rate: float, max_copies: Callable[[], int] = lambda: sys.maxsize
    ) -> None:
        self.omitted = 0
        self._fps, self._max_copies = fps, max_copies
        self._near = min(1.0 / rate, MAX_STEP)
        # Just below half, so that the earlier of two equally near frames is always taken.
        self._tolerance = min(0.499 * self._near, 0.25 / fps)
        self._k = self._copies_out = 0
        self._item_time = 0.0
        self._item: T | None = None
        self._is_new = False

    def push(self, time: float, item: T, hold: float = math.inf) -> Iterator[tuple[float, T]]:
        """Take the next frame and yield the samples of the frame before it.

        Args:
            time: seconds at which the frame appears; never less than before.
            item: the frame.
            hold: longest time in seconds that the frame before it counts.
        """
        yield from self._samples_until(time, hold)
        self._item_time, self._item, self._is_new = time, item, True

    def finish(self, time: float) -> Iterator[tuple[float, T]]:
        """Yield the samples of the last frame, which leaves the screen at `time`."""
        yield from self._samples_until(time, math.inf)
        self._item = None

    def deadline(self) -> float:
        """Compute the latest time at which a frame can appear and still be the next sample."""
        return self._k / self._fps + self._tolerance

    def _samples_until(self, time: float, hold: float) -> Iterator[tuple[float, T]]:
        if self._item is None:
            return
        while self.deadline() < min(time, self._item_time + hold):
            if not self._is_new and self._copies_out >= self._max_copies():
                self.omitted += self._skip(time)
                return
            self._copies_out += not self._is_new
            yield self._sample(self._item)
            self._k += 1
        self._skip(time)

    def _skip(self, time: float) -> int:
        """Advance to the first step that is not before `time`; returns how many are skipped."""
        before = self._k
        self._k = max(before, int((time - self._tolerance) * self._fps) - 1)
        while self.deadline() < time:
            self._k += 1
        return self._k - before

    def _sample(self, item: T) -> tuple[float, T]:
        target = self._k / self._fps
        use_own_time = self._is_new and abs(self._item_time - target) <= self._near
        self._is_new = False
        return (self._item_time if use_own_time else target), item
