"""Keeps decoding processes at work on a list of videos and hands out what they find.

A thread per process gives it one video at a time. A process that crashes or hangs costs that one
video; the next gets a new process. If it had decoded others before it crashed, the video is tried
once more in a new one: what a broken video leaves behind may end the process later. Memory is
bounded whatever the videos: a process holds one chunk of frames, the queue a fixed number of bytes,
and pipes make the rest wait.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any

from ..config import DECODER_MEMORY_MB, MAX_PIXELS
from ..errors import PipelineError
from ..records import Failure, InsetRule, Preprocess, SourceInfo, VideoRef
from ..video.container import file_info
from .event_queue import Outbox
from .events import DecodeStats, Ended, Event, Frames, Started
from .process import Child, ChildDiedError
from .protocol import Kind, unpack_frames

NO_INSETS = InsetRule()
START_TRIES = 3  # of a process that ends before it can take a video
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
) -> DecodePool:
    """Decode videos in processes of their own; they start at once, not with the first event.

    Args:
        refs: the videos; they are begun in this order.
        preprocess, fps: see `VideoDecoder`.
        workers: processes; 0 takes one per processor core that this process may use.
        stall_seconds: a process without a sign of life for this long is given up.
        idle_seconds: so is one that has used so much processor time since its last sample.
        min_frames: least number of samples for which a damaged video is kept.
        max_pixels: larger pictures are refused before they are decoded.
        memory_mb: memory of a process in MiB, at most; 0 for no limit.
        max_in_flight_mb: frames that wait for the consumer, in MiB.
        decoder: `module:class` with the interface of `VideoDecoder`, imported in the processes.
        sampling, hwaccel: see `VideoDecoder`.
        insets: how embedded pictures are detected, and how many at a time; by default none.
        options: more arguments for another decoder, of types that JSON knows.

    Returns:
        An iterator of events, also a context manager. For each video: `Started` and any number of
        `Frames` (not if it fails before), then exactly one `Ended`; videos mix. `close` it, or
        leave its `with` block, to end the processes early.

    Raises:
        PipelineError: (from the iterator) processes cannot be started at all.
    """
    count = min(workers or available_cores(), max(1, len(refs)))
    job = {
        "decoder": decoder,
        "preprocess": asdict(preprocess),
        "fps": fps,
        "insets": str(insets),
        "idle_seconds": idle_seconds,
        "memory_mb": memory_mb,
        "how": {
            "min_frames": min_frames,
            "sampling": sampling,
            "hwaccel": hwaccel,
            "max_pixels": max_pixels,
        }
        | dict(options or {}),
    }
    stats = DecodeStats(workers=count, capacity_bytes=max_in_flight_mb << 20)
    return DecodePool(refs, job, stats, stall_seconds)


def available_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class DecodePool:
    """What `decode_videos` returns.

    Attributes:
        stats: counts so far.
    """

    def __init__(
        self, refs: Sequence[VideoRef], job: dict[str, Any], stats: DecodeStats, stall: float
    ) -> None:
        self.stats = stats
        self._outbox = Outbox(stats.workers, stats)
        queue = _Jobs(refs, job)
        self._workers = [_Worker(queue, self._outbox) for _ in range(stats.workers)]
        # The threads do not refer to this object, so it goes when its user forgets it.
        self._finalizer = weakref.finalize(self, _shut_down, self._outbox, self._workers)
        for worker in self._workers:
            worker.start()
        watch = threading.Thread(target=_watch, args=(self._workers, stall), daemon=True)
        watch.start()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        try:
            event = self._outbox.get()
        except BaseException:
            self.close()
            raise
        if event is None:
            self.close()
            raise StopIteration
        return event

    def wait(self, seconds: float) -> bool:
        """Until there is an event, or the end; False if that takes longer."""
        return self._outbox.wait(seconds)

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
    """Hands the videos out one by one, to whichever thread asks."""

    def __init__(self, refs: Sequence[VideoRef], job: dict[str, Any]) -> None:
        self._lock = threading.Lock()
        self._refs = iter(enumerate(refs))
        self.job = job

    def next(self) -> tuple[int, VideoRef] | None:
        with self._lock:
            return next(self._refs, None)


class _Known:
    """Of a video that is decoded: its file, frames of it and of each of its insets, a note."""

    def __init__(self, source: SourceInfo) -> None:
        self.source, self.started, self.note = source, False, ""
        self.sent: Counter[int] = Counter()  # put out
        self.skipped: Counter[int] = Counter()  # of those still to come again


class _Worker(threading.Thread):
    """The thread of one process."""

    def __init__(self, jobs: _Jobs, outbox: Outbox) -> None:
        super().__init__(name="decode", daemon=True)
        self._jobs, self._outbox = jobs, outbox
        self.child: Child | None = None

    def run(self) -> None:
        try:
            self._start_child()
            while not self._outbox.closed and (job := self._jobs.next()) is not None:
                self._outbox.put(self._decode(*job))
        except BaseException as error:
            self._outbox.fail(error)
        finally:
            self._end_child()
            self._outbox.leave()

    def _decode(self, index: int, ref: VideoRef) -> Ended:
        """Work through one video; whatever happens becomes its end."""
        known = _Known(file_info(ref.path))
        while True:
            child = self._start_child()
            try:
                return self._follow(child, index, ref, known)
            except ChildDiedError as error:
                reason, detail = error.reason, error.detail
                # What ended it may be left over from a video before, and this one without fault.
                again = reason in ("decoder_crashed", "too_large") and child.jobs > 1
            except Exception as error:
                reason, detail = "decoder_crashed", f"unexpected {type(error).__name__}: {error}"
                again = False
            self._end_child()
            if not again or self._outbox.closed:
                return Ended(index, failure=Failure(ref.id, reason, detail, known.source))
            known.skipped = known.sent.copy()
            known.note = f"decoded by a second process, as of the first: {detail}"

    def _follow(self, child: Child, index: int, ref: VideoRef, known: _Known) -> Ended:
        """Put out what a process tells of a video, from where one before it came to."""
        child.give(self._jobs.job | {"path": ref.path})
        while not self._outbox.closed:  # closed while it started, it was not there to be killed
            kind, meta, data = child.receive()
            if kind is Kind.STARTED and not known.started:
                known.source, known.started = SourceInfo(**meta["source"]), True
                self._outbox.put(Started(index, known.source))
            elif kind is Kind.FRAMES:
                inset, (seconds, images) = meta["inset"], unpack_frames(meta, data)
                out = min(known.skipped[inset], len(seconds))
                known.skipped[inset] -= out
                known.sent[inset] += len(seconds) - out
                if out < len(seconds):
                    self._outbox.put(Frames(index, seconds[out:], images[out:], inset))
            elif kind is Kind.ENDED:
                return self._ended(index, ref, known, meta)
        return Ended(index)

    def _ended(self, index: int, ref: VideoRef, known: _Known, end: dict[str, Any]) -> Ended:
        if end["out_of_memory"]:
            raise ChildDiedError(end["reason"], end["detail"])
        self._outbox.add_costs(end["cpu_seconds"], end["video_seconds"], end["on_device"])
        if end["reason"] is None:
            return Ended(index, note=", ".join(filter(None, (end["note"], known.note))))
        return Ended(index, failure=Failure(ref.id, end["reason"], end["detail"], known.source))

    def _start_child(self) -> Child:
        tries = 0
        while self.child is None or not self.child.running() or tries:
            self._end_child()
            self.child = Child()
            try:
                self.child.wait_ready()
                break
            except ChildDiedError as error:  # maybe somebody ended it, or memory was short
                tries += 1
                if tries == START_TRIES or self._outbox.closed:
                    detail = f"cannot start a decoding process: {error.detail}"
                    raise PipelineError(detail) from error
        return self.child

    def _end_child(self) -> None:
        if self.child is not None:
            self.child.close()
            self.child = None


def _watch(workers: list[_Worker], stall: float) -> None:
    beat = min(1.0, stall / 4)
    while any(worker.is_alive() for worker in workers):
        time.sleep(beat)
        # Beats are counted and not seconds: time in which this process did not run either
        # (SIGSTOP, a laptop's lid, a frozen container) is no stall.
        for worker in workers:
            if child := worker.child:
                child.kill_if_stalled(stall, beat)


def _shut_down(outbox: Outbox, workers: list[_Worker]) -> None:
    outbox.close()
    for worker in workers:
        if child := worker.child:
            child.kill()
    for worker in workers:
        if worker is not threading.current_thread():
            worker.join(timeout=10)
