"""What the candidate index keeps of a frame, and what of a query is compared with it.

A code is a vector of length 1. Models with global descriptors of a frame give the lowpass and the
thumbnail descriptor, side by side; the thumbnail counts half. Other models give the mean of the
region descriptors. The similarity of a query frame and a database frame is the largest dot product
over the query's views, and that of two videos the mean over the query's frames of the best frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..quantization import ENCODINGS, as_float32, quantize

if TYPE_CHECKING:
    from ..nets.model.descriptors import DescriptorLayout

CODE_SECONDS = 2.0  # between two frames of a video that have a code
THUMBNAIL_WEIGHT = 0.5  # the lowpass descriptor counts 1
_VERSION = 1
_MAX_FRAMES = 32  # of a query that are looked up


class IndexRule(Protocol):
    """Which codes an index keeps of a video, and what of a query is compared with them."""

    @property
    def name(self) -> str:
        """Tells rules apart that give different codes."""

    @property
    def values(self) -> int:
        """D, values of a code."""

    @property
    def span(self) -> tuple[int, int]:
        """First and last (not included) of the descriptors that codes are made of."""

    @property
    def student(self) -> str:
        """Folder of the coarse student that makes the codes; empty without one."""

    @property
    def dtype(self) -> str:
        """Of the codes that are compared one by one: `int8`, or `float16`."""

    @property
    def divisible(self) -> bool:
        """Whether a large index is kept by FAISS."""

    def frames(self, frames: int, insets: tuple[int, ...], fps: float) -> np.ndarray:
        """Numbers of a stored video's frames that are read, see `code_frames`."""

    def database_codes(self, vectors: np.ndarray) -> np.ndarray:
        """The codes of a database video.

        Args:
            vectors: floats [T, n, C], the descriptors of `span` of its `frames`.

        Returns:
            Float32 [codes, D].
        """

    def query_codes(self, vectors: np.ndarray) -> np.ndarray:
        """The codes of a query.

        Args:
            vectors: floats [T, R, C].

        Returns:
            Float32 [codes, views, D]; of the views the best one counts.
        """

    def stored(self, codes: np.ndarray) -> np.ndarray:
        """Codes as `dtype`."""


