"""Scales frames in memory or encodes and decodes them; makes copies for training."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np


def resize_frames(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale uint8 [T, H, W, 3] to [T, height, width, 3]: bicubic, or by areas to 2/3 and less."""
    if frames.shape[1:3] == (height, width):
        return frames
    method = "AREA" if frames.shape[1] >= 1.5 * height else "BICUBIC"
    out = np.empty((len(frames), height, width, 3), np.uint8)
    for frame, target in zip(frames, out, strict=True):
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")
        small = picture.reformat(width, height, "rgb24", interpolation=method, threads=1)
        target[:] = small.to_ndarray()
    return out


def reencode(frames: np.ndarray, codec: str, quality: int) -> np.ndarray:
    """Encode and decode frames at constant quality.

    Args:
        frames: uint8 [T, H, W, 3], H and W even.
        codec: "libx264" or "mpeg4"; MPEG-4 is also used if FFmpeg has no x264.
        quality: lower is better; CRF 0 to 51 for x264, quantiser 1 to 31 for MPEG-4.

    Returns:
        uint8 [T, H, W, 3].
    """
    if codec not in av.codecs_available:
        codec, quality = "mpeg4", min(31, max(2, quality - 20))
    height, width = frames.shape[1:3]
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base = Fraction(1, 25)
    encoder.thread_count = 1
    encoder.gop_size = 12
    if codec == "mpeg4":
        encoder.qmin = encoder.qmax = quality
    else:
        encoder.options = {"preset": "superfast", "crf": str(quality), "tune": "zerolatency"}
    decoder: Any = av.CodecContext.create("mpeg4" if codec == "mpeg4" else "h264", "r")
    decoder.thread_count = 1
    shown: list[Any] = []
    for number, frame in enumerate(frames):
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")
        picture = picture.reformat(format="yuv420p", threads=1)
        picture.pts, picture.time_base = number, encoder.time_base
        for packet in encoder.encode(picture):
            shown += decoder.decode(packet)
    for packet in encoder.encode(None):
        shown += decoder.decode(packet)
    shown += decoder.decode(None)
    if len(shown) != len(frames):
        raise RuntimeError(f"{codec} gave {len(shown)} frames for {len(frames)}")
    return np.stack([f.reformat(format="rgb24", threads=1).to_ndarray() for f in shown])
