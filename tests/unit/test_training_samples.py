"""Batches: which windows belong together, and which pairs are no negatives."""

from types import SimpleNamespace

import numpy as np

from pipeline.nets.model.descriptors import standard_layout
from pipeline.nets.model.whitening import Whitening
from pipeline.training.feature_cache import CachedClip
from pipeline.training.pair_sampler import (
    ClipFeatures,
    PairSampler,
    _overlapping,
    same_content,
    whiten_clips,
)
from pipeline.training.whitening_fit import (
    THUMBNAIL_SHRINKAGE,
    fit,
    fit_paired,
    sample_frames,
    sample_pairs,
    whitened_descriptors,
    whitenings,
)
from tests.features import region_vectors


def view(video, seed, frames=10, copies=3, hosts=None):
    made = [region_vectors(frames, [seed, k]).astype(np.float16) for k in range(copies)]
    seconds = [np.arange(frames, dtype=np.float32)] * copies
    return ClipFeatures(
        video, region_vectors(frames, [seed]), made, seconds, hosts or [""] * copies
    )


def sampler(views, **changes):
    settings = {"size": 4, "copies": 1, "window": 8, "clean_share": 0.5, **changes}
    return PairSampler(views, np.eye(len(views), dtype=bool), **settings)


def test_batches_have_one_shape_and_depend_on_the_generator_alone():
    views = [view(str(i), i, frames=2 + 3 * i) for i in range(6)]
    drawn = sampler(views, copies=2)
    for seed in range(5):
        batch, again = (drawn.batch(np.random.default_rng(seed)) for _ in range(2))
        assert batch.queries.shape == (4, 8, 9, 16) and batch.targets.shape == (8, 8, 9, 16)
        assert (batch.query_frames >= 4).all() and (batch.query_frames <= 8).all()
        for row, frames in zip(batch.targets, batch.target_frames, strict=True):
            assert np.abs(row[:frames]).sum(axis=(1, 2)).all() and not row[frames:].any()
        assert batch.positive.sum() == 8 and (batch.positive.sum(axis=0) == 1).all()
        assert np.array_equal(batch.queries, again.queries)
        assert np.array_equal(batch.targets, again.targets)


def test_a_query_is_never_its_own_copy():
    drawn = sampler([view(str(i), i) for i in range(4)], clean_share=0.0)
    for seed in range(10):
        batch = drawn.batch(np.random.default_rng(seed))
        for i, j in np.argwhere(batch.positive):
            assert not np.array_equal(batch.queries[i], batch.targets[j])


def test_copies_set_in_a_querys_video_and_look_alikes_are_no_negatives():
    views = [view("a", 0), view("b", 1, hosts=["a"] * 3), view("c", 2)]
    same = np.eye(3, dtype=bool)
    same[0, 2] = same[2, 0] = True
    drawn = PairSampler(views, same, size=3, copies=1, window=12, clean_share=1.0)
    seen = set()
    for seed in range(10):
        batch = drawn.batch(np.random.default_rng(seed))
        order = [
            next(i for i, v in enumerate(views) if np.allclose(q[:10], v.clean, atol=1e-3))
            for q in batch.queries
        ]
        for i, j in np.argwhere(batch.negative):
            seen.add((order[i], order[j]))
    assert seen == {(1, 0), (1, 2), (2, 1)}


def test_the_copys_window_shows_what_the_query_shows():
    shown = np.array([np.nan] * 6 + [4, 5, 6, 7] + [np.nan] * 6, np.float32)
    for seed in range(5):
        part = _overlapping(shown, np.arange(3, 9), 8, np.random.default_rng(seed))
        assert part.start <= 6 and part.stop >= 10 and part.stop - part.start == 8


def test_clips_that_show_the_same_are_found():
    views = [view("a", 0), view("b", 1), view("c", 2)]
    views.append(ClipFeatures("d", views[1].clean[2:8], [], [], []))
    assert np.argwhere(same_content(views, 0.5, 9)).tolist() == [
        [0, 0],
        [1, 1],
        [1, 3],
        [2, 2],
        [3, 1],
        [3, 3],
    ]


def cached(seed, noise):
    """A clip whose copies differ from it along the first axis only."""
    rng = np.random.default_rng(seed)
    clean = rng.standard_normal((6, 9, 8)).astype(np.float16)
    moved = clean.copy()
    moved[..., 0] += noise * rng.standard_normal((6, 9))
    return CachedClip("v", 0.0, clean, [moved], [np.arange(6, dtype=np.float32)], [""])


