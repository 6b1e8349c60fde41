"""Limits the memory of a decoding process, and recognises errors of that limit."""

from __future__ import annotations

import contextlib
import errno
import os

from ..errors import VideoError

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]


def limit_memory(megabytes: int) -> None:
    """Limit the memory of this process.

    Memory that the process writes to is counted (RLIMIT_DATA), not its address space: drivers of
    devices and threads reserve much address space and use little. Systems without such limits have
    no limit.

    Args:
        megabytes: limit in MiB; 0 for none.
    """
    if resource is None or not megabytes:
        return
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    limit = megabytes << 20
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def is_out_of_memory(error: VideoError) -> bool:
    """Tell whether a video failed because memory ran out."""
    return isinstance(error.__cause__, MemoryError) or os.strerror(errno.ENOMEM) in error.detail
