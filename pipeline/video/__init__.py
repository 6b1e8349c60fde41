"""Decodes one video file to sampled frames; the only package that imports `av`.

`decoder` reads the file, `container` opens and describes it, `demuxer` reads packets. `sampling`
chooses frames by time, `strategies` decode them, and `frame_converter` makes the network's input of
a frame. `pip` detects embedded pictures.
"""

from __future__ import annotations

from .container import probe
from .decoder import SAMPLING_RULES, VideoDecoder, sample_frames
from .sampling import SAMPLING

__all__ = ["SAMPLING", "SAMPLING_RULES", "VideoDecoder", "probe", "sample_frames"]
