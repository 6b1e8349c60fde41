"""Shards of a list, and places for good."""

import random

import pytest

from pipeline.errors import InputError
from pipeline.extraction.shards import (
    FIRST_PLACE,
    PLACE_STEP,
    ShardNumber,
    cut,
    listed_places,
)
from pipeline.inputs import Listing
from pipeline.records import VideoRef
from tests.messages import raises


def refs(count):
    return [VideoRef(f"v{number}", str(number)) for number in range(count)]


@pytest.mark.parametrize(("listed", "count"), [(10, 3), (2, 5), (0, 2), (7, 1), (1000, 16)])
def test_shards_are_the_whole_list_once(listed, count):
    videos = refs(listed)
    shards = [ShardNumber(number, count).take(videos) for number in range(1, count + 1)]
    assert [ref for shard in shards for ref in shard] == videos
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_a_shard_of_a_folder_keeps_what_is_known_of_it():
    listing = Listing(refs(4), unsure={"v3"}, unreadable={"x": "why"})
    shard = ShardNumber(2, 2).take(listing)
    assert isinstance(shard, Listing) and list(shard) == refs(4)[2:]
    assert shard.unsure == {"v3"} and shard.unreadable == {"x": "why"}


@pytest.mark.parametrize("text", ["", "0/3", "4/3", "1", "a/b", "1/0", "-1/3", "1/3/5"])
def test_other_numbers_are_refused(text):
    with raises(InputError, "--shard", repr(text), remedy="3/16"):
        ShardNumber.parse(text)


def test_a_list_is_cut():
    assert [len(shard) for shard in cut(refs(7), 3)] == [3, 3, 1]


def test_first_places_leave_room():
    places = listed_places(["a", "b"], {})
    assert places == {"a": FIRST_PLACE, "b": FIRST_PLACE + PLACE_STEP}
    assert listed_places(["c"], places) == {"c": FIRST_PLACE + 2 * PLACE_STEP}


def test_a_list_grown_at_front_middle_and_end():
    stored = listed_places(list("bdf"), {})
    stored |= listed_places(list("abcdefg"), stored)
    assert sorted(stored, key=stored.__getitem__) == list("abcdefg")
    assert len(set(stored.values())) == 7


def test_a_second_list_goes_behind_the_first():
    stored = listed_places(list("abc"), {})
    stored |= listed_places(list("xyz"), stored)
    stored |= listed_places(list("wxyz"), stored)
    stored |= listed_places(list("abcd"), stored)
    assert sorted(stored, key=stored.__getitem__) == list("abcdwxyz")


def test_a_stored_video_keeps_its_place_in_another_order():
    stored = listed_places(list("abc"), {})
    new = listed_places(list("cxba"), stored)
    assert set(new) == {"x"} and new["x"] > stored["c"]


@pytest.mark.parametrize("seed", range(20))
def test_places_do_not_depend_on_what_is_stored_first(seed):
    pick = random.Random(seed)
    ids = [f"v{number:02}" for number in range(40)]
    expected = listed_places(ids, {})
    stored = {}
    while len(stored) < len(ids):
        missing = listed_places(ids, stored)
        assert missing == {i: expected[i] for i in ids if i not in stored}
        for video_id in pick.sample(sorted(missing), pick.randint(1, len(missing))):
            stored[video_id] = missing[video_id]
