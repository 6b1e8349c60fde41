"""Windows of a matrix for the comparator, with enough of their neighbours to be exact."""

from __future__ import annotations

from dataclasses import dataclass

from .comparator import SHRINK

HALO_FRAMES = 8  # the comparator looks 7 frames far, and windows start at multiples of 4


@dataclass(frozen=True)
class Window:
    """Frames that the comparator takes at once along one side, halo included, and its outputs."""

    frames: slice
    outputs: slice

    @property
    def counted(self) -> slice:
        """The outputs among those of the window."""
        first = self.outputs.start - self.frames.start // SHRINK
        return slice(first, first + self.outputs.stop - self.outputs.start)

    @property
    def padded(self) -> int:
        """Frames, rounded up to whole outputs."""
        return -(-(self.frames.stop - self.frames.start) // SHRINK) * SHRINK

    def half(self) -> tuple[int, int, int, int]:
        """As `PairScorer.maxima` takes them."""
        return 0, self.frames.stop - self.frames.start, self.counted.start, self.counted.stop


def windows(frames: int, size: int) -> list[Window]:
    """Windows whose outputs follow each other; a rest of less than four frames is halo."""
    return [
        Window(
            slice(max(0, start - HALO_FRAMES), min(frames, start + size + HALO_FRAMES)),
            slice(start // SHRINK, min(start + size, frames) // SHRINK),
        )
        for start in range(0, frames - SHRINK + 1, size)
    ]
