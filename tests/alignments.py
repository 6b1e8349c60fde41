"""Made-up matrices of frame similarities with known matches."""

import numpy as np

UNRELATED, MATCH, FALL = 0.1, 0.8, 0.25


def samples(seconds, fps=1.0, start=0.0):
    """Sample times of a video, or of a part of one."""
    return np.arange(start, seconds - 1e-9, 1 / fps)


def similarities(query, database, matches, seed=0, fall=FALL, noise=0.03):
    """Float32 [Q, D]: `MATCH` on each match's line, falling off beside it, `UNRELATED` elsewhere.

    Args:
        query, database: sample times.
        matches: query start and end, database start and end of each.
        fall: similarity lost a second beside the line.
    """
    rng = np.random.default_rng(seed)
    matrix = UNRELATED + noise * rng.standard_normal((len(query), len(database)))
    for first, last, begin, end in matches:
        slope = (end - begin) / (last - first)
        rows = np.flatnonzero((query >= first) & (query < last))
        columns = np.flatnonzero((database >= begin) & (database < end))
        line = begin + slope * (query[rows, None] - first)
        beside = np.abs(database[columns] - line) / max(1.0, slope)
        alike = MATCH - fall * np.minimum(beside, 2.4) + noise * rng.standard_normal(beside.shape)
        place = np.ix_(rows, columns)
        matrix[place] = np.maximum(matrix[place], alike)
    return matrix.astype(np.float32)
