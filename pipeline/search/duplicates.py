"""Which videos of a collection belong together, how they relate, and which of them could go.

Pure functions: pairs above a threshold come in, groups and decisions come out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..output.duplicates import Relation, Stretch
from ..records import SourceInfo

COPY, CONTAINED, CONTAINS, OVERLAP, UNLOCATED = (
    "copy",
    "contained in",
    "contains",
    "overlap",
    "unlocated",
)
_SHOWN = COPY, CONTAINED  # relations of a video to one that shows all of it


@dataclass(frozen=True)
class VideoFacts:
    """What decides which video of a group represents it.

    Attributes:
        frames: samples of the video itself; they tell how much of it can be read.
        source: the file.
    """

    frames: int
    source: SourceInfo


def connected_groups(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Group the numbers that are connected by pairs, also by way of others.

    Returns:
        The groups, each ascending, in the order of their first numbers. A number in no pair is in
        no group.
    """
    parent: dict[int, int] = {}

    def root(number: int) -> int:
        while (above := parent.setdefault(number, number)) != number:
            parent[number] = parent[above]  # shorten the way for later
            number = parent[number]
        return number

    for first, second in pairs:
        a, b = root(first), root(second)
        parent[max(a, b)] = min(a, b)
    groups: dict[int, list[int]] = {}
    for number in sorted(parent):
        groups.setdefault(root(number), []).append(number)
    return list(groups.values())


def keep_order(facts: Mapping[int, VideoFacts], keep: str) -> list[int]:
    """Sort the videos of a group, the one to keep first; ties as listed.

    Args:
        facts: by the number of each video.
        keep: of `config.KeepRule`: `longest` by samples, then pixels, then bytes; `largest` by
            pixels, then bytes; `oldest` by the time of the file, unknown times last; `first` as
            listed.
    """

    def key(number: int) -> tuple[float, ...]:
        frames, source = facts[number].frames, facts[number].source
        size = (-source.width * source.height, -source.size)
        return {
            "longest": (-frames, *size),
            "largest": size,
            "oldest": (not source.mtime_ns, source.mtime_ns),
            "first": (),
        }[keep]

    return sorted(sorted(facts), key=key)


def covered_share(stretches: Iterable[tuple[float, float]], seconds: float) -> float:
    """The share of a video that lies in at least one of some stretches.

    Args:
        stretches: start and end of each, in seconds, in any order.
        seconds: how long the video is, more than 0.
    """
    covered = last = 0.0
    for start, end in sorted(stretches):
        start, end = max(start, last), min(end, seconds)
        if end > start:
            covered += end - start
            last = end
    return min(1.0, covered / seconds)


def coverages(
    stretches: Sequence[Stretch], seconds: float, other_seconds: float, *, decidable: bool
) -> tuple[float, float]:
    """The shares of two videos that the other one shows.

    Args:
        stretches: where they match.
        seconds, other_seconds: how long the videos are.
        decidable: False where one of them stands still or repeats itself. It then fits at any
            speed, so no video counts as showing more seconds than it has.

    Returns:
        Shares of the video and of the other one, from 0 to 1.
    """
    own = covered_share([(s.start, s.end) for s in stretches], seconds)
    other = covered_share([(s.other_start, s.other_end) for s in stretches], other_seconds)
    if decidable:
        return own, other
    return min(own, other_seconds / seconds), min(other, seconds / other_seconds)


def relation_kind(coverage: float, other_coverage: float, cover: float) -> str:
    """What a video is to another one, by how much of each the other one shows.

    Args:
        coverage, other_coverage: share of the video, and of the other one, see `covered_share`.
        cover: from this share on a video counts as shown.
    """
    if not coverage and not other_coverage:
        return UNLOCATED
    if coverage >= cover:
        return COPY if other_coverage >= cover else CONTAINED
    return CONTAINS if other_coverage >= cover else OVERLAP


def decide(
    order: Sequence[int],
    links: Mapping[int, Mapping[int, float]],
    relate: Callable[[int, int], Relation],
) -> list[tuple[int, bool, Relation | None]]:
    """Decide for each video of a group whether it stays.

    The first one stays. Another one could be removed if one that stays shows all of it: both must
    be a pair themselves. Videos that are connected only by way of others say nothing of each other.

    Args:
        order: the videos, the one to keep first.
        links: for each video the scores of its pairs.
        relate: tells how the first video relates to the second; called for few pairs.

    Returns:
        For each video in this order: its number, whether it stays, and the relation that decided.
        Where it stays, that is the one to the best of its partners that stay; None without one.
    """
    remaining: set[int] = set()
    decisions: list[tuple[int, bool, Relation | None]] = []
    for video in order:
        staying = sorted(
            remaining & links[video].keys(), key=lambda other: (-links[video][other], other)
        )
        best: Relation | None = None
        shown = False
        for other in staying:
            relation = relate(video, other)
            shown = relation.kind in _SHOWN
            best = relation if shown else best or relation
            if shown:
                break
        if not shown:
            remaining.add(video)
        decisions.append((video, not shown, best))
    return decisions
