"""Messages between the pool and its processes: a header, a little JSON, raw array bytes.

Pipes and plain bytes rather than `multiprocessing`: a pool can then be started from any script,
also one without an `if __name__` guard, and nothing of the parent is copied or imported again.
"""

from __future__ import annotations

import json
import struct
from enum import IntEnum
from typing import Any, BinaryIO

import numpy as np

_HEADER = struct.Struct("<BIQ")  # kind, bytes of JSON, bytes of data


class Kind(IntEnum):
    """What a process tells."""

    READY = 1  # imports done
    ALIVE = 2  # still at it, nothing to show
    STARTED = 3  # {"source": {...}}
    FRAMES = 4  # {"shape": [n, H, W, 3], "inset"}, data: float64 [n], then uint8 of that shape
    # {"note", "reason", "detail", "out_of_memory", "on_device", "cpu_seconds", "video_seconds"}
    ENDED = 5


def send(stream: BinaryIO, kind: Kind, meta: dict[str, Any], *arrays: np.ndarray) -> None:
    """Write one message; blocks while the reader is behind.

    Raises:
        OSError: the reader is gone.
    """
    text = json.dumps(meta).encode()
    views = [np.ascontiguousarray(array).data.cast("B") for array in arrays]
    stream.write(_HEADER.pack(kind, len(text), sum(len(view) for view in views)) + text)
    for view in views:
        stream.write(view)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[Kind, dict[str, Any], bytearray]:
    """Read one message; blocks until it is there.

    Raises:
        EOFError: the writer is gone, also in the middle of a message.
    """
    kind, text_size, data_size = _HEADER.unpack(_exactly(stream, _HEADER.size))
    meta = json.loads(_exactly(stream, text_size))
    return Kind(kind), meta, _exactly(stream, data_size)


def unpack_frames(meta: dict[str, Any], data: bytearray) -> tuple[np.ndarray, np.ndarray]:
    """Seconds float64 [n] and images uint8 [n, H, W, 3] of a FRAMES message, without a copy."""
    shape = tuple(meta["shape"])
    seconds = np.frombuffer(data, np.float64, count=shape[0])
    return seconds, np.frombuffer(data, np.uint8, offset=seconds.nbytes).reshape(shape)


def _exactly(stream: BinaryIO, size: int) -> bytearray:
    data = bytearray(size)
    if size and stream.readinto(data) != size:  # type: ignore[attr-defined]
        raise EOFError("the other process is gone")
    return data
