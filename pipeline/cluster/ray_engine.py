"""Runs a board of shards on actors of a Ray cluster; the only module that imports Ray."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import InputError, MachineError, PipelineError
from ..store.parts.local_parts import CACHE_VARIABLE
from .board import Board, Task

EXTRA = "pip install 'visil-index[cluster]'"
_WAIT_SECONDS = 0.5
FAILED_STARTS = 4  # of actors in a row, before the job ends
# Ray asks on some systems and tells its makers of each start; neither is wanted of a command.
_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


class Worker(Protocol):
    """What an actor keeps: a network, decoders."""

    def run(self, payload: Any) -> Any:
        """Do one shard; MachineError, StoreError or InputError: this machine cannot."""


@dataclass(frozen=True)
class ActorOptions:
    """What each actor takes of its machine.

    Attributes:
        actors: how many; 0: as many as the cluster has room for.
        cpus: processor cores of an actor: threads of its network, and decoding processes.
        gpus: of a GPU or several; 0.5 lets two actors share one.
    """

    actors: int = 0
    cpus: int = 1
    gpus: float = 0.0


def parse_cluster(text: str) -> str | None:
    """The address in `ray` or `ray://ADDRESS`; None for `ray` alone.

    Raises:
        InputError: it is written otherwise.
    """
    kind, separator, address = text.partition("://")
    if kind != "ray" or bool(separator) != bool(address):
        raise InputError(f"--cluster is {text!r}, expected ray or ray://HOST:PORT")
    return address or None


def run_board(
    board: Board[Any],
    make_worker: Callable[[], Worker],
    options: ActorOptions,
    address: str | None = None,
    tick: Callable[[int], None] = lambda actors: None,
) -> None:
    """Give all shards to actors until the board is finished.

    Args:
        board: the shards.
        make_worker: is called in each actor; it and what it refers to are sent there.
        options: what an actor takes.
        address: of a running cluster; None starts one on this machine, unless RAY_ADDRESS names
            one.
        tick: called a few times a second with the number of actors.

    Raises:
        InputError: Ray is not installed, or the cluster has no room for an actor.
        PipelineError: no machine of the cluster can do a shard.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError(f"--cluster ray needs Ray: {EXTRA}") from error
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    own = not ray.is_initialized()
    if own:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        _Engine(ray, board, make_worker, options, tick).run()
    finally:
        if own:
            ray.shutdown()
    if board.error is not None:
        raise board.error


class _Engine:
    """The loop of `run_board`."""

    def __init__(
        self,
        ray: Any,
        board: Board[Any],
        make_worker: Callable[[], Worker],
        options: ActorOptions,
        tick: Callable[[int], None],
    ) -> None:
        self._ray, self._board, self._options, self._tick = ray, board, options, tick
        threads = str(options.cpus)
        # TensorFlow takes all cores and a whole GPU unless told.
        variables = {
            "TF_NUM_INTRAOP_THREADS": threads,
            "OMP_NUM_THREADS": threads,
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        }
        if folder := os.environ.get(CACHE_VARIABLE):
            variables[CACHE_VARIABLE] = folder
        self._actor_class = ray.remote(
            num_cpus=options.cpus,
            num_gpus=options.gpus,
            max_restarts=0,
            max_task_retries=0,
            runtime_env={"env_vars": variables},
        )(_Actor)
        self._make_worker = ray.put(make_worker)
        self._starting: dict[Any, Any] = {}
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, Task[Any]]] = {}
        self._most = 0  # actors
        self._failed_starts = 0  # since one started

    def run(self) -> None:
        try:
            self._most = self._room()
            while not self._board.finished:
                self._start()
                self._deal_out()
                pending = [*self._starting, *self._busy]
                ready, _ = self._ray.wait(pending, timeout=_WAIT_SECONDS)
                for reference in ready:
                    if reference in self._starting:
                        self._take_in_actor(reference)
                    else:
                        self._take_in(reference)
                self._tick(len(self._idle) + len(self._busy))
        finally:
            busy = [actor for actor, _ in self._busy.values()]
            for actor in [*self._idle, *busy, *self._starting.values()]:
                self._ray.kill(actor)

    def _room(self) -> int:
        """How many actors to start: not more than there are shards."""
        resources, options = self._ray.cluster_resources(), self._options
        room = int(resources.get("CPU", 0) // options.cpus)
        if options.gpus:
            room = min(room, int(resources.get("GPU", 0) / options.gpus))
        if room < 1:
            raise InputError(
                f"the cluster has {resources.get('CPU', 0):g} cores and "
                f"{resources.get('GPU', 0):g} GPUs, and an actor takes {options.cpus} and "
                f"{options.gpus:g}; ask for less with --actor_cpus and --actor_gpus"
            )
        return max(1, min(options.actors or room, len(self._board.queue)))

    def _start(self) -> None:
        """Start actors, not more than shards wait for one."""
        waiting = len(self._board.queue) - len(self._starting) - len(self._idle)
        room = self._most - len(self._starting) - len(self._idle) - len(self._busy)
        for _ in range(min(waiting, room)):
            actor = self._actor_class.remote(self._make_worker)
            self._starting[actor.start.remote()] = actor

    def _deal_out(self) -> None:
        while self._idle and (task := self._board.take()) is not None:
            actor = self._idle.pop()
            self._busy[actor.run.remote(task.payload)] = actor, task
        # Who has nothing to do gives its cores back: another one may wait for them.
        while self._idle:
            self._ray.kill(self._idle.pop())

    def _take_in_actor(self, reference: Any) -> None:
        """An actor has started, or cannot; that is no fault of a shard."""
        from ray.exceptions import RayError, RayTaskError

        actor = self._starting.pop(reference)
        try:
            self._ray.get(reference)
        except RayError as error:
            self._ray.kill(actor)
            self._failed_starts += 1
            if self._failed_starts < FAILED_STARTS:
                return
            cause = error.cause if isinstance(error, RayTaskError) else error
            why = f"{type(cause).__name__}: {_first_line(cause)}"
            self._board.error = (
                cause
                if isinstance(cause, PipelineError)
                else MachineError(f"actors cannot start on the machines of the cluster: {why}")
            )
        else:
            self._failed_starts = 0
            self._idle.append(actor)

    def _take_in(self, reference: Any) -> None:
        from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError

        actor, task = self._busy.pop(reference)
        try:
            result = self._ray.get(reference)
        except ActorUnavailableError as error:
            self._board.not_available(task, _first_line(error))
        except RayActorError as error:
            self._board.crashed(task, f"the actor that had it died: {_first_line(error)}")
        except RayTaskError as error:
            if isinstance(error.cause, PipelineError):
                self._board.refused(task, error.cause)
            else:
                self._board.crashed(task, f"unexpected {type(error.cause).__name__}")
        else:
            self._board.done(task, result)
            self._idle.append(actor)
            return
        self._ray.kill(actor)


class _Actor:
    """Lives in a process of its own on some machine of the cluster."""

    def __init__(self, make_worker: Callable[[], Worker]) -> None:
        self._make_worker = make_worker
        self._worker: Worker | None = None

    def start(self) -> None:
        """Make the worker; here its errors reach the driver as they are."""
        self._worker = self._make_worker()

    def run(self, payload: Any) -> Any:
        """Do one shard."""
        assert self._worker is not None
        return self._worker.run(payload)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
