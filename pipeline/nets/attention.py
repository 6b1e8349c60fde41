"""Attention over regions (ViSiL, ICCV 2019, section 3.1; context vector as in Yang et al. 2016)."""

from __future__ import annotations

from typing import Any

from pipeline.nets.backend import ops


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
