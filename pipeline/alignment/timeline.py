"""Sample times of one side of a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

_DEFAULT_STEP = 1.0  # seconds, of a video with a single sample


@dataclass(frozen=True, eq=False)
class Timeline:
    """When the frames of one side were sampled, and where the side begins and ends.

    Attributes:
        seconds: [N] float64, ascending; two samples may share a time.
        start, end: seconds; the samples lie between them. Of a whole video 0 and its duration.
    """

    seconds: np.ndarray
    start: float
    end: float

    @classmethod
    def of_video(cls, seconds: np.ndarray, duration: float | None = None) -> Timeline:
        """The timeline of a whole video.

        Args:
            seconds: [N], ascending.
            duration: seconds of the video. None, or a value before the last sample, takes half a
                step after the last sample, which is the expected end.

        Raises:
            ValueError: no sample, a time that is no number, or times that do not ascend.
        """
        seconds = np.asarray(seconds, np.float64)
        if seconds.ndim != 1 or not len(seconds):
            raise ValueError(f"sample times have shape {seconds.shape}, expected [N] with N > 0")
        if not np.isfinite(seconds).all() or (np.diff(seconds) < 0).any() or seconds[0] < 0:
            raise ValueError("sample times must be finite, not negative, and ascend")
        timeline = cls(seconds, 0.0, float(seconds[-1]))
        end = timeline.end + timeline.step / 2
        if duration is not None and duration >= timeline.end:
            # A container may claim any duration; no picture lasts beyond two steps unseen.
            end = min(float(duration), timeline.end + 2 * timeline.step)
        return cls(seconds, 0.0, end)

    @classmethod
    def of_part(cls, seconds: np.ndarray, duration: float) -> Timeline:
        """The timeline of a part of a video of that duration: half a step beyond its samples."""
        whole = cls.of_video(seconds)
        half = whole.step / 2
        start, end = float(whole.seconds[0]) - half, float(whole.seconds[-1]) + half
        return cls(
            whole.seconds, max(0.0, start), max(float(whole.seconds[-1]), min(end, duration))
        )

    def __len__(self) -> int:
        return len(self.seconds)

    @cached_property
    def step(self) -> float:
        """Seconds from one sample to the next, the median; samples may share a time."""
        steps = np.diff(self.seconds)
        steps = steps[steps > 0]
        return float(np.median(steps)) if len(steps) else _DEFAULT_STEP

    @cached_property
    def _is_even(self) -> bool:
        """Whether all samples lie on a grid of `step`."""
        steps = np.arange(len(self)) * self.step
        return bool(np.abs(self.seconds - self.seconds[0] - steps).max() < 1e-3 * self.step)

    @cached_property
    def _middles(self) -> np.ndarray:
        return (self.seconds[1:] + self.seconds[:-1]) / 2

    def nearest(self, seconds: np.ndarray) -> np.ndarray:
        """Index of the sample that is nearest to each time, intp of the same shape."""
        if self._is_even:
            at = np.rint((seconds - self.seconds[0]) / self.step - 1e-6).astype(np.intp)
            return np.clip(at, 0, len(self) - 1)
        return np.searchsorted(self._middles, seconds)

    def around(self, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the last sample before each time and of the first after it."""
        last = len(self) - 1
        before = np.searchsorted(self.seconds, seconds + 1e-6, side="right") - 1
        after = np.searchsorted(self.seconds, seconds - 1e-6, side="left")
        return np.clip(before, 0, last), np.clip(after, 0, last)

    def between(self, first: float, last: float) -> np.ndarray:
        """Indices of the samples from one time to another, both included."""
        begin = np.searchsorted(self.seconds, first - 1e-6, side="left")
        end = np.searchsorted(self.seconds, last + 1e-6, side="right")
        return np.arange(begin, end)
