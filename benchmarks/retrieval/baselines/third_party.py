"""Hashes by other people's tools, each made as its own documentation does.

The tools are optional (`requirements-others.txt`) and imported when first used. All functions
take a path and return [T, C], one row a frame or one in all; bits are packed into uint8.
"""

from __future__ import annotations

from tempfile import TemporaryDirectory

import numpy as np

from tools.clips import read_clip


def videohash2_of_file(path: str) -> np.ndarray:
    """64 bits a video, uint8 [1, 8]: `VideoHash(path=...)` with its defaults.

    Wavelet hash of a collage of one frame a second (black bars cropped), XOR of whether the
    dominant colour of each 64th of the frames is the one expected there. It needs ffmpeg. Its
    `is_similar` allows 10 bits; the README says that it cannot find a part of a video.
    https://github.com/demmenie/videohash2
    """
    from videohash2 import VideoHash

    with TemporaryDirectory() as folder:
        return np.packbits(VideoHash(path=path, storage_path=folder).bitlist)[None]


def vpdq_of_file(path: str) -> np.ndarray:
    """PDQ hash of one frame a second and its quality, uint8 [T, 33]: `vpdq.computeHash`.

    https://github.com/facebook/ThreatExchange/tree/main/vpdq
    """
    import vpdq

    frames = vpdq.computeHash(path, seconds_per_hash=1.0, thread_count=1)
    rows = [[*bytes.fromhex(f.hex), f.quality] for f in frames]
    return np.array(rows, dtype=np.uint8).reshape(-1, 33)


def pdqhash_of_file(path: str) -> np.ndarray:
    """The same through PyPI `pdqhash`, for those who cannot build vpdq (it needs libav*-dev)."""
    import pdqhash

    pairs = [pdqhash.compute(frame) for frame in read_clip(path, 1.0, short_side=512).frames]
    rows = [[*np.packbits(bits), min(quality, 100)] for bits, quality in pairs]
    return np.array(rows, dtype=np.uint8).reshape(-1, 33)


def perception_frames_of_file(path: str) -> np.ndarray:
    """256-bit pHash of frames that differ from the first, uint8 [T, 32].

    "Video deduplication" in perception's documentation (docs/examples/deduplication.rst):
    `FramewiseHasher` of `PHash(hash_size=16)`, one frame a second, quality of at least 90. Its
    example gives thresholds of 50 in the bits of old; today's are shares, so 50 / 256, which is
    the 0.2 that the same page recommends for this hash.
    """
    from perception import hashers

    hasher = hashers.FramewiseHasher(
        frame_hasher=hashers.PHash(hash_size=16),
        interframe_threshold=50 / 256,
        frames_per_second=1,
        quality_threshold=90,
    )
    hashes = hasher.compute(path, hash_format="vector")
    return np.packbits(np.array(hashes, dtype=bool).reshape(-1, 256), axis=1)


def perception_tmk1_of_file(path: str) -> np.ndarray:
    """Mean of the frames' real-valued pHashes, uint8 [1, 144], compared by Euclidean distance.

    `phashu8_tmkl1` of "Video Hashing" in docs/examples/benchmarking.rst, the better of the two
    hashers on that page for most changes; 5 frames a second.
    """
    from perception import hashers

    hasher = hashers.TMKL1(
        frame_hasher=hashers.PHashU8(exclude_first_term=False, freq_shift=1, hash_size=12),
        frames_per_second=5,
        distance_metric="euclidean",
        dtype="uint8",
        norm=None,
        quality_threshold=90,
    )
    return _single(hasher.compute(path, hash_format="vector"), 144)


def perception_tmk2_of_file(path: str) -> np.ndarray:
    """Temporal match kernel, float32 [1, 65280]: `TMKL2` with its defaults, 15 frames a second.

    4 periods x 64 Fourier coefficients x 255 values. `compute_distance` is one less the mean over
    the periods of the cosine, without shifts in time (Poullot et al., "Temporal Matching Kernel
    with Explicit Feature Maps", ACM Multimedia 2015).
    """
    from perception import hashers

    return _single(hashers.TMKL2().compute(path, hash_format="vector"), 65280)


def _single(vector: np.ndarray | None, width: int) -> np.ndarray:
    """[1, C]; [0, C] where no frame was good enough for the tool."""
    if vector is None:
        return np.empty((0, width), np.uint8)
    kind = np.uint8 if vector.dtype == np.uint8 else np.float32
    return np.asarray(vector, dtype=kind).reshape(1, width)
