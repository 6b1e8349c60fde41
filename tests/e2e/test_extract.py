"""Stage one over the example clips and broken files: states, resuming, and what may not mix."""

import io
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.config import ExtractConfig
from pipeline.decode import decode_videos
from pipeline.errors import FingerprintMismatchError, InputError, StoreLockedError
from pipeline.extraction.plan import select_videos
from pipeline.extraction.run import THUMBNAIL_PIXELS, extract_features
from pipeline.records import Preprocess, VideoRef
from pipeline.store import create_or_append, open_store, read_thumbnails
from pipeline.video import SAMPLING, sample_frames
from tests.pixelnet import PixelNet

EXAMPLES = sorted(Path(__file__).parents[2].glob("examples/*.[mw][pe]*"))
CONFIG = ExtractConfig(dtype="float32", batch_size=7, workers=2)


class LargePixelNet(PixelNet):
    """Takes frames of 90 pixels."""

    preprocess = Preprocess(120, 90)

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        return super().__call__(np.ascontiguousarray(frames[:, ::3, ::3]))


def refs(paths=EXAMPLES):
    return [VideoRef(f"id/{p.stem}", str(p), i + 1) for i, p in enumerate(paths)]


@pytest.fixture(scope="module")
def truth():
    """Features of every clip, made one clip at a time."""
    net = PixelNet()
    result = {}
    for ref in refs():
        seconds, frames = zip(*sample_frames(ref.path, net.preprocess, 1.0), strict=True)
        result[ref.id] = np.array(seconds), net(np.stack(frames))
    return result


@pytest.fixture(params=["h5", "zarr", "parts"])
def path(request, tmp_path):
    return tmp_path / f"s.{request.param}"


def check(path, truth, ids=None):
    with open_store(path) as store:
        assert store.ids == [i for i in truth if i in (ids or truth)]  # as listed
        for video_id in store.ids:
            video = store.read(video_id)
            np.testing.assert_array_equal(video.seconds, truth[video_id][0])
            np.testing.assert_array_equal(video.vectors, truth[video_id][1])
        assert store.verify() == []


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_every_clip_is_stored_as_if_alone(path, truth, batch_size):
    net = PixelNet()
    report = extract_features(refs(), path, net, replace(CONFIG, batch_size=batch_size))
    check(path, truth)
    assert report.complete and sorted(report.stored) == sorted(truth)
    frames = sum(len(v[0]) for v in truth.values())
    assert report.frames == frames
    full, rest = divmod(frames, batch_size)
    assert net.batches == [batch_size] * full + [rest] * bool(rest)


def test_thumbnails_are_the_samples_in_small(path):
    net = LargePixelNet()  # a thumbnail is smaller than its frames
    extract_features(refs()[:2], path, net, replace(CONFIG, thumbnails=True))
    with open_store(path) as store:
        for ref in refs()[:2]:
            pack = read_thumbnails(path, ref.id, store.checksum(ref.id))
            frames = dict(sample_frames(ref.path, net.preprocess, 1.0))
            assert pack.seconds.tolist() == store.seconds(ref.id).tolist() == list(frames)
            for content, frame in zip(pack.pictures, frames.values(), strict=True):
                with av.open(io.BytesIO(content), format="jpeg_pipe") as container:
                    small = next(container.decode(video=0)).to_ndarray(format="rgb24")
                assert small.shape == (THUMBNAIL_PIXELS, THUMBNAIL_PIXELS, 3)
                cells = frame.reshape(18, 5, 18, 5, 3).mean(axis=(1, 3))
                reduced = small.reshape(18, 4, 18, 4, 3).mean(axis=(1, 3))
                assert np.abs(cells - reduced).mean() < 8
            assert max(map(len, pack.pictures)) <= 2000


def test_a_longer_list_costs_only_what_is_new(path, truth):
    extract_features(refs()[:3], path, PixelNet(), CONFIG)
    net = PixelNet()
    report = extract_features(refs(), path, net, CONFIG)
    assert (report.already, report.todo) == (3, len(truth) - 3)
    assert report.frames == sum(len(truth[r.id][0]) for r in refs()[3:])
    check(path, truth)
    net = PixelNet()
    assert extract_features(refs(), path, net, CONFIG).already == len(truth)
    assert net.batches == []


def test_ids_stay_as_listed_over_several_lists(path, truth):
    first, second = refs()[2:5], refs()[:2] + refs()[5:]
    extract_features(second[:1] + first[1:], path, PixelNet(), CONFIG)  # interrupted, as it were
    extract_features(first, path, PixelNet(), CONFIG)
    extract_features(second, path, PixelNet(), CONFIG)
    with open_store(path) as store:
        if path.suffix != ".parts":  # there they come behind the last one of their list
            assert store.ids[-3:] == [r.id for r in second[-3:]]
        assert [i for i in store.ids if i in {r.id for r in second}] == [r.id for r in second]


