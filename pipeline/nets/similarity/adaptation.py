"""A second whitening, fitted on the collection that is searched, of descriptors in stores.

What the model's own whitening was fitted on is not what one's collection looks like: there other
directions are common to all and tell nothing. Whitening once more, each space for itself, takes
their weight away. It acts after the store, as attention does, so stores stay as they are. After
Jegou and Chum (ECCV 2012), who whiten without labels; that it is fitted on the searched
descriptors is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..backend import ops
from ..layers.whitening import whiten
from ..model.descriptors import DescriptorLayout
from ..model.model import Model
from ..model.whitening import Whitening, projection, whitened

Matrices = dict[str, tuple[Any, Any]]  # by space: mean [C] and matrix [C, C]


def adaptation_matrices(adaptation: Mapping[str, Whitening]) -> Matrices:
    """The adaptation of a model on the device, for `adapt_descriptors`."""
    return {
        space: (ops.convert_to_tensor(pca.mean), ops.convert_to_tensor(projection(pca)))
        for space, pca in adaptation.items()
    }


def adapt_descriptors(x: Any, layout: DescriptorLayout, matrices: Matrices) -> Any:
    """Descriptors of frames, whitened once more.

    Args:
        x: float32 [R, n, C], of length 1, R in the order of the layout, or the first of these.

    Returns:
        float32 of the same shape, of length 1.
    """
    parts, start, size = [], 0, x.shape[0]
    for space, count in layout.spaces:
        stop = min(start + count, size)
        if start < stop:
            parts.append(whiten(x[start:stop], *matrices[space]))
        start = stop
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=0)


def adapted_anchors(model: Model) -> np.ndarray | None:
    """The model's anchors where its lowpass descriptors lie: float32 [M, C], or None."""
    if model.anchors is None or not model.adaptation or "lowpass" not in model.adaptation:
        return model.anchors
    pca = model.adaptation["lowpass"]
    return whitened(model.anchors, pca.mean, projection(pca))
