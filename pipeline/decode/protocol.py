"""The format of messages between the pool and its processes: header, JSON, raw bytes of arrays.

Pipes replace `multiprocessing`, so that any script can start a pool, also one without an
`if __name__` guard, and nothing of the parent process is copied or imported again.
"""

from __future__ import annotations

import json
import struct
from enum import IntEnum
from typing import Any, BinaryIO

import numpy as np

_HEADER = struct.Struct("<BIQ")  # kind, bytes of JSON, bytes of data


class Kind(IntEnum):
    """Kinds of messages from a process."""

    READY = 1  # imports done
    ALIVE = 2  # still at work
    STARTED = 3  # {"source": {...}}
    FRAMES = 4  # {"shape": [n, H, W, 3], "inset"}, data: float64 [n], then uint8 of that shape
    # {"note", "reason", "detail", "out_of_memory", "on_device", "cpu_seconds", "video_seconds"}
    ENDED = 5


def send(stream: BinaryIO, kind: Kind, meta: dict[str, Any], *arrays: np.ndarray) -> None:
    """Write one message; waits while the pipe is full.

    Raises:
        OSError: the reader has closed the pipe.
    """
    text = json.dumps(meta).encode()
    views = [np.ascontiguousarray(array).data.cast("B") for array in arrays]
    stream.write(_HEADER.pack(kind, len(text), sum(len(view) for view in views)) + text)
    for view in views:
        stream.write(view)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[Kind, dict[str, Any], bytearray]:
    """Read one message; waits for it.

    Raises:
        EOFError: the writer has closed the pipe, perhaps in the middle of a message.
    """
    kind, text_size, data_size = _HEADER.unpack(_exactly(stream, _HEADER.size))
    meta = json.loads(_exactly(stream, text_size))
    return Kind(kind), meta, _exactly(stream, data_size)


def unpack_frames(meta: dict[str, Any], data: bytearray) -> tuple[np.ndarray, np.ndarray]:
    """Read seconds float64 [n] and images uint8 [n, H, W, 3] of a FRAMES message; no copy."""
    shape = tuple(meta["shape"])
    seconds = np.frombuffer(data, np.float64, count=shape[0])
    return seconds, np.frombuffer(data, np.uint8, offset=seconds.nbytes).reshape(shape)


def _exactly(stream: BinaryIO, size: int) -> bytearray:
    data = bytearray(size)
    if size and stream.readinto(data) != size:  # type: ignore[attr-defined]
        raise EOFError("the other process is gone")
    return data
