"""Storage of descriptors as floats, as int8 or as signs. Pure numpy.

    float32, float16   the values themselves
    int8               rint(127 x / max |x|): the largest value of each vector becomes 127
    binary             signs, 1 where x >= 0, packed along C: uint8 [..., ceil(C / 8)], first
                       values in the highest bits, zeros behind the last (numpy's packbits)

Descriptors have length 1, so no scale is stored: dequantised vectors are scaled to length 1. A
vector of zeros comes back as zeros from int8. Binary has no zero: there every value becomes
1 / sqrt(C).
"""

from __future__ import annotations

import numpy as np

# Name to the stored array's dtype, finest first.
ENCODINGS: dict[str, np.dtype] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "int8": np.dtype("i1"),
    "binary": np.dtype("u1"),
}
_NAMES = {dtype: name for name, dtype in ENCODINGS.items()}
# The eight signs, first one first, of each value of a byte.
SIGNS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1) * np.float32(2) - 1


def encoding_name(dtype: np.dtype) -> str:
    """The name in `ENCODINGS` of a stored array's dtype."""
    return _NAMES[np.dtype(dtype)]


def is_coarser(encoding: str, than: str) -> bool:
    """Whether `encoding` has less precision than `than`."""
    order = list(ENCODINGS)
    return order.index(encoding) > order.index(than)


def stored_values(dtype: np.dtype, dims: int) -> int:
    """Number of stored values for a vector of `dims` values."""
    return -(-dims // 8) if dtype == np.uint8 else dims


def dequantized_dtype(dtype: np.dtype) -> np.dtype:
    """What `decode` gives: float16 for float16, else float32."""
    return dtype if dtype.kind == "f" else ENCODINGS["float32"]


def quantize(vectors: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Quantise vectors for storage.

    Args:
        vectors: finite floats [..., C].
        dtype: one of `ENCODINGS`.

    Returns:
        [..., `stored_values`] of that dtype, C-contiguous.
    """
    if dtype.kind == "f":
        return np.ascontiguousarray(vectors, dtype)
    if dtype == np.uint8:
        return np.packbits(vectors >= 0, axis=-1)
    x = np.asarray(vectors, np.float32)
    largest = np.abs(x).max(axis=-1, keepdims=True)
    largest[largest == 0] = 1
    return np.rint(x / largest * 127).astype(np.int8)


def dequantize(stored: np.ndarray, dims: int) -> np.ndarray:
    """Turn stored vectors into floats; on the device `nets.similarity.dequantize.as_floats` does.

    Args:
        stored: [..., `stored_values`] of one of `ENCODINGS`.
        dims: C.

    Returns:
        [..., C] of `dequantized_dtype`: floats as they are, int8 and signs scaled to length 1.
    """
    if stored.dtype.kind == "f":
        return stored
    if stored.dtype == np.uint8:
        table = SIGNS / np.float32(np.sqrt(dims))
        return table[stored].reshape(*stored.shape[:-1], -1)[..., :dims]
    x = stored.astype(np.float32)
    length = np.sqrt(np.einsum("...c,...c->...", x, x))
    return x / np.maximum(length, 1)[..., None]


def as_float32(vectors: np.ndarray) -> np.ndarray:
    """Finite floats as float32; from float16 in a third of the time that numpy's cast takes.

    The bits of a float16 are put in their places in a float32, whose exponent is then too small by
    112.
    """
    if vectors.dtype != np.float16:
        return np.asarray(vectors, np.float32)
    bits = vectors.view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= np.int32(-0x70002000)  # the sign, and neither of its copies
    floats = bits.view(np.float32)
    floats *= np.float32(2.0**112)
    return floats


def convert(stored: np.ndarray, dims: int, dtype: np.dtype) -> np.ndarray:
    """Turn stored vectors into another encoding; the same encoding is not copied."""
    return stored if stored.dtype == dtype else quantize(dequantize(stored, dims), dtype)
