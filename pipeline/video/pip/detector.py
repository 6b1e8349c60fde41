"""Detects embedded pictures ("insets"): picture-in-picture, split screens, filmed screens.

They put one picture into another along straight edges. The edges stay in place while the content
inside and around them moves, so steps of brightness that persist over a segment of frames are
mostly such edges. What they enclose is cut out and resized to the network's square.

For upright edges of a segment of frames (edges across are upright ones of the transposed pictures):

    E(y, x) = the value that |L(y, x + 1) - L(y, x - 1)| reaches in at least 65 % of the frames,
              L: luminance, 0 to 255
    S(y, x) = (E - max(E at x +- 3 and x +- 4) - 1) / (0.4 E + 3), clipped to 0 and 1

S is near 1 where a step stands out from its surroundings. The strength of an edge is the mean of S
along it. A rectangle is enclosed by such edges and the border of the frame (`rectangles`). The
edges of a quadrilateral may be slanted by up to 12 degrees, and at most one side is the border
(`quadrilaterals`). An outline is as strong as its weakest edge. Of the outlines that are strong
enough, those with the strongest edges are taken; the border counts as an edge of `BORDER`. If a
segment has no static outline, outlines that move from picture to picture are detected
(`tracking`). The constants were chosen on the training and validation splits of
benchmarks/retrieval, see benchmarks/NOTES.md.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from ...config import MAX_INSETS
from ...errors import InputError
from ...records import InsetRule
from .outline import Outline
from .quadrilaterals import straighten
from .rectangles import crop_rectangle
from .tracking import moving_outlines, static_outlines

# A new version is due whenever the same pictures would give other insets. Older stores have edges/1
# (axis-parallel edges only, outlines of each segment for itself, still pictures repeated) or
# edges/2 (sharp corners only, no moving outlines).
VERSIONS = "edges/1", "edges/2", "edges/3"
SEGMENT_FRAMES = 16  # samples in which edges must persist
_BLOCK, _STILL_LEVELS = 8, 4  # side in pixels; blocks of still pictures differ by fewer levels
_TOLERANCE = 2  # pixels by which a detected corner may be wrong


def cut_out_inset(pictures: np.ndarray, outline: Outline) -> np.ndarray:
    """Cut out what an outline shows, without its edges, and scale it to the network's square.

    Args:
        pictures: uint8 RGB [T, S, S, 3].

    Returns:
        uint8 RGB [T, S, S, 3].
    """
    if outline.upright:
        return np.stack([crop_rectangle(picture, outline) for picture in pictures])
    return straighten(pictures, outline)


class InsetDetector:
    """Detects the insets of one video, sample by sample.

    An outline keeps its number from segment to segment, so one number is one inset while it is
    shown. A later inset may take the number again.

    Args:
        rule: version and limit; a limit of 0 detects none.

    Raises:
        InputError: a rule that this version does not know.
    """

    def __init__(self, rule: InsetRule) -> None:
        require_supported(rule)
        self._limit = rule.limit
        self._version = VERSIONS.index(rule.version) + 1
        self._pictures: deque[np.ndarray] = deque(maxlen=SEGMENT_FRAMES)
        self._seconds: list[float] = []  # of samples since the last segment
        self._outlines: dict[int, Outline] = {}  # the last outline of each number
        self._last_numbers: set[int] = set()  # numbers in the segment before
        self._last_images: dict[int, np.ndarray] = {}  # the last picture of each number

    def add(self, seconds: float, picture: np.ndarray) -> list[Inset]:
        """Take the next sample; returns the insets if it completes a segment, else none."""
        if not self._limit:
            return []
        self._pictures.append(picture)
        self._seconds.append(seconds)
        return self.flush() if len(self._seconds) == SEGMENT_FRAMES else []

    def flush(self) -> list[Inset]:
        """Detect insets in the samples since the last segment.

        Samples right before them are used, too, up to a segment in all.
        """
        if not self._seconds:
            return []
        pictures, seconds = np.stack(self._pictures), np.array(self._seconds)
        new_pictures = pictures[-len(seconds) :]
        self._seconds = []
        outlines = static_outlines(pictures, self._limit, self._version)
        outlines_by_number = {
            n: self._settle(n, outline) for n, outline in self._assign_numbers(outlines).items()
        }
        self._outlines |= outlines_by_number
        self._last_numbers = set(outlines_by_number)
        insets = [
            self._without_repeats(number, seconds, cut_out_inset(new_pictures, outline))
            for number, outline in sorted(outlines_by_number.items())
        ]
        if not outlines_by_number and self._version >= 3:
            moving = moving_outlines(pictures)[-len(new_pictures) :]
            insets = self._moving_inset(seconds, new_pictures, moving)
        return [inset for inset in insets if len(inset.seconds)]

    def _moving_inset(
        self, seconds: np.ndarray, pictures: np.ndarray, outlines: list[Outline | None]
    ) -> list[Inset]:
        """Cut out the outline of each picture that has one, as one inset."""
        present = [(i, outline) for i, outline in enumerate(outlines) if outline is not None]
        if not present:
            return []
        images = np.concatenate(
            [cut_out_inset(pictures[i : i + 1], outline) for i, outline in present]
        )
        return [self._without_repeats(1, seconds[[i for i, _ in present]], images)]

    def _settle(self, number: int, outline: Outline) -> Outline:
        """Return the outline of the segment before if this one is equal up to `_TOLERANCE`."""
        if number not in self._last_numbers or self._version == 1:
            return outline
        last = self._outlines[number]
        same = last.upright == outline.upright and last.corner_distance(outline) <= _TOLERANCE
        return last if same else outline

    def _without_repeats(self, number: int, seconds: np.ndarray, images: np.ndarray) -> Inset:
        """Leave out pictures that repeat the one before.

        A still window of a recorded screen becomes one picture. Scores take the best match, so it
        is found as well. Pictures with noise of a few levels count as changed.
        """
        if self._version == 1:
            return Inset(number, seconds, images)
        changed = []
        for i, image in enumerate(images):
            if number not in self._last_images or pictures_differ(image, self._last_images[number]):
                self._last_images[number] = image
                changed.append(i)
        return Inset(number, seconds[changed], images[changed])

    def _assign_numbers(self, outlines: list[Outline]) -> dict[int, Outline]:
        """Give each outline the number of an earlier one that it overlaps most, else a free one."""
        pairs = [
            (outline.overlap_ratio(last), i, number)
            for i, outline in enumerate(outlines)
            for number, last in self._outlines.items()
            if outline.overlaps(last)
        ]
        numbers: dict[int, int] = {}  # index in `outlines` -> number
        for _, i, number in sorted(pairs, key=lambda pair: -pair[0]):
            if i not in numbers and number not in numbers.values():
                numbers[i] = number
        for i in range(len(outlines)):
            if i not in numbers:
                numbers[i] = self._free_number(set(numbers.values()))
        return {numbers[i]: outline for i, outline in enumerate(outlines)}

    def _free_number(self, used: set[int]) -> int:
        """Choose the lowest number that was never used, else the lowest one that is free now."""
        all_numbers = range(1, self._limit + 1)
        free = [n for n in all_numbers if n not in used]
        return min(free, key=lambda n: (n in self._outlines, n))


@dataclass(frozen=True)
class Inset:
    """An embedded picture over a segment of samples.

    Attributes:
        number: 1 or more; tells the insets of a video apart.
        seconds: [n] float64, times of the samples.
        images: uint8 RGB [n, S, S, 3].
    """

    number: int
    seconds: np.ndarray
    images: np.ndarray = field(repr=False)


def pictures_differ(picture: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether some block of two pictures [S, S, 3] differs by more than `_STILL_LEVELS`."""
    low, high = np.minimum(picture, other), np.maximum(picture, other)
    change = (high - low).sum(axis=2, dtype=np.uint16)
    if rest := -len(picture) % _BLOCK:
        change = np.pad(change, (0, rest), mode="edge")
    side = len(change) // _BLOCK
    blocks = change.reshape(side, _BLOCK, side, _BLOCK).sum(axis=(1, 3), dtype=np.uint32)
    return bool(blocks.max() > _STILL_LEVELS * 3 * _BLOCK * _BLOCK)


def require_supported(rule: InsetRule) -> None:
    """Refuse a rule that this program cannot apply; a rule without insets is always supported.

    Raises:
        InputError: another version, or more insets than can be detected at a time.
    """
    if rule.limit and (rule.version not in VERSIONS or rule.limit > MAX_INSETS):
        raise InputError(
            f"insets found by the rule {str(rule)!r}, which this version does not know; use the "
            "version that made the store, or make a new store"
        )
