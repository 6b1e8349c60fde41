"""Clips of a list of videos in memory, decoded in separate processes; hosts for copies."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..decode import Ended, Frames, Started, decode_videos
from ..decode.pool import PACKAGE
from ..records import Failure, Preprocess, SourceInfo, VideoRef
from ..video.clip_decoder import clip_segments
from .augmentation.compose import RATE

DECODER = f"{PACKAGE}.video.clip_decoder:ClipDecoder"
DETAIL = 1.25  # short side of decoded pictures, in short sides of the network's input
MIN_SECONDS = 2.0  # a shorter rest of a video is no clip

Report = Callable[[Failure], None]


@dataclass(frozen=True)
class Clip:
    """A segment of a video.

    Attributes:
        video: its index in the list that was decoded.
        first: second of the video at which it begins.
        frames: uint8 [T, H, W, 3] at `RATE` a second.
    """

    video: int
    first: float
    frames: np.ndarray


def decode_clips(
    refs: Sequence[VideoRef],
    preprocess: Preprocess,
    length: float,
    *,
    max_clips: int,
    workers: int,
    on_failure: Report,
) -> Iterator[tuple[int, list[Clip]]]:
    """Decode clips: (index in the list, clips) of each usable video, in no particular order.

    Args:
        refs: the videos.
        preprocess: of the model.
        length: seconds of a clip, see `video.clip_decoder.clip_segments`.
        max_clips: clips of a video.
        workers: see `decode_videos`.
        on_failure: called with each video that cannot be used.
    """
    sources: dict[int, SourceInfo] = {}
    parts: dict[int, list[Frames]] = {}
    larger = replace(preprocess, resize=int(preprocess.resize * DETAIL))
    options = {"length": length, "max_clips": max_clips}
    with decode_videos(
        refs, larger, RATE, workers=workers, decoder=DECODER, options=options
    ) as events:
        for event in events:
            if isinstance(event, Started):
                sources[event.index] = event.source
            elif isinstance(event, Frames):
                parts.setdefault(event.index, []).append(event)
            elif isinstance(event, Ended):
                frames = parts.pop(event.index, [])
                if event.failure is not None:
                    on_failure(event.failure)
                    continue
                source = sources.pop(event.index)
                segments = clip_segments(source.duration, length, max_clips)
                yield event.index, _clips(event.index, frames, segments)


def first_clips(
    refs: Sequence[VideoRef],
    preprocess: Preprocess,
    length: float,
    *,
    count: int,
    workers: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Decode the first clips of `count` random videos, by id; uint8 [T, H, W, 3] at `RATE`.

    Videos that cannot be used are skipped: they are reported when their own clips are decoded.
    """
    ordered = sorted(refs, key=lambda ref: chance(ref.id, seed))[:count]
    decoded = decode_clips(
        ordered, preprocess, length, max_clips=1, workers=workers, on_failure=lambda failure: None
    )
    frames = {ordered[i].id: clips[0].frames for i, clips in decoded if clips}
    return {ref.id: frames[ref.id] for ref in ordered if ref.id in frames}


def chance(text: str, seed: int) -> float:
    """A number in [0, 1) that depends on text and seed alone."""
    digest = hashlib.sha256(f"{seed} {text}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _clips(video: int, parts: list[Frames], segments: list[tuple[float, float]]) -> list[Clip]:
    if not parts:
        return []
    seconds = np.concatenate([part.seconds for part in parts])
    images = np.concatenate([part.images for part in parts])
    clips: list[Clip] = []
    for first, end in segments:
        inside = (seconds >= first - 1e-3) & (seconds < end - 1e-3)
        if inside.any() and (not clips or inside.sum() >= MIN_SECONDS * RATE):
            clips.append(Clip(video, first, images[inside]))
    return clips
