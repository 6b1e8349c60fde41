"""Films of a screen: quadrilaterals with slanted edges, and what they show, straightened."""

import numpy as np
import pytest

from pipeline.records import InsetRule
from pipeline.video.pip.detector import InsetDetector, cut_out_inset
from pipeline.video.pip.outline import Outline
from pipeline.video.pip.quadrilaterals import quadrilaterals, straighten
from pipeline.video.pip.rectangles import rectangles
from pipeline.video.pip.static_edges import static_edges
from pipeline.video.pip.tracking import static_outlines
from tests.insets import CORNERS, SIZE, texture, tilted, within

LEANING = (10.0, 20.0), (190.0, 8.0), (214.0, 200.0), (35.0, 214.0)
KEYSTONE = (40.0, 12.0), (184.0, 12.0), (214.0, 210.0), (10.0, 210.0)
SMALL = (60.0, 50.0), (165.0, 58.0), (160.0, 160.0), (52.0, 150.0)


@pytest.mark.parametrize("corners", [CORNERS, LEANING, KEYSTONE, SMALL])
@pytest.mark.parametrize("frames", [1, 9])
def test_a_filmed_screen_is_found_to_the_pixel_and_straightened(corners, frames):
    guest = texture(2, frames)
    pictures = tilted(guest, corners)
    found = static_outlines(pictures, 1)[0]
    assert found.edges == 4 and found.strength > 0.6 and not found.upright
    np.testing.assert_allclose(found.corners, corners, atol=2)
    images = cut_out_inset(pictures, found)
    assert images.dtype == np.uint8 and images.shape == pictures.shape
    # The texture is fine: two pixels off are 15 levels, another picture 60.
    assert np.abs(images - guest.astype(int)).mean() < 20
    assert np.abs(pictures - guest.astype(int)).mean() > 40


def test_straightened_by_its_true_corners_it_is_the_picture():
    guest = texture(2, 2)
    where = Outline(CORNERS, 1.0, 4, 1.0)
    inner_corners = where.inner_corners(SIZE, 0.0)
    np.testing.assert_allclose(inner_corners, CORNERS, atol=1e-9)
    images = straighten(tilted(guest), where)
    # Without its edges the picture is 3 pixels smaller: to be compared with its inner part.
    inner = straighten(guest, Outline(tuple(_inner()), 1.0, 4, 1.0))
    assert np.abs(images.astype(int) - inner).mean() < 3


def _inner() -> list[tuple[float, float]]:
    """A margin that takes of the plain picture about what 1.5 pixels take of the filmed one."""
    left, right = 0.2, SIZE - 0.2
    return [(left, left), (right, left), (right, right), (left, right)]


@pytest.mark.parametrize("frames", [1, 2, 9])
def test_nothing_where_there_is_nothing(frames):
    noise = np.random.default_rng(0).integers(0, 256, (frames, SIZE, SIZE, 3), np.uint8)
    plain = np.full((frames, SIZE, SIZE, 3), 90, np.uint8)
    for pictures in (texture(1, frames), noise, plain):
        assert list(quadrilaterals(*static_edges(pictures))) == []


def test_a_camera_that_shakes_leaves_no_edge():
    """By 8 pixels from sample to sample; what lasts is judged, and nothing does."""
    rng = np.random.default_rng(0)
    shaken = []
    for picture in texture(2):
        moved = np.array(CORNERS) + rng.choice([-8, 8], 2)
        shaken.append(tilted(picture[None], tuple(map(tuple, moved)))[0])
    assert static_outlines(np.stack(shaken), 2) == []


def test_three_edges_and_the_border():
    corners = (20.0, 0.0), (208.0, 0.0), (196.0, 205.0), (9.0, 190.0)
    found = static_outlines(tilted(texture(2), corners), 1)[0]
    assert found.edges == 3
    np.testing.assert_allclose(found.corners, corners, atol=2)
    inner_corners = found.inner_corners(SIZE, 1.5)
    np.testing.assert_allclose(
        inner_corners[:2, 1], 0, atol=1e-9
    )  # nothing is cut off at the border


def test_upright_rectangles_are_left_to_the_rectangles():
    pictures = within(texture(1), texture(2, 9, 112, 120), 40, 50)
    found = static_outlines(pictures, 1)[0]
    assert found.upright and static_outlines(pictures, 1, version=1) == [found]
    first = next(rectangles(*static_edges(pictures)))
    assert first == found


def test_ranked_by_strength_and_all_within_the_picture():
    found = list(quadrilaterals(*static_edges(tilted(texture(2)))))
    assert found and [o.rank for o in found] == sorted((o.rank for o in found), reverse=True)
    for outline in found:
        assert outline.edges >= 3 and 0.5 <= outline.strength <= 1
        assert np.all(np.array(outline.corners) >= -3) and np.all(np.array(outline.corners) <= 227)


def test_what_two_outlines_share():
    square = Outline(((0, 0), (100, 0), (100, 100), (0, 100)), 1.0, 4, 1.0)
    half = Outline(((50, 0), (150, 0), (150, 100), (50, 100)), 1.0, 4, 1.0)
    diamond = Outline(((50, -50), (150, 50), (50, 150), (-50, 50)), 1.0, 4, 1.0)
    apart = Outline(((200, 0), (210, 0), (210, 10), (200, 10)), 1.0, 4, 1.0)
    assert square.area == 10_000 and diamond.area == 20_000
    assert square.overlap_ratio(half) == half.overlap_ratio(square) == 0.5 and square.overlaps(half)
    assert square.overlap_ratio(diamond) == diamond.overlap_ratio(square) == 1.0
    corner = Outline(((0, 0), (50, 0), (50, 50), (0, 50)), 1.0, 4, 1.0)
    assert corner.overlap_ratio(half) == 0 and square.overlap_ratio(corner) == 1.0
    cut = Outline(((50, 0), (100, 50), (50, 100), (0, 50)), 1.0, 4, 1.0)
    assert corner.overlap_ratio(cut) == 0.5  # a triangle
    assert square.overlap_ratio(apart) == 0 and not square.overlaps(apart)


@pytest.mark.parametrize("size", [50, 63, 226])
def test_pictures_of_any_size(size):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (3, size, size, 3), np.uint8)
    found = static_outlines(pictures, 2)
    frame = np.zeros((3, size, size, 3), np.uint8)
    frame[:, size // 8 : -size // 8, size // 8 : -size // 8] = 200
    found += static_outlines(frame, 2)
    assert found
    for outline in found:
        assert cut_out_inset(frame, outline).shape == frame.shape


@pytest.mark.parametrize("size", [98, 226, 299])
def test_a_filmed_screen_in_pictures_of_any_size(size):
    side = np.linspace(0, SIZE - 1, size).round().astype(int)
    pictures = tilted(texture(2))[:, side][:, :, side]
    finder, insets = InsetDetector(InsetRule("edges/2", 2)), []
    for second, picture in enumerate(pictures):
        insets += finder.add(float(second), picture)
    (inset,) = insets + finder.flush()
    assert inset.images.shape == pictures.shape
    found = static_outlines(pictures, 1)[0]
    assert not found.upright
    np.testing.assert_allclose(found.corners, np.array(CORNERS) * size / SIZE, atol=3)
