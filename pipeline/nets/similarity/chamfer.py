"""Chamfer similarity of two videos out of frame similarities or outputs of the comparator.

ViSiL (ICCV 2019), section 3.3, equation 4; the symmetric variant is the mean of both directions.
The larger of both directions is ours.
"""

from __future__ import annotations

import numpy as np

Weights = tuple[np.ndarray, np.ndarray]


def video_to_video(
    similarity: np.ndarray, function: str = "chamfer", weights: Weights | None = None
) -> float:
    """Mean over the query's rows of the maximum over the target's columns.

    Args:
        similarity: float [Tq, Tt], frame-to-frame or the comparator's output.
        function: "symmetric_chamfer" for the mean of both directions, "max_chamfer" for the larger.
        weights: of rows and columns, float [Tq] and [Tt], for a weighted mean.
    """
    rows, columns = weights or (None, None)
    there = float(np.average(similarity.max(axis=1), weights=rows))
    if function == "chamfer":
        return there
    back = float(np.average(similarity.max(axis=0), weights=columns))
    return max(there, back) if function == "max_chamfer" else (there + back) / 2
