"""The cache goes on where it was, knows what its numbers depend on, and survives bad videos."""

import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.nets.model.descriptors import standard_layout
from pipeline.records import VideoRef
from pipeline.training import feature_cache as cache_module
from pipeline.training.feature_cache import CacheSettings, FeatureCache
from tests.clips import clip
from tests.features import model
from tests.pixelnet import PixelNet

pytestmark = pytest.mark.slow  # `make test-fast` leaves these out

SETTINGS = CacheSettings(copies=2, clip_seconds=4.0, clips_per_video=2, hosts=3, seed=0)


@pytest.fixture(autouse=True)
def pixels(monkeypatch):
    monkeypatch.setattr(cache_module, "FeatureNet", lambda weights, as_queries: PixelNet())


@pytest.fixture(scope="module")
def refs(tmp_path_factory):
    """A clip of 2 s, one of 4 s, one of 12 s, and a file that is none."""
    folder = tmp_path_factory.mktemp("videos")
    paths = [clip(folder / f"{n}.mp4", n, options={"g": "25"}) for n in (50, 100, 300)]
    (folder / "text.mp4").write_text("no video")
    return [VideoRef(p.stem, str(p)) for p in [*paths, folder / "text.mp4"]]


def cache(folder, settings=SETTINGS):
    return FeatureCache(folder, model(), settings)


@pytest.fixture(scope="module")
def whole(refs, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache_module, "FeatureNet", lambda weights, as_queries: PixelNet())
        folder = tmp_path_factory.mktemp("whole")
        failures = cache(folder).fill(refs, workers=1)
    return folder, failures


def content(folder, refs):
    return [[c.clean, *c.copies, *c.seconds] for c in cache(folder).read(refs)]


def test_clips_come_in_the_lists_order_and_bad_videos_are_reported(whole, refs):
    folder, failures = whole
    assert [(f.id, f.reason) for f in failures] == [("text", "not_a_video")]
    clips = list(cache(folder).read(refs))
    assert [(c.video, c.first) for c in clips] == [
        ("50", 0.0), ("100", 0.0), ("300", 1.0), ("300", 7.0),
    ]  # fmt: skip
    assert [len(c.clean) for c in clips] == [2, 4, 4, 4]
    for c in clips:
        assert c.clean.dtype == np.float16 and len(c.copies) == len(c.hosts) == 2
        assert all(len(a) == len(s) for a, s in zip(c.copies, c.seconds, strict=True))
        assert c.video not in c.hosts


def test_what_is_there_is_not_made_again(whole, refs, tmp_path):
    first = cache(tmp_path)
    first.fill(refs[1:3], workers=1)
    times = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    (tmp_path / ".0123.tmp").write_bytes(b"left by a kill")
    assert len(first.fill(refs, workers=1)) == 1
    assert {n: (tmp_path / n).stat().st_mtime_ns for n in times} == times
    assert len(content(tmp_path, refs)) == 4


def test_numbers_depend_on_seed_and_ids_alone(whole, refs, tmp_path):
    moved = tmp_path / "moved"
    moved.mkdir()
    paths = [shutil.copy(ref.path, moved / str(i)) for i, ref in enumerate(refs)]
    elsewhere = [VideoRef(ref.id, str(p)) for ref, p in zip(refs, paths, strict=True)]
    cache(tmp_path).fill(elsewhere, workers=2)
    for one, other in zip(content(tmp_path, elsewhere), content(whole[0], refs), strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_another_model_sees_the_same_copies(whole, refs, tmp_path):
    other_model = replace(model(), grid=4, layout=standard_layout(16))
    assert list(FeatureCache(whole[0], other_model, SETTINGS).read(refs)) == []
    others = FeatureCache(tmp_path, other_model, SETTINGS)
    others.fill(refs, workers=1)
    for one, other in zip(others.read(refs), cache(whole[0]).read(refs), strict=True):
        assert one.hosts == other.hosts
        for a, b in zip(one.copies, other.copies, strict=True):
            np.testing.assert_array_equal(a, b)


def test_another_id_gives_other_copies(whole, refs, tmp_path):
    other = [replace(refs[0], id="other"), *refs[1:]]
    assert len(list(cache(whole[0]).read(other))) == 3
    cache(tmp_path).fill(other, workers=1)
    one, same = content(tmp_path, other)[0], content(whole[0], refs)[0]
    np.testing.assert_array_equal(one[0], same[0])
    assert any(a.shape != b.shape or (a != b).any() for a, b in zip(one, same, strict=True))


@pytest.mark.parametrize("changed", [{"seed": 1}, {"copies": 3}, {"clip_seconds": 5.0}])
def test_other_settings_are_another_cache(whole, refs, changed):
    assert list(cache(whole[0], replace(SETTINGS, **changed)).read(refs)) == []


def test_a_changed_video_is_another(whole, refs, tmp_path):
    longer = clip(tmp_path / "50.mp4", 60)
    assert list(cache(whole[0]).read([VideoRef("50", str(longer))])) == []


def test_one_video_is_not_enough(refs, tmp_path):
    with pytest.raises(InputError, match="two usable videos"):
        cache(tmp_path).fill(refs[:1], workers=1)


@pytest.mark.parametrize("clips", [1, 3])
def test_each_thread_has_a_job_and_few_wait(clips):
    """A job waits until four run, so fewer threads, or fewer jobs ahead, would time out."""
    together, begun = threading.Barrier(4), []

    def jobs():
        for video in range(12 // clips):
            begun.append(video)
            yield video, [lambda: together.wait(timeout=20)] * clips

    seen = []
    for video, made in cache_module._run_ahead(jobs(), 4):
        seen.append(video)
        assert len(made) == clips
        assert (len(begun) - len(seen)) * clips < 4 + clips
    assert seen == list(range(12 // clips))