def test_paired_whitening_makes_small_what_copies_disturb():
    clips = [cached(i, 2.0) for i in range(20)]
    plain = fit(sample_frames(clips, 240, 0).reshape(-1, 8), 8, 0.0)
    pairs = sample_pairs(clips, 120, 0, plain, 9)
    assert pairs[0].shape == pairs[1].shape == (120 * 9, 8)
    sides = [c.clean for c in clips], [c.copies[0] for c in clips]
    exact = [np.concatenate(side).reshape(-1, 8).astype(np.float32) for side in sides]
    paired = fit_paired(*exact, 4, 0.01)
    matrix = paired.eigenvectors / np.sqrt(paired.eigenvalues)
    weight = np.linalg.norm(matrix, axis=1)
    assert weight[0] < 0.3 * weight[1:].min()


def whitened_by(regions, layout=None, **others):
    """A model of whitenings alone."""
    return SimpleNamespace(
        whitening=regions, whitenings={"regions": regions, **others}, layout=layout
    )


def test_whitened_descriptors_are_of_length_one():
    identity = Whitening(np.zeros(8, "f4"), np.eye(8, dtype="f4"), np.ones(8, "f4"))
    (one,) = whiten_clips([cached(0, 1.0)], whitened_by(identity))
    lengths = np.linalg.norm(one.clean.astype(np.float32), axis=2)
    np.testing.assert_allclose(lengths, 1, atol=2e-3)
    assert one.copies[0].dtype == np.float16


def test_the_lowpass_descriptor_has_a_whitening_of_its_own():
    identity = Whitening(np.zeros(8, "f4"), np.eye(8, dtype="f4"), np.ones(8, "f4"))
    turned = Whitening(np.ones(8, "f4"), np.eye(8, dtype="f4")[::-1].copy(), np.ones(8, "f4"))
    clip = cached(0, 1.0)
    layout = standard_layout(8, lowpass=True)
    model = whitened_by(identity, layout, lowpass=turned)
    (one,) = whiten_clips([clip], model)
    (plain,) = whiten_clips([clip], whitened_by(identity))
    np.testing.assert_array_equal(one.clean[:, :8], plain.clean[:, :8])
    want = (clip.clean[:, 8].astype(np.float32) - 1)[:, ::-1]
    want /= np.linalg.norm(want, axis=1, keepdims=True)
    np.testing.assert_allclose(one.clean[:, 8].astype(np.float32), want, atol=2e-3)


def test_regions_and_lowpass_descriptors_are_fitted_apart():
    rng = np.random.default_rng(0)
    frames = rng.standard_normal((300, 5, 8)).astype(np.float16)
    frames[:, 4] += 3
    regions, lowpass, thumbnail = whitenings(frames, standard_layout(4, lowpass=True), 6, 0.0)
    assert thumbnail is None
    assert lowpass is not None and regions.dims == lowpass.dims == 6
    np.testing.assert_allclose(regions.mean, 0, atol=0.15)
    np.testing.assert_allclose(lowpass.mean, 3, atol=0.3)
    assert whitenings(frames, standard_layout(5), 6, 0.0)[1] is None


def test_thumbnails_have_a_whitening_of_their_own():
    """Lowpass and thumbnail behind the regions; values beyond the squares are nothing."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 4, 1500)).astype(np.float32)
    axes = np.eye(1500, 6, dtype="f4")
    of_regions = Whitening(np.zeros(1500, "f4"), axes, np.ones(6, "f4"))
    of_thumbnail = Whitening(np.ones(1024, "f4"), np.eye(1024, 6, -9, "f4"), np.full(6, 4, "f4"))
    layout = standard_layout(2, lowpass=True, thumbnail=True, flip=True)
    model = whitened_by(of_regions, layout, lowpass=of_regions, thumbnail=of_thumbnail)
    found = whitened_descriptors(x, model)  # of a database: without the mirrored one
    plain = whitened_descriptors(x, whitened_by(of_regions))
    np.testing.assert_array_equal(found[:, :3], plain[:, :3])
    want = (x[:, 3, 9:15] - 1) / 2
    want /= np.linalg.norm(want, axis=1, keepdims=True)
    np.testing.assert_allclose(found[:, 3], want, atol=1e-5)


def test_thumbnails_are_fitted_apart():
    rng = np.random.default_rng(0)
    frames = rng.standard_normal((60, 4, 1100)).astype(np.float32)
    frames[:, 3] += 3
    regions, _, thumbnail = whitenings(
        frames, standard_layout(2, lowpass=True, thumbnail=True), 6, 0.5
    )
    assert thumbnail is not None and thumbnail.eigenvectors.shape == (1024, 6)
    np.testing.assert_array_equal(
        thumbnail.mean, frames[:, 3, :1024].mean(axis=0, dtype=np.float64).astype("f4")
    )
    np.testing.assert_allclose(regions.mean, 0, atol=0.5)
    want = fit(frames[:, 3, :1024], 6, THUMBNAIL_SHRINKAGE)
    np.testing.assert_array_equal(thumbnail.eigenvalues, want.eigenvalues)
