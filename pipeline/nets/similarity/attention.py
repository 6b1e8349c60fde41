"""How much a region vector counts.

Attention: ViSiL, ICCV 2019, section 3.1; context vector as in Yang et al. 2016. Content: ours, so
that frames with next to nothing in them do not make unrelated videos alike.
"""

from __future__ import annotations

from typing import Any

from ..backend import ops
from ..model.blank import FLOOR, Blank
from ..model.descriptors import Layout


def attend(x: Any, context: Any) -> Any:
    """Scale every region vector by how well it fits the learned context: x (x . u / 2 + 1/2).

    Args:
        x: float32 [..., C], of length 1.
        context: float32 [C], of length 1, so that weights lie in [0, 1].

    Returns:
        float32 [..., C], no longer of length 1: a dull region counts for less.
    """
    return x * weight_of(x, context)


def weight_of(x: Any, context: Any) -> Any:
    """The weights alone, float32 [..., 1]; arguments as in `attend`."""
    return ops.sum(x * context, axis=-1, keepdims=True) / 2 + 0.5


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


def content_of_views(x: Any, layout: Layout, blank: Blank, of_queries: bool) -> tuple[Any, Any]:
    """`content` of all vectors of frames, and the frames' weights.

    Soft vector and pixels lie in spaces of their own: those of a target count as much as the frame.
    A query's other vectors keep their length, since its frames are weighted afterwards.

    Args:
        x: float32 [N, R, C], laid out as `layout` says; of targets the shared vectors only.

    Returns:
        float32 [N, R] and [N].
    """
    regions = content(x[:, : layout.regions], blank)
    weights = frame_weights(regions)
    parts = [regions]
    own = layout.soft + layout.pixels
    parts += [ops.ones_like(weights)[:, None] if of_queries else weights[:, None]] * own
    if of_queries and layout.query > layout.shared:
        parts.append(ops.ones_like(x[:, layout.shared : layout.query, 0]))
    return (parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=1)), weights


def frame_weights(regions: Any) -> Any:
    """Weight of each frame: the mean of its regions' `content`, [..., R] -> [...], never 0."""
    return ops.maximum(ops.mean(regions, axis=-1), FLOOR)
