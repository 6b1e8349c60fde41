"""Runs inside a decoding process: reads jobs from standard input and writes messages.

It imports numpy, `av` and light modules only. When the pool's process ends in any way, standard
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
SEND_SECONDS = 1.0  # longest time between two messages


def main() -> None:
    """Decode the jobs on standard input, one JSON line each, until it closes."""
    # The pool handles signals to the whole process group: a process that died of one first would
    # record its video as failed.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    # The output of libraries must not get between the messages.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read_jobs, args=(jobs,), daemon=True).start()
    importlib.import_module("...video", __name__)
    try:
        send(out, Kind.READY, {})
        while True:
            decode_video(jobs.get(), out)
    except OSError:  # the pool is gone
        os._exit(0)


def decode_video(job: dict[str, Any], out: BinaryIO) -> None:
    """Decode one video and send its messages; the last one is always ENDED.

    Raises:
        OSError: the pool has closed the pipe.
    """
    limit_memory(job["memory_mb"])
    sender = _MessageSender(out, job["idle_seconds"])
    begin = time.process_time()
    end: dict[str, Any] = {"note": "", "reason": None, "detail": "", "on_device": False}
    end["out_of_memory"] = False
    try:
        decoder = _open_decoder(job, sender)
        detector = _inset_detector(job)
        for seconds, image in decoder:
            sender.start(decoder.source)
            sender.add(seconds, image)
            sender.add_insets(detector.add(seconds, image))
        sender.flush()
        sender.add_insets(detector.flush())
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
    if (failed := _network_error(job["path"])) is not None:  # what came before it is not all
        end |= {"reason": failed.reason, "detail": failed.detail, "out_of_memory": False}
    end["cpu_seconds"] = time.process_time() - begin
    end["video_seconds"] = sender.last_seconds
    send(out, Kind.ENDED, end)


def _network_error(path: str) -> VideoError | None:
    error: VideoError | None = importlib.import_module("...video.remote", __name__).network_error(
        path
    )
    return error


def _out_of_memory(job: dict[str, Any], detail: str) -> dict[str, Any]:
    limit = f"it needs more than {job['memory_mb']} MiB of memory (decoder_memory_mb)"
    return {"reason": "too_large", "detail": f"{limit}: {detail}", "out_of_memory": True}


class _PoolGoneError(OSError):
    """The pool has closed the pipe; differs from errors of the video's own file."""


class _MessageSender:
    """Collects a video's frames in messages and sends ALIVE messages between them."""

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
        if full or self._is_due():
            self.flush()

    def tick(self) -> None:
        if self._is_due():
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

    def _is_due(self) -> bool:
        return time.monotonic() - self._sent > SEND_SECONDS

    def _send(self, kind: Kind, meta: dict[str, Any], *arrays: np.ndarray) -> None:
        try:
            send(self._stream, kind, meta, *arrays)
        except OSError as error:
            raise _PoolGoneError(str(error)) from error
        self._sent = time.monotonic()


def _open_decoder(job: dict[str, Any], sender: _MessageSender) -> Any:
    module, _, name = job["decoder"].partition(":")
    decoder_class = getattr(importlib.import_module(module), name)
    return decoder_class(
        job["path"],
        Preprocess(**job["preprocess"]),
        job["fps"],
        tick=sender.tick,
        **job["settings"],
    )


def _inset_detector(job: dict[str, Any]) -> Any:
    detector = importlib.import_module("...video.pip.detector", __name__)
    return detector.InsetDetector(InsetRule.parse(job["insets"]))


def _read_jobs(jobs: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin.buffer:
        jobs.put(json.loads(line))
    os._exit(0)
