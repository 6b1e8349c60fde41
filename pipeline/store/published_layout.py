"""What published feature files hold, by the name of their features; they say nothing themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..records import PUBLISHED_FEATURES, FeatureSpec, published_digest


@dataclass(frozen=True)
class PublishedLayout:
    """Descriptors of a frame: how many there are, and how many values each has."""

    regions: int
    dims: int


# "dns": DnS and S2VS, 9 regions of ResNet-50, whitened to 512 values by ViSiL's PCA, of length 1,
# before attention.
LAYOUTS = {"dns": PublishedLayout(9, 512)}
assert tuple(LAYOUTS) == PUBLISHED_FEATURES


def layout_of(name: str) -> PublishedLayout:
    """The layout of features of a name.

    Raises:
        InputError: there is none.
    """
    if name not in LAYOUTS:
        raise InputError(f"--as {name!r}: features known by name are {', '.join(LAYOUTS)}")
    return LAYOUTS[name]


def published_spec(name: str) -> FeatureSpec:
    """The spec that stands for features of a name.

    Times and sampling are what the publications say, one frame a second. The published code takes
    every so many-th frame, so a frame may be some tenths of a second away.

    Raises:
        InputError: there is no such name.
    """
    layout = layout_of(name)
    return FeatureSpec(
        model=name,
        digest=published_digest(name),
        shared_descriptors=layout.regions,
        dims=layout.dims,
        fps=1.0,
        resize=256,
        crop=224,
        resize_method="bicubic",
        sampling="shown-at/1",  # `video.sampling.SAMPLING`, so that extracted queries fit
    )


def as_regions(rows: np.ndarray, name: str) -> np.ndarray:
    """Rows [T, R * C] or [T, R, C] as [T, R, C] float32, each descriptor of length 1.

    Raises:
        ValueError: they have another number of values.
    """
    layout = layout_of(name)
    if rows.ndim not in (2, 3) or rows[:1].size not in (0, layout.regions * layout.dims):
        raise ValueError(
            f"a frame is {list(rows.shape[1:])}, expected [{layout.regions}, {layout.dims}]"
        )
    vectors = rows.reshape(len(rows), layout.regions, layout.dims).astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)
