"""Pictures of query augmentations, on ramps: what becomes of a ramp is a formula."""

import numpy as np
import pytest

from pipeline.nets.backend import ops
from pipeline.nets.extractor.query_augmentation import (
    Colours,
    full_pictures,
    low_pass,
    lowpass_pictures,
)
from pipeline.nets.model.descriptors import QueryAugmentation

SIDE = 64
BLACK, WHITE = np.array([-1.0, -2.0, 0.0]), np.array([1.0, 2.0, 4.0])
SLOPES = np.array([[0.010, 0.004], [-0.005, 0.002], [0.003, -0.008]])  # per row and column
INNER = slice(6, -6)  # the filter mirrors what lies beyond the edge


def ramp(rows, columns):
    """[..., 3] at places that may lie between pixels, measured from the middle."""
    return rows[..., None] * SLOPES[:, 0] + columns[..., None] * SLOPES[:, 1]


@pytest.fixture(scope="module")
def picture():
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    return ramp(y, x)[None].astype(np.float32)


COLOURS = Colours(BLACK, WHITE, np.zeros(3))


def shown(picture, *augmentation, **parts):
    augmentation = QueryAugmentation(*augmentation, **parts)
    found = [ops.convert_to_numpy(p) for p in lowpass_pictures(picture, augmentation, COLOURS)]
    assert len(found) == augmentation.pictures
    assert all(p.shape == (1, SIDE // 2, SIDE // 2, 3) for p in found)
    return [p[0] for p in found]


@pytest.mark.parametrize(("share", "parts"), [(0.5, 1), (0.5, 3), (0.75, 2), (0.6, 1)])
def test_crops_go_from_edge_to_edge(picture, share, parts):
    found = shown(picture, "crops", share, parts=parts)
    size = round(SIDE * share)
    place = (np.arange(SIDE // 2) + 0.5) * size / (SIDE // 2) - 0.5  # by area
    left = [round((SIDE - size) * i / (parts - 1)) for i in range(parts)] if parts > 1 else None
    firsts = left or [(SIDE - size) // 2]
    for number, part in enumerate(found):
        top, left = firsts[number // parts], firsts[number % parts]
        rows, columns = (first + place - (SIDE - 1) / 2 for first in (top, left))
        want = ramp(*np.meshgrid(rows, columns, indexing="ij"))
        # Means over parts of pixels ripple by less than a tenth of one.
        np.testing.assert_allclose(part[INNER, INNER], want[INNER, INNER], atol=5e-4)


def test_rotations_go_both_ways(picture):
    one, other = shown(picture, "rotate", 12)
    y, x = 2 * (np.mgrid[: SIDE // 2, : SIDE // 2] - (SIDE // 2 - 1) / 2)
    inside = (slice(10, -10), slice(10, -10))
    for found, degrees in ((one, -12), (other, 12)):
        sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
        want = ramp(cosine * y - sine * x, sine * y + cosine * x)
        np.testing.assert_allclose(found[inside], want[inside], atol=1e-5)
    # What comes in at the corners is black.
    assert np.abs(one[0, 0] - BLACK).max() < np.abs(one[0, 0] - picture[0, 0, 0]).max()


def test_quarter_and_half_turns_are_those_of_whole_pixels(picture):
    wide = picture.copy()
    wide[0, :8, :20] = WHITE  # a corner that tells one turn from another
    means = wide[0].reshape(SIDE // 2, 2, SIDE // 2, 2, 3).mean(axis=(1, 3))
    left, right = shown(wide, "rotate", 90)
    (half,) = shown(wide, "rotate", 180)
    for found, turns in ((left, 1), (half, 2), (right, 3)):
        want = ops.convert_to_numpy(low_pass(np.ascontiguousarray(np.rot90(means, turns))[None]))
        np.testing.assert_allclose(found, want[0], atol=1e-5)


def test_edges_show_the_gradient_up_to_white(picture):
    (found,) = shown(picture, "edges", 5)
    steepness = np.hypot(*(2 * SLOPES.T))  # from pixel to pixel at half the size
    np.testing.assert_allclose(
        found[INNER, INNER], np.broadcast_to(BLACK + 5 * steepness, (20, 20, 3)), atol=1e-5
    )
    (bright,) = shown(picture, "edges", 1e4)
    np.testing.assert_allclose(bright[INNER, INNER], np.broadcast_to(WHITE, (20, 20, 3)), atol=1e-5)


@pytest.mark.parametrize(("kind", "colour"), [("pad_black", BLACK), ("pad_mean", np.zeros(3))])
def test_padded_pictures_have_one_colour_around(picture, kind, colour):
    (found,) = shown(picture, kind, 0.5)
    np.testing.assert_allclose(found[:4], np.broadcast_to(colour, (4, 32, 3)), atol=1e-5)
    place = 4 * (np.arange(SIDE // 2) - (SIDE // 2 - 1) / 2)
    want = ramp(*np.meshgrid(place, place, indexing="ij"))
    np.testing.assert_allclose(found[13:-13, 13:-13], want[13:-13, 13:-13], atol=1e-5)


def test_a_flipped_picture_is_mirrored_left_to_right(picture):
    (small,) = shown(picture, "flip")
    (plain,) = shown(picture[:, :, ::-1], "flip")
    np.testing.assert_allclose(small, plain[:, ::-1], atol=1e-5)
    (full,) = full_pictures(picture, QueryAugmentation("flip"), COLOURS)
    np.testing.assert_array_equal(ops.convert_to_numpy(full), picture[:, :, ::-1])


@pytest.mark.parametrize(
    "augmentation",
    [("pad_black", 0.5), ("pad_mean", 0.5), ("rotate", 90), ("rotate", 180), ("edges", 5),
     ("flip",), ("downscale", 2)],
)  # fmt: skip
def test_full_pictures_are_as_large_as_the_picture(picture, augmentation):
    augmentation = QueryAugmentation(*augmentation)
    found = full_pictures(picture, augmentation, COLOURS)
    assert len(found) == augmentation.pictures
    for each in found:
        each = ops.convert_to_numpy(each)
        assert each.shape == picture.shape
        assert np.abs(each - picture).max() > 0.1
