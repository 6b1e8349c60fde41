"""Which frames of a video are sampled, from their times alone; pure, no decoding.

The rule, `SAMPLING`: for k = 0, 1, 2, ... the frame on screen at k / fps seconds after the first
frame, half a frame early being near enough. At a constant whole rate these are exactly the frames
of the published loader (every round(rate)-th); at 29.97 and the like they stay true to the clock
where the published rule drifts; of a slideshow the held picture is taken once for every step it
is shown.

`Clock` makes usable times out of a container's, `Sampler` picks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Generic, TypeVar

SAMPLING = "shown-at/1"

MAX_STEP = 0.1  # seconds; "half a frame" must not become half a slide
MAX_HOLD = 3600.0  # seconds that one picture is believed to stay, if the container's length agrees
MAX_UNPROVEN_HOLD = 60.0  # the same without such evidence
UNPROVEN_BUDGET = 600.0  # seconds of such holds in one video
STUCK_FRAMES = 8  # so many frames without progress of time: count frames instead
JITTER = 1.0  # seconds backwards that are disorder, not a new beginning

T = TypeVar("T")


def nominal_rate(*candidates: float | None) -> float:
    """The first believable frame rate, else 25; the published loader doubts above 144 as well."""
    for rate in candidates:
        if rate and math.isfinite(rate) and 0 < rate <= 144:
            return float(rate)
    return 25.0


class Clock:
    """Container timestamps -> seconds since the first frame: never backwards, no wild jumps.

    A time that is missing, stands still for long, falls back or leaps further than anything else
    in the file supports is replaced by one frame's step, and later times are read relative to
    it. So a damaged timestamp cannot turn into hours of repeated frames, and joined recordings
    run on.

    Args:
        step: seconds a frame, used where the timestamps tell nothing.
        duration: length in seconds that the container claims; 0 if it does not.
    """

    def __init__(self, step: float, duration: float = 0.0) -> None:
        self.now = -1.0
        self._step, self._duration = step, duration
        self._origin: float | None = None
        self._stuck = 0
        self._budget = UNPROVEN_BUDGET

    def tick(self, raw: float | None) -> float:
        """Time of the next frame in display order; `raw` is its timestamp in seconds, if any."""
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
            if onward and self._believable(time):
                return time
            if not onward and time >= self.now - JITTER and self._stuck < STUCK_FRAMES:
                return self.now
        self._origin = raw - counted
        return counted

    def _believable(self, time: float) -> bool:
        gap = time - self.now
        if gap <= self._step or time <= self._duration + 1.0:
            return gap <= MAX_HOLD
        if gap > MAX_UNPROVEN_HOLD or gap > self._budget:
            return False
        if gap > 1.0:
            self._budget -= gap
        return True

    def end(self, duration: float | None) -> float:
        """When the last frame leaves the screen; `duration` is its own claim in seconds."""
        step = min(self._step, MAX_STEP)
        if not duration or duration <= step:
            return self.now + step
        return self.now + (duration if self._believable(self.now + duration) else step)


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
    """

    def __init__(self, fps: float, rate: float) -> None:
        self._fps = fps
        self._near = min(1.0 / rate, MAX_STEP)
        # Just below half, so that of two frames equally near the earlier one is taken, always.
        self._tolerance = min(0.499 * self._near, 0.25 / fps)
        self._k = 0
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
        while self.wanted() < time:
            if self.wanted() < self._time + hold or self._fresh:
                yield self._sample(self._held)
            self._k += 1

    def _sample(self, item: T) -> tuple[float, T]:
        target = self._k / self._fps
        own = self._fresh and abs(self._time - target) <= self._near
        self._fresh = False
        return (self._time if own else target), item
