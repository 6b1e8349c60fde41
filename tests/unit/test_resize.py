"""Figures recorded once from OpenCV 4 `resize(fx=, fy=, INTER_CUBIC)` and a centre crop."""

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.image.resize import resize_crop
from pipeline.records import Preprocess

RECORDED = [  # height, width, resize, crop, red channel, sum of the blue one
    (
        5,
        7,
        8,
        4,
        [[164, 203, 227, 100], [110, 64, 113, 88], [78, 35, 96, 159], [106, 145, 185, 250]],
        2050,
    ),
    (
        13,
        9,
        6,
        4,
        [[157, 185, 102, 139], [89, 168, 96, 157], [181, 25, 137, 218], [82, 214, 147, 22]],
        2098,
    ),
    (
        11,
        23,
        5,
        5,
        [
            [92, 104, 128, 119, 136],
            [65, 168, 27, 199, 31],
            [47, 164, 110, 108, 165],
            [56, 190, 160, 69, 102],
            [74, 204, 132, 173, 140],
        ],
        3036,
    ),
    (2, 2, 4, 4, [[0, 0, 18, 30], [17, 29, 50, 63], [66, 80, 103, 117], [96, 111, 135, 150]], 2746),
]


def image(height: int, width: int) -> np.ndarray:
    y, x, c = np.mgrid[:height, :width, :3]
    return ((x * 37 + y * 91 + c * 53 + x * y * 7) % 256).astype(np.uint8)


@pytest.mark.parametrize(("height", "width", "resize", "crop", "red", "blue_sum"), RECORDED)
def test_equals_opencv(
    height: int, width: int, resize: int, crop: int, red: list[list[int]], blue_sum: int
) -> None:
    out = resize_crop(image(height, width), Preprocess(resize, crop))
    assert out.dtype == np.uint8 and out.shape == (crop, crop, 3)
    assert np.abs(out[..., 0].astype(int) - red).max() <= 1
    assert abs(int(out[..., 2].sum()) - blue_sum) <= 2


def test_saturates_instead_of_wrapping() -> None:
    edge = np.zeros((4, 8, 3), np.uint8)
    edge[:, 4:] = 255
    out = resize_crop(edge, Preprocess(16, 16))
    line = out[0, :, 0].astype(int)
    assert line[0] == 0 and line[-1] == 255  # overshoot on both sides is clipped
    assert (np.diff(line) >= 0).all() and 0 < line[7] < 128 < line[8] < 255


def test_right_size_is_only_cropped_from_the_centre() -> None:
    frame = image(256, 301)
    assert np.array_equal(resize_crop(frame, Preprocess()), frame[16:240, 38:262])


def test_one_ratio_for_both_axes() -> None:
    """A ramp keeps its slope: 2 levels a pixel, halved in size, are 4 levels a pixel."""
    ramp = np.broadcast_to((np.arange(120) * 2).astype(np.uint8)[None, :, None], (32, 120, 3))
    out = resize_crop(ramp, Preprocess(16, 16))
    assert np.diff(out[0, :, 0].astype(int)).tolist() == [4] * 15


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
    ],
)
def test_refuses_other_arrays(frame: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"expected uint8 \[H, W, 3\]"):
        resize_crop(frame, Preprocess(4, 4))


def test_refuses_unknown_method() -> None:
    with pytest.raises(InputError, match="lanczos"):
        resize_crop(image(8, 8), Preprocess(4, 4, "lanczos"))


def test_stretch_shows_the_whole_picture():
    stretch = Preprocess(32, 32, "stretch")
    rows, columns = np.mgrid[:96, :160]
    picture = np.stack([rows * 2, columns, rows + columns // 2], axis=2).astype(np.uint8)
    found = resize_crop(picture, stretch).astype(int)
    assert found.shape == (32, 32, 3)
    np.testing.assert_allclose(found[:, 0, 0], (np.arange(32) + 0.5) * 6 - 1, atol=1.5)
    np.testing.assert_allclose(found[0, :, 1], (np.arange(32) + 0.5) * 5 - 0.5, atol=1.5)


@pytest.mark.parametrize("shape", [(32, 32), (64, 96), (100, 33), (1, 1), (97, 131), (31, 500)])
def test_stretch_keeps_one_colour_whatever_the_size(shape):
    picture = np.full((*shape, 3), (7, 130, 255), np.uint8)
    found = resize_crop(picture, Preprocess(32, 32, "stretch"))
    assert (found == (7, 130, 255)).all() and found.shape == (32, 32, 3)


def test_stretch_takes_means_of_blocks_and_leaves_its_input_alone():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (64, 97, 3), dtype=np.uint8)
    kept = picture.copy()
    found = resize_crop(picture, Preprocess(32, 32, "stretch"))
    wide = picture[:, :96].reshape(32, 2, 32, 3, 3).astype(float).mean(axis=(1, 3))
    np.testing.assert_allclose(found, wide, atol=1.01)
    assert np.array_equal(picture, kept)
