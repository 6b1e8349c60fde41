"""How much memory a decoding process may take, and whether that was too little."""

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
    """Let this process have so many MiB of memory of its own; 0 for no limit.

    What it writes to is counted (RLIMIT_DATA), not its address space: drivers of devices and
    threads reserve much of that and use little. Systems without such a limit go on without.
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
    """A video failed as memory could not be had."""
    return isinstance(error.__cause__, MemoryError) or os.strerror(errno.ENOMEM) in error.detail
