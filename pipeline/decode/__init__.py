"""Many videos at once, each in a decoding process that may crash or hang without harm.

`pool` keeps the processes at work and hands out `events`; `worker` is what runs inside them,
`wire` how the two talk.
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
