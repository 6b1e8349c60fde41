"""Short clips as arrays: read, scale, write. Used by the tools that make examples and copies.

Whole clips are kept in memory, which is right for the seconds-long clips of `examples/` and
wrong for videos in general; the pipeline itself streams (`pipeline/video.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


@dataclass(frozen=True)
class Clip:
    """Frames uint8 RGB [T, H, W, 3] at a constant rate in frames a second."""

    frames: np.ndarray
    fps: float


def scale(frames: np.ndarray, width: int, height: int) -> np.ndarray:
    """uint8 [T, H, W, 3] -> [T, height, width, 3], bicubic (area when shrinking by 2 or more)."""
    method = "AREA" if frames.shape[1] >= 2 * height else "BICUBIC"
    shrunk = [
        av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")
        .reformat(width, height, "rgb24", interpolation=method)
        .to_ndarray()
        for frame in frames
    ]
    return np.stack(shrunk)


def fit(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Even width and height with the shorter side at most `short_side`, same aspect."""
    factor = min(1.0, short_side / min(width, height))
    return max(2, 2 * round(width * factor / 2)), max(2, 2 * round(height * factor / 2))


def read_clip(
    path: str | Path,
    fps: float,
    short_side: int = 360,
    start: float = 0.0,
    duration: float = 600.0,
) -> Clip:
    """Decode part of a video at a constant rate, by timestamp, scaled down where it is larger.

    Args:
        path: video file.
        fps: frames a second wanted; a frame stays in place until a later one begins.
        short_side: upper bound in pixels for the shorter side.
        start, duration: seconds of the source's own time.

    Raises:
        ValueError: no frame in the part asked for.
    """
    frames_out: list[np.ndarray] = []
    latest: np.ndarray | None = None
    due = start
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        width, height = fit(stream.width, stream.height, short_side)
        for frame in _decoded(container, stream):
            time = float(frame.time or 0.0)
            while latest is not None and due < min(time, start + duration) - 1e-6:
                frames_out.append(latest)
                due += 1 / fps
            if time >= start + duration - 1e-6:
                break
            if time + 1 / fps >= due:  # no need to convert what no output frame shows
                latest = frame.reformat(width, height, "rgb24", interpolation="AREA").to_ndarray()
        if latest is not None and due < min(time + 1e-6, start + duration - 1e-6):
            frames_out.append(latest)
    if not frames_out:
        raise ValueError(f"{path}: no frames between {start} s and {start + duration} s")
    return Clip(np.stack(frames_out), fps)


def _decoded(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream
) -> Iterator[av.VideoFrame]:
    """All frames; packets that the decoder refuses are passed over.

    Theora repeats a frame by an empty packet, which the decoder reports as an error.
    """
    for packet in container.demux(stream):
        try:
            yield from packet.decode()  # type: ignore[misc]
        except av.error.FFmpegError:
            continue


def write_clip(path: str | Path, clip: Clip, codec: str, options: dict[str, str]) -> None:
    """Encode a clip; the container follows from the file name.

    The result depends only on arguments and encoder version: one thread, no dates.

    Args:
        path: file to write; folders are made.
        clip: frames with even width and height.
        codec: an FFmpeg encoder, e.g. "libx264"; MJPEG gets full-range pixels.
        options: of the encoder; "b" is bits a second.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        rate = Fraction(clip.fps).limit_denominator(1001)
        stream = container.add_stream(codec, rate=rate, options=options)
        assert isinstance(stream, av.video.stream.VideoStream)
        stream.height, stream.width = clip.frames.shape[1:3]
        stream.pix_fmt = pixels
        stream.codec_context.thread_count = 1
        for pixels_of_frame in clip.frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels_of_frame), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
