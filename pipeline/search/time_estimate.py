"""Tells how long a search will take, from the first part of the work."""

from __future__ import annotations

import time
from collections.abc import Callable

EXAMPLE = 100  # candidates that the message proposes
CHOICE = 3  # times the comparison of candidates: these and the choice (`candidate_check`) together
LARGE_PAIRS = 20_000_000  # pairs of frames from which on a search is worth a message
_SHORT_SECONDS = 5  # nobody has to be told of less


class TimeEstimate:
    """Passes progress on, and says once how long the work will take.

    The first block has the network compiled, so the second one is measured.

    Args:
        progress: is told what `tell` is told.
        say: shows a line.
        pairs: pairs of frames in a unit of work.
        candidate_share: part of the work that is left with `EXAMPLE` candidates; None: they are in
            use already.
    """

    def __init__(
        self,
        progress: Callable[[int, int], None],
        say: Callable[[str], None],
        pairs: float,
        candidate_share: float | None,
    ) -> None:
        self._progress, self._say = progress, say
        self._pairs, self._share = pairs, candidate_share
        self._first: tuple[float, int] | None = None
        self._given = False

    def tell(self, done: int, total: int) -> None:
        """Take in units of work, done and all."""
        now = time.monotonic()
        if self._first is None:
            self._first = now, done
        elif not self._given and done > self._first[1]:
            self._given = True
            speed = (done - self._first[1]) / max(1e-6, now - self._first[0])
            left = (total - done) / speed
            if left > _SHORT_SECONDS:
                self._say(
                    f"about {rounded_time(left)} for all pairs, at {speed * self._pairs / 1e6:.1f} "
                    f"million pairs of frames a second{self._proposal(total / speed)}"
                )
        self._progress(done, total)

    def _proposal(self, seconds: float) -> str:
        if self._share is None or self._share > 0.5:
            return ""
        return (
            f"; with --candidates {EXAMPLE} about {rounded_time(max(1.0, seconds * self._share))} "
            "(see visil-index index)"
        )


def rounded_time(seconds: float) -> str:
    """A time to no more digits than an estimate has."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
