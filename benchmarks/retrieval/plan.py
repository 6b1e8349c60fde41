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

from benchmarks.retrieval.sources import Source
from benchmarks.retrieval.transforms import KINDS

SEED = 4
PHOTO_QUERIES = 0.4  # of the photographs of a split; of the clips of videos two in three
COPIES = {"train": 22, "validation": 26, "test": 32}  # of every kind
DISTRACTOR_COPIES = 2  # of every distractor


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
    for kind in KINDS:
        order = rng.permutation(len(queries))
        turns = sorted(order, key=lambda i: made[queries[i].name])
        for i in turns[:copies_per_kind]:
            made[queries[i].name] += 1
            copies.append(_copy(queries[i], kind, distractors, rng))
    for clip in distractors:
        for kind in rng.choice(list(KINDS), DISTRACTOR_COPIES, replace=False):
            decoys.append(_copy(clip, str(kind), distractors, rng))
    return SplitPlan(queries, distractors, copies, decoys)


def roles(clips: Sequence[Clip]) -> tuple[list[Clip], list[Clip]]:
    """Queries and distractors: of videos every third clip is a distractor, of photographs more."""
    queries: list[Clip] = []
    distractors: list[Clip] = []
    videos = [clip for clip in clips if not clip.source.is_photo]
    photos = [clip for clip in clips if clip.source.is_photo]
    for i, clip in enumerate(videos):
        (distractors if i % 3 == 1 else queries).append(clip)
    for i, clip in enumerate(photos):
        is_query = int((i + 1) * PHOTO_QUERIES) > int(i * PHOTO_QUERIES)
        (queries if is_query else distractors).append(clip)
    return queries, distractors


def _copy(clip: Clip, kind: str, distractors: list[Clip], rng: np.random.Generator) -> Copy:
    hosts = [d for d in distractors if d.source.parent != clip.source.parent]
    if not hosts:
        raise ValueError(f"{clip.name}: no distractor of another parent")
    host = hosts[int(rng.integers(len(hosts)))]
    return Copy(f"{clip.name}-{kind}", clip, kind, host)
