"""Vectors as a store keeps them, made floats on the device: the bus carries the small ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...quantization import SIGNS
from ..backend import keras, ops


def dequantize(x: Any, dims: int) -> Any:
    """`quantization.dequantize` for tensors.

    Signs are looked up, eight at a time: on a CPU faster than bit operations, which Keras 3.6
    does not have.

    Args:
        x: float [..., C], int8 [..., C] or uint8 [..., ceil(C / 8)].
        dims: C.

    Returns:
        Floats as they are, others float32 [..., C] of length 1.
    """
    dtype = keras.backend.standardize_dtype(x.dtype)
    if dtype == "uint8":
        table = ops.convert_to_tensor(SIGNS / np.float32(np.sqrt(dims)))
        signs = ops.take(table, ops.cast(x, "int32"), axis=0)
        return ops.reshape(signs, (*ops.shape(x)[:-1], 8 * x.shape[-1]))[..., :dims]
    if dtype == "int8":
        x = ops.cast(x, "float32")
        length = ops.sqrt(ops.sum(ops.square(x), axis=-1, keepdims=True))
        return x / ops.maximum(length, 1.0)
    return x
