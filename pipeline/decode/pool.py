"""Keeps decoding processes busy with a list of videos and yields their frames as events.

A thread per process sends it one video at a time. If the process crashes or hangs, that video
fails, and the next one gets a new process. If the process decoded other videos before it crashed,
the video is tried once more in a new process, as a broken video may damage the process for later
ones. Memory is bounded: a process holds one chunk of frames, the queue a fixed number of bytes, and
pipes make the rest wait.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from dataclasses import replace as with_fields
from types import TracebackType
from typing import Any

from ..config import DECODER_MEMORY_MB, FETCH_MB, MAX_PIXELS
from ..errors import PipelineError, VideoError
from ..inputs import printable_path
from ..objects import is_url
from ..objects.fetch import without_query
from ..records import Failure, InsetRule, Preprocess, SourceInfo, VideoRef
from ..video.container import file_info
from .event_queue import EventQueue
from .events import DecodeStats, Ended, Event, Frames, Started
from .fetching import Fetched, Fetcher
from .process import DecodeProcess, ProcessDiedError
from .protocol import Kind, unpack_frames

NO_INSETS = InsetRule()
START_TRIES = 3  # starts of a process that ends before it can take a video
# The package may be installed under another name than its folder's.
PACKAGE = __name__.partition(".")[0]
DECODER = f"{PACKAGE}.video:VideoDecoder"


def decode_videos(
    refs: Sequence[VideoRef],
    preprocess: Preprocess,
    fps: float = 1.0,
    *,
    workers: int = 0,
    stall_seconds: float = 120.0,
    idle_seconds: float = 14_400.0,
    min_frames: int = 4,
    max_pixels: int = MAX_PIXELS,
    memory_mb: int = DECODER_MEMORY_MB,
    max_in_flight_mb: int = 256,
    decoder: str = DECODER,
    sampling: str = "frames",
    hwaccel: str = "none",
    insets: InsetRule = NO_INSETS,
    options: Mapping[str, object] | None = None,
    fetch_mb: int = FETCH_MB,
) -> DecodePool:
    """Decode videos in processes of their own; these start at once, not with the first event.

    Args:
        refs: the videos; they are started in this order.
        preprocess, fps, min_frames, max_pixels, sampling, hwaccel: see `VideoDecoder`.
        workers: number of processes; 0 for one per processor core that this process may use.
        stall_seconds: a process that sends nothing for this long is killed.
        idle_seconds: processor seconds without a new sample after which a video fails.
        memory_mb: memory limit of a process in MiB; 0 for none.
        max_in_flight_mb: limit of the frames that wait for the consumer, in MiB.
        decoder: `module:class` with the interface of `VideoDecoder`, imported in the processes.
        insets: how embedded pictures are detected, and how many at a time; by default none.
        options: more arguments for another decoder, of types that JSON supports.
        fetch_mb: scratch for videos of object storage that are fetched ahead, in MiB.

    Returns:
        An iterator of events, also a context manager. For each video: `Started` and any number of
        `Frames` (not if it fails before), then exactly one `Ended`; the events of several videos
        mix. `close` it, or leave its `with` block, to end the processes early.

    Raises:
        PipelineError: (from the iterator) no process can be started.
    """
    count = min(workers or available_cores(), max(1, len(refs)))
    settings = {
        "min_frames": min_frames,
        "sampling": sampling,
        "hwaccel": hwaccel,
        "max_pixels": max_pixels,
    }
    job = {
        "decoder": decoder,
        "preprocess": asdict(preprocess),
        "fps": fps,
        "insets": str(insets),
        "idle_seconds": idle_seconds,
        "memory_mb": memory_mb,
        "settings": settings | dict(options or {}),
    }
    stats = DecodeStats(workers=count, capacity_bytes=max_in_flight_mb << 20)
    fetcher = None
    if any(is_url(ref.path) for ref in refs):
        fetcher = Fetcher(refs, fetch_mb << 20, ahead=count + 1)
    return DecodePool(refs, job, stats, stall_seconds, fetcher)


def available_cores() -> int:
    """Count the processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class DecodePool:
    """Iterates over the events of `decode_videos`.

    Attributes:
        stats: counts so far.
    """

    def __init__(
        self,
        refs: Sequence[VideoRef],
        job: dict[str, Any],
        stats: DecodeStats,
        stall: float,
        fetcher: Fetcher | None = None,
    ) -> None:
        self.stats = stats
        self._events = EventQueue(stats.workers, stats)
        queue = _Jobs(refs, job, fetcher)
        self._workers = [_Worker(queue, self._events) for _ in range(stats.workers)]
        # The threads do not refer to this object, so it is collected when its user drops it.
        self._finalizer = weakref.finalize(self, _shut_down, self._events, self._workers, fetcher)
        for worker in self._workers:
            worker.start()
        watch = threading.Thread(target=_watch, args=(self._workers, stall), daemon=True)
        watch.start()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        try:
            event = self._events.get()
        except BaseException:
            self.close()
            raise
        if event is None:
            self.close()
            raise StopIteration
        return event

    def wait(self, seconds: float) -> bool:
        """Wait for an event or the end; False if that takes longer than `seconds`."""
        return self._events.wait(seconds)

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all processes and wait until they are gone; may be called again."""
        self._finalizer()

    @property
    def pids(self) -> list[int]:
        """Process ids of the processes running now."""
        children = [worker.child for worker in self._workers]
        return [child.pid for child in children if child and child.running()]


class _Jobs:
    """Gives the videos to the threads, one by one."""

    def __init__(
        self, refs: Sequence[VideoRef], job: dict[str, Any], fetcher: Fetcher | None
    ) -> None:
        self.fetcher = fetcher
        self._lock = threading.Lock()
        self._refs = iter(enumerate(refs))
        self.job = job

    def next(self) -> tuple[int, VideoRef] | None:
        with self._lock:
            return next(self._refs, None)


class _VideoState:
    """State of a video that is being decoded; frames are counted per inset, 0 is the video."""

    def __init__(self, source: SourceInfo, path: str) -> None:
        self.source, self.started, self.note = source, False, ""
        self.path = path  # of the file; another one than the source's for an object
        self.sent: Counter[int] = Counter()  # frames in events
        self.skipped: Counter[int] = Counter()  # frames in events that a second process repeats

    def start(self, info: SourceInfo) -> None:
        """Take over what the decoder found; an object keeps its URL, size and ETag."""
        known = self.source
        if known.etag or is_url(known.path):
            info = with_fields(
                info, path=known.path, size=known.size, mtime_ns=known.mtime_ns, etag=known.etag
            )
        self.source, self.started = info, True


class _Worker(threading.Thread):
    """The thread that serves one process."""

    def __init__(self, jobs: _Jobs, events: EventQueue) -> None:
        super().__init__(name="decode", daemon=True)
        self._jobs, self._events = jobs, events
        self.child: DecodeProcess | None = None

    def run(self) -> None:
        try:
            self._start_child()
            while not self._events.closed and (job := self._jobs.next()) is not None:
                self._events.put(self._decode(*job))
        except BaseException as error:
            self._events.fail(error)
        finally:
            self._end_child()
            self._events.leave()

    def _decode(self, index: int, ref: VideoRef) -> Ended:
        """Decode one video; every fault becomes its failure."""
        if self._jobs.fetcher is None or not is_url(ref.path):
            return self._decode_file(index, ref, _VideoState(file_info(ref.path), ref.path))
        try:
            with self._jobs.fetcher.fetched(index) as fetched:
                state = _VideoState(fetched.source, fetched.path)
                return _as_object(self._decode_file(index, ref, state), fetched)
        except VideoError as error:
            source = SourceInfo(printable_path(without_query(ref.path)))
            return Ended(index, failure=Failure(ref.id, error.reason, error.detail, source))

    def _decode_file(self, index: int, ref: VideoRef, state: _VideoState) -> Ended:
        while True:
            child = self._start_child()
            try:
                return self._forward_events(child, index, ref, state)
            except ProcessDiedError as error:
                reason, detail = error.reason, error.detail
                # An earlier video may have caused the crash, and this one may be sound.
                retry = reason in ("decoder_crashed", "too_large") and child.jobs > 1
            except Exception as error:
                reason, detail = "decoder_crashed", f"unexpected {type(error).__name__}: {error}"
                retry = False
            self._end_child()
            if not retry or self._events.closed:
                return Ended(index, failure=Failure(ref.id, reason, detail, state.source))
            state.skipped = state.sent.copy()
            state.note = f"decoded by a second process, as of the first: {detail}"

    def _forward_events(
        self, child: DecodeProcess, index: int, ref: VideoRef, state: _VideoState
    ) -> Ended:
        """Queue the events of a video, except frames that an earlier process gave."""
        child.send_job(self._jobs.job | {"path": state.path})
        while not self._events.closed:  # the queue may close while the process starts
            kind, meta, data = child.receive()
            if kind is Kind.STARTED and not state.started:
                state.start(SourceInfo(**meta["source"]))
                self._events.put(Started(index, state.source))
            elif kind is Kind.FRAMES:
                inset, (seconds, images) = meta["inset"], unpack_frames(meta, data)
                repeated = min(state.skipped[inset], len(seconds))
                state.skipped[inset] -= repeated
                state.sent[inset] += len(seconds) - repeated
                if repeated < len(seconds):
                    self._events.put(Frames(index, seconds[repeated:], images[repeated:], inset))
            elif kind is Kind.ENDED:
                return self._end_event(index, ref, state, meta)
        return Ended(index)

    def _end_event(
        self, index: int, ref: VideoRef, state: _VideoState, end: dict[str, Any]
    ) -> Ended:
        if end["out_of_memory"]:
            raise ProcessDiedError(end["reason"], end["detail"])
        self._events.add_costs(end["cpu_seconds"], end["video_seconds"], end["on_device"])
        if end["reason"] is None:
            return Ended(index, note=", ".join(filter(None, (end["note"], state.note))))
        return Ended(index, failure=Failure(ref.id, end["reason"], end["detail"], state.source))

    def _start_child(self) -> DecodeProcess:
        tries = 0
        while self.child is None or not self.child.running() or tries:
            self._end_child()
            self.child = DecodeProcess()
            try:
                self.child.wait_ready()
                break
            except ProcessDiedError as error:  # somebody may have killed it, or memory was short
                tries += 1
                if tries == START_TRIES or self._events.closed:
                    detail = f"cannot start a decoding process: {error.detail}"
                    raise PipelineError(detail) from error
        return self.child

    def _end_child(self) -> None:
        if self.child is not None:
            self.child.close()
            self.child = None


def _as_object(ended: Ended, fetched: Fetched) -> Ended:
    """Name the object in place of the file that it was fetched to."""
    if ended.failure is None:
        return ended
    detail = ended.failure.detail
    for name in (fetched.path, printable_path(fetched.path)):  # a URL may hold a signature
        detail = detail.replace(name, fetched.source.path)
    return with_fields(ended, failure=with_fields(ended.failure, detail=detail))


def _watch(workers: list[_Worker], stall: float) -> None:
    beat = min(1.0, stall / 4)
    while any(worker.is_alive() for worker in workers):
        time.sleep(beat)
        # Beats are counted instead of seconds: time in which this process did not run either
        # (SIGSTOP, a sleeping laptop, a frozen container) is no stall.
        for worker in workers:
            if child := worker.child:
                child.kill_if_stalled(stall, beat)


def _shut_down(events: EventQueue, workers: list[_Worker], fetcher: Fetcher | None) -> None:
    events.close()
    if fetcher is not None:
        fetcher.close()
    for worker in workers:
        if child := worker.child:
            child.kill()
    for worker in workers:
        if worker is not threading.current_thread():
            worker.join(timeout=10)
