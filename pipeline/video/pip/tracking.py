"""Outlines of a stretch of pictures: those that last, or one that wanders; see `insets`."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np

from .outline import Outline
from .quadrilaterals import quadrilaterals
from .rectangles import rectangles
from .static_edges import lasting_edges

_SLANTED_LESS = 0.03  # of rank: what is nearly a rectangle is one
_PROBED = 3  # pictures that are looked at first
_SHARED, _AREAS = 0.8, 4 / 3  # what outlines of one thing in consecutive pictures have in common
_LEAST_PART = 0.5  # of a stretch
_LEAST_EDGES = 3


def lasting(pictures: np.ndarray, most: int, version: int = 3) -> list[Outline]:
    """The outlines with lasting edges, those with the strongest first.

    Args:
        pictures: uint8 RGB [T, S, S, 3], consecutive samples of one video; T of 1 or more.
        most: outlines at most.
        version: of the rule: edges may be slanted from 2 on, corners round from 3 on.
    """
    edges = lasting_edges(pictures)
    found: Iterator[Outline] = rectangles(*edges, round_corners=version >= 3)
    if version >= 2:
        others = (replace(o, rank=o.rank - _SLANTED_LESS) for o in quadrilaterals(*edges))
        found = heapq.merge(found, others, key=lambda outline: -outline.rank)
    taken: list[Outline] = []
    for outline in found:
        if len(taken) == most:
            break
        if not any(outline.overlaps(other) for other in taken):
            taken.append(outline)
    return taken


def wandering(pictures: np.ndarray) -> list[Outline | None]:
    """The strongest outline of each picture alone, if it goes along with a neighbour's.

    So a screen filmed by hand is found, whose edges are straight in every picture and in another
    place in the next. A single picture has other straight lines, too; they rarely go along, but for
    horizons and walls, so it has to have three edges at least. Three pictures in the middle are
    looked at first, as a look takes a third of the network's time.

    Args:
        pictures: as of `lasting`.

    Returns:
        one for each picture; None for all if less than half of them have one.
    """
    count = len(pictures)
    none: list[Outline | None] = [None] * count

    @cache
    def outline(i: int) -> Outline | None:
        return next(iter(lasting(pictures[i : i + 1], 1)), None)

    def goes_on(i: int) -> bool:
        return 0 <= i < count - 1 and _alike(outline(i), outline(i + 1))

    middle = (count - _PROBED) // 2
    if count < _PROBED or not all(goes_on(middle + i) for i in range(_PROBED - 1)):
        return none
    found = [outline(i) if goes_on(i - 1) or goes_on(i) else None for i in range(count)]
    return found if sum(o is not None for o in found) >= _LEAST_PART * count else none


def _alike(one: Outline | None, other: Outline | None) -> bool:
    """Whether two outlines may be of one thing that moved a little."""
    if one is None or other is None or min(one.edges, other.edges) < _LEAST_EDGES:
        return False
    if one.shared(other) < _SHARED:
        return False
    return 1 / _AREAS < one.area / other.area < _AREAS
