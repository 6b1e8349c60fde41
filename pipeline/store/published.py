"""Published feature files, HDF5 with a dataset for each video, read as a store.

The HDF5 library opens them in a process of its own (`published_child.py`): it may crash on a
damaged or crafted file, run for ever or fill the memory. That costs a message and the video.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..child_python import child_command
from ..errors import StoreError
from ..records import Failure, SourceInfo, VideoRecord, VideoRef
from .base import FeatureStore
from .checks import MAX_FRAMES
from .header import make_header, named_errors
from .limits import LIMITS, Limits
from .manifest import Entry, Index
from .plain_files import open_regular
from .published_layout import layout_of, published_spec

_MEMORY = 3 << 30  # bytes of address space of the process
_SECONDS_A_BYTE = 2e-6  # of processor time, while datasets are listed: each takes 500 bytes or more
_MOST_SECONDS = 3600.0
_MAX_ANSWER = 2 << 30
_START = f"from {__package__}.published_child import main; main()"


class PublishedStore(FeatureStore):
    """A published feature file: `[T, R, C]` float32 by id, ids with `/` in nested groups.

    Times are whole seconds, as the file has none. A dataset of another form counts as a failed
    video. There are no checksums.

    Args:
        path: of the file.
        name: of the features, see `published_layout.LAYOUTS`.

    Raises:
        InputError: there is no such name.
        StoreError: it is no HDF5 file, a store of this program, or the library fails on it.
    """

    def __init__(self, path: Path, name: str, limits: Limits = LIMITS) -> None:
        header = make_header(published_spec(name), "float32", {"published_features": name})
        layout = layout_of(name)
        with named_errors(path):
            self._fd = open_regular(path, os.O_RDONLY)
        try:
            self._child = _Child(path, self._fd, limits)
            index, self._problems = _index_of(self._child.listed, layout.regions, layout.dims)
        except BaseException:
            os.close(self._fd)
            raise
        super().__init__(path, header, index, limits)

    @property
    def failures(self) -> dict[str, Failure]:
        """Datasets that are no features of this name, and why."""
        return {
            video_id: Failure(video_id, "unsupported", problem, SourceInfo(""))
            for video_id, problem in self._problems.items()
        }

    def record(self, video_id: str) -> VideoRecord:
        """What is known of one video. Raises StoreError if it is not there."""
        return VideoRecord(video_id, self._entry(video_id).frames, SourceInfo(""))

    def close(self) -> None:
        self._child.end()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _read_rows(self, entry: Entry, start: int, buffer: memoryview) -> int:
        rows = len(buffer) // self._header.row_bytes
        job = {"name": entry.key, "start": start, "stop": start + rows, "bytes": len(buffer)}
        return self._child.ask(job, buffer)

    def _read_seconds(self, entry: Entry) -> np.ndarray:
        return np.arange(entry.frames, dtype="<f8")

    def _check_layout(self) -> list[str]:
        return [f"{video_id}: {problem}" for video_id, problem in self._problems.items()]


def _index_of(listed: list[Any], regions: int, dims: int) -> tuple[Index, dict[str, str]]:
    """The videos, and what is wrong with the other datasets, by id."""
    index, problems = Index(), {}
    for name, shape, problem in listed:
        try:
            VideoRef(name, "")
        except ValueError as error:
            problems[name.encode("unicode_escape").decode() or "''"] = str(error)
            continue
        expected = [[regions, dims], [dims]][: 2 if regions == 1 else 1]
        if not problem and (shape[1:] not in expected or not 0 < shape[0] <= MAX_FRAMES):
            problem = f"its shape is {shape}, expected [frames, {regions}, {dims}]"
        if problem:
            problems[name] = problem
        else:
            place = len(index.videos)
            index.videos[name] = Entry(name, shape[0], shape[0], "", (), place)
    return index, problems


class _Child:
    """The process that reads, started again after a crash. Safe from many threads."""

    def __init__(self, path: Path, fd: int, limits: Limits) -> None:
        status = os.fstat(fd)
        self._path = path
        seconds = limits.check_seconds + status.st_size * _SECONDS_A_BYTE
        self._job = {
            "path": os.fspath(path.absolute()),
            "name": [status.st_dev, status.st_ino],
            "cpu": min(seconds, _MOST_SECONDS),
            "memory": _MEMORY,
        }
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self.listed: list[Any] = self._start()

    def ask(self, job: dict[str, Any], buffer: memoryview) -> int:
        """Fill `buffer` with what the process reads; returns bytes read.

        Raises:
            OSError: it cannot be read.
        """
        with self._lock:
            try:
                if self._process is None:
                    self._start()
                self._send(job)
                return self._receive_into(buffer)
            except StoreError as error:
                raise OSError(str(error)) from error

    def end(self) -> None:
        """Let the process end."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()
            self._errors.close()

    def _start(self) -> list[Any]:
        # No plug-ins, which are code of whoever can set a variable or a folder; one thread.
        environment = os.environ | {"HDF5_PLUGIN_PRELOAD": "::", "OPENBLAS_NUM_THREADS": "1"}
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            child_command(_START),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
        )
        self._send(self._job)
        listed = json.loads(self._received(self._length()))
        assert isinstance(listed, list)
        return listed

    def _send(self, job: dict[str, Any]) -> None:
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self._ended() from None

    def _length(self) -> int:
        """Length of the next answer; StoreError if it is an error."""
        length = int.from_bytes(self._received(8), "little", signed=True)
        if length < 0:
            text = self._received(min(-length, 2000)).decode("utf-8", "replace")
            raise StoreError(f"the HDF5 library fails on it ({text})")
        if length > _MAX_ANSWER:
            raise self._ended()
        return length

    def _received(self, size: int) -> bytes:
        data = bytearray(size)
        self._fill(memoryview(data))
        return bytes(data)

    def _receive_into(self, buffer: memoryview) -> int:
        length = self._length()
        if length > len(buffer):
            raise self._ended()
        self._fill(buffer[:length])
        return length

    def _fill(self, buffer: memoryview) -> None:
        assert self._process is not None and self._process.stdout is not None
        read: Callable[[memoryview], int | None] = self._process.stdout.readinto  # type: ignore[attr-defined]
        done = 0
        while done < len(buffer):
            count = read(buffer[done:])
            if not count:
                raise self._ended()
            done += count

    def _ended(self) -> StoreError:
        """The error for a process that ended, or says what it should not."""
        assert self._process is not None
        self._process.kill()
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read()[-2000:].decode("utf-8", "replace").strip().splitlines()
        self.end()
        what = f"the HDF5 library fails on it: {lines[-1][:300]}" if lines else f"exit code {code}"
        return StoreError(f"{self._path}: cannot be read ({what}); download it again")
