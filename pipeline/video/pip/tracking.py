"""Outlines in a segment of pictures: static ones, or one that moves; see `detector`."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np

from .outline import Outline
from .quadrilaterals import quadrilaterals
from .rectangles import rectangles
from .static_edges import static_edges

_SLANT_PENALTY = 0.03  # taken off the rank, so that a rectangle wins over a similar quadrilateral
_PROBE_PICTURES = 3  # pictures that are inspected first
# Limits for outlines of one object in consecutive pictures.
_MIN_OVERLAP, _MAX_AREA_RATIO = 0.8, 4 / 3
_MIN_PART = 0.5  # of a segment
_MIN_EDGES = 3


def static_outlines(pictures: np.ndarray, limit: int, version: int = 3) -> list[Outline]:
    """Find outlines with static edges, strongest edges first.

    Args:
        pictures: uint8 RGB [T, S, S, 3], consecutive samples of one video; T of 1 or more.
        limit: largest number of outlines.
        version: of the rule; edges may be slanted since 2, corners may be round since 3.
    """
    edges = static_edges(pictures)
    candidates: Iterator[Outline] = rectangles(*edges, round_corners=version >= 3)
    if version >= 2:
        slanted = (replace(o, rank=o.rank - _SLANT_PENALTY) for o in quadrilaterals(*edges))
        candidates = heapq.merge(candidates, slanted, key=lambda outline: -outline.rank)
    chosen: list[Outline] = []
    for outline in candidates:
        if len(chosen) == limit:
            break
        if not any(outline.overlaps(other) for other in chosen):
            chosen.append(outline)
    return chosen


def moving_outlines(pictures: np.ndarray) -> list[Outline | None]:
    """Find the strongest outline of each picture that fits an outline of a neighbouring picture.

    This finds a screen filmed with a hand-held camera: its edges are straight in every picture, but
    their position changes. A single picture has other straight lines, too. Except for horizons and
    walls they rarely move along, so at least three sides must be edges. Three pictures in the
    middle are inspected first, as inspecting one takes a third of the network's time.

    Args:
        pictures: see `static_outlines`.

    Returns:
        An outline or None for each picture; all None if fewer than half have an outline.
    """
    count = len(pictures)
    none: list[Outline | None] = [None] * count

    @cache
    def outline(i: int) -> Outline | None:
        return next(iter(static_outlines(pictures[i : i + 1], 1)), None)

    def continues(i: int) -> bool:
        return 0 <= i < count - 1 and _is_same_object(outline(i), outline(i + 1))

    middle = (count - _PROBE_PICTURES) // 2
    if count < _PROBE_PICTURES or not all(
        continues(middle + i) for i in range(_PROBE_PICTURES - 1)
    ):
        return none
    candidates = [outline(i) if continues(i - 1) or continues(i) else None for i in range(count)]
    return candidates if sum(o is not None for o in candidates) >= _MIN_PART * count else none


def _is_same_object(one: Outline | None, other: Outline | None) -> bool:
    """Tell whether two outlines may show one object that moved a little."""
    if one is None or other is None or min(one.edges, other.edges) < _MIN_EDGES:
        return False
    if one.overlap_ratio(other) < _MIN_OVERLAP:
        return False
    return 1 / _MAX_AREA_RATIO < one.area / other.area < _MAX_AREA_RATIO
