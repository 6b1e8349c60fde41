"""What the candidate index keeps of a frame, and what of a query is compared with it.

A code is a vector of length 1. Models with global descriptors of a frame give the lowpass and the
thumbnail descriptor, side by side; the thumbnail counts half. Other models give the mean of the
region descriptors. The similarity of a query frame and a database frame is the largest dot product
over the query's views, and that of two videos the mean over the query's frames of the best frame.
Of views that the network takes hubness off (CSLS, `nets.similarity.csls`), a crop that shows only
sky for instance, half of that is taken off here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from ..quantization import ENCODINGS, as_float32, quantize

if TYPE_CHECKING:
    from ..nets.model.descriptors import DescriptorLayout

CODE_SECONDS = 2.0  # between two frames of a video that have a code
THUMBNAIL_WEIGHT = 0.5  # the lowpass descriptor counts 1
_VERSION = 1
_MAX_FRAMES = 32, 16  # of a query that are looked up, without and with views
_HUBNESS = 0.5  # of the CSLS of a similarity term
_NEAREST = 0.01  # share of the anchors that tell the hubness of a view


class QueryCodes(NamedTuple):
    """The codes of a query.

    Attributes:
        codes: float32 [T, views, D]; of a frame's views the best one counts.
        offsets: float32 [T, views], added to the similarities.
    """

    codes: np.ndarray
    offsets: np.ndarray


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

    def query_codes(self, vectors: np.ndarray) -> QueryCodes:
        """The codes of a query.

        Args:
            vectors: floats [T, R, C].
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
        hubness: of each view, how much of its mean similarity to its nearest anchors is taken off;
            empty: nothing of any view.
        anchors: float32 [M, C], lowpass descriptors of other videos; None: nothing is taken off.
    """

    parts: tuple[tuple[int, int, float], ...]
    views: tuple[tuple[tuple[int, int] | None, ...], ...]
    dims: int
    hubness: tuple[float, ...] = ()
    anchors: np.ndarray | None = field(default=None, compare=False, repr=False)

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

    def query_codes(self, vectors: np.ndarray) -> QueryCodes:
        """The codes of query frames, one for each view.

        Args:
            vectors: floats [T, R, C]; without query views only the first view is there. Of many
                frames 32 are taken, with views 16.
        """
        there = [
            number
            for number, view in enumerate(self.views)
            if all(part is None or part[1] <= vectors.shape[1] for part in view)
        ]
        most = _MAX_FRAMES[len(there) > 1]
        if len(vectors) > most:
            vectors = vectors[np.linspace(0, len(vectors) - 1, most).round().astype(np.intp)]
        codes = np.stack([self._codes(vectors, self.views[number]) for number in there], axis=1)
        offsets = np.zeros(codes.shape[:2], np.float32)
        if self.anchors is not None and self.hubness:
            for place, number in enumerate(there):
                if self.hubness[number]:
                    offsets[:, place] = self._hub_offsets(codes[:, place], self.hubness[number])
        return QueryCodes(codes, offsets)

    def _hub_offsets(self, codes: np.ndarray, share: float) -> np.ndarray:
        """What is added for views [T, D] that have no other part than the lowpass one."""
        assert self.anchors is not None
        scale = self.parts[0][2] / sum(weight for _, _, weight in self.parts)
        lowpass = codes[:, : self.dims] * scale**0.5
        nearest = max(1, round(_NEAREST * len(self.anchors)))
        similar = np.partition(lowpass @ self.anchors.T, -nearest, axis=1)[:, -nearest:]
        return -share * similar.mean(axis=1)

    def _codes(self, vectors: np.ndarray, ranges: Sequence[tuple[int, int] | None]) -> np.ndarray:
        scale = sum(weight for _, _, weight in self.parts) ** -0.5
        factors = [weight**0.5 * scale for _, _, weight in self.parts]
        singles = [(number, number + 1) for number in range(vectors.shape[1])]
        if list(ranges) == singles:  # all at once: an index of a million videos has 30 million
            every = as_float32(vectors)
            length = np.sqrt(np.einsum("tpc,tpc->tp", every, every))
            scaled = np.array(factors, np.float32) / np.maximum(length, 1e-6)
            return (every * scaled[:, :, None]).reshape(len(vectors), -1)
        codes = np.zeros((len(vectors), len(self.parts), self.dims), np.float32)
        for number, part in enumerate(ranges):
            if part is None:
                continue
            first, last = part
            mean = as_float32(vectors[:, first:last])
            mean = mean[:, 0] if last - first == 1 else mean.mean(axis=1)
            length = np.sqrt(np.einsum("tc,tc->t", mean, mean))[:, None]
            np.multiply(mean, factors[number] / np.maximum(length, 1e-6), out=codes[:, number])
        return codes.reshape(len(vectors), -1)


def code_rule(layout: DescriptorLayout, dims: int, anchors: np.ndarray | None = None) -> CodeRule:
    """The rule for a model's descriptors.

    Args:
        layout: of the model.
        dims: C of the store.
        anchors: of the model, as `CodeRule` takes them; only a search needs them.
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
    taken_off = {term.query: _HUBNESS * term.csls for term in layout.terms}
    views: list[tuple[tuple[int, int] | None, ...]] = [own]
    hubness = [0.0]
    for group in layout.groups:
        if group.space not in spaces or not group.augmentation or group.space == "regions":
            continue
        for row in range(slices[group.name].start, slices[group.name].stop):
            # Of a mirrored picture only the thumbnail is there; the other part stays as it is.
            whole = group.augmentation.kind == "flip"
            view: list[tuple[int, int] | None] = list(own) if whole else [None] * len(own)
            view[spaces.index(group.space)] = row, row + 1
            views.append(tuple(view))
            alone = group.space == "lowpass" and not whole
            hubness.append(taken_off.get(group.name, 0.0) if alone else 0.0)
    parts = tuple((*place, weight) for place, (_, weight) in zip(own, named, strict=True))
    return CodeRule(parts, tuple(views), dims, tuple(hubness), anchors)


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