def test_a_list_comes_behind_what_an_earlier_one_left(path):
    """Also where much of the earlier one could not be stored."""
    lost = [VideoRef(f"lost {n}", "nowhere.mp4") for n in range(5)]
    extract_features([*lost, refs()[0]], path, PixelNet(), CONFIG)
    extract_features(refs()[1:4], path, PixelNet(), CONFIG)
    with open_store(path) as store:
        assert store.ids == [r.id for r in refs()[:4]]


def test_a_finished_video_is_committed_while_decoders_are_silent(path, monkeypatch):
    if path.suffix == ".parts":
        pytest.skip("a part waits for more videos")
    standing_in = partial(decode_videos, decoder="tests.decoders:Misbehaving")
    monkeypatch.setattr("pipeline.extraction.run.decode_videos", standing_in)
    videos = [VideoRef("quick", "end:4"), VideoRef("slow", "slow:32")]  # then 3.5 s of nothing
    told = []
    extract_features(
        videos, path, PixelNet(), replace(CONFIG, batch_size=1, commit_seconds=1.0),
        progress=lambda report: told.append((list(report.stored), report.decode.videos)),
    )  # fmt: skip
    assert (["quick"], 1) in told and told[-1] == (["quick", "slow"], 2)


class FaintNet(PixelNet):
    """Overflows for very dark frames, as a network in float16 may for some."""

    def __call__(self, frames):
        vectors = super().__call__(frames)
        vectors[frames.mean(axis=(1, 2, 3)) < 1] = np.nan
        return vectors


@pytest.mark.parametrize("batch_size", [1, 64])
def test_what_the_network_cannot_tell_costs_one_video(path, monkeypatch, batch_size):
    standing_in = partial(decode_videos, decoder="tests.decoders:Misbehaving")
    monkeypatch.setattr("pipeline.extraction.run.decode_videos", standing_in)
    clip = refs()[0]
    settings = replace(CONFIG, batch_size=batch_size)
    videos = [VideoRef(f"dark {n}", f"end:{n}") for n in (1, 100)] + [VideoRef("error", "error:9")]
    report = extract_features(videos, path, FaintNet(), settings)
    assert report.stored == [] and sorted(report.failures) == ["dark 1", "dark 100", "error"]
    monkeypatch.undo()
    report = extract_features([clip], path, FaintNet(), settings)
    assert report.stored == [clip.id]
    with open_store(path) as store:
        told = store.failures["dark 100"]
        assert told.reason == "unsupported" and "no finite values for it in float32" in told.detail
        assert store.verify() == []


def test_a_failure_that_cannot_change_is_tried_again_only_when_asked(path, truth, tmp_path):
    good = refs()[0]
    late = tmp_path / "late.mp4"
    listed = [good, VideoRef("late", str(late)), VideoRef("text", __file__)]
    report = extract_features(listed, path, PixelNet(), CONFIG)
    assert report.stored == [good.id] and not report.complete
    assert {i: f.reason for i, f in report.failures.items()} == {
        "late": "missing",
        "text": "not_a_video",
    }
    with open_store(path) as store:
        assert {i: f.reason for i, f in store.failures.items()} == {
            "late": "missing",
            "text": "not_a_video",
        }
        assert str(late) in store.failures["late"].detail

    late.write_bytes(EXAMPLES[1].read_bytes())
    again = extract_features(listed, path, PixelNet(), CONFIG)
    assert again.stored == ["late"] and sorted(again.known_failures) == ["text"]
    assert not again.complete
    (remark,) = again.remarks()
    assert remark.startswith("text: ") and __file__ in remark and "retry_failed=True" in remark

    report = extract_features(listed, path, PixelNet(), CONFIG, retry_failed=True)
    assert report.stored == [] and list(report.failures) == ["text"]
    with open_store(path) as store:
        assert list(store.failures) == ["text"]
        np.testing.assert_array_equal(store.read("late").vectors, truth[refs()[1].id][1])


def test_an_id_listed_with_another_file_of_the_folder_is_changed(path, truth):
    first, second = refs()[:2]
    extract_features([first], path, PixelNet(), CONFIG)
    moved = VideoRef(first.id, "D:\\archive\\" + Path(first.path).name)
    report = extract_features([moved], path, PixelNet(), CONFIG)
    assert report.already == 1 and not report.other_files
    reused = VideoRef(first.id, second.path)
    report = extract_features([reused], path, PixelNet(), CONFIG)
    assert list(report.changed) == [first.id] and not report.stored and not report.complete
    assert first.path in report.changed[first.id] and second.path in report.changed[first.id]
    report = extract_features([reused], path, PixelNet(), CONFIG, replace="changed")
    assert report.stored == [first.id] and report.complete
    with open_store(path) as store:
        np.testing.assert_array_equal(store.read(first.id).vectors, truth[second.id][1])


