"""Copies for training: by chance, but only by the generator's; of the right frames."""

from functools import partial

import numpy as np
import pytest

from pipeline.image.homography import homography, warp
from pipeline.records import Preprocess
from pipeline.training.augmentation import compose, geometric, overlay, photometric, temporal

SMALL = Preprocess(64, 56)


def moving(seed, count=40, height=72, width=96):
    """Coarse random blocks that drift."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (height // 8, width // 8 + 5, 3), dtype=np.uint8)
    wide = blocks.repeat(8, axis=0).repeat(8, axis=1)
    return np.stack([wide[:, i : i + width] for i in range(count)])


def copy(seed, clip=None, preprocess=SMALL):
    clip = moving(1) if clip is None else clip
    return compose.make_copy(clip, moving(2, 30), preprocess, np.random.default_rng(seed))


def test_a_copy_depends_on_its_seed_alone():
    clip = moving(1)
    before = clip.copy()
    copies = [copy(seed, clip) for seed in range(40)]
    assert np.array_equal(clip, before)
    for seed in range(0, 40, 5):
        again = copy(seed, clip)
        assert np.array_equal(again.frames, copies[seed].frames)
        np.testing.assert_array_equal(again.seconds, copies[seed].seconds)
    means = {round(float(c.frames.mean()), 3) for c in copies}
    assert len(means) > 35


def test_copies_are_as_the_network_takes_them_and_know_what_they_show():
    copies = [copy(seed) for seed in range(60)]
    for c in copies:
        assert c.frames.dtype == np.uint8 and c.frames.shape[1:] == (56, 56, 3)
        assert c.seconds.shape == (len(c.frames),)
        shown = c.seconds[np.isfinite(c.seconds)]
        assert len(shown) and shown.min() >= 0 and shown.max() < 10
        assert c.hosted or len(shown) == len(c.seconds)
    assert 0 < sum(c.hosted for c in copies) < 40
    assert any(np.isnan(c.seconds).any() for c in copies)
    assert any((np.diff(c.seconds) == 1).all() for c in copies)
    assert any((np.diff(c.seconds) < 0).any() for c in copies)


def test_a_clip_of_one_frame_is_enough():
    for seed in range(30):
        assert len(copy(seed, moving(1, 1)).frames) >= 1


def test_the_clip_itself_is_sampled_once_a_second():
    clip = np.stack([np.full((64, 64, 3), n, np.uint8) for n in range(10)])
    assert compose.clean(clip, SMALL)[:, 0, 0, 0].tolist() == [0, 4, 8]


PIXELS = [
    photometric.change_colours,
    photometric.remove_colour,
    photometric.posterize,
    photometric.invert,
    photometric.show_edges,
    photometric.blur,
    photometric.film_screen,
    partial(photometric.compress, hard=True),
    partial(photometric.compress, hard=False),
]
SCENES = [
    overlay.add_bars,
    overlay.add_captions,
    overlay.cover,
    overlay.show_as_inset,
    overlay.place_beside,
]


@pytest.mark.parametrize("seed", range(4))
def test_changes_keep_the_size_and_leave_their_input_alone(seed):
    clip, host = moving(1, 3, 144, 192), moving(2, 2)
    kept = clip.copy(), host.copy()
    results = [change(clip, np.random.default_rng(seed)) for change in PIXELS]
    results += [change(clip, host, np.random.default_rng(seed)) for change in SCENES]
    for result in results:
        assert result.dtype == np.uint8 and result.shape == clip.shape
        assert (result != clip).mean() > 0.02
    assert np.array_equal(clip, kept[0]) and np.array_equal(host, kept[1])


def test_a_warp_by_the_identity_changes_nothing_and_a_mirror_mirrors():
    clip = moving(1, 2)
    rng = np.random.default_rng(0)
    same = warp(clip, np.eye(3), 72, 96)
    assert np.abs(same.astype(int) - clip).max() <= 1
    mirrored = warp(clip, geometric.mirror(rng), 72, 96)
    assert np.abs(mirrored.astype(int) - clip[:, :, ::-1]).max() <= 1


def test_a_crop_shows_a_part_and_a_tilt_has_black_around_it():
    white = np.full((1, 72, 96, 3), 255, np.uint8)
    for seed in range(5):
        cropped = warp(white, geometric.crop(np.random.default_rng(seed)), 72, 96)
        assert cropped.min() > 250
        tilted = warp(white, geometric.tilt(np.random.default_rng(seed)), 72, 96)
        assert tilted[0, 36, 48].min() > 250
        assert 0.02 < (tilted == 0).mean() < 0.7


def test_the_corners_go_where_they_are_said_to():
    seen = np.array([[-0.9, -0.8], [0.7, -0.9], [0.8, 0.8], [-0.6, 0.9]])
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    u, v, w = homography(seen, corners) @ np.c_[seen, np.ones(4)].T
    np.testing.assert_allclose(np.stack([u / w, v / w], axis=1), corners, atol=1e-9)


def test_time_is_changed_as_said():
    order, rng = np.arange(48), np.random.default_rng(0)
    for _ in range(20):
        assert 24 <= len(temporal.change_speed(order, 4, rng)) <= 97
        held = temporal.freeze(order, 4, rng)
        assert len(held) == 48 and (np.diff(held) >= 0).all() and len(set(held)) < 48
        jumped = temporal.jump(order, 4, rng)
        assert (np.diff(jumped) > 0).all() and len(jumped) >= 16
        assert sorted(temporal.reorder(order, 4, rng)) == list(order)
        part = temporal.cut_segments(order, 4, rng)
        assert (np.diff(part) == 1).all() and 16 <= len(part) < 48