@dataclass(frozen=True)
class CodeRule:
    """Which descriptors of a frame make its code.

    Attributes:
        parts: first descriptor, last descriptor (not included) and weight of each part of a code;
            of several descriptors the mean counts.
        views: for each view of a query's frame the first and last descriptor of each part, or None
            for a part that is all zeros. The first view is the frame as it is.
        dims: C, values of a descriptor.
    """

    parts: tuple[tuple[int, int, float], ...]
    views: tuple[tuple[tuple[int, int] | None, ...], ...]
    dims: int

    @property
    def name(self) -> str:
        """Tells rules apart that give different codes."""
        parts = " ".join(f"{first}:{last}*{weight:g}" for first, last, weight in self.parts)
        return f"{_VERSION}; {parts}; {self.dims}; every {CODE_SECONDS:g} s"

    @property
    def values(self) -> int:
        """D, values of a code."""
        return len(self.parts) * self.dims

    @property
    def student(self) -> str:
        """See `IndexRule`."""
        return ""

    @property
    def dtype(self) -> str:
        """See `IndexRule`."""
        return "int8"

    @property
    def divisible(self) -> bool:
        """See `IndexRule`."""
        return True

    @property
    def span(self) -> tuple[int, int]:
        """First and last (not included) of the descriptors that codes are made of."""
        return min(part[0] for part in self.parts), max(part[1] for part in self.parts)

    def frames(self, frames: int, insets: tuple[int, ...], fps: float) -> np.ndarray:
        """See `code_frames`."""
        return code_frames(frames, insets, fps)

    def stored(self, codes: np.ndarray) -> np.ndarray:
        """Codes as int8."""
        return quantize(codes, ENCODINGS["int8"])

    def database_codes(self, vectors: np.ndarray) -> np.ndarray:
        """The codes of database frames.

        Args:
            vectors: floats [T, n, C], the descriptors of `span`.

        Returns:
            Float32 [T, D].
        """
        start = self.span[0]
        ranges = [(first - start, last - start) for first, last, _ in self.parts]
        return self._codes(vectors, ranges)

    def query_codes(self, vectors: np.ndarray) -> np.ndarray:
        """The codes of query frames, one for each view.

        Args:
            vectors: floats [T, R, C]; without query views only the first view is there. Of many
                frames 32 are taken.

        Returns:
            Float32 [frames, views, D].
        """
        if len(vectors) > _MAX_FRAMES:
            chosen = np.linspace(0, len(vectors) - 1, _MAX_FRAMES).round().astype(np.intp)
            vectors = vectors[chosen]
        there = [v for v in self.views if all(p is None or p[1] <= vectors.shape[1] for p in v)]
        return np.stack([self._codes(vectors, view) for view in there], axis=1)

    def _codes(self, vectors: np.ndarray, ranges: Sequence[tuple[int, int] | None]) -> np.ndarray:
        codes = np.zeros((len(vectors), len(self.parts), self.dims), np.float32)
        scale = sum(weight for _, _, weight in self.parts) ** -0.5
        for number, ((_, _, weight), part) in enumerate(zip(self.parts, ranges, strict=True)):
            if part is None:
                continue
            first, last = part
            mean = as_float32(vectors[:, first:last])
            mean = mean[:, 0] if last - first == 1 else mean.mean(axis=1)
            length = np.sqrt(np.einsum("tc,tc->t", mean, mean))[:, None]
            np.multiply(mean, weight**0.5 * scale / np.maximum(length, 1e-6), out=codes[:, number])
        return codes.reshape(len(vectors), -1)


def code_rule(layout: DescriptorLayout, dims: int) -> CodeRule:
    """The rule for a model's descriptors.

    Args:
        layout: of the model.
        dims: C of the store.
    """
    groups = {group.space: group for group in layout.groups if not group.query_only}
    named = [
        (groups[space], weight)
        for space, weight in (("lowpass", 1.0), ("thumbnail", THUMBNAIL_WEIGHT))
        if space in groups
    ] or [(layout.groups[0], 1.0)]
    slices = layout.slices
    own = tuple((slices[group.name].start, slices[group.name].stop) for group, _ in named)
    spaces = [group.space for group, _ in named]
    views: list[tuple[tuple[int, int] | None, ...]] = [own]
    for group in layout.groups:
        if group.space not in spaces or not group.augmentation or group.augmentation.parts > 1:
            continue
        if group.space == "regions":
            continue
        for row in range(slices[group.name].start, slices[group.name].stop):
            # Of a mirrored picture only the thumbnail is there; the other part stays as it is.
            whole = group.augmentation.kind == "flip"
            view: list[tuple[int, int] | None] = list(own) if whole else [None] * len(own)
            view[spaces.index(group.space)] = row, row + 1
            views.append(tuple(view))
    parts = tuple((*place, weight) for place, (_, weight) in zip(own, named, strict=True))
    return CodeRule(parts, tuple(views), dims)


@lru_cache(maxsize=256)
def code_frames(frames: int, insets: tuple[int, ...], fps: float) -> np.ndarray:
    """Numbers of the frames of a stored video that have a code.

    Args:
        frames: stored frames, those of insets included.
        insets: frames of each inset, the last of `frames`.
        fps: sampled frames a second.

    Returns:
        Int64, ascending; every `CODE_SECONDS`, and at least one of the video and of each inset.
    """
    step = max(1, round(CODE_SECONDS * fps))
    numbers, start = [], 0
    for length in (frames - sum(insets), *insets):
        numbers.append(np.arange(start + min(step // 2, max(0, length - 1)), start + length, step))
        start += length
    together = np.concatenate(numbers)
    together.flags.writeable = False  # shared by all videos of these lengths
    return together
