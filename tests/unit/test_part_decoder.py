"""Parts of a video, decoded at a finer rate."""

import numpy as np
import pytest

from pipeline.decode import Ended, Frames, decode_videos
from pipeline.decode.pool import PACKAGE
from pipeline.errors import VideoError
from pipeline.records import Preprocess, VideoRef
from pipeline.video import VideoDecoder
from pipeline.video.part_decoder import PartDecoder
from tests import clips

RATE = 24
PREPROCESS = Preprocess(64, 48)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Ten seconds of numbered frames, a keyframe every two seconds."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    frames = [clips.numbered(number, 128, 96) for number in range(10 * RATE)]
    return str(clips.write(path, frames, rate=RATE, options={"g": "48", "crf": "10"}))


def decoded(path, *parts, fps=4.0):
    return list(PartDecoder(path, PREPROCESS, fps, parts={path: parts}))


def test_samples_are_those_of_the_whole_video_at_that_rate(film):
    whole = dict(VideoDecoder(film, PREPROCESS, 4.0))
    found = decoded(film, (0.0, 1.0), (4.1, 6.3), (9.0, 99.0))
    assert [seconds for seconds, _ in found] == [
        *(k / 4 for k in range(4)), *(k / 4 for k in range(17, 26)), *(k / 4 for k in range(36, 40))
    ]  # fmt: skip
    for seconds, image in found:
        np.testing.assert_array_equal(image, whole[seconds])


def test_held_pictures_are_sampled_as_often_as_they_are_shown(tmp_path):
    path = str(clips.write(tmp_path / "slow.mp4", [clips.numbered(n) for n in range(4)], rate=1))
    found = decoded(path, (0.5, 3.0))
    assert [seconds for seconds, _ in found] == [k / 4 for k in range(2, 12)]
    images = [image for _, image in found]
    assert np.array_equal(images[0], images[1]) and not np.array_equal(images[1], images[2])


def test_a_part_behind_the_end_is_empty(film):
    with pytest.raises(VideoError, match="gave a frame"):
        decoded(film, (60.0, 66.0))


def test_it_runs_in_the_decoding_processes(film, tmp_path):
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(b"no video at all" * 100)
    refs = [VideoRef("film", film), VideoRef("damaged", str(damaged))]
    parts = {film: [(2.0, 3.0)], str(damaged): [(0.0, 1.0)]}
    with decode_videos(
        refs,
        PREPROCESS,
        4.0,
        workers=1,
        decoder=f"{PACKAGE}.video.part_decoder:PartDecoder",
        options={"parts": parts},
    ) as events:
        seen = list(events)
    frames = [event for event in seen if isinstance(event, Frames)]
    assert [event.index for event in frames] == [0]
    assert frames[0].seconds.tolist() == [2.0, 2.25, 2.5, 2.75]
    failures = {event.index: event.failure for event in seen if isinstance(event, Ended)}
    assert failures[0] is None and failures[1] is not None
