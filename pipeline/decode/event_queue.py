"""The queue between the pool's threads and its consumer; bounded by bytes, free of deadlocks."""

from __future__ import annotations

import threading
import time
from collections import deque

from .events import DecodeStats, Ended, Event, Frames


class EventQueue:
    """Queues the events of all videos.

    `get` returns None when every producer has left and the queue is empty.

    Args:
        producers: number of threads that call `put`, and `leave` once.
        stats: updated with every event.
    """

    def __init__(self, producers: int, stats: DecodeStats) -> None:
        self._changed = threading.Condition()  # its lock is reentrant
        self._events: deque[Event] = deque()
        self._producers = producers
        self._error: BaseException | None = None
        self._closed = False
        self._stats = stats
        self._now = time.monotonic()

    @property
    def closed(self) -> bool:
        """Whether the consumer wants no more events."""
        return self._closed

    def put(self, event: Event) -> None:
        """Add an event; waits while too many bytes are queued, unless the queue is closed."""
        size = _size(event)
        begin = time.monotonic()
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_room(size))
            self._stats.blocked_seconds += self._integrate() - begin
            if not self._closed:
                self._events.append(event)
                self._stats.queued_bytes += size
                self._changed.notify_all()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until `get` can return; False if that takes longer than `seconds`."""
        begin = time.monotonic()
        with self._changed:
            ready = self._changed.wait_for(
                lambda: self._events or self._closed or not self._producers, seconds
            )
            self._stats.starved_seconds += self._integrate() - begin
            return bool(ready)

    def get(self) -> Event | None:
        """Take the next event; None at the end.

        Raises:
            BaseException: the error that a producer passed to `fail`.
        """
        with self._changed:
            self.wait()
            if self._error is not None:
                raise self._error
            if not self._events:
                return None
            event = self._events.popleft()
            self._count(event)
            self._changed.notify_all()
            return event

    def fail(self, error: BaseException) -> None:
        """End the run: the consumer gets the error next."""
        with self._changed:
            if not self._closed:
                self._error = error
        self.close()

    def add_costs(self, cpu_seconds: float, video_seconds: float, on_device: bool) -> None:
        """Add the cost and length of a video to the statistics."""
        with self._changed:
            self._stats.cpu_seconds += cpu_seconds
            self._stats.video_seconds += video_seconds
            self._stats.on_device += on_device

    def leave(self) -> None:
        """Record that a producer is finished."""
        with self._changed:
            self._producers -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Drop all events and wake all waiting threads."""
        with self._changed:
            self._closed = True
            self._events.clear()
            self._stats.queued_bytes = 0
            self._changed.notify_all()

    def _integrate(self) -> float:
        """Integrate the queued bytes up to now; returns the time."""
        before, self._now = self._now, time.monotonic()
        self._stats.queued_byte_seconds += self._stats.queued_bytes * (self._now - before)
        return self._now

    def _has_room(self, size: int) -> bool:
        queued = self._stats.queued_bytes
        return not size or not queued or queued + size <= self._stats.capacity_bytes

    def _count(self, event: Event) -> None:
        self._stats.queued_bytes -= _size(event)
        if isinstance(event, Frames):
            if event.inset:
                self._stats.insets += len(event.seconds)
            else:
                self._stats.frames += len(event.seconds)
        elif isinstance(event, Ended):
            self._stats.videos += 1
            self._stats.failed += event.failure is not None


def _size(event: Event) -> int:
    return event.images.nbytes if isinstance(event, Frames) else 0
