import numpy as np
import pytest

from pipeline.short_videos import repeat_to_min


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([7], [7, 7, 7, 7]),
        ([1, 2], [1, 2, 1, 2]),
        ([1, 2, 3], [1, 2, 3, 1, 2, 3]),
        ([1, 2, 3, 4], [1, 2, 3, 4]),
    ],
)
def test_short_videos_double_until_four(frames: list[int], expected: list[int]) -> None:
    assert repeat_to_min(np.array(frames)).tolist() == expected


def test_repeats_whole_frames_not_values() -> None:
    features = np.arange(12, dtype=np.float16).reshape(2, 2, 3)
    repeated = repeat_to_min(features)
    assert repeated.dtype == np.float16
    assert np.array_equal(repeated, np.concatenate([features, features]))


def test_the_older_minimum_of_eight() -> None:
    assert repeat_to_min(np.array([1, 2, 3]), minimum=8).tolist() == [1, 2, 3] * 4


def test_nothing_to_repeat() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        repeat_to_min(np.zeros((0, 9, 8), np.float32))
