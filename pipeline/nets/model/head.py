"""Checks of what a head holds beside the comparator: attention and binarization. numpy only."""

from __future__ import annotations

import numpy as np

MAX_BITS = 65_536


def check_learned(
    dims: int,
    attention: np.ndarray | None,
    transform: tuple[np.ndarray, np.ndarray] | None,
    binarization: np.ndarray | None,
) -> None:
    """Refuse attention or binarization of another number of values.

    Args:
        dims: C, values of a descriptor.
        attention: context vector [C].
        transform: matrix [C, C] and bias [C] of attention by tanh.
        binarization: matrix [C, bits].

    Raises:
        ValueError: shapes that do not fit, or a transform without a context vector.
    """
    if attention is not None and attention.shape != (dims,):
        raise ValueError(f"attention vector is {attention.shape}, expected ({dims},)")
    if transform is not None:
        if attention is None:
            raise ValueError("there is a transform of attention, but no attention vector")
        shapes = transform[0].shape, transform[1].shape
        if shapes != ((dims, dims), (dims,)):
            raise ValueError(f"attention transform is {shapes}, expected {((dims, dims), (dims,))}")
    if binarization is not None:
        if attention is not None:
            raise ValueError("a model has attention or binarization, not both")
        right = binarization.ndim == 2 and binarization.shape[0] == dims
        if not right or not 0 < binarization.shape[1] <= MAX_BITS:
            raise ValueError(f"binarization is {binarization.shape}, expected ({dims}, bits)")
