"""What the network is compared with: simple hashes of frames, and one vector a video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.retrieval.baselines.hash_cache import Log, hashes_of
from benchmarks.retrieval.baselines.hash_matching import mean_of_best, signs, table
from pipeline.image.luminance import LUMINANCE
from pipeline.nets.model.whitening import unit_vectors
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
    grey = scale(frames, SIDE, SIDE).astype(np.float32) @ LUMINANCE
    angle = np.outer(np.arange(KEPT), 2 * np.arange(SIDE) + 1) * np.pi / (2 * SIDE)
    waves = np.cos(angle).astype(np.float32)
    low = (waves @ grey @ waves.T).reshape(len(frames), -1)
    return np.where(low > np.median(low, axis=1, keepdims=True), 1, -1).astype(np.float32)


def phash_bits_of_file(path: str) -> np.ndarray:
    """Hashes of one frame a second, packed: uint8 [T, 8]."""
    frames = read_clip(path, 1.0, short_side=240).frames
    return np.packbits(phash(frames) > 0, axis=1)


def colours(frames: np.ndarray) -> np.ndarray:
    """Histogram of hue (16 bins), saturation (4) and value (4); its square root.

    The bins are those of MPEG-7's scalable colour descriptor (Manjunath et al., "Color and Texture
    Descriptors", 2001). A dot product of two is their Bhattacharyya coefficient, 1 for the same.

    Args:
        frames: uint8 [T, H, W, 3].

    Returns:
        float16 [T, 256], each of length 1.
    """
    rgb = frames.astype(np.float32)
    red, green, blue = np.moveaxis(rgb, -1, 0)
    value = rgb.max(axis=-1)
    chroma = value - rgb.min(axis=-1)
    span = np.maximum(chroma, 1e-6)
    hue = np.select(
        [chroma == 0, value == red, value == green],
        [0.0, (green - blue) / span % 6, (blue - red) / span + 2],
        (red - green) / span + 4,
    )  # 0 to 6
    saturation = chroma / np.maximum(value, 1)
    bins = [
        np.minimum((part * n).astype(int), n - 1)
        for part, n in ((hue / 6, 16), (saturation, 4), (value / 255, 4))
    ]
    bin_of_pixel = np.ravel_multi_index(bins, (16, 4, 4)).reshape(len(frames), -1)
    counts = np.stack([np.bincount(frame, minlength=256) for frame in bin_of_pixel])
    return np.sqrt(counts / counts.sum(axis=1, keepdims=True)).astype(np.float16)


def colours_of_file(path: str) -> np.ndarray:
    """Colour histograms of one frame a second, float16 [T, 256]."""
    return colours(read_clip(path, 1.0, short_side=120).frames)


def phash_scores(
    queries: Mapping[str, str],
    database: Mapping[str, str],
    folder: Path,
    workers: int,
    log: Log,
) -> np.ndarray:
    """Share of equal bits of the best matching frame, mean over the query's frames; [Q, D].

    Args:
        queries, database: id -> path.
        folder: where hashes are kept; workers: processes that decode.
    """
    paths = [*queries.values(), *database.values()]
    packed = hashes_of(paths, phash_bits_of_file, folder, workers, log)
    bits = [signs(video) for video in packed]
    return table(mean_of_best, bits[: len(queries)], bits[len(queries) :]) / 128 + 0.5


def pooled_scores(stores: Sequence[Path], lists: Sequence[list[str]]) -> np.ndarray:
    """Cosine of one vector a video, see `pooled`; [Q, D]."""
    queries, database = (pooled(path, ids) for path, ids in zip(stores, lists, strict=True))
    return queries @ database.T


def pooled(path: Path, ids: Sequence[str]) -> np.ndarray:
    """Mean of each video's vectors that both sides have (regions, soft, pixels), of length 1;
    float32 [V, C]."""
    with open_store(path) as store:
        shared = store.spec.shared_descriptors  # what only queries have is left out
        own = [store.read(i).vectors[: store.record(i).own_frames, :shared] for i in ids]
        means = [np.float32(vectors).mean(axis=(0, 1)) for vectors in own]
    return unit_vectors(np.stack(means))
