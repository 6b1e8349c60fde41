"""Small frozen records that pass between modules; each checks itself when it is made.

Shapes are written [T, R, C]: T frames, R regions of a frame, C channels of a region vector.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace

import numpy as np

FORMAT_VERSION = 3  # of stores, the newest that is read; see `store.header`


@dataclass(frozen=True, slots=True)
class VideoRef:
    """One line of an input list.

    Attributes:
        id: the user's name for the video; any text without tab, line break or NUL.
        path: where the file is; only stage one opens it.
        line: line number in the list, for messages; 0 where there is no list.
    """

    id: str
    path: str
    line: int = 0

    def __post_init__(self) -> None:
        if not self.id or not _may_be_id(self.id):
            raise ValueError(f"video id {self.id!r} is empty or holds a tab, line break or NUL")


def _may_be_id(text: str) -> bool:  # written out, as lists are long
    return "\t" not in text and "\n" not in text and "\r" not in text and "\0" not in text


@dataclass(frozen=True)
class Preprocess:
    """How a decoded frame becomes the network's input.

    Attributes:
        resize: length in pixels that the shorter side is scaled to.
        crop: side in pixels of the square cut out of the centre.
        method: name of the interpolation, e.g. "bicubic".
    """

    resize: int = 256
    crop: int = 224
    method: str = "bicubic"

    def __post_init__(self) -> None:
        if not 0 < self.crop <= self.resize:
            raise ValueError(f"crop {self.crop} must be positive and at most resize {self.resize}")


@dataclass(frozen=True)
class FeatureSpec:
    """Everything that changes the numbers in a store; features of unequal specs never meet.

    Attributes:
        model: name of the feature network, for people.
        digest: SHA-256 (hex) over the weights of backbone and whitening. Attention, adaptation and
            comparator are not in it: they act after the store, so one store serves every head.
        regions: vectors of a frame that both sides have: of its regions, and the soft one and the
            pixels of the whole picture where the model has those.
        dims: C, values a region vector.
        fps: frames sampled a second of video.
        resize, crop, resize_method: see `Preprocess`.
        sampling: name and version of the rule that picks frames, see `docs/STORE.md`.
        mirrored: frames were mirrored, left for right; such features are for queries only.
        query_vectors: further vectors of a frame, behind those; only queries have them (small
            and other views, mirrored pixels, see `nets.model.descriptors`), and what they are
            compared with has none.
        views: digest of the pictures that these are made of; empty if there are none.
        insets: rule by which pictures within the picture were looked for and how many at most,
            see `video.pip.detector`; empty if they were not. The video's own vectors are the same.
    """

    model: str
    digest: str
    regions: int
    dims: int
    fps: float
    resize: int
    crop: int
    resize_method: str
    sampling: str
    mirrored: bool = False
    query_vectors: int = 0
    views: str = ""
    insets: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "fps", float(self.fps))  # 1 and 1.0 are one fingerprint

    @property
    def vectors(self) -> int:
        """R, vectors of a frame in all."""
        return self.regions + self.query_vectors

    @property
    def most_insets(self) -> int:
        """How many pictures within the picture were looked for at a time, 0 for none."""
        number = self.insets.rpartition(" ")[2]  # a rule of another version still ends in it
        return int(number) if number.isdecimal() else int(bool(self.insets))

    @property
    def as_database(self) -> FeatureSpec:
        """Of what these features can be compared with."""
        return replace(self, query_vectors=0, views="", insets="")

    def as_json(self) -> dict[str, str | int | float | bool]:
        """The fields; of the last four only what is set, as stores were described before them."""
        later = ("mirrored", "query_vectors", "views", "insets")
        return {k: v for k, v in asdict(self).items() if k not in later or v}

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the fields that change numbers; the name of the model is not one."""
        values = {k: v for k, v in self.as_json().items() if k != "model"}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def differences(self, other: FeatureSpec) -> list[str]:
        """One line per field that differs: `"fps: 1.0 here, 2.0 there"`; empty if compatible."""
        if self.fingerprint == other.fingerprint:
            return []
        return [
            f"{f.name}: {getattr(self, f.name)} here, {getattr(other, f.name)} there"
            for f in fields(self)
            if getattr(self, f.name) != getattr(other, f.name)
        ]


@dataclass(frozen=True)
class SourceInfo:
    """What stage one saw of the file; provenance only, nothing after it opens the path again.

    Attributes:
        path: in full; in stores of earlier versions as listed.
        size: bytes; -1 where the file could not be read.
        mtime_ns: modification time in nanoseconds since the epoch; 0 where unknown.
        codec, width, height, fps, duration: of the video stream (pixels, frames a second,
            seconds); empty or 0 where the container does not say. Width and height are
            those of the picture as shown, after rotation.
    """

    path: str
    size: int = -1
    mtime_ns: int = 0
    codec: str = ""
    width: int = 0
    height: int = 0
    fps: float = 0.0
    duration: float = 0.0


@dataclass(frozen=True)
class VideoRecord:
    """A stored video, as the manifest of a store tells it.

    Attributes:
        id: the user's name for it.
        frames: T, sampled frames stored (true frames: short videos are not padded here), those
            of insets included.
        source: where it came from.
        note: empty, or what a person should know ("damaged after 12.0 s, 13 frames kept").
        insets: frames of each inset, the last of `frames`, see `video.pip.detector`; often none.
    """

    id: str
    frames: int
    source: SourceInfo
    note: str = ""
    insets: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.own_frames < 1:
            raise ValueError(f"video {self.id!r}: {self.own_frames} frames, expected at least 1")

    @property
    def own_frames(self) -> int:
        """Sampled frames of the video itself."""
        return self.frames - sum(self.insets)


@dataclass(frozen=True)
class Failure:
    """A video that could not be stored, and why; `reason` is one of `VideoError.REASONS`."""

    id: str
    reason: str
    detail: str
    source: SourceInfo


@dataclass(frozen=True, repr=False)
class VideoFeatures:
    """Region vectors of one video: whitened, L2-normalised, before attention.

    Attributes:
        id: the user's name for the video.
        vectors: [T, R, C] float16 or float32.
        seconds: [T] float64, time of each frame since the start of the video, ascending; those of
            each inset begin anew.
    """

    id: str
    vectors: np.ndarray
    seconds: np.ndarray

    def __post_init__(self) -> None:
        if self.vectors.ndim != 3 or self.vectors.dtype not in (np.float16, np.float32):
            raise ValueError(
                f"video {self.id!r}: vectors are {self.vectors.dtype} {self.vectors.shape}, "
                "expected float16 or float32 [T, R, C]"
            )
        if self.seconds.shape != self.vectors.shape[:1]:
            raise ValueError(
                f"video {self.id!r}: {self.seconds.shape} times for {len(self.vectors)} frames"
            )

    def __repr__(self) -> str:
        return f"<VideoFeatures {self.id!r}: {self.vectors.shape} {self.vectors.dtype}>"
