"""Single pictures of a video at given seconds, and JPEG files."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest

from pipeline.errors import VideoError
from pipeline.records import Preprocess
from pipeline.video.stills import StillDecoder, encode_jpeg
from tests import clips

SMALL = Preprocess(resize=96, crop=1)


def stills_of(path, seconds) -> dict[float, np.ndarray]:
    return dict(StillDecoder(str(path), SMALL, 1.0, seconds={str(path): seconds}))


def numbers(stills: dict[float, np.ndarray]) -> list[int]:
    """What `clips.numbered` wrote into the middle of each."""
    squares = (image[:, (image.shape[1] - 96) // 2 :][:, :96] for image in stills.values())
    return [clips.read_number(square, 96) for square in squares]


def decoded(content: bytes) -> np.ndarray:
    with av.open(io.BytesIO(content), format="jpeg_pipe") as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


@pytest.mark.parametrize("name, options", [
    ("a.mp4", {"codec": "libx264"}), ("a.avi", {"codec": "mpeg4"}),
])  # fmt: skip
def test_each_still_is_the_frame_on_screen(tmp_path, name, options):
    path = clips.clip(
        tmp_path / name, frames=250, width=128, height=96, **options
    )  # 25 frames a second
    seconds = [0.0, 0.1, 1.0, 7.9, 7.98, 9.5]
    stills = stills_of(path, seconds)
    assert list(stills) == seconds
    assert numbers(stills) == [0, 2, 25, 197, 199, 237]


def test_a_second_behind_the_end_gives_the_last_frame(tmp_path):
    path = clips.clip(tmp_path / "a.mp4", frames=50, width=128, height=96)
    stills = stills_of(path, [1.0, 60.0, 3600.0])
    assert numbers(stills) == [25, 49, 49]


def test_a_file_without_frames_is_an_error(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no film")
    with pytest.raises(VideoError):
        stills_of(tmp_path / "a.mp4", [0.0])


def test_a_jpeg_shows_the_picture_in_few_bytes():
    y, x = np.mgrid[:96, :170]
    image = np.stack([x, 2 * y, 255 - x], axis=2).astype(np.uint8)
    content = encode_jpeg(image)
    assert content[:2] == b"\xff\xd8" and len(content) < 4000
    assert np.abs(decoded(content).astype(int) - image).mean() < 6
