"""What the network is compared with: a perceptual hash of frames, and one vector a video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from pipeline.store import open_store
from tools.clips import read_clip, scale

SIDE, KEPT = 32, 8  # pixels of the shrunken frame, frequencies kept in each direction


def phash(frames: np.ndarray) -> np.ndarray:
    """64 bits a frame: signs of the lowest frequencies about their median.

    The usual pHash (Zauner, "Implementation and Benchmarking of Perceptual Image Hash
    Functions", 2010): grey, 32 x 32, DCT-II, the 8 x 8 lowest frequencies, median.

    Args:
        frames: uint8 [T, H, W, 3].

    Returns:
        float32 [T, 64] of +-1.
    """
    grey = scale(frames, SIDE, SIDE).astype(np.float32) @ np.float32([0.299, 0.587, 0.114])
    angle = np.outer(np.arange(KEPT), 2 * np.arange(SIDE) + 1) * np.pi / (2 * SIDE)
    waves = np.cos(angle).astype(np.float32)
    low = (waves @ grey @ waves.T).reshape(len(frames), -1)
    return np.where(low > np.median(low, axis=1, keepdims=True), 1, -1).astype(np.float32)


def phash_of_file(path: str) -> np.ndarray:
    """Hashes of one frame a second."""
    return phash(read_clip(path, 1.0, short_side=240).frames)


def phash_scores(
    queries: Mapping[str, str], database: Mapping[str, str], workers: int
) -> np.ndarray:
    """Share of equal bits of the best matching frame, mean over the query's frames; [Q, D].

    Args:
        queries, database: id -> path; workers: processes that decode.
    """
    paths = [*queries.values(), *database.values()]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        hashes = list(pool.map(phash_of_file, paths, chunksize=8))
    return chamfer(hashes[: len(queries)], hashes[len(queries) :]) / 128 + 0.5


def chamfer(queries: list[np.ndarray], database: list[np.ndarray]) -> np.ndarray:
    """Mean over query vectors of the best dot product; lists of [T, C], result [Q, D]."""
    everything = np.concatenate(database)
    starts = np.cumsum([0, *(len(video) for video in database[:-1])])
    rows = [
        np.maximum.reduceat(query @ everything.T, starts, axis=1).mean(axis=0) for query in queries
    ]
    return np.stack(rows)


def pooled_scores(stores: Sequence[Path], lists: Sequence[list[str]]) -> np.ndarray:
    """Cosine of one vector a video, the mean of all its region vectors; [Q, D]."""
    sides = []
    for path, ids in zip(stores, lists, strict=True):
        with open_store(path) as store:
            means = [np.float32(store.read(i).vectors).mean(axis=(0, 1)) for i in ids]
        sides.append(np.stack([mean / max(np.linalg.norm(mean), 1e-6) for mean in means]))
    return sides[0] @ sides[1].T
