"""Vectors of pixels before whitening: luminance of squares, whatever brightness and contrast."""

import numpy as np
import pytest

from pipeline.nets.backend import ops
from pipeline.nets.extractor.thumbnail import SIZE, thumbnails


def vectors(frames, size=SIZE):
    return ops.convert_to_numpy(thumbnails(np.asarray(frames, np.float32), size))


def pictures(count=3, side=64, seed=0):
    """Smooth noise in colour."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (count, side // 8, side // 8, 3))
    return np.kron(coarse, np.ones((1, 8, 8, 1)))


@pytest.mark.parametrize("side", [32, 64, 224])
def test_they_are_the_luminance_of_squares(side):
    frames = pictures(side=side)
    luminance = frames @ np.array([0.299, 0.587, 0.114])
    square = side // 32
    want = luminance.reshape(3, 32, square, 32, square).mean(axis=(2, 4)).reshape(3, -1)
    want -= want.mean(axis=1, keepdims=True)
    want /= np.linalg.norm(want, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors(frames), want, atol=1e-5)


def test_brightness_and_contrast_change_nothing():
    frames = pictures()
    np.testing.assert_allclose(vectors(frames * 0.5 + 40), vectors(frames), atol=1e-5)
    np.testing.assert_allclose(vectors(255 - frames), -vectors(frames), atol=1e-5)


def test_a_picture_of_one_colour_gives_zeros():
    """Also where luminance and mean are rounded."""
    colours = np.random.default_rng(2).integers(0, 256, (40, 1, 1, 3))
    assert (vectors(np.broadcast_to(colours, (40, 224, 224, 3))) == 0).all()


def test_one_level_in_one_pixel_is_a_picture():
    frame = np.full((1, 224, 224, 3), 200.0)
    frame[0, 100, 100, 2] += 1  # blue, which counts least
    assert np.linalg.norm(vectors(frame)) == pytest.approx(1, abs=1e-3)


def test_values_that_are_asked_for_beyond_the_squares_are_zeros():
    found = vectors(pictures(), 1500)
    assert found.shape == (3, 1500) and (found[:, SIZE:] == 0).all()
