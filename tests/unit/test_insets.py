"""Pictures within the picture: what is found, what is not, and how a video is gone through."""

import numpy as np
import pytest

from pipeline.config import ExtractConfig
from pipeline.errors import InputError
from pipeline.extraction.plan import choose_insets, report_insets
from pipeline.extraction.report import ExtractReport
from pipeline.image.resize import resize_crop
from pipeline.records import InsetRule, Preprocess
from pipeline.video.pip import detector, tracking
from pipeline.video.pip.detector import VERSIONS, InsetDetector, cut_out_inset
from pipeline.video.pip.outline import Outline
from pipeline.video.pip.tracking import moving_outlines, static_outlines
from tests.insets import CORNERS, SIZE, texture, tilted, within

STRETCHED = Preprocess(SIZE, SIZE, "stretch")


def place(found: Outline) -> tuple[float, ...]:
    (left, top), _, (right, bottom), _ = found.corners
    return top, bottom, left, right


def rectangle(top: int, bottom: int, left: int, right: int, edges: int = 4) -> Outline:
    corners = (left, top), (right, top), (right, bottom), (left, bottom)
    return Outline(corners, 1.0, edges, 1.0)


@pytest.mark.parametrize(
    ("top", "left", "height", "width", "edges"),
    [(20, 30, 60, 70, 4), (0, 120, 80, 60, 3), (SIZE - 70, 0, 70, 90, 2), (100, 5, 112, 112, 4)],
)
def test_a_picture_in_the_picture_is_found_to_the_pixel(top, left, height, width, edges):
    pictures = within(texture(1), texture(2, 9, height, width), top, left)
    (found,) = static_outlines(pictures, 1)
    expected = top, top + height, left, left + width
    np.testing.assert_allclose(place(found), expected, atol=1)
    assert found.edges == edges and found.strength > 0.6


@pytest.mark.parametrize("upright", [True, False])
def test_both_halves_of_a_split_screen(upright):
    pictures = within(texture(1), texture(2, 9, SIZE, 112), 0, 112)
    if not upright:
        pictures = pictures.transpose(0, 2, 1, 3)
    found = static_outlines(pictures, 2)
    expected = [(0, SIZE, 0, 112), (0, SIZE, 112, SIZE)]
    if not upright:
        expected = [(left, right, top, bottom) for top, bottom, left, right in expected]
    np.testing.assert_allclose(sorted(place(f) for f in found), sorted(expected), atol=1)
    assert {f.edges for f in found} == {1}
    assert len(static_outlines(pictures, 1)) == 1 and static_outlines(pictures, 0) == []


def test_two_pictures_of_which_none_covers_the_other():
    pictures = within(texture(1), texture(2, 9, 60, 60), 10, 20)
    pictures = within(pictures, texture(3, 9, 80, 90), 120, 100)
    found = static_outlines(pictures, 4)
    places = [place(f) for f in found[:2]]
    np.testing.assert_allclose(sorted(places), [(10, 70, 20, 80), (120, 200, 100, 190)], atol=1)
    assert not any(a.overlaps(b) for a in found for b in found if a is not b)


@pytest.mark.parametrize("frames", [1, 2, 9])
def test_nothing_where_there_is_nothing(frames):
    assert static_outlines(texture(1, frames), 4) == []
    assert static_outlines(np.full((frames, SIZE, SIZE, 3), 90, np.uint8), 4) == []
    noise = np.random.default_rng(0).integers(0, 256, (frames, SIZE, SIZE, 3), np.uint8)
    assert static_outlines(noise, 4) == []


def test_edges_that_move_are_none():
    """A box that wanders over the picture is part of the scene."""
    pictures = texture(1)
    for number, picture in enumerate(pictures):
        picture[20 + 12 * number : 70 + 12 * number, 30 + 9 * number : 90 + 9 * number] = 255
    assert static_outlines(pictures, 4) == []
    still = texture(1)
    still[:, 20:70, 30:90] = 255
    assert len(static_outlines(still, 4)) == 1


