"""A set of all videos of some stores, whose parts are made when they are asked for."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.search import video_set
from pipeline.search.video_set import VideoSet
from pipeline.store import FeatureStore, open_store, video_check
from tests import features
from tests.messages import raises

SPEC = features.spec("ab" * 32)


@pytest.fixture
def stores(tmp_path: Path) -> list[FeatureStore]:
    """One with v0 to v4, one with v5 to v7; lengths of 2 to 9 frames."""
    opened = []
    for name, numbers in (("a.h5", range(5)), ("b.zarr", range(5, 8))):
        vectors = {f"v{n}": features.region_vectors(n + 2, n) for n in numbers}
        opened.append(open_store(features.fill(tmp_path / name, SPEC, vectors)))
    return opened


def test_all_videos_are_the_listed_ones(stores: list[FeatureStore]) -> None:
    every = VideoSet(stores)
    listed = VideoSet(stores, [f"v{n}" for n in range(8)])
    assert every.ids == listed.ids
    assert every.lengths.tolist() == listed.lengths.tolist() == [4, 6, 4, 5, 6, 7, 8, 9]
    for number in (0, 4, 5, 7, -1):
        np.testing.assert_array_equal(every.vectors(number), listed.vectors(number))
    for one, other in zip(every.numbers_in_stores(), listed.numbers_in_stores(), strict=True):
        assert one.tolist() == other.tolist()
    assert every.origins() == listed.origins()
    with pytest.raises(IndexError):
        every.vectors(8)


def test_damage_is_known_to_every_part_of_a_set(stores: list[FeatureStore]) -> None:
    every = VideoSet(stores)
    part = every.take([6, 2])
    part.mark_damaged(0, "torn")
    assert every.sound.tolist() == [True] * 6 + [False, True]
    assert every.sound_between(5, 7).tolist() == [True, False]
    assert every.sound_between(7, 20).tolist() == [True]
    assert list(every.damaged) == ["v6"] and "torn" in every.damaged["v6"]
    assert list(every.damage_by_number()) == [6]
    assert every.sound_ids == [f"v{n}" for n in (0, 1, 2, 3, 4, 5, 7)]
    split, owner = every.split_insets()
    assert owner.tolist() == [0, 1, 2, 3, 4, 5, 7] and split.ids == every.sound_ids


def test_parts_that_several_threads_read_at_once_are_sound(
    stores: list[FeatureStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    crc = video_check.crc32c

    def slow(values: np.ndarray, before: int = 0) -> int:
        time.sleep(0.001)  # the other threads come in here
        return crc(values, before)

    monkeypatch.setattr(video_check, "crc32c", slow)
    every = VideoSet(stores)

    def read(_: int) -> None:
        for video in range(len(every)):
            out = np.empty((1, *every.row_shape), every.dtype)
            for frame in range(int(every.lengths[video])):
                every.read(video, frame, frame + 1, out)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, range(4)))
    assert not every.damaged
    assert all(sequence.check.done for sequence in every._sequences)


def test_nothing_is_made_for_videos_that_nobody_asks_for(
    stores: list[FeatureStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    check = video_set.VideoCheck

    def counted(store: FeatureStore, video_id: str) -> video_set.VideoCheck:
        made.append(video_id)
        return check(store, video_id)

    monkeypatch.setattr(video_set, "VideoCheck", counted)
    every = VideoSet(stores)
    assert every.sound.all() and not every.damaged and len(every.numbers_in_stores()) == 2
    chosen = every.take([3, 5])
    chosen.vectors(1)
    every.take([5]).vectors(0)
    assert made == ["v3", "v5"]


def test_an_id_in_two_stores_is_refused(stores: list[FeatureStore], tmp_path: Path) -> None:
    vectors = {"v1": features.region_vectors(4, 1)}
    third = open_store(features.fill(tmp_path / "c.h5", SPEC, vectors))
    with raises(InputError, "'v1'", stores[0].path, third.path, remedy="prefix"):
        VideoSet([*stores, third])
    with raises(InputError, stores[0].path, remedy="give it once"):
        VideoSet([stores[0], stores[0]], prefixes=["a/", "b/"])
    assert VideoSet([*stores, third], prefixes=["", "", "c/"]).ids[-1] == "c/v1"
