"""Decodes many videos at once, in processes that may crash or hang without harm to the run.

`pool` keeps the processes busy and yields `events`. `worker` runs inside a process, and `protocol`
is the format of the messages between the two.
"""

from __future__ import annotations

from .events import DecodeStats, Ended, Event, Frames, Started
from .pool import DecodePool, decode_videos

__all__ = [
    "DecodePool",
    "DecodeStats",
    "Ended",
    "Event",
    "Frames",
    "Started",
    "decode_videos",
]
