"""Pictures within the picture: where an outline with straight, lasting edges shows another video.

Picture in picture, split screens, players, bars and films of a screen all put one picture into
another along straight edges that stay where they are, while what is within and around them moves.
So steps of brightness that are there in most of a stretch of frames are these edges and little
else. What they enclose is cut out and stretched to the network's square as a picture of its own.

Of a stretch of frames, for upright edges (those across are the same of the transposed pictures):

    E(y, x) = what |L(y, x + 1) - L(y, x - 1)| is in 65 % of the frames or more,
              L luminance in levels of 0 to 255
    S(y, x) = (E - max(E at x +- 3 and x +- 4) - 1) / (0.4 E + 3), held within 0 and 1

S is near 1 where a step stands out from its surroundings. An edge's strength is the mean of S along
it. A rectangle is enclosed by such edges and the border of the frame (`rectangles`); a
quadrilateral's edges may be slanted by up to 12 degrees, and at most one of them is the border
(`slanted`). The strength of either is that of its weakest edge; of those strong enough the ones
with the strongest edges are taken, where the border counts as an edge of `BORDER`. Where a stretch
has none, outlines that wander from picture to picture are looked for (`tracks`). The constants
were chosen on the training and validation splits of benchmarks/retrieval, see benchmarks/NOTES.md.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from ...config import MOST_INSETS
from ...errors import InputError
from ...records import InsetRule
from .outline import Outline
from .quadrilaterals import straightened
from .rectangles import cut
from .tracking import lasting, wandering

# Another one whenever other insets would be found in the same pictures. Of stores that were begun
# before: edges/1, upright edges alone, outlines as each stretch has them, and still pictures as
# often as they are there; edges/2, sharp corners alone, and nothing that wanders.
VERSIONS = "edges/1", "edges/2", "edges/3"
STRETCH = 16  # frames that are judged together
_BLOCK, _STILL = 8, 4  # pixels; mean levels by which no block of still pictures differs
_STEADY = 2  # pixels by which finding an outline may err


def shown(pictures: np.ndarray, where: Outline) -> np.ndarray:
    """What an outline shows, without the pixels of its edges, as the network's square.

    Args:
        pictures: uint8 RGB [T, S, S, 3].

    Returns:
        uint8 RGB [T, S, S, 3].
    """
    if where.upright:
        return np.stack([cut(picture, where) for picture in pictures])
    return straightened(pictures, where)


class InsetFinder:
    """Goes along with the samples of one video.

    An outline keeps its number from stretch to stretch, so that an inset is one picture for as
    long as it is there; what comes after it may take its number.

    Args:
        rule: version and limit; a limit of 0 detects none.

    Raises:
        InputError: a rule that this version does not know.
    """

    def __init__(self, rule: InsetRule) -> None:
        require_supported(rule)
        self._limit = rule.limit
        self._version = VERSIONS.index(rule.version) + 1
        self._recent: deque[np.ndarray] = deque(maxlen=STRETCH)
        self._seconds: list[float] = []  # of those not judged yet
        self._last: dict[int, Outline] = {}  # of each number
        self._before: set[int] = set()  # numbers of the stretch before
        self._kept: dict[int, np.ndarray] = {}  # the last picture of each number

    def add(self, seconds: float, picture: np.ndarray) -> list[Inset]:
        """Take the next sample; what was found if it completes a stretch."""
        if not self._limit:
            return []
        self._recent.append(picture)
        self._seconds.append(seconds)
        return self.flush() if len(self._seconds) == STRETCH else []

    def flush(self) -> list[Inset]:
        """Judge what is left, together with what came right before it, up to a stretch in all."""
        if not self._seconds:
            return []
        pictures, seconds = np.stack(self._recent), np.array(self._seconds)
        fresh = pictures[-len(seconds) :]
        self._seconds = []
        found = lasting(pictures, self._limit, self._version)
        numbered = {n: self._steady(n, where) for n, where in self._numbered(found).items()}
        self._last |= numbered
        self._before = set(numbered)
        insets = [
            self._moving(number, seconds, shown(fresh, where))
            for number, where in sorted(numbered.items())
        ]
        if not numbered and self._version >= 3:
            each = wandering(pictures)[-len(fresh) :]
            insets = self._wandering(seconds, fresh, each)
        return [inset for inset in insets if len(inset.seconds)]

    def _wandering(
        self, seconds: np.ndarray, pictures: np.ndarray, each: list[Outline | None]
    ) -> list[Inset]:
        """What the outline of each picture that has one shows, as one inset."""
        places = [(i, where) for i, where in enumerate(each) if where is not None]
        if not places:
            return []
        images = np.concatenate([shown(pictures[i : i + 1], where) for i, where in places])
        return [self._moving(1, seconds[[i for i, _ in places]], images)]

    def _steady(self, number: int, where: Outline) -> Outline:
        """The outline as it was in the stretch before, if it moved by what finding it may err."""
        if number not in self._before or self._version == 1:
            return where
        last = self._last[number]
        same = last.upright == where.upright and last.distance(where) <= _STEADY
        return last if same else where

    def _moving(self, number: int, seconds: np.ndarray, images: np.ndarray) -> Inset:
        """Without the pictures that show what the one before them showed.

        A still window of a recorded screen is then one picture, and what is like it finds it as
        well, as scores take the best match. In noise of more than some levels none is still.
        """
        if self._version == 1:
            return Inset(number, seconds, images)
        kept = []
        for i, image in enumerate(images):
            if number not in self._kept or _differ(image, self._kept[number]):
                self._kept[number] = image
                kept.append(i)
        return Inset(number, seconds[kept], images[kept])

    def _numbered(self, found: list[Outline]) -> dict[int, Outline]:
        """The numbers of those that cover most of the same as before, then the lowest free ones."""
        pairs = [
            (where.shared(last), i, number)
            for i, where in enumerate(found)
            for number, last in self._last.items()
            if where.overlaps(last)
        ]
        numbers: dict[int, int] = {}  # of each in `found`
        for _, i, number in sorted(pairs, key=lambda pair: -pair[0]):
            if i not in numbers and number not in numbers.values():
                numbers[i] = number
        for i in range(len(found)):
            if i not in numbers:
                numbers[i] = self._free(set(numbers.values()))
        return {numbers[i]: where for i, where in enumerate(found)}

    def _free(self, taken: set[int]) -> int:
        """A number that nothing has had so far, if there is one."""
        all_numbers = range(1, self._limit + 1)
        left = [n for n in all_numbers if n not in taken]
        return min(left, key=lambda n: (n in self._last, n))


@dataclass(frozen=True)
class Inset:
    """A picture within the picture over a stretch of samples.

    Attributes:
        number: from 1 on.
        seconds: [n] float64, times of the samples.
        images: uint8 RGB [n, S, S, 3].
    """

    number: int
    seconds: np.ndarray
    images: np.ndarray


def _differ(picture: np.ndarray, other: np.ndarray) -> bool:
    """Whether two pictures [S, S, 3] differ by more than `_STILL` levels on average anywhere."""
    low, high = np.minimum(picture, other), np.maximum(picture, other)
    change = (high - low).sum(axis=2, dtype=np.uint16)
    if rest := -len(picture) % _BLOCK:
        change = np.pad(change, (0, rest), mode="edge")
    side = len(change) // _BLOCK
    blocks = change.reshape(side, _BLOCK, side, _BLOCK).sum(axis=(1, 3), dtype=np.uint32)
    return bool(blocks.max() > _STILL * 3 * _BLOCK * _BLOCK)


def require_supported(rule: InsetRule) -> None:
    """Refuse a rule that this program cannot apply; a rule without insets is always supported.

    Raises:
        InputError: another version, or more insets than can be detected at a time.
    """
    if rule.limit and (rule.version not in VERSIONS or rule.limit > MOST_INSETS):
        raise InputError(
            f"insets found by the rule {str(rule)!r}, which this version does not know; use the "
            "version that made the store, or make a new store"
        )
