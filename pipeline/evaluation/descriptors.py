"""The search of VSC2022's descriptor track: frames of queries against frames of references."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .files import SourceFile

_BLOCK = 4096  # reference frames that are compared at once


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
        with np.load(io.BytesIO(file.data), allow_pickle=False) as arrays:
            names, features = arrays["video_ids"], arrays["features"]
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
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
            f"{reference_file.path} has {references.features.shape[1]}"
        )
    kept = frame_pairs * len(queries.ids)
    values, pairs = np.empty(0, np.float32), np.empty(0, np.int64)
    for start in range(0, len(references.features), _BLOCK):
        part = slice(start, start + _BLOCK)
        block = (queries.features @ references.features[part].T).ravel()
        numbers = (
            queries.videos[:, None] * len(references.ids) + references.videos[part][None, :]
        ).ravel()
        if len(values) == kept:
            better = block > values.min()
            block, numbers = block[better], numbers[better]
        values, pairs = _best(np.append(values, block), np.append(pairs, numbers), kept)
    best = np.full(len(queries.ids) * len(references.ids), -np.inf, np.float32)
    np.maximum.at(best, pairs, values)
    found = np.flatnonzero(best > -np.inf)
    values, found = _best(best[found], found, video_pairs * len(queries.ids))
    scores = {
        (queries.ids[n // len(references.ids)], references.ids[n % len(references.ids)]): float(v)
        for v, n in zip(values, found, strict=True)
    }
    return scores, queries.ids, references.ids


def _best(values: np.ndarray, places: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest values with their places, best first; equal ones in their order."""
    order = np.argsort(-values, kind="stable")[:count]
    return values[order], places[order]
