"""Floats, int8 and signs: the formulas spelled out, limits, and numpy against the device."""

import numpy as np
import pytest

from pipeline.quantization import (
    ENCODINGS,
    convert,
    dequantize,
    dequantized_dtype,
    encoding_name,
    is_coarser,
    quantize,
    stored_values,
)

INT8, BINARY = ENCODINGS["int8"], ENCODINGS["binary"]


def unit_vectors(*shape: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal(shape)
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def test_int8_by_hand():
    stored = quantize(np.array([[0.3, -0.6, 0.0], [1e-20, 2e-20, -2e-20]], np.float32), INT8)
    assert stored.dtype == np.int8
    assert stored.tolist() == [[64, -127, 0], [64, 127, -127]]
    back = dequantize(stored, 3)
    np.testing.assert_allclose(back[0], np.array([64, -127, 0]) / np.hypot(64, 127), atol=1e-7)
    assert back.dtype == np.float32


def test_binary_by_hand():
    x = np.array([[1, -1, -2, 0, 3, -1, -1, -1, -1, 5]], np.float16)
    stored = quantize(x, BINARY)
    assert stored.dtype == np.uint8 and stored.tolist() == [[0b10011000, 0b01000000]]
    signs = np.array([[1, -1, -1, 1, 1, -1, -1, -1, -1, 1]])
    np.testing.assert_allclose(dequantize(stored, 10), signs / np.sqrt(10), atol=1e-7)


@pytest.mark.parametrize("dims", [1, 7, 8, 12, 512])
@pytest.mark.parametrize("name", ["int8", "binary"])
def test_what_comes_back(name, dims):
    x = unit_vectors(5, 3, dims)
    stored = quantize(x, ENCODINGS[name])
    assert stored.shape == (5, 3, stored_values(stored.dtype, dims))
    back = dequantize(stored, dims)
    assert back.shape == x.shape and back.dtype == np.float32 == dequantized_dtype(stored.dtype)
    np.testing.assert_allclose(np.linalg.norm(back, axis=-1), 1, atol=1e-6)
    np.testing.assert_array_equal(quantize(back, ENCODINGS[name]), stored)  # nothing lost twice
    cosine = (back * x).sum(axis=-1)
    # Rounding is off by at most half of a 127th of the largest value.
    if name == "int8":
        assert cosine.min() > 0.9999
    elif dims == 512:  # of a normal distribution: the mean of |x| is sqrt(2 / pi) of its width
        np.testing.assert_allclose(cosine, np.sqrt(2 / np.pi), atol=0.06)


def test_zeros_stay_finite():
    zeros = np.zeros((2, 3, 8), np.float32)
    assert not dequantize(quantize(zeros, INT8), 8).any()
    np.testing.assert_allclose(dequantize(quantize(zeros, BINARY), 8), 1 / np.sqrt(8))


def test_conversion_between_encodings():
    x = unit_vectors(4, 2, 20)
    for name, dtype in ENCODINGS.items():
        assert encoding_name(dtype) == name
        assert convert(quantize(x, dtype), 20, dtype).dtype == dtype
    half = x.astype(np.float16)
    np.testing.assert_array_equal(convert(half, 20, INT8), quantize(half, INT8))
    order = ["float32", "float16", "int8", "binary"]
    for i, coarse in enumerate(order):
        assert [is_coarser(coarse, than=fine) for fine in order] == [k < i for k in range(4)]


@pytest.mark.parametrize("dims", [12, 16])
@pytest.mark.parametrize("name", list(ENCODINGS))
def test_the_device_decodes_as_numpy_does(name, dims):
    from pipeline.nets.backend import ops
    from pipeline.nets.similarity import dequantize as on_device

    x = unit_vectors(6, 3, dims)
    x[0, 0] = 0
    stored = quantize(x, ENCODINGS[name])
    found = ops.convert_to_numpy(on_device.dequantize(ops.convert_to_tensor(stored), dims))
    assert found.dtype == dequantized_dtype(stored.dtype)
    np.testing.assert_allclose(found, dequantize(stored, dims), atol=1e-7)