def test_replace_changed_and_all(path, truth, tmp_path):
    copy = tmp_path / "v.mp4"
    copy.write_bytes(EXAMPLES[0].read_bytes())
    listed = [VideoRef("v", str(copy)), refs()[2]]
    extract_features(listed, path, PixelNet(), CONFIG)
    assert extract_features(listed, path, PixelNet(), CONFIG, replace="changed").frames == 0
    copy.write_bytes(EXAMPLES[1].read_bytes())
    assert extract_features(listed, path, PixelNet(), CONFIG).frames == 0
    report = extract_features(listed, path, PixelNet(), CONFIG, replace="changed")
    assert report.stored == ["v"]
    with open_store(path) as store:
        np.testing.assert_array_equal(store.read("v").vectors, truth[refs()[1].id][1])
    copy.unlink()  # a file that went offline is no reason to lose its features
    assert extract_features(listed, path, PixelNet(), CONFIG, replace="changed").already == 2
    nowhere = [VideoRef("v", "no\0name"), refs()[2]]
    assert extract_features(nowhere, path, PixelNet(), CONFIG, replace="changed").already == 2
    report = extract_features(listed, path, PixelNet(), CONFIG, replace="all")
    assert report.stored == [refs()[2].id] and list(report.failures) == ["v"]
    with open_store(path) as store:
        assert "v" in store and "v" in store.failures


def test_a_damaged_video_keeps_its_good_frames_and_says_so(path, truth, tmp_path):
    whole = next(p for p in EXAMPLES if p.suffix == ".webm")
    cut = tmp_path / "cut.webm"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    report = extract_features([VideoRef("cut", str(cut))], path, PixelNet(), CONFIG)
    assert report.stored == ["cut"]
    with open_store(path) as store:
        record, vectors = store.record("cut"), store.read("cut").vectors
    assert record.note and record.note == report.notes["cut"]
    assert report.remarks() == [f"cut: {record.note}"]
    full = truth[f"id/{whole.stem}"][1]
    assert 4 <= len(vectors) < len(full)
    np.testing.assert_array_equal(vectors, full[: len(vectors)])


def test_other_settings_do_not_mix(path):
    extract_features(refs()[:1], path, PixelNet(), CONFIG)
    with pytest.raises(FingerprintMismatchError, match="fps"):
        extract_features(refs(), path, PixelNet(), replace(CONFIG, fps=2.0))
    with pytest.raises(FingerprintMismatchError, match=r"nearest-keyframe/1.*shown-at/1"):
        extract_features(refs(), path, PixelNet(), replace(CONFIG, sampling="keyframes"))
    other = PixelNet()
    other.digest = "1" * 64
    with pytest.raises(FingerprintMismatchError, match="digest"):
        extract_features(refs(), path, other, CONFIG)
    with open_store(path) as store:
        assert len(store) == 1


def test_keyframes_only(path, truth):
    config = replace(CONFIG, sampling="keyframes", hwaccel="d3d11va")  # which Linux has not
    report = extract_features(refs(), path, PixelNet(), config)
    assert report.complete and report.frames < sum(len(v[0]) for v in truth.values())
    assert report.decode.on_device == 0 and report.decode.videos == len(EXAMPLES)
    with open_store(path) as store:
        assert store.spec.sampling == "nearest-keyframe/1"
        for ref in refs():
            images = sample_frames(ref.path, PixelNet().preprocess, sampling="keyframes")
            seconds, frames = zip(*images, strict=True)
            video = store.read(ref.id)
            np.testing.assert_array_equal(video.seconds, seconds)
            np.testing.assert_array_equal(video.vectors, PixelNet()(np.stack(frames)))


def test_one_writer_at_a_time(path):
    if path.suffix == ".parts":
        pytest.skip("a store of parts has many writers")
    first = create_or_append(path, PixelNet().spec(1.0, SAMPLING), "float32")
    with first, pytest.raises(StoreLockedError, match="s\\."):
        extract_features(refs(), path, PixelNet(), CONFIG)


def test_what_was_stored_survives_an_error_of_the_network(path, truth):
    class Failing(PixelNet):
        def __call__(self, frames):
            if len(self.batches) == 6:
                raise RuntimeError("device lost")
            return super().__call__(frames)

    with pytest.raises(RuntimeError, match="device lost"):
        extract_features(refs(), path, Failing(), replace(CONFIG, commit_seconds=0))
    with open_store(path) as store:
        kept = store.ids
    assert 0 < len(kept) < len(truth)
    check(path, truth, kept)
    extract_features(refs(), path, PixelNet(), CONFIG)
    check(path, truth)


def test_planning_a_long_list_reads_the_failures_once():
    """They are parsed on each access: per listed video that took half an hour for 100,000."""

    class Writer(dict):
        accesses = 0

        @property
        def failures(self):
            self.accesses += 1
            return {}

    writer = Writer()
    todo, report = select_videos(
        [VideoRef(str(i), "x") for i in range(1000)], writer, False, "never"
    )
    assert len(todo) == report.todo == 1000
    assert writer.accesses == 1


def test_an_unknown_word_for_replace_is_refused(path):
    with pytest.raises(InputError, match="'some', expected one of"):
        extract_features(refs(), path, PixelNet(), CONFIG, replace="some")
    assert not path.exists()
