"""Deals out shards of work to actors that may die; knows what was done, and nothing of Ray."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ..errors import PipelineError

Payload = TypeVar("Payload")
CRASHES = 3  # of an actor at the same shard, before it is halved
REFUSALS = 3  # of a shard by machines that cannot do it, before the job ends
UNAVAILABLE = (
    5  # times that the machine of a shard cannot be reached, before that counts as a crash
)


@dataclass
class Task(Generic[Payload]):
    """A shard on its way.

    Attributes:
        payload: what an actor is given.
        crashes, refusals, unavailable: times that it came back without a result.
    """

    payload: Payload
    crashes: int = 0
    refusals: int = 0
    unavailable: int = 0


@dataclass
class Board(Generic[Payload]):
    """The shards of a job.

    Attributes:
        split: halves a shard; an empty list for one that cannot be halved.
        on_result: called with the payload and the result of each shard that is done.
        on_lost: called with a payload that killed its actors and cannot be halved, and why.
        queue: shards that wait.
        running: number of shards that an actor has.
        error: why the job ends early; None: it goes on.
    """

    split: Callable[[Payload], list[Payload]]
    on_result: Callable[[Payload, Any], None]
    on_lost: Callable[[Payload, str], None]
    queue: deque[Task[Payload]] = field(default_factory=deque)
    running: int = 0
    error: PipelineError | None = None

    def add(self, payloads: Iterable[Payload]) -> None:
        """Let more shards wait."""
        self.queue.extend(Task(payload) for payload in payloads)

    @property
    def finished(self) -> bool:
        """Nothing runs, and nothing will."""
        return not self.running and (not self.queue or self.error is not None)

    def take(self) -> Task[Payload] | None:
        """The next shard for an actor; None if there is none to give out."""
        if self.error is not None or not self.queue:
            return None
        self.running += 1
        return self.queue.popleft()

    def done(self, task: Task[Payload], result: Any) -> None:
        """A shard is done."""
        self.running -= 1
        self.on_result(task.payload, result)

    def crashed(self, task: Task[Payload], why: str) -> None:
        """The actor of a shard died. Nobody knows which of its videos it was."""
        self.running -= 1
        task.crashes += 1
        if task.crashes < CRASHES:
            self.queue.append(task)
            return
        halves = self.split(task.payload)
        if halves:
            self.queue.extend(Task(half) for half in halves)
        else:
            self.on_lost(task.payload, why)

    def not_available(self, task: Task[Payload], why: str) -> None:
        """The machine of a shard cannot be reached; it may be at work, which does no harm."""
        task.unavailable += 1
        if task.unavailable >= UNAVAILABLE:
            self.crashed(task, why)
            return
        self.running -= 1
        self.queue.append(task)

    def refused(self, task: Task[Payload], error: PipelineError) -> None:
        """A machine cannot do a shard, as a disk is not mounted there; another one may."""
        self.running -= 1
        task.refusals += 1
        if task.refusals >= REFUSALS:
            self.error = self.error or error
        self.queue.append(task)
