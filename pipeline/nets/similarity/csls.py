"""How near a query's vector lies to everything: what is taken off its similarities.

A part of a picture may be a wall or the sky, and that is like many pictures. By the best of many
looks such a part would make unrelated videos alike. Its hubness is the mean similarity to its
nearest neighbours among vectors of other videos: r of CSLS, for the side of queries (Conneau et
al., "Word translation without parallel data", ICLR 2018, section 2.3; hubs: Radovanovic et al.,
JMLR 11, 2010).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import ops
from ..model.descriptors import Layout

NEAREST = 0.01  # share of the hubs that are neighbours


def hubness(x: Any, hubs: np.ndarray) -> Any:
    """Mean similarity to the nearest hubs.

    Args:
        x: float32 [..., C], of length 1.
        hubs: float32 [M, C], of length 1, soft vectors of other videos.

    Returns:
        float32 [...].
    """
    dots = ops.matmul(x, np.ascontiguousarray(hubs.T))
    nearest, _ = ops.top_k(dots, max(1, round(NEAREST * len(hubs))))
    return ops.mean(nearest, axis=-1)


def view_offsets(whole: Any, layout: Layout, hubs: np.ndarray | None) -> Any:
    """What is added to the similarities of soft vectors, views and pixels.

    Args:
        whole: float32 [..., w, C], the vectors at `layout.whole_places`.
        hubs: of the model; None if none of the views has hubness taken off.

    Returns:
        float32 [..., w].
    """
    shares = np.array(layout.whole_hubness, np.float32)
    offsets = np.array(layout.whole_offsets, np.float32)
    if hubs is None or not shares.any():
        return offsets + ops.zeros_like(whole[..., 0])
    return offsets - shares * hubness(whole, hubs)
