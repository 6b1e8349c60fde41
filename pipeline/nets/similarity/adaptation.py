"""A second whitening, fitted on the collection that is searched, of vectors as stores hold them.

What the model's own whitening was fitted on is not what one's collection looks like: there other
directions are common to all and tell nothing. Whitening once more, each kind of vector for itself,
takes their weight away. It acts after the store, as attention does, so stores stay as they are.
Ours; whitening without labels on the vectors that are searched: Jegou and Chum (ECCV 2012).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..backend import ops
from ..layers.whitening import whiten
from ..model.descriptors import Layout
from ..model.model import ModelWeights
from ..model.whitening import Whitening, projection, whitened

# Of "regions" and, where a model has those, "soft" and "pixels": mean [C] and matrix [C, C].
Matrices = dict[str, tuple[Any, Any]]


def matrices_of(adaptation: Mapping[str, Whitening]) -> Matrices:
    """The adaptation of a model on the device, for `adapted`."""
    return {
        kind: (ops.convert_to_tensor(pca.mean), ops.convert_to_tensor(projection(pca)))
        for kind, pca in adaptation.items()
    }


def adapted(x: Any, layout: Layout, matrices: Matrices, axis: int = 1) -> Any:
    """Vectors of frames, whitened once more.

    Args:
        x: float32, of length 1 along the last axis; along `axis` (0 or 1) laid out as `layout`
            says, or the first of these.
        matrices: of `matrices_of`.

    Returns:
        float32 of the same shape, of length 1.
    """
    parts, start, size = [], 0, x.shape[axis]
    for kind, count in layout.spaces:
        stop = min(start + count, size)
        if start < stop:
            parts.append(whiten(x[:, start:stop] if axis else x[start:stop], *matrices[kind]))
        start = stop
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=axis)


def hubs_of(weights: ModelWeights) -> np.ndarray | None:
    """The model's hubs where its soft vectors lie: float32 [M, C] of length 1, or None."""
    if weights.hubs is None or not weights.adaptation or "soft" not in weights.adaptation:
        return weights.hubs
    pca = weights.adaptation["soft"]
    return whitened(weights.hubs, pca.mean, projection(pca))
