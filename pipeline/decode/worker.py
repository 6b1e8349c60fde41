"""What runs inside a decoding process: jobs come on standard input, messages go out.

Imports numpy, `av` and light modules only. When the pool's process ends in whatever way, standard
input closes and this process ends at once, also in the middle of a video.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import signal
import sys
import threading
import time
from dataclasses import asdict
from typing import Any, BinaryIO

import numpy as np

from ..errors import VideoError
from ..records import InsetRule, Preprocess
from .memory import is_out_of_memory, limit_memory
from .protocol import Kind, send

CHUNK_FRAMES = 32
CHUNK_BYTES = 8 << 20
SEND_SECONDS = 1.0  # at least so often a sign of life


def main() -> None:
    """Decode the jobs on standard input, one JSON line each, until it closes."""
    # What stops all processes of a group is the pool's to handle: a process that dies of it first
    # would make a failure of its video.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    # Whatever a library prints must not end up between the messages.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read_jobs, args=(jobs,), daemon=True).start()
    importlib.import_module("...video", __name__)
    try:
        send(out, Kind.READY, {})
        while True:
            decode(jobs.get(), out)
    except OSError:  # the pool is gone
        os._exit(0)


def decode(job: dict[str, Any], out: BinaryIO) -> None:
    """Decode one video and tell all about it; the last message is ENDED whatever happens.

    Raises:
        OSError: the pool is gone.
    """
    limit_memory(job["memory_mb"])
    outbox = _Outbox(out, job["idle_seconds"])
    begin = time.process_time()
    end: dict[str, Any] = {"note": "", "reason": None, "detail": "", "on_device": False}
    end["out_of_memory"] = False
    try:
        decoder = _decoder(job, outbox)
        finder = _inset_finder(job)
        for seconds, image in decoder:
            outbox.start(decoder.source)
            outbox.add(seconds, image)
            outbox.add_insets(finder.add(seconds, image))
        outbox.flush()
        outbox.add_insets(finder.flush())
        end |= {"note": decoder.note, "on_device": decoder.on_device}
    except VideoError as error:
        end |= {"reason": error.reason, "detail": error.detail}
        if is_out_of_memory(error):
            end |= _out_of_memory(job, error.detail)
    except _PoolGoneError:
        raise
    except MemoryError as error:
        end |= _out_of_memory(job, str(error))
    except Exception as error:
        detail = f"unexpected {type(error).__name__}: {error}"
        end |= {"reason": "decoder_crashed", "detail": detail}
    end["cpu_seconds"] = time.process_time() - begin
    end["video_seconds"] = outbox.last_seconds
    send(out, Kind.ENDED, end)


def _out_of_memory(job: dict[str, Any], detail: str) -> dict[str, Any]:
    limit = f"it needs more than {job['memory_mb']} MiB of memory (decoder_memory_mb)"
    return {"reason": "too_large", "detail": f"{limit}: {detail}", "out_of_memory": True}


class _PoolGoneError(OSError):
    """Told apart from the errors that a video's own file may raise."""


class _Outbox:
    """Collects a video's frames into messages and gives signs of life between them."""

    def __init__(self, stream: BinaryIO, idle_seconds: float) -> None:
        self._stream = stream
        self._idle_seconds, self._busy = idle_seconds, time.process_time()
        self._seconds: list[float] = []
        self._images: list[np.ndarray] = []
        self._sent = time.monotonic()
        self._started = False
        self.last_seconds = 0.0

    def start(self, source: Any) -> None:
        if not self._started:
            self._started = True
            self._send(Kind.STARTED, {"source": asdict(source)})

    def add(self, seconds: float, image: np.ndarray) -> None:
        self._seconds.append(seconds)
        self._images.append(image)
        self.last_seconds, self._busy = seconds, time.process_time()
        full = len(self._images) >= CHUNK_FRAMES or len(self._images) * image.nbytes >= CHUNK_BYTES
        if full or self._due():
            self.flush()

    def tick(self) -> None:
        if self._due():
            if time.process_time() - self._busy > self._idle_seconds:
                limit = f"{self._idle_seconds:g} s of processor time (idle_seconds)"
                raise VideoError("decoder_stalled", f"no new sample in {limit}")
            self.flush() if self._images else self._send(Kind.ALIVE, {})

    def flush(self) -> None:
        if self._images:
            images = np.stack(self._images)
            self._send_frames(np.array(self._seconds), images, 0)
            self._seconds, self._images = [], []

    def add_insets(self, insets: list[Any]) -> None:
        for inset in insets:
            self._send_frames(inset.seconds, inset.images, inset.number)

    def _send_frames(self, seconds: np.ndarray, images: np.ndarray, inset: int) -> None:
        self._send(Kind.FRAMES, {"shape": images.shape, "inset": inset}, seconds, images)

    def _due(self) -> bool:
        return time.monotonic() - self._sent > SEND_SECONDS

    def _send(self, kind: Kind, meta: dict[str, Any], *arrays: np.ndarray) -> None:
        try:
            send(self._stream, kind, meta, *arrays)
        except OSError as error:
            raise _PoolGoneError(str(error)) from error
        self._sent = time.monotonic()


def _decoder(job: dict[str, Any], outbox: _Outbox) -> Any:
    module, _, name = job["decoder"].partition(":")
    make = getattr(importlib.import_module(module), name)
    return make(
        job["path"],
        Preprocess(**job["preprocess"]),
        job["fps"],
        tick=outbox.tick,
        **job["how"],
    )


def _inset_finder(job: dict[str, Any]) -> Any:
    detector = importlib.import_module("...video.pip.detector", __name__)
    return detector.InsetFinder(InsetRule.parse(job["insets"]))


def _read_jobs(jobs: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin.buffer:
        jobs.put(json.loads(line))
    os._exit(0)
