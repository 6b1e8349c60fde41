"""What the pool tells about the videos it decodes. `index` is a video's place in the list."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..records import Failure, SourceInfo


@dataclass(frozen=True)
class Started:
    """The first frame of a video is out; comes once, before its `Frames`."""

    index: int
    source: SourceInfo


@dataclass(frozen=True)
class Frames:
    """The next sampled frames of a video, or of a picture within its picture.

    Attributes:
        seconds: [n] float64 since the first frame, ascending.
        images: uint8 RGB [n, crop, crop, 3].
        inset: 0 for the video itself, else which of its insets, see `video.pip.detector`.
    """

    index: int
    seconds: np.ndarray
    images: np.ndarray
    inset: int = 0


@dataclass(frozen=True)
class Ended:
    """Nothing more comes of this video; comes exactly once for each.

    Attributes:
        note: empty, or what was wrong with a video that is good enough to keep.
        failure: None, or why it must be given up, with whatever frames it had.
    """

    index: int
    note: str = ""
    failure: Failure | None = None


Event = Started | Frames | Ended


@dataclass
class DecodeStats:
    """Counts so far, for progress and timing reports.

    Attributes:
        videos: ended, failed ones included; failed: of these; on_device: of these, decoded
            by a device.
        frames: sampled frames handed out; insets: pictures within them, besides.
        video_seconds: length of what was decoded.
        cpu_seconds: processor time of the decoding processes.
        blocked_seconds: time that processes waited for the consumer, summed over them.
        starved_seconds: time that the consumer waited for frames.
        queued_bytes: frames ready and not yet taken; capacity_bytes: the most there may be;
            queued_byte_seconds: the first summed over time.
        workers: decoding processes at most.
    """

    videos: int = 0
    failed: int = 0
    on_device: int = 0
    frames: int = 0
    insets: int = 0
    video_seconds: float = 0.0
    cpu_seconds: float = 0.0
    blocked_seconds: float = 0.0
    starved_seconds: float = 0.0
    queued_bytes: int = 0
    capacity_bytes: int = 0
    queued_byte_seconds: float = 0.0
    workers: int = 0
