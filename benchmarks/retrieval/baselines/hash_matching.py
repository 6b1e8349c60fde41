"""How two lists of hashes are compared: one rule for each kind of tool. Pure numpy.

A video is an array [T, C], one row a frame or one row in all; bits are +-1, so that a dot product
is the number of equal bits less the number of unequal ones. A rule takes one query and all videos
of the database one below the other, with the row where each begins. Larger means more alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pipeline.nets.model.whitening import unit_vectors

Rule = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

MISSING = -1.0  # score of a pair of which one side has no hash: below every other
PDQ_BITS = 256
PDQ_DISTANCE = 31  # bits; a frame of fewer unequal ones, or as many, matches
PDQ_QUALITY = 50  # 0 to 100; frames below it are not compared


def table(rule: Rule, queries: Sequence[np.ndarray], database: Sequence[np.ndarray]) -> np.ndarray:
    """Scores of all pairs, float32 [Q, D]; MISSING for videos without a hash."""
    scores = np.full((len(queries), len(database)), MISSING, dtype=np.float32)
    held = [i for i, video in enumerate(database) if len(video)]
    if held:
        everything = np.concatenate([database[i] for i in held])
        starts = np.cumsum([0, *(len(database[i]) for i in held[:-1])])
        for row, query in zip(scores, queries, strict=True):
            if len(query):
                row[held] = rule(query, everything, starts)
    return scores


def mean_of_best(query: np.ndarray, everything: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Chamfer: dot product of the best frame of the video, mean over the query's frames; [D].

    With one row a video it is the plain dot product.
    """
    return np.maximum.reduceat(query @ everything.T, starts, axis=1).mean(axis=0)


def best_of_all(query: np.ndarray, everything: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Dot product of the best pair of frames; [D].

    The example of video deduplication in perception's documentation calls two videos duplicates
    if any pair of frames is nearer than a threshold; that is this score against a threshold.
    """
    return np.maximum.reduceat((query @ everything.T).max(axis=0), starts)


def nearest(query: np.ndarray, everything: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """1 / (1 + Euclidean distance) of single vectors, one row a video; [D]."""
    return 1 / (1 + np.linalg.norm(everything - query, axis=1))


def vpdq(query: np.ndarray, everything: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Share of the query's frames that match a frame of the video, ties by the video's share; [D].

    "Comparison (Matching) Algorithm" in ThreatExchange's vpdq/README.md: a frame matches if any
    frame of the other side is within 31 bits; a video matches if 80 % of the known video's frames
    and any share (0 %) of the upload's do. The query is the known video here, and the files that
    are searched are what was uploaded. The shares before their thresholds are the graded score.
    """
    near = query @ everything.T >= PDQ_BITS - 2 * PDQ_DISTANCE
    lengths = np.diff([*starts, len(everything)])
    of_query = np.logical_or.reduceat(near, starts, axis=1).mean(axis=0)
    of_video = np.add.reduceat(near.any(axis=0).astype(np.float32), starts) / lengths
    return of_query + of_video / 1000


def signs(packed: np.ndarray) -> np.ndarray:
    """Packed bits, uint8 [T, B], to float32 [T, 8 B] of +-1."""
    return np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1


def pdq_frames(hashes: np.ndarray) -> np.ndarray:
    """Distinct frames of quality 50 or more, as vpdq's README has it.

    Args:
        hashes: uint8 [T, 33], the bits of a frame's hash and its quality.

    Returns:
        float32 [at most T, 256] of +-1.
    """
    good = hashes[hashes[:, -1] >= PDQ_QUALITY, :-1]
    return signs(np.unique(good, axis=0))


def unit_parts(vector: np.ndarray, parts: int) -> np.ndarray:
    """[1, C] scaled so that a dot product is the mean cosine of `parts` equal parts."""
    split = np.float32(vector).reshape(parts, -1)
    return (unit_vectors(split) / np.sqrt(np.float32(parts))).reshape(1, -1)
