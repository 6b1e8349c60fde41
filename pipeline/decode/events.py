"""Events of the pool about the videos that it decodes, and its statistics.

`index` is the position of a video in the list.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..records import Failure, SourceInfo


@dataclass(frozen=True)
class Started:
    """The first frame of a video was decoded; comes once, before its `Frames`."""

    index: int
    source: SourceInfo


@dataclass(frozen=True)
class Frames:
    """The next sampled frames of a video, or of one of its insets.

    Attributes:
        index: position of the video in the list.
        seconds: [n] float64 since the first frame, ascending.
        images: uint8 RGB [n, crop, crop, 3].
        inset: 0 for the video itself, else the number of its inset, see `video.pip.detector`.
    """

    index: int
    seconds: np.ndarray
    images: np.ndarray = field(repr=False)
    inset: int = 0


@dataclass(frozen=True)
class Ended:
    """The video is finished; comes exactly once for each video.

    Attributes:
        index: position of the video in the list.
        note: empty, or what is wrong with a usable video.
        failure: None, or why the video cannot be used; its frames so far are void.
    """

    index: int
    note: str = ""
    failure: Failure | None = None


Event = Started | Frames | Ended


@dataclass
class DecodeStats:
    """Counts so far, for progress and timing reports.

    Attributes:
        videos: number of videos that ended, failed ones included.
        failed: number of videos that failed.
        on_device: number of videos that a device decoded.
        frames: number of sampled frames yielded, without insets.
        insets: number of sampled frames of insets yielded.
        video_seconds: length of the decoded videos in seconds.
        cpu_seconds: processor seconds of the decoding processes.
        blocked_seconds: seconds that processes waited for the consumer, summed over processes.
        starved_seconds: seconds that the consumer waited for frames.
        queued_bytes: bytes of frames that wait in the queue.
        capacity_bytes: largest number of these bytes.
        queued_byte_seconds: integral of `queued_bytes` over time.
        workers: largest number of decoding processes.
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
