"""Stretches of videos as whole pictures, and frames through a real encoder."""

from itertools import pairwise

import numpy as np
import pytest

from pipeline.decode import Ended, Frames, decode_videos
from pipeline.errors import VideoError
from pipeline.records import Preprocess, VideoRef
from pipeline.video.clip_decoder import ClipDecoder, clip_segments
from pipeline.video.reencode import reencode, resize_frames
from tests.clips import clip, numbered, read_number, truncate

SIZE = Preprocess(240, 224)  # more than the clips have: none is made larger
WIDTH, HEIGHT = 256, 192


def numbers(decoded):
    side = (WIDTH - HEIGHT) // 2
    return [(round(s, 3), read_number(image[:, side:-side], HEIGHT)) for s, image in decoded]


def large(path, frames, **how):
    return clip(path, frames, WIDTH, HEIGHT, **how)


def test_a_short_video_is_one_stretch_and_a_long_one_several_without_overlap():
    assert clip_segments(20.0, 16.0, 4) == [(0.0, 20.0)]
    assert clip_segments(0.0, 16.0, 4) == [(0.0, 16.0)]
    assert clip_segments(100.0, 10.0, 2) == [(20.0, 30.0), (70.0, 80.0)]
    parts = clip_segments(47.0, 10.0, 9)
    assert len(parts) == 4
    assert all(a[1] <= b[0] for a, b in pairwise(parts))


def test_pictures_are_those_on_screen_at_their_time(tmp_path):
    path = large(tmp_path / "a.mp4", 50)
    decoded = list(ClipDecoder(str(path), SIZE, 4.0))
    assert decoded[0][1].shape == (HEIGHT, WIDTH, 3)
    # 25 frames a second: the one on screen at k / 4 s is the last that began by then.
    assert numbers(decoded) == [(k / 4, int(k / 4 * 25)) for k in range(8)]


def test_stretches_of_a_long_video_are_sought(tmp_path):
    path = large(tmp_path / "a.mp4", 500, options={"g": "50"})
    decoded = numbers(ClipDecoder(str(path), SIZE, 1.0, length=2.0, max_clips=2))
    assert decoded == [(4.0, 100), (5.0, 125), (14.0, 350), (15.0, 375)]


def test_pictures_are_scaled_down_and_turned(tmp_path):
    path = clip(tmp_path / "a.mp4", 10, turn=90)
    (_, image), *_ = ClipDecoder(str(path), Preprocess(24, 20), 4.0)
    assert image.shape == (32, 24, 3)


def test_a_file_without_frames_says_so(tmp_path):
    path = truncate(clip(tmp_path / "a.mkv", 50), 0.08)
    with pytest.raises(VideoError):
        list(ClipDecoder(str(path), SIZE, 4.0))


def test_the_decoding_processes_pass_settings_on(tmp_path):
    path = clip(tmp_path / "a.mp4", 250, options={"g": "25"})
    refs = [VideoRef("a", str(path)), VideoRef("gone", str(tmp_path / "gone.mp4"))]
    decoder = "pipeline.video.clip_decoder:ClipDecoder"
    with decode_videos(
        refs, SIZE, 1.0, workers=1, decoder=decoder, options={"length": 3.0, "max_clips": 1}
    ) as events:
        found = list(events)
    seconds = np.concatenate([e.seconds for e in found if isinstance(e, Frames)])
    assert seconds.tolist() == [3.5, 4.5, 5.5]
    assert [e.failure.reason for e in found if isinstance(e, Ended) and e.failure] == ["missing"]


@pytest.mark.parametrize(("codec", "good", "bad"), [("libx264", 10, 48), ("mpeg4", 2, 31)])
def test_a_low_rate_loses_detail(codec, good, bad):
    frames = np.stack([resize_frames(numbered(n)[None], 48, 64)[0] for n in range(6)])
    frames = frames + np.random.default_rng(0).integers(0, 20, frames.shape, dtype=np.uint8)
    lost = [np.abs(reencode(frames, codec, q).astype(int) - frames).mean() for q in (good, bad)]
    assert lost[0] < 6 < lost[1]
    assert reencode(frames, codec, bad).shape == frames.shape
