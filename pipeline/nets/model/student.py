"""DnS's coarse-grained student and selector: which arrays they hold. numpy only.

DnS: Kordopatis-Zilos et al., "DnS: Distill-and-Select for Efficient and Accurate Video Indexing and
Retrieval", IJCV 2022. Both take the region descriptors of a video, whitened and before attention.
The coarse student makes one vector of them, the selector one value; of two videos' values and their
coarse similarity it makes a score for sending the pair to the fine-grained student.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...records import published_digest

DIMS, HIDDEN, CLUSTERS, VECTOR, UNITS = 512, 2048, 64, 1024, 100
HEADS = 8  # of the transformer's attention

_ATTENTION = {
    "attention/kernel": (DIMS, DIMS),
    "attention/bias": (DIMS,),
    "attention/context": (DIMS,),
}
# Kernels as they are used, x @ kernel.
SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "coarse": {
        **_ATTENTION,
        "transformer/inputs/kernel": (DIMS, 3 * DIMS),
        "transformer/inputs/bias": (3 * DIMS,),
        "transformer/outputs/kernel": (DIMS, DIMS),
        "transformer/outputs/bias": (DIMS,),
        "transformer/hidden/kernel": (DIMS, HIDDEN),
        "transformer/hidden/bias": (HIDDEN,),
        "transformer/projection/kernel": (HIDDEN, DIMS),
        "transformer/projection/bias": (DIMS,),
        **{f"norm/{i}/{part}": (DIMS,) for i in range(3) for part in ("scale", "shift")},
        "clusters/kernel": (DIMS, CLUSTERS),
        "clusters/centres": (CLUSTERS, DIMS),
        "reduction/kernel": (CLUSTERS * DIMS, VECTOR),
        "norm/vector/scale": (VECTOR,),
        "norm/vector/shift": (VECTOR,),
    },
    "selector": {
        **_ATTENTION,
        **{
            f"comparator/{i}/{part}": shape
            for i, kernel in enumerate(
                [(3, 3, 1, 32), (3, 3, 32, 64), (3, 3, 64, 128), (1, 1, 128, 1)]
            )
            for part, shape in (("kernel", kernel), ("bias", kernel[-1:]))
        },
        "score/0/kernel": (3, UNITS),
        "score/0/bias": (UNITS,),
        "score/1/kernel": (UNITS, UNITS),
        "score/1/bias": (UNITS,),
        "score/2/kernel": (UNITS, 1),
        "score/2/bias": (1,),
    },
}


@dataclass(frozen=True, repr=False, eq=False)
class Student:
    """A coarse-grained student or a selector.

    Attributes:
        kind: "coarse" or "selector".
        name: of the model, for people.
        arrays: float32, as `SHAPES` names them; batch norm folded in.
        features_digest: of the descriptors that it takes, see `Model.features_digest`; by default
            that of descriptors which are known by their name alone.
        provenance, licence: text, may be empty.
    """

    kind: str
    name: str
    arrays: Mapping[str, np.ndarray]
    features_digest: str = published_digest("dns")
    provenance: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        if self.kind not in SHAPES:
            raise ValueError(f"kind is {self.kind!r}, expected one of {', '.join(SHAPES)}")
        shapes = {name: array.shape for name, array in self.arrays.items()}
        for name in shapes.keys() | SHAPES[self.kind].keys():
            found, expected = shapes.get(name), SHAPES[self.kind].get(name)
            if found != expected:
                raise ValueError(f"array {name!r} is {found}, expected {expected}")
