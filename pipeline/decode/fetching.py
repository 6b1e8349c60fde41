"""Videos of object storage on their way to the decoders: a few are fetched ahead to scratch."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import VideoError
from ..objects import is_url
from ..objects.fetch import RemoteObject, without_query
from ..records import SourceInfo, VideoRef
from ..scratch import scratch_folder
from ..video.remote import source_of

_AT_ONCE = 4  # videos


@dataclass(frozen=True)
class Fetched:
    """A video as a local file.

    Attributes:
        path: of the file; of an object that is larger than the budget, its URL as listed.
        source: what is stored of the object: its URL without query, size, ETag and time.
    """

    path: str
    source: SourceInfo


class Fetcher:
    """Fetches the listed videos that are objects, in listed order, a few ahead.

    Args:
        refs: the list; files of it are left alone.
        budget_bytes: scratch that videos take which were fetched ahead. A video that a decoder
            waits for is fetched in any case.
        ahead: so many are fetched before a decoder asks.
    """

    def __init__(self, refs: Sequence[VideoRef], budget_bytes: int, ahead: int) -> None:
        self._refs = refs
        self._budget = budget_bytes
        self._ahead = ahead
        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(scratch_folder()))
        self._pool = ThreadPoolExecutor(_AT_ONCE, "fetch")
        self._condition = threading.Condition()
        self._futures: dict[int, Future[Fetched]] = {}
        self._taken: dict[int, int] = {}  # bytes of scratch by number of the video
        self._wanted: set[int] = set()  # numbers that decoders wait for
        self._next = 0
        self._closed = False

    @contextmanager
    def fetched(self, index: int) -> Iterator[Fetched]:
        """The video with this number as a local file, which is deleted at the end of the block.

        Raises:
            VideoError: missing, empty, unreachable, or there is no room on the scratch disk.
        """
        with self._condition:
            self._wanted.add(index)
            self._submit(index)
            self._condition.notify_all()
            future = self._futures[index]
        try:
            yield future.result()
        finally:
            self._drop(index)

    def close(self) -> None:
        """Stop fetching and remove all files."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._stack.close()

    def _submit(self, index: int) -> None:
        """Order this video and those behind it; the caller holds the lock."""
        for number in (index, *range(max(self._next, index), index + 1 + self._ahead)):
            if number < len(self._refs) and number not in self._futures:
                if is_url(self._refs[number].path):
                    self._futures[number] = self._pool.submit(self._fetch, number)
                self._next = max(self._next, number + 1)

    def _fetch(self, number: int) -> Fetched:
        url = self._refs[number].path
        remote = RemoteObject(url)
        if remote.info.size > self._budget:
            return Fetched(url, source_of(remote.info))  # its decoder reads it in blocks
        self._reserve(number, remote.info.size)
        suffix = os.path.splitext(without_query(url))[1][:10]
        target = self._folder / f"{number}{suffix if suffix[1:].isalnum() else ''}"
        try:
            with open(target, "wb") as file:
                remote.fetch(file, stopped=lambda: self._closed)
        except OSError as error:
            detail = f"{without_query(url)}: no room to fetch it to ({error.strerror})"
            raise VideoError("unreachable", f"{detail}; make room in TMPDIR") from error
        return Fetched(str(target), source_of(remote.info))

    def _reserve(self, number: int, size: int) -> None:
        """Wait until there is room in the budget, or a decoder waits for this video."""
        with self._condition:
            while (
                not self._closed
                and number not in self._wanted
                and sum(self._taken.values()) + size > self._budget
            ):
                self._condition.wait()
            if self._closed:
                raise VideoError("unreachable", "the run has ended")
            self._taken[number] = size

    def _drop(self, index: int) -> None:
        with self._condition:
            future = self._futures[index]
            self._taken.pop(index, None)
            self._condition.notify_all()
        if future.cancelled() or future.exception() is not None:
            return
        if not is_url(future.result().path):
            Path(future.result().path).unlink(missing_ok=True)
