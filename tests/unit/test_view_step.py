"""Query views of every n-th frame: which frames have them, and what a store says about it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.config import ExtractConfig
from pipeline.default_model import default_model_dir
from pipeline.errors import FingerprintMismatchError
from pipeline.extraction.batching import Slot
from pipeline.extraction.views import SparseViews, choose_view_step
from pipeline.nets.backbones import registry
from pipeline.nets.extractor.feature_net import FeatureNet
from pipeline.nets.formats.loader import load_model
from pipeline.records import FeatureSpec
from pipeline.search.compatibility import require_query_views, require_same_features
from tests import thin_backbone
from tests.messages import raises

SPEC = FeatureSpec(
    "m", "0" * 64, 2, 1, 1.0, 8, 8, "crop", "s/1", query_descriptors=2, augmentation_digest="a" * 64
)


class Numbers:
    """A frame's number as all four descriptors; the last two are views."""

    lowpass_views = (2, 3)

    def __init__(self) -> None:
        self.computed: list[list[bool]] = []

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        numbers = frames.reshape(len(frames), -1)[:, :1, None].astype(np.float32)
        return numbers.repeat(4, axis=1)

    def with_views_of(self, frames: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        self.computed.append(chosen.tolist())
        out = self(frames)
        out[np.ix_(~chosen, self.lowpass_views)] = 0
        return out


def slot(index, count, inset=0):
    return Slot(index, count, np.zeros(count), inset)


def frames(*numbers):
    return np.array(numbers, np.uint8).reshape(-1, 1, 1, 1)


def test_frames_between_take_the_views_before_them():
    net = Numbers()
    views = SparseViews(net, 2)
    found = views(frames(10, 11, 12, 50), [slot(0, 3), slot(1, 1)])
    assert found[:, :2, 0].tolist() == [[10] * 2, [11] * 2, [12] * 2, [50] * 2]
    assert found[:, 2:, 0].tolist() == [[10] * 2, [10] * 2, [12] * 2, [50] * 2]
    found = views(frames(51, 13, 14), [slot(1, 1), slot(0, 2)])
    assert found[:, 2, 0].tolist() == [50, 12, 14]
    assert net.computed == [[True, False, True, True], [False, False, True]]


@pytest.mark.parametrize("sizes", [[7], [1] * 7, [2, 5], [3, 3, 1]])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_batches_change_nothing(sizes, step):
    views, found, start = SparseViews(Numbers(), step), [], 0
    for size in sizes:
        found += views(frames(*range(start, start + size)), [slot(4, size)])[:, 3, 0].tolist()
        start += size
    assert found == [i // step * step for i in range(7)]


def test_an_inset_counts_its_own_frames_and_a_video_that_ended_is_forgotten():
    views = SparseViews(Numbers(), 2)
    assert views(frames(1, 2), [slot(0, 1), slot(0, 1, inset=1)])[:, 2, 0].tolist() == [1, 2]
    views.forget(0)
    assert views(frames(3, 4), [slot(0, 1), slot(0, 1, inset=1)])[:, 2, 0].tolist() == [3, 4]


def test_the_store_keeps_its_step():
    config, asked = ExtractConfig(), ExtractConfig(view_step=3)
    assert choose_view_step(config, None) == 1
    assert choose_view_step(config, SPEC.with_view_step(2)) == 2
    assert choose_view_step(asked, SPEC.with_view_step(2)) == 3


def test_the_step_is_part_of_the_fingerprint_and_one_is_as_before():
    sparse = SPEC.with_view_step(2)
    assert (SPEC.view_step, sparse.view_step) == (1, 2)
    assert sparse.fingerprint != SPEC.fingerprint
    assert sparse.views_digest == SPEC.views_digest == SPEC.augmentation_digest
    assert sparse.with_view_step(1) == SPEC.with_view_step(1) == SPEC
    assert sparse.as_database == SPEC.as_database
    database = SPEC.as_database
    assert database.with_view_step(2) is database


class Held:
    """A store as the checks see it."""

    def __init__(self, spec: FeatureSpec) -> None:
        self.spec, self.path = spec, "queries.h5"


def test_views_of_another_step_fit_the_model_and_are_not_mixed():
    model = load_model(default_model_dir())
    spec = replace(SPEC, augmentation_digest=model.views_digest).with_view_step(2)
    require_query_views(Held(spec), model)
    with raises(FingerprintMismatchError, "queries.h5"):
        require_query_views(Held(replace(spec, augmentation_digest="b every 2")), model)
    with raises(FingerprintMismatchError, "every 2"):
        require_same_features(Held(spec), Held(spec.with_view_step(1)))


def test_the_layout_without_lowpass_views():
    layout = load_model(default_model_dir()).layout
    assert layout.lowpass_views == list(range(13, 37))
    assert layout.without_lowpass_views.query == layout.query - 24
    assert layout.without_lowpass_views.shared == layout.shared


@pytest.mark.slow
def test_frames_without_views_have_all_other_descriptors(monkeypatch):
    """The included model's layout: what is computed does not depend on what is left out."""
    monkeypatch.setattr(registry, "build", thin_backbone.build)
    pictures = np.random.default_rng(2).integers(0, 256, (4, 28, 28, 3), np.uint8)
    pictures = pictures.repeat(8, 1).repeat(8, 2)
    net = FeatureNet(load_model(default_model_dir()), "float32", 32, -1, as_queries=True)
    whole = net(pictures)
    found = net.with_views_of(pictures, np.array([True, False, True, False]))
    np.testing.assert_allclose(found[::2], whole[::2], atol=1e-6)
    others = np.setdiff1d(np.arange(net.vectors), net.lowpass_views)
    np.testing.assert_allclose(found[1::2][:, others], whole[1::2][:, others], atol=1e-6)
    assert not found[1::2][:, net.lowpass_views].any()
