"""Which clips are queries, which copies are made of them, and what else is searched. Pure.

Of every split's clips some are queries and the rest distractors: unrelated videos, other parts
of the queries' films, other places of the same kind. Hosts of a copy (what plays around or
behind it) are distractors, so that a copy shows one query only. The database holds copies of
queries, distractors, and copies of distractors, never a query's own original.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.retrieval.dataset.sources import Source
from benchmarks.retrieval.dataset.transforms import KINDS
from benchmarks.retrieval.dataset.unseen_transforms import WILD_KINDS

SEED = 4
PHOTO_QUERIES = 0.25  # of the photographs of a split: most queries are videos
COPIES = {"train": 22, "validation": 28, "test": 32}  # of a kind, times its share
DISTRACTOR_COPIES = 2  # of every distractor
# Of every clip, in `wide`: what leaves little of the picture, and is not found each time.
FURTHER = {"crop_40_50": 2, "crop_60_80": 1, "edges": 1, "pip_25_35": 1, "chain_3": 2, "overlay": 1}
_FURTHER_SEED, _FURTHER_FIRST = 7, 100  # other numbers than the copies of `plan_split`
_WILD_SEED = 11


@dataclass(frozen=True)
class Clip:
    """A part of a source; frames `first` up to but without `last`."""

    name: str
    source: Source
    first: int
    last: int


@dataclass(frozen=True)
class Copy:
    """A database video made of `clip`; `host` is the unrelated clip its kind may show."""

    name: str
    clip: Clip
    kind: str
    host: Clip

    @property
    def seed(self) -> list[int]:
        """Of the random generator that makes it."""
        return [SEED, zlib.crc32(self.name.encode())]


@dataclass(frozen=True)
class SplitPlan:
    """All videos of one split.

    Attributes:
        queries, distractors: clips as they are.
        copies: of queries; decoys: of distractors, relevant to no query.
    """

    queries: list[Clip]
    distractors: list[Clip]
    copies: list[Copy]
    decoys: list[Copy]


def plan_split(clips: Sequence[Clip], copies_per_kind: int) -> SplitPlan:
    """Roles of the clips of one split and the copies to make; depends on nothing but its input.

    Queries take turns, in another order for each kind, so each gets about as many copies.

    Raises:
        ValueError: no distractor of another parent to be a host.
    """
    queries, distractors = roles(clips)
    rng = np.random.default_rng(SEED)
    copies, decoys = [], []
    made: Counter[str] = Counter()
    for name, kind in KINDS.items():
        order = rng.permutation(len(queries))
        turns = sorted(order, key=lambda i: made[queries[i].name])
        for number in range(round(copies_per_kind * kind.share)):
            query = queries[turns[number % len(turns)]]
            made[query.name] += 1
            copies.append(_copy(query, name, distractors, rng, number // len(turns)))
    for clip in distractors:
        for kind in rng.choice(list(KINDS), DISTRACTOR_COPIES, replace=False):
            decoys.append(_copy(clip, str(kind), distractors, rng))
    return SplitPlan(queries, distractors, copies, decoys)


def further_copies(clips: Sequence[Clip]) -> list[Copy]:
    """More copies of every clip, distractors too, of the kinds in `FURTHER`.

    Raises:
        ValueError: no distractor of another parent to be a host.
    """
    wanted = [
        (clip, kind, _FURTHER_FIRST + number)
        for clip in clips
        for kind, count in FURTHER.items()
        for number in range(count)
    ]
    return _copies(wanted, clips, _FURTHER_SEED)


def wild_copies(clips: Sequence[Clip]) -> list[Copy]:
    """Copies of the kinds in `unseen_transforms`, each kind of every other clip, distractors too.

    Raises:
        ValueError: no distractor of another parent to be a host.
    """
    wanted = [(clip, kind, 0) for i, kind in enumerate(WILD_KINDS) for clip in clips[i % 2 :: 2]]
    return _copies(wanted, clips, _WILD_SEED)


def roles(clips: Sequence[Clip]) -> tuple[list[Clip], list[Clip]]:
    """Queries and distractors.

    Every other clip of a film cut into several is a distractor, every sixth of the videos that
    are one clip, and the photographs but for `PHOTO_QUERIES` of them.
    """
    queries: list[Clip] = []
    distractors: list[Clip] = []
    parts = Counter(clip.source for clip in clips)
    seen: Counter[Source | str] = Counter()
    for clip in clips:
        group = (
            clip.source
            if parts[clip.source] > 1
            else ("photo" if clip.source.is_photo else "video")
        )
        i = seen[group]
        seen[group] += 1
        if group == "photo":
            asked = int((i + 1) * PHOTO_QUERIES) > int(i * PHOTO_QUERIES)
        else:
            asked = i % 6 != 1 if group == "video" else i % 2 == 0
        (queries if asked else distractors).append(clip)
    return queries, distractors


def _copies(
    wanted: Sequence[tuple[Clip, str, int]], clips: Sequence[Clip], seed: int
) -> list[Copy]:
    """One copy for each clip, kind and number; hosts are distractors among the clips."""
    _, distractors = roles(clips)
    rng = np.random.default_rng(seed)
    return [_copy(clip, kind, distractors, rng, number) for clip, kind, number in wanted]


def _copy(
    clip: Clip, kind: str, distractors: list[Clip], rng: np.random.Generator, number: int = 0
) -> Copy:
    hosts = [d for d in distractors if d.source.parent != clip.source.parent]
    if not hosts:
        raise ValueError(f"{clip.name}: no distractor of another parent")
    host = hosts[int(rng.integers(len(hosts)))]
    return Copy(f"{clip.name}-{kind}-{number}", clip, kind, host)
