"""The search of VSC2022's descriptor track: frames of queries against frames of references."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .files import SourceFile

_BLOCK = 4096  # frames of either side that are compared at once
_MAX_BYTES = 64 << 30  # of a file, unpacked


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames of videos: ids by number, [N] numbers, [N, C] float32."""

    ids: list[str]
    videos: np.ndarray
    features: np.ndarray


def read_frames(file: SourceFile) -> Frames:
    """Read `video_ids` and `features` of an `.npz`; rows of a video stand together.

    Raises:
        InputError: they are not there, do not fit each other, or are no finite numbers.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(file.data)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > _MAX_BYTES:
            raise ValueError(f"{size} bytes unpacked")
        with np.load(io.BytesIO(file.data), allow_pickle=False) as arrays:
            names, features = arrays["video_ids"], arrays["features"]
    except (
        KeyError, ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile
    ) as error:  # fmt: skip
        raise InputError(
            f"{file.path}: is no .npz of features ({error}); it must hold video_ids and features"
        ) from None
    if names.ndim != 1 or features.ndim != 2 or len(names) != len(features):
        raise InputError(f"{file.path}: video_ids {names.shape} do not fit {features.shape}")
    features = features.astype(np.float32)
    if not np.isfinite(features).all():
        raise InputError(f"{file.path}: a feature is no finite number; write the file again")
    ids, first, videos = np.unique(names.astype(str), return_index=True, return_inverse=True)
    order = np.argsort(first)  # ids in the order of the file
    return Frames(ids[order].tolist(), np.argsort(order)[videos], features)


def best_pairs(
    query_file: SourceFile, reference_file: SourceFile, *, frame_pairs: int, video_pairs: int
) -> tuple[dict[tuple[str, str], float], list[str], list[str]]:
    """The best pairs of videos by their best pair of frames, by inner product.

    Args:
        frame_pairs, video_pairs: that are kept, times the number of queries.

    Returns:
        Scores by (query id, reference id), best first; ids of queries; ids of references.

    Raises:
        InputError: see `read_frames`; or the features have different lengths.
    """
    queries, references = read_frames(query_file), read_frames(reference_file)
    if queries.features.shape[1] != references.features.shape[1]:
        raise InputError(
            f"{query_file.path}: {queries.features.shape[1]} values a frame, but "
            f"{reference_file.path} has {references.features.shape[1]}; give features of one model"
        )
    best = _BestPairs(frame_pairs * len(queries.ids))
    for rows in _blocks(len(queries.features)):
        for columns in _blocks(len(references.features)):
            first = queries.videos[rows, None] * len(references.ids)
            numbers = first + references.videos[columns]
            best.add(queries.features[rows] @ references.features[columns].T, numbers)
    values, pairs = best.of_pairs()
    values, pairs = _best(values, pairs, video_pairs * len(queries.ids))
    scores = {
        (queries.ids[n // len(references.ids)], references.ids[n % len(references.ids)]): float(v)
        for v, n in zip(values, pairs, strict=True)
    }
    return scores, queries.ids, references.ids


class _BestPairs:
    """The largest values seen so far with the numbers of their pairs; cut once they are twice as
    many as are wanted.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._values, self._numbers = [np.empty(0, np.float32)], [np.empty(0, np.int64)]
        self._limit = -np.inf

    def add(self, values: np.ndarray, numbers: np.ndarray) -> None:
        better = values > self._limit
        self._values.append(values[better])
        self._numbers.append(numbers[better])
        if sum(map(len, self._values)) > 2 * self._count:
            self._cut()

    def of_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """The largest value of each pair, by ascending number."""
        self._cut()
        (values,), (numbers,) = self._values, self._numbers
        order = np.lexsort((-values, numbers))
        numbers, first = np.unique(numbers[order], return_index=True)
        return values[order][first], numbers

    def _cut(self) -> None:
        values, numbers = np.concatenate(self._values), np.concatenate(self._numbers)
        values, numbers = _best(values, numbers, self._count)
        self._values, self._numbers = [values], [numbers]
        if len(values) == self._count:
            self._limit = float(values[-1])


def _blocks(count: int) -> list[slice]:
    return [slice(start, start + _BLOCK) for start in range(0, count, _BLOCK)]


def _best(values: np.ndarray, places: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest values with their places, best first; equal ones in their order."""
    order = np.argsort(-values, kind="stable")[:count]
    return values[order], places[order]
