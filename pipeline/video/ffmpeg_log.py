"""Captures the log of FFmpeg, which is silent otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import av.logging


@contextmanager
def ffmpeg_log(level: int = av.logging.ERROR) -> Iterator[list[tuple[int, str, str]]]:
    """Capture (level, name, text) of all log lines of this thread within the block."""
    before = av.logging.get_level()
    av.logging.set_level(level)
    try:
        with av.logging.Capture(True) as log:
            yield log
    finally:
        av.logging.set_level(before)
