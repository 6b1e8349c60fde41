"""How much a descriptor counts.

Attention: ViSiL, ICCV 2019, section 3.1; context vector as in Yang et al. 2016. Attention by tanh
and binarization: DnS, Kordopatis-Zilos et al., IJCV 2022. Content: ours, so that frames with next
to nothing in them do not make unrelated videos alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import ops
from ..layers.whitening import l2_normalize
from ..model.blank import FLOOR, Blank
from ..model.descriptors import DescriptorLayout
from ..model.model import Model


def attend(x: Any, context: Any) -> Any:
    """Scale every descriptor by how well it fits the learned context: x (x . u / 2 + 1/2).

    Args:
        x: float32 [..., C], of length 1.
        context: float32 [C], of length 1, so that weights lie in [0, 1].

    Returns:
        float32 [..., C], no longer of length 1: a dull region counts for less.
    """
    return x * attention_weights(x, context)


def attention_weights(x: Any, context: Any) -> Any:
    """The weights alone, float32 [..., 1]; arguments as in `attend`."""
    return ops.sum(x * context, axis=-1, keepdims=True) / 2 + 0.5


def attend_by_tanh(x: Any, context: Any, matrix: Any, bias: Any) -> Any:
    """Scale every descriptor by sigmoid(u . tanh(x W + b)).

    Args:
        x: float32 [..., C], of length 1.
        context: float32 [C].
        matrix, bias: float32 [C, C] and [C].

    Returns:
        float32 [..., C].
    """
    hidden = ops.tanh(ops.matmul(x, matrix) + bias)
    return x * ops.sigmoid(ops.sum(hidden * context, axis=-1, keepdims=True))


def binarized(x: Any, matrix: Any) -> Any:
    """Signs of the projections x W, over sqrt(bits), so that products are shares of equal bits.

    Args:
        x: float32 [..., C].
        matrix: float32 [C, bits].

    Returns:
        float32 [..., bits], of length 1 where no projection is 0.
    """
    signs = ops.sign(ops.matmul(l2_normalize(x), matrix))
    return signs / np.float32(np.sqrt(matrix.shape[-1]))


def apply_head(x: Any, model: Model) -> Any:
    """What the head of a model does to descriptors before they are compared.

    Args:
        x: float32 [..., C], of length 1.

    Returns:
        float32 [..., C], or [..., bits] with binarization.
    """
    if model.attention_transform is not None:
        x = attend_by_tanh(x, model.attention, *model.attention_transform)
    elif model.attention is not None:
        x = attend(x, ops.convert_to_tensor(model.attention))
    return x if model.binarization is None else binarized(x, model.binarization)


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


def descriptor_weights(
    x: Any, layout: DescriptorLayout, blank: Blank, queries: bool
) -> tuple[Any, Any]:
    """Weights of all descriptors of frames by the `content` of their regions, and of the frames.

    Global descriptors lie in spaces of their own: those of a database frame count as much as the
    frame. Those of a query keep their length, since its frames are weighted afterwards.

    Args:
        x: float32 [R, n, C], R as many as the layout has for this side.
        queries: whether they are of queries.

    Returns:
        float32 [R, n] and [n].
    """
    regions = content(x[: layout.regions], blank)
    weights = frame_weights(ops.transpose(regions))
    if x.shape[0] == layout.regions:
        return regions, weights
    ones = ops.ones_like(x[layout.regions :, :, 0])
    return ops.concatenate([regions, ones if queries else ones * weights], axis=0), weights


def frame_weights(regions: Any) -> Any:
    """Weight of each frame: the mean of its regions' `content`, [..., R] -> [...], never 0."""
    return ops.maximum(ops.mean(regions, axis=-1), FLOOR)
