"""What FFmpeg says while something is done; it is silent otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import av.logging


@contextmanager
def ffmpeg_log(level: int = av.logging.ERROR) -> Iterator[list[tuple[int, str, str]]]:
    """Level, name and text of all that is said in this thread within the block."""
    before = av.logging.get_level()
    av.logging.set_level(level)
    try:
        with av.logging.Capture(True) as log:
            yield log
    finally:
        av.logging.set_level(before)
