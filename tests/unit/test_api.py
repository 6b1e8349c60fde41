"""What Python callers give for videos."""

from pathlib import Path

import pytest

from pipeline.api import _refs
from pipeline.errors import InputError
from pipeline.records import VideoRef


def test_paths_may_be_path_objects() -> None:
    assert _refs({"a": Path("folder/a.mp4"), "b": "b.mp4"}) == [
        VideoRef("a", str(Path("folder/a.mp4"))),
        VideoRef("b", "b.mp4"),
    ]


def test_an_id_given_twice_is_refused() -> None:
    videos = [VideoRef("a", "one.mp4"), VideoRef("b", "two.mp4"), VideoRef("a", "three.mp4")]
    with pytest.raises(InputError, match=r"'a' is used twice, for one\.mp4 and three\.mp4"):
        _refs(videos)
