"""A list of videos -> clips in memory, decoded in processes of their own; and hosts for copies."""

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
LEAST_SECONDS = 2.0  # shorter rests of a video are no clip of their own

Report = Callable[[Failure], None]


@dataclass(frozen=True)
class Clip:
    """A stretch of a video.

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
    most: int,
    workers: int,
    failed: Report,
) -> Iterator[tuple[int, list[Clip]]]:
    """(index in the list, clips) of each video that can be used, in no particular order.

    Args:
        refs: the videos.
        preprocess: of the model.
        length, most: seconds of a clip, clips of a video; see `video.clip_decoder.clip_segments`.
        workers: see `decode_videos`.
        failed: told of each video that cannot be used.
    """
    sources: dict[int, SourceInfo] = {}
    parts: dict[int, list[Frames]] = {}
    larger = replace(preprocess, resize=int(preprocess.resize * DETAIL))
    options = {"length": length, "max_clips": most}
    with decode_videos(
        refs, larger, RATE, workers=workers, decoder=DECODER, options=options
    ) as events:
        for event in events:
            if isinstance(event, Started):
                sources[event.index] = event.source
            elif isinstance(event, Frames):
                parts.setdefault(event.index, []).append(event)
            elif isinstance(event, Ended):
                found = parts.pop(event.index, [])
                if event.failure is not None:
                    failed(event.failure)
                    continue
                source = sources.pop(event.index)
                cuts = clip_segments(source.duration, length, most)
                yield event.index, _clips(event.index, found, cuts)


def hosts_of(
    refs: Sequence[VideoRef],
    preprocess: Preprocess,
    length: float,
    count: int,
    workers: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """First clips of `count` videos chosen by chance, by id; uint8 [T, H, W, 3] at `RATE`.

    Videos that cannot be used are passed over without a word: they are reported when their own
    turn comes.
    """
    ordered = sorted(refs, key=lambda ref: chance(ref.id, seed))[:count]
    decoded = decode_clips(ordered, preprocess, length, 1, workers, lambda failure: None)
    found = {ordered[i].id: clips[0].frames for i, clips in decoded if clips}
    return {ref.id: found[ref.id] for ref in ordered if ref.id in found}


def chance(text: str, seed: int) -> float:
    """A number in [0, 1) that depends on nothing but text and seed."""
    digest = hashlib.sha256(f"{seed} {text}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _clips(video: int, parts: list[Frames], cuts: list[tuple[float, float]]) -> list[Clip]:
    if not parts:
        return []
    seconds = np.concatenate([part.seconds for part in parts])
    images = np.concatenate([part.images for part in parts])
    clips: list[Clip] = []
    for first, end in cuts:
        inside = (seconds >= first - 1e-3) & (seconds < end - 1e-3)
        if inside.any() and (not clips or inside.sum() >= LEAST_SECONDS * RATE):
            clips.append(Clip(video, first, images[inside]))
    return clips