@pytest.mark.parametrize(("height", "width"), [(40, 100), (100, 40), (220, 200)])
def test_too_small_or_too_large_to_be_worth_it(height, width):
    """A fifth of the side is the least, four fifths of the area the most."""
    pictures = within(texture(1), texture(2, 9, height, width), 2, 10)
    found = [place(f) for f in static_outlines(pictures, 4)]
    assert all(abs(b - t - height) > 8 or abs(r - x - width) > 8 for t, b, x, r in found)


def test_what_is_cut_out_is_the_guest_without_the_edge():
    guest = texture(2, 1, 62, 102)
    pictures = within(texture(1, 1), guest, 30, 40)
    found = cut_out_inset(pictures, rectangle(30, 92, 40, 142))
    np.testing.assert_array_equal(found[0], resize_crop(guest[0, 1:-1, 1:-1], STRETCHED))
    whole = cut_out_inset(pictures, rectangle(0, SIZE, 0, SIZE))
    np.testing.assert_array_equal(whole, pictures)


def through(pictures: np.ndarray, limit: int = 2) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Number -> (seconds, images) of all that is found in a video, one sample a second."""
    finder, found = InsetDetector(InsetRule(limit=limit)), []
    for second, picture in enumerate(pictures):
        found += finder.add(float(second), picture)
    found += finder.flush()
    assert finder.flush() == []
    numbers = sorted({inset.number for inset in found})
    return {
        n: tuple(
            np.concatenate([getattr(i, name) for i in found if i.number == n])
            for name in ("seconds", "images")
        )
        for n in numbers
    }


@pytest.mark.parametrize("frames", [1, 5, 16, 17, 35])
def test_every_sample_of_a_video_gets_its_inset_once(frames):
    guest = texture(2, frames, 70, 80)
    found = through(within(texture(1, frames), guest, 40, 50))
    seconds, images = found[1]
    np.testing.assert_array_equal(seconds, np.arange(frames))
    exact = cut_out_inset(within(texture(1, frames), guest, 40, 50), rectangle(40, 110, 50, 130))
    errors = np.abs(images - exact.astype(int)).mean(axis=(1, 2, 3))
    assert errors.max() < 8  # a pixel off at most; other pictures: 60


def test_the_last_samples_are_judged_with_those_before():
    """Alone, 2 frames would not tell the box from the scene; 16 do."""
    frames = detector.SEGMENT_FRAMES + 2
    pictures = texture(1, frames)
    pictures[-2:, 40:120, 50:130] = texture(2, 2, 80, 80)  # an object of two frames
    assert static_outlines(pictures[-2:], 1) and through(pictures) == {}


@pytest.mark.slow
@pytest.mark.parametrize("upright", [True, False])
def test_an_inset_is_the_same_picture_in_all_stretches(upright):
    """Whichever has the stronger edges there; halves of a split screen have the same ones."""
    frames = 4 * detector.SEGMENT_FRAMES
    guests = [texture(seed, frames, 80, 90) for seed in (2, 3)]
    pictures = within(within(texture(1, frames), guests[0], 10, 20), guests[1], 120, 100)
    places = [rectangle(10, 90, 20, 110), rectangle(120, 200, 100, 190)]
    halves = within(texture(1, frames), texture(2, frames, SIZE, 112), 0, 112)
    cases = [
        (pictures, places[0]),
        (pictures, places[1]),
        (halves, rectangle(0, SIZE, 112, SIZE)),
    ]
    for video, where in cases:
        exact = cut_out_inset(video, where).astype(int)
        found = through(video if upright else video.transpose(0, 2, 1, 3))
        near = []
        for _, images in found.values():
            images = images if upright else images.transpose(0, 2, 1, 3)
            errors = [np.abs(a - b).mean() for a, b in zip(images, exact, strict=True)]
            assert max(errors) < 15 or min(errors) > 15
            near.append(max(errors) < 15)
        assert sorted(near) == [False, True]


def test_what_comes_back_has_its_number_and_what_is_new_another():
    stretch = detector.SEGMENT_FRAMES
    pictures = texture(1, 4 * stretch)
    for number, (top, left) in enumerate([(10, 20), (120, 100), (10, 20)]):
        part = slice(number * stretch, (number + 1) * stretch)
        pictures[part] = within(pictures[part], texture(2, stretch, 80, 90), top, left)
    found = through(pictures)
    first, second = (seconds for seconds, _ in found.values())
    np.testing.assert_array_equal(second, np.arange(stretch, 2 * stretch))
    np.testing.assert_array_equal(first, np.r_[:stretch, 2 * stretch : 3 * stretch])


def hand_held(frames: int = 9) -> np.ndarray:
    """A screen that sways by up to 8 pixels from one picture to the next, no place twice."""
    sway = [(9 * np.sin(2.1 * k), 7 * np.cos(1.3 * k)) for k in range(frames)]
    pictures = zip(texture(2, frames), sway, strict=True)
    return np.concatenate(
        [tilted(p[None], tuple(map(tuple, np.add(CORNERS, m)))) for p, m in pictures]
    )


def moving(frames: int = 9) -> np.ndarray:
    """A box on its way over a picture, 7 pixels a sample across and 4 down."""
    host, guest = texture(1, frames), texture(2, frames, 90, 110)
    places = range(frames)
    return np.concatenate([
        within(host[k : k + 1], guest[k : k + 1], 20 + 4 * k, 30 + 7 * k) for k in places
    ])  # fmt: skip


def test_an_outline_that_wanders_is_cut_out_where_it_is():
    pictures = moving()
    assert static_outlines(pictures, 2) == []
    for k, found in enumerate(moving_outlines(pictures)):
        expected = 20 + 4 * k, 110 + 4 * k, 30 + 7 * k, 140 + 7 * k
        np.testing.assert_allclose(place(found), expected, atol=1)
    ((seconds, images),) = through(pictures).values()
    np.testing.assert_array_equal(seconds, np.arange(9))
    guest = texture(2, 9, 90, 110)
    exact = np.stack([resize_crop(picture[1:-1, 1:-1], STRETCHED) for picture in guest])
    assert np.abs(images.astype(int) - exact).mean() < 8


def test_a_film_of_a_screen_by_hand_is_straightened():
    pictures = hand_held()
    assert static_outlines(pictures, 2) == [] and all(moving_outlines(pictures))
    ((_, images),) = through(pictures).values()
    # Without its edges the picture is a little smaller.
    assert np.abs(images.astype(int) - texture(2)).mean() < 20
    assert np.abs(pictures.astype(int) - texture(2)).mean() > 30


def test_nothing_wanders_in_a_scene(monkeypatch):
    looked = []
    monkeypatch.setattr(
        tracking,
        "static_outlines",
        lambda p, limit: looked.append(len(p)) or static_outlines(p, limit),
    )
    assert moving_outlines(texture(1, 16)) == [None] * 16
    assert looked and set(looked) == {1} and len(looked) <= 3, "more than a probe was looked at"
    # An outline somewhere else in every picture is not one thing.
    host, guest = texture(1, 16), texture(2, 16, 90, 90)
    jumps = [(5, 5), (5, 120), (120, 5), (120, 120)] * 4
    pictures = [within(host[k : k + 1], guest[k : k + 1], *at) for k, at in enumerate(jumps)]
    assert moving_outlines(np.concatenate(pictures)) == [None] * 16


def test_a_horizon_that_goes_along_with_a_camera_is_none():
    above, below = texture(1), texture(2) // 3
    panned = above.copy()
    for k in range(len(panned)):
        panned[k, 90 + 5 * k :] = below[k, 90 + 5 * k :]
    assert static_outlines(panned[:1], 1)[0].edges == 1 and static_outlines(panned, 2) == []
    assert moving_outlines(panned) == [None] * 9


def test_what_wanders_for_less_than_half_of_the_time_or_is_too_short_is_left_out():
    pictures = np.concatenate([texture(1, 5), moving(7), texture(3, 5)])
    assert moving_outlines(pictures) == [None] * 17
    found = moving_outlines(pictures[2:-2])
    assert [o is not None for o in found] == [3 <= k < 10 for k in range(13)]
    assert moving_outlines(moving(2)) == [None] * 2 and all(moving_outlines(moving(3)))


@pytest.mark.parametrize("radius", [0, 15, 30])
def test_round_corners(radius):
    host, guest = texture(1), texture(2, 9, 100, 120)
    y, x = (np.abs(np.arange(n) - (n - 1) / 2) for n in guest.shape[1:3])
    away = np.hypot(np.maximum(y - 50 + radius, 0)[:, None], np.maximum(x - 60 + radius, 0)[None])
    shape = (away <= max(radius, 0.1))[None, ..., None]
    guest = np.where(shape, guest, host[:, 40:140, 50:170])
    (found,) = static_outlines(within(host, guest, 40, 50), 1)
    np.testing.assert_allclose(place(found), (40, 140, 50, 170), atol=2)
    if radius:
        before = static_outlines(within(host, guest, 40, 50), 1, version=2)
        assert not before or before[0].strength < found.strength


def test_only_the_stretches_that_show_it():
    frames = 3 * detector.SEGMENT_FRAMES
    pictures = texture(1, frames)
    middle = slice(detector.SEGMENT_FRAMES, 2 * detector.SEGMENT_FRAMES)
    pictures[middle] = within(pictures[middle], texture(2, detector.SEGMENT_FRAMES, 80, 80), 40, 50)
    ((seconds, _),) = through(pictures).values()
    np.testing.assert_array_equal(seconds, np.arange(frames)[middle])


def test_none_is_looked_for_where_none_is_asked_for():
    assert through(within(texture(1), texture(2, 9, 80, 80), 40, 50), limit=0) == {}


def test_the_rule_in_a_store():
    assert str(InsetRule()) == str(InsetRule("edges/1", 0)) == ""
    assert InsetRule.parse("") == InsetRule() and InsetRule.parse("edges/2 2").limit == 2
    assert str(InsetRule(limit=2)) == f"{VERSIONS[-1]} 2" == "edges/3 2"
    for malformed in ("edges/2", "edges/2 x", "edges/3 0", " 2", "edges/3 -1", "edges/3 2 1"):
        with pytest.raises(ValueError, match="expected a rule and a number"):
            InsetRule.parse(malformed)
    for text in ("edges/4 2", "edges/1 5", "boxes/1 2"):
        unknown = InsetRule.parse(text)
        assert str(unknown) == text
        for use in (InsetDetector, lambda rule: choose_insets(ExtractConfig(), 2, rule)):
            with pytest.raises(InputError, match="does not know; use the version"):
                use(unknown)


@pytest.mark.parametrize(
    ("settings", "stored", "expected"),
    [
        ({}, None, "edges/3 3"),  # the model's number
        ({}, "edges/1 2", "edges/1 2"),
        ({}, "", ""),
        ({"insets": 2}, "edges/1 2", "edges/1 2"),
        ({"insets": 2}, "edges/2 2", "edges/2 2"),
        ({"insets": 1}, "edges/1 2", "edges/3 1"),  # another number: the store refuses it
        ({"insets": 2}, "", "edges/3 2"),
        ({"insets": 0}, "edges/1 2", ""),
        ({"insets": 2}, None, "edges/3 2"),
        ({"as_queries": True}, None, ""),
        ({"mirrored": True}, None, ""),
        ({"as_queries": True}, "edges/2 1", "edges/2 1"),
        ({"as_queries": True, "insets": 2}, None, "edges/3 2"),
    ],
)
def test_who_decides_on_insets(settings, stored, expected):
    rule = None if stored is None else InsetRule.parse(stored)
    assert str(choose_insets(ExtractConfig(**settings), 3, rule)) == expected


@pytest.mark.parametrize(
    ("settings", "rule", "lacking"),
    [
        ({}, "edges/3 2", []),
        ({}, "edges/3 1", ["at most 1 insets"]),
        ({}, "", ["at most 0 insets"]),
        ({}, "edges/2 2", ["older rule"]),
        ({}, "edges/1 1", ["at most 1 insets", "older rule"]),
        ({"insets": 1}, "edges/3 1", []),  # as the settings say
        ({"insets": 1}, "edges/2 1", ["older rule"]),
        ({"as_queries": True}, "edges/2 1", []),
        ({"mirrored": True}, "", []),
    ],
)
def test_a_store_with_fewer_insets_than_a_new_one_is_remarked(settings, rule, lacking):
    report = ExtractReport(store="s.h5")
    report_insets(report, InsetRule.parse(rule), ExtractConfig(**settings), model_insets=2)
    remarks = report.remarks()
    assert len(remarks) == len(lacking)
    assert all(text in remark for text, remark in zip(lacking, remarks, strict=True))


def test_what_each_version_of_the_rule_finds():
    for pictures, since in ((tilted(texture(2)), 2), (hand_held(), 3)):
        for version in (1, 2, 3):
            finder = InsetDetector(InsetRule(f"edges/{version}", 2))
            for second, picture in enumerate(pictures):
                assert finder.add(float(second), picture) == []
            assert len(finder.flush()) == (version >= since), (version, since)


def test_a_still_inset_is_kept_once():
    """Also where noise and a later stretch show it again; what changes anywhere in it is kept."""
    frames = 2 * detector.SEGMENT_FRAMES + 5
    guest = np.repeat(texture(2, 1, 80, 90), frames, axis=0)
    noise = np.random.default_rng(0).integers(-2, 3, guest.shape)
    guest = np.clip(guest + noise, 0, 255).astype(np.uint8)
    pictures = within(texture(1, frames), guest, 40, 50)
    ((seconds, images),) = through(pictures).values()
    assert seconds.tolist() == [0] and images.shape == (1, SIZE, SIZE, 3)
    changed = pictures.copy()
    changed[20:, 90:100, 60:80] = 255  # a line of text that appears in it
    ((seconds, _),) = through(changed).values()
    assert seconds.tolist() == [0, 20]


@pytest.mark.parametrize("size", [6, 100, 224])
def test_a_change_at_the_very_edge_is_one(size):
    picture = np.full((size, size, 3), 100, np.uint8)
    other = picture.copy()
    other[-3:, -3:] = 255
    assert detector.pictures_differ(picture, other) and not detector.pictures_differ(
        picture, picture + 1
    )


def test_what_comes_back_is_cut_out_where_it_is():
    """Two pixels from where another one was before the last stretch."""
    stretch = detector.SEGMENT_FRAMES
    pictures = texture(1, 3 * stretch)
    guest = texture(2, stretch, 80, 90)
    pictures[:stretch] = within(pictures[:stretch], guest, 40, 50)
    pictures[-stretch:] = within(pictures[-stretch:], guest, 42, 50)
    ((_, images),) = through(pictures).values()
    exact = cut_out_inset(pictures[-stretch:], rectangle(42, 122, 50, 140)).astype(int)
    assert np.abs(images[-stretch:] - exact).mean() < 8


def test_stores_of_before_keep_every_picture_of_a_still_inset():
    guest = np.repeat(texture(2, 1, 80, 90), 9, axis=0)
    finder = InsetDetector(InsetRule("edges/1", 2))
    for second, picture in enumerate(within(texture(1), guest, 40, 50)):
        finder.add(float(second), picture)
    (inset,) = finder.flush()
    np.testing.assert_array_equal(inset.seconds, np.arange(9))
