"""Which frames of a video are sampled, from their times alone; pure, no decoding.

The rule, `SAMPLING`: for k = 0, 1, 2, ... the frame on screen at k / fps seconds after the first
frame, half a frame early being near enough. At a constant whole rate these are exactly the frames
of the published loader (every round(rate)-th); at 29.97 and the like they stay true to the clock
where the published rule drifts; of a slideshow the held picture is taken once for every step it
is shown.

`Clock` makes usable times out of a container's, `Sampler` picks. What a small file can claim is
bounded, see `allowance`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from typing import Generic, NamedTuple, TypeVar

from .evidence import LEAST_GAP, Gap

SAMPLING = "shown-at/1"

MAX_STEP = 0.1  # seconds; "half a frame" must not become half a slide
MAX_HOLD = 86400.0  # seconds that one picture is believed to stay, whatever speaks for it
MAX_UNPROVEN_HOLD = 30.0  # the same where nothing does; joined parts are 45 s apart and more
UNPROVEN_BUDGET = 600.0  # seconds of such holds in one video
MAX_RATE = 1000.0  # frames a second; fast cameras have 960
MIN_RATE = 1 / 60  # the same where time is counted in frames alone, as in AVI
STUCK_FRAMES = 8  # so many frames without progress of time: count frames instead
JITTER = 1.0  # seconds backwards that are disorder, not a new beginning

T = TypeVar("T")


def nominal_rate(*candidates: float | None) -> float:
    """The first believable frame rate, else 25; the published loader doubts above 144 as well.

    Above 144 it takes all candidates to agree, as headers give 1000 and more for "unknown".
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
        at: seconds of play time at which it begins; length: its seconds on the container's clock.
        hole: pictures are missing; else the clock leaps and play time goes on without a gap.
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
    """Container timestamps -> seconds since the first frame: never backwards, no wild jumps.

    A time that is missing, stands still for long, falls back or leaps further than anything else
    in the file supports is replaced by one frame's step, and later times are read relative to
    it. So a damaged timestamp cannot turn into hours of repeated frames, and joined recordings
    run on. Over a hole the container's time is kept.

    Args:
        step: seconds a frame, used where the timestamps tell nothing.
        duration: length in seconds that the container's header claims, if it was not made from the
            same timestamps; else 0.
        judge: what is known about a gap, from its begin and end on the container's scale.
        counted: frames are counted by `step`, whatever the timestamps.

    Attributes:
        now: the latest time.
        hold: seconds that the frame before it was on screen at most.
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

    def tick(self, raw: float | None) -> float:
        """Time of the next frame in display order; `raw` is its timestamp in seconds, if any."""
        raw = None if self._counted else raw
        self.hold = math.inf
        if self.now < 0:
            self._origin, self.now = raw, 0.0
        else:
            self.now = self._next(raw)
        return self.now

    def _next(self, raw: float | None) -> float:
        counted = self.now + self._step
        if raw is None:
            return counted
        if self._origin is not None:
            time = raw - self._origin
            onward = time > self.now + 1e-6  # more than rounding
            self._stuck = 0 if onward else self._stuck + 1
            if onward and self._passes(time):
                return time
            if not onward and time >= self.now - JITTER and self._stuck < STUCK_FRAMES:
                return self.now
        self._origin = raw - counted
        return counted

    def _passes(self, time: float) -> bool:
        """Whether time goes on to there; takes note of what is not filled."""
        gap, step = time - self.now, min(self._step, MAX_STEP)
        if gap <= max(LEAST_GAP, min(self._step, MAX_UNPROVEN_HOLD)):
            return True
        known = self._known(self.now, time)
        if known is Gap.HOLE and gap <= MAX_HOLD:
            self.hold = step
            self.jumps.append(Jump(self.now + step, gap - step, True))
            return True
        if self._believable(time, known):
            return True
        self.jumps.append(Jump(self.now + self._step, gap - self._step, False))
        return False

    def _known(self, begin: float, end: float) -> Gap:
        origin = self._origin or 0.0
        return self._judge(begin + origin, end + origin)

    def _believable(self, time: float, known: Gap) -> bool:
        gap = time - self.now
        if known is Gap.HELD or time <= self._duration + 1.0:
            return gap <= MAX_HOLD
        if known is Gap.LEAP or gap > min(MAX_UNPROVEN_HOLD, self._budget):
            return False
        self._budget -= gap if gap > 1.0 else 0.0
        return True

    def end(self, duration: float | None) -> float:
        """When the last frame leaves the screen; `duration` is its own claim in seconds."""
        step = min(self._step, MAX_STEP)
        if self._counted or not duration or duration <= step:
            return self.now + step
        end = self.now + duration
        return end if self._believable(end, self._known(self.now, end)) else self.now + step


class BestEffort:
    """Which of a frame's two timestamps to trust: that which ran backwards less often so far.

    Some AVI files have presentation times in decoding order; then the decoding times, sorted by
    nature, are the right ones. FFmpeg's `best_effort_timestamp` decides in the same way.
    """

    def __init__(self) -> None:
        self._last: list[int | None] = [None, None]
        self._faults = [0, 0]

    def choose(self, pts: int | None, dts: int | None) -> int | None:
        """The better of the two; None if there is neither."""
        for i, value in enumerate((pts, dts)):
            if value is not None:
                last = self._last[i]
                self._faults[i] += last is not None and value <= last
                self._last[i] = value
        if pts is not None and (dts is None or self._faults[0] <= self._faults[1]):
            return pts
        return dts


class Sampler(Generic[T]):
    """Times of all frames in, sampled frames out, one frame late.

    A frame's turn is known only when the next one comes, so the last needs `finish`. Seconds are
    the frame's own time where it is within a frame of k / fps, else (it is held on screen) k / fps;
    strictly ascending.

    Args:
        fps: samples a second.
        rate: nominal frames a second of the video.
        copies: further samples of held pictures that the file may have by now.

    Attributes:
        omitted: steps k / fps without a sample, as there were too many copies.
    """

    def __init__(
        self, fps: float, rate: float, copies: Callable[[], int] = lambda: sys.maxsize
    ) -> None:
        self.omitted = 0
        self._fps, self._copies = fps, copies
        self._near = min(1.0 / rate, MAX_STEP)
        # Just below half, so that of two frames equally near the earlier one is taken, always.
        self._tolerance = min(0.499 * self._near, 0.25 / fps)
        self._k = self._copied = 0
        self._time = 0.0
        self._held: T | None = None
        self._fresh = False

    def push(self, time: float, item: T, hold: float = math.inf) -> Iterator[tuple[float, T]]:
        """A frame appears at `time` (never less than before); yields the samples of the frame
        before it, which counts for at most `hold` seconds."""
        yield from self._until(time, hold)
        self._time, self._held, self._fresh = time, item, True

    def finish(self, time: float) -> Iterator[tuple[float, T]]:
        """The last frame leaves the screen at `time`."""
        yield from self._until(time, math.inf)
        self._held = None

    def wanted(self) -> float:
        """Latest time at which a frame can appear and still be the next sample."""
        return self._k / self._fps + self._tolerance

    def _until(self, time: float, hold: float) -> Iterator[tuple[float, T]]:
        if self._held is None:
            return
        while self.wanted() < min(time, self._time + hold):
            if not self._fresh and self._copied >= self._copies():
                self.omitted += self._skip(time)
                return
            self._copied += not self._fresh
            yield self._sample(self._held)
            self._k += 1
        self._skip(time)

    def _skip(self, time: float) -> int:
        """On to the first step that is not before `time`; returns how many are passed over."""
        before = self._k
        self._k = max(before, int((time - self._tolerance) * self._fps) - 1)
        while self.wanted() < time:
            self._k += 1
        return self._k - before

    def _sample(self, item: T) -> tuple[float, T]:
        target = self._k / self._fps
        own = self._fresh and abs(self._time - target) <= self._near
        self._fresh = False
        return (self._time if own else target), item
