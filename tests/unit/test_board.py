"""Shards on a board: actors that die, halving, machines that cannot."""

import os

import pytest

from pipeline.cluster.board import CRASHES, REFUSALS, UNAVAILABLE, Board
from pipeline.cluster.extracting import ShardTask, plan_shards
from pipeline.cluster.ray_engine import parse_cluster
from pipeline.errors import InputError, MachineError
from pipeline.extraction.shards import FIRST_PLACE
from pipeline.records import Failure, SourceInfo, VideoRef
from tests.messages import raises


def halves(numbers):
    middle = len(numbers) // 2
    return [numbers[:middle], numbers[middle:]] if middle else []


class Play:
    """A board of numbers, where some numbers kill their actor."""

    def __init__(self, *shards, deadly=()):
        self.results, self.lost, self.deadly, self.kills = [], [], set(deadly), 0
        self.board = Board(
            halves,
            lambda p, result: self.results.append(result),
            lambda p, why: self.lost.append(p),
        )
        self.board.add(shards)

    def run(self):
        while not self.board.finished:
            task = self.board.take()
            if self.deadly & set(task.payload):
                self.kills += 1
                self.board.crashed(task, "died")
            else:
                self.board.done(task, task.payload)
        return sorted(number for result in self.results for number in result)


def test_all_shards_are_done():
    play = Play([1, 2], [3], [4, 5, 6])
    assert play.run() == [1, 2, 3, 4, 5, 6] and play.lost == [] and play.kills == 0


def test_a_shard_that_kills_is_halved_until_the_video_is_named():
    play = Play(list(range(8)), [8, 9], deadly=[5])
    assert play.run() == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert play.lost == [[5]] and play.kills == 4 * CRASHES


def test_a_machine_that_is_not_reached_is_no_crash():
    board = Play([1, 2]).board
    for _ in range(UNAVAILABLE - 1):
        board.not_available(board.take(), "away")
    task = board.take()
    assert task.crashes == 0 and task.unavailable == UNAVAILABLE - 1
    board.not_available(task, "away")
    assert task.crashes == 1 and not board.finished


def test_a_shard_that_no_machine_can_do_ends_the_job():
    board = Play([1], [2]).board
    other = board.take()
    for number in range(REFUSALS):
        assert board.error is None, number
        board.refused(board.take(), MachineError("not mounted"))
    assert isinstance(board.error, MachineError) and board.take() is None
    assert not board.finished  # the other one still runs
    board.done(other, [1])
    assert board.finished


REFS = [VideoRef(name, f"{name}.mp4") for name in "abcdef"]


def failed(video_id, reason):
    return Failure(video_id, reason, "", SourceInfo("x"))


def test_a_plan_holds_what_is_missing_with_its_places():
    failures = {"c": failed("c", "broken"), "d": failed("d", "unreachable")}
    tasks, report = plan_shards(REFS, {"b": FIRST_PLACE}, failures, shard_videos=3)
    assert [[ref.id for ref in task.videos] for task in tasks] == [["a", "d", "e"], ["f"]]
    assert (report.listed, report.already, report.todo) == (6, 1, 4)
    assert list(report.known_failures) == ["c"]
    places = {k: v for task in tasks for k, v in task.places.items()}
    assert places["a"] < FIRST_PLACE < places["d"] < places["e"] < places["f"]
    assert len({task.name for task in tasks}) == 2
    assert tasks[0].videos[0].path == os.path.abspath("a.mp4")  # an actor is in another folder
    again, report = plan_shards(REFS, {"b": 5}, failures, retry_failed=True, replace="changed")
    assert [len(task.videos) for task in again] == [6] and report.already == 0


def test_a_task_is_halved():
    task = ShardTask(REFS[:3], {"a": 1}, "job-1")
    assert [[ref.id for ref in half.videos] for half in task.halves()] == [["a"], ["b", "c"]]
    assert ShardTask(REFS[:1], {}, "job-1").halves() == []


def test_addresses():
    assert parse_cluster("ray") is None and parse_cluster("ray://10.0.0.1:6379") == "10.0.0.1:6379"
    for text in ("", "dask", "ray://", "ray:10.0.0.1"):
        with raises(InputError, "--cluster", repr(text), remedy="ray://HOST:PORT"):
            parse_cluster(text)


@pytest.mark.parametrize("count", [1, 7])
def test_splitting_ends(count):
    play = Play(list(range(count)), deadly=range(count))
    assert play.run() == [] and sorted(n for p in play.lost for n in p) == list(range(count))
