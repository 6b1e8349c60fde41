"""One video file -> sampled frames; the only package that imports `av`.

`decoder` goes through the file, `source` opens and describes it, `sampling` (pure) picks the frames
by time, `keyframes` the nearest keyframes instead, `picture` makes the network's input of a picked
one.
"""

from __future__ import annotations

from .container import probe
from .decoder import RULES, VideoDecoder, sample_frames
from .sampling import SAMPLING

__all__ = ["RULES", "SAMPLING", "VideoDecoder", "probe", "sample_frames"]
