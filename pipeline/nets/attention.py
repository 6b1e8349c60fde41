"""How much a region vector counts.

Attention: ViSiL, ICCV 2019, section 3.1; context vector as in Yang et al. 2016. Content: ours, so
that frames with next to nothing in them do not make unrelated videos alike.
"""

from __future__ import annotations

from typing import Any

from pipeline.nets.backend import ops
from pipeline.nets.blank import FLOOR, Blank


def attend(x: Any, context: Any) -> Any:
    """Scale every region vector by how well it fits the learned context: x (x . u / 2 + 1/2).

    Args:
        x: float32 [..., C], of length 1.
        context: float32 [C], of length 1, so that weights lie in [0, 1].

    Returns:
        float32 [..., C], no longer of length 1: a dull region counts for less.
    """
    weights = ops.sum(x * context, axis=-1, keepdims=True) / 2 + 0.5
    return x * weights


def content(x: Any, blank: Blank) -> Any:
    """1 for a region with something in it, 0 for a blank one, in between a smooth step.

    Args:
        x: float32 [..., C], of length 1, before attention.
        blank: of the same C.

    Returns:
        float32 [...] within [0, 1].
    """
    directions = ops.convert_to_tensor(blank.directions)
    inside = ops.sum(ops.square(ops.matmul(x, ops.transpose(directions))), axis=-1)
    excess = (inside - blank.chance) / (1 - blank.chance)
    t = ops.clip((excess - blank.low) / (blank.high - blank.low), 0.0, 1.0)
    return 1 - t * t * (3 - 2 * t)


def frame_weights(regions: Any) -> Any:
    """Weight of each frame: the mean of its regions' `content`, [..., R] -> [...], never 0."""
    return ops.maximum(ops.mean(regions, axis=-1), FLOOR)
