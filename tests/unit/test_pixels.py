"""Vectors of pixels: thumbnails in float32, correlation, whitening, what they tell apart."""

import numpy as np
import pytest

from pipeline.nets.backend import ops
from pipeline.nets.pixels import SIZE, thumbnails


def vectors(frames, size=SIZE):
    return ops.convert_to_numpy(thumbnails(np.asarray(frames, np.float32), size))


def pictures(count=3, side=64, seed=0):
    """Smooth noise in colour."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (count, side // 8, side // 8, 3))
    return np.kron(coarse, np.ones((1, 8, 8, 1)))


def test_they_are_the_luminance_of_squares():
    frames = pictures()
    luminance = frames @ np.array([0.299, 0.587, 0.114])
    want = luminance.reshape(3, 32, 2, 32, 2).mean(axis=(2, 4)).reshape(3, -1)
    want -= want.mean(axis=1, keepdims=True)
    want /= np.linalg.norm(want, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors(frames), want, atol=1e-5)


def test_brightness_and_contrast_change_nothing():
    frames = pictures()
    np.testing.assert_allclose(vectors(frames * 0.5 + 40), vectors(frames), atol=1e-5)
    np.testing.assert_allclose(vectors(255 - frames), -vectors(frames), atol=1e-5)


def test_a_picture_of_one_colour_gives_zeros():
    assert (vectors(np.full((1, 64, 64, 3), 77.0)) == 0).all()


def test_values_that_are_asked_for_beyond_the_squares_are_zeros():
    found = vectors(pictures(), 1500)
    assert found.shape == (3, 1500) and (found[:, SIZE:] == 0).all()


@pytest.mark.parametrize("side", [32, 224])
def test_sides_that_are_a_multiple(side):
    assert vectors(np.random.default_rng(1).uniform(0, 255, (2, side, side, 3))).shape == (2, SIZE)
