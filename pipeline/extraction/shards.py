"""Cuts a list into shards for many machines, and gives each video a place for good. Pure."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_fields

from ..errors import InputError
from ..inputs import Listing
from ..records import VideoRef

# Places are far apart, so that videos which are listed later fit between two of them. The first one
# is far from 0, so that they fit before it.
FIRST_PLACE, PLACE_STEP = 1 << 60, 1 << 20
_SHARD = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")


@dataclass(frozen=True)
class ShardNumber:
    """One of the equal shards of a list.

    Attributes:
        number: 1 to `count`.
        count: shards of the list.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> ShardNumber:
        """Parse `K/N`; raises InputError unless K is 1 to N."""
        match = _SHARD.fullmatch(text.strip())
        number, count = map(int, match.groups()) if match else (0, 0)
        if not 1 <= number <= count:
            raise InputError(f"--shard is {text!r}, expected K/N with K from 1 to N, such as 3/16")
        return cls(number, count)

    def __str__(self) -> str:
        return f"{self.number}of{self.count}"

    def range_of(self, listed: int) -> range:
        """Positions of this shard in a list of so many.

        The cut depends on the list alone, not on what is stored: shards start at different times,
        and must not meet.
        """
        return range(listed * (self.number - 1) // self.count, listed * self.number // self.count)

    def take(self, videos: Sequence[VideoRef]) -> Sequence[VideoRef]:
        """The videos of this shard; what a folder left out stays with them."""
        part = self.range_of(len(videos))
        chosen = videos[part.start : part.stop]
        return with_fields(videos, videos=chosen) if isinstance(videos, Listing) else chosen


def cut(videos: Sequence[VideoRef], size: int) -> list[Sequence[VideoRef]]:
    """Shards of at most `size` videos, in listed order."""
    return [videos[start : start + size] for start in range(0, len(videos), size)]


def listed_places(ids: Sequence[str], stored: Mapping[str, int]) -> dict[str, int]:
    """A place for every listed id that is not stored, so that places ascend as the list does.

    They lie between the places of the stored videos that are listed before and after. Whoever
    computes them later, when more is stored, gets the same ones. An id that is stored keeps its
    place, also where the list has another order now.

    Args:
        ids: the whole list.
        stored: place by id, of all stored videos, listed or not.

    Returns:
        Place by id, of the listed ids that are not stored.
    """
    taken = sorted(stored.values())
    places: dict[str, int] = {}
    for first, last in _gaps(ids, stored):
        before = stored[ids[first - 1]] if first else None
        after = stored[ids[last]] if last < len(ids) else None
        new = _spread(last - first, before, after, taken)
        places.update(zip(ids[first:last], new, strict=True))
    return places


def _gaps(ids: Sequence[str], stored: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    """[first, last) of each run of ids that are not stored."""
    first = None
    for position, video_id in enumerate(ids):
        if video_id not in stored:
            first = position if first is None else first
        elif first is not None:
            yield first, position
            first = None
    if first is not None:
        yield first, len(ids)


def _spread(
    count: int, before: int | None, after: int | None, taken: Sequence[int]
) -> Sequence[int]:
    """Places at even distances between two others, or behind or before all."""
    if before is None and after is None:
        start = taken[-1] + PLACE_STEP if taken else FIRST_PLACE
        return range(start, start + count * PLACE_STEP, PLACE_STEP)
    if before is None:
        assert after is not None
        at = bisect_left(taken, after)
        before = taken[at - 1] if at else after - (count + 1) * PLACE_STEP
    elif after is None or after <= before:
        at = bisect_right(taken, before)
        after = taken[at] if at < len(taken) else before + (count + 1) * PLACE_STEP
    gap = after - before
    return [before + gap * (number + 1) // (count + 1) for number in range(count)]
