"""Small frozen records that pass between modules; each checks itself when it is made.

Shapes are written [T, R, C]: T frames, R regions of a frame, C channels of a region vector.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace

import numpy as np

FORMAT_VERSION = 3  # of stores, the newest that is read; see `store.header`

# Fields of `FeatureSpec` that a store knows by another name. Stores keep these names, so that the
# fingerprints of old and new stores are equal.
STORED_NAMES = {
    "shared_descriptors": "regions",
    "query_descriptors": "query_vectors",
    "augmentation_digest": "views",
}
# Fields that a store names only where they are set: older versions did not have them.
_STEP = " every "
_LATER_FIELDS = ("mirrored", "query_descriptors", "augmentation_digest", "insets")


# Published feature files say nothing of the weights that made them. Such features have one of
# these names, which stands for all that their publication says of them.
PUBLISHED_FEATURES = ("dns",)


def published_digest(name: str) -> str:
    """The digest that features have which are known by a name alone; see `FeatureSpec.digest`.

    Args:
        name: of `PUBLISHED_FEATURES`.

    Raises:
        ValueError: another name.
    """
    if name not in PUBLISHED_FEATURES:
        raise ValueError(f"features {name!r}, expected one of {', '.join(PUBLISHED_FEATURES)}")
    return hashlib.sha256(f"published features: {name}".encode()).hexdigest()


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


@dataclass(frozen=True, slots=True)
class InsetRule:
    """How embedded pictures (insets) are detected; stores hold it as `str(rule)`.

    Attributes:
        version: name and version of the detection rule, see `video.pip.detector`.
        limit: largest number of insets detected at a time; 0 for none.
    """

    version: str = "edges/3"
    limit: int = 0

    @classmethod
    def parse(cls, text: str) -> InsetRule:
        """Parse a text such as `"edges/3 2"`; an empty text is a rule without insets.

        The version may be unknown to this program: a store made by it can still be searched.

        Raises:
            ValueError: the text is not a version, a space and a number of 1 or more.
        """
        version, _, number = text.partition(" ")
        if not text:
            return cls()
        if not version or not number.isdecimal() or not number.isascii() or int(number) < 1:
            raise ValueError(f"insets is {text!r}, expected a rule and a number, as in 'edges/3 2'")
        return cls(version, int(number))

    def __str__(self) -> str:
        return f"{self.version} {self.limit}" if self.limit else ""


@dataclass(frozen=True)
class FeatureSpec:
    """Everything that changes the numbers in a store; features of unequal specs never meet.

    Attributes:
        model: name of the feature network, for people.
        digest: SHA-256 (hex) over the weights of backbone and whitening. Attention, adaptation and
            comparator are not in it: they act after the store, so one store serves every head.
        shared_descriptors: descriptors of a frame that both sides have: one for each region, and
            the low-pass and the thumbnail descriptor where the model has them.
        dims: C, values of a descriptor.
        fps: frames sampled a second of video.
        resize, crop, resize_method: see `Preprocess`.
        sampling: name and version of the rule that picks frames, see `docs/STORE.md`.
        mirrored: frames were mirrored, left for right; such features are for queries only.
        query_descriptors: further descriptors of a frame, stored behind the shared ones. Only
            queries have them, see `nets.model.descriptors`; 0 for a database.
        augmentation_digest: digest of the query augmentation that they come from; empty without.
            Behind it stands `view_step`, if that is more than 1.
        insets: text of the `InsetRule` that detected embedded pictures; empty if none were
            detected. The rule does not change the vectors of the video itself.
    """

    model: str
    digest: str
    shared_descriptors: int
    dims: int
    fps: float
    resize: int
    crop: int
    resize_method: str
    sampling: str
    mirrored: bool = False
    query_descriptors: int = 0
    augmentation_digest: str = ""
    insets: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "fps", float(self.fps))  # 1 and 1.0 are one fingerprint
        InsetRule.parse(self.insets)

    @property
    def descriptors(self) -> int:
        """R, the number of descriptors of a frame."""
        return self.shared_descriptors + self.query_descriptors

    @property
    def inset_rule(self) -> InsetRule:
        """How embedded pictures were detected, and how many at a time."""
        return InsetRule.parse(self.insets)

    @property
    def views_digest(self) -> str:
        """What `augmentation_digest` is of, without the step."""
        return self.augmentation_digest.partition(_STEP)[0]

    @property
    def view_step(self) -> int:
        """Lowpass query views are those of every so many frames; 1: each frame has its own."""
        step = self.augmentation_digest.partition(_STEP)[2]
        return int(step) if step.isdecimal() else 1

    def with_view_step(self, step: int) -> FeatureSpec:
        """The spec of features whose lowpass query views are those of every so many frames."""
        if not self.augmentation_digest or step == self.view_step:
            return self
        text = f"{self.views_digest}{_STEP}{step}" if step > 1 else self.views_digest
        return replace(self, augmentation_digest=text)

    @property
    def as_database(self) -> FeatureSpec:
        """The spec of the database features that these can be compared with."""
        return replace(self, query_descriptors=0, augmentation_digest="", insets="")

    def as_json(self) -> dict[str, str | int | float | bool]:
        """The fields under the names that stores have for them; later fields only where set."""
        return {
            STORED_NAMES.get(name, name): value
            for name, value in asdict(self).items()
            if name not in _LATER_FIELDS or value
        }

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
    """Provenance of a video: the file as stage one read it. No later step opens the path.

    Attributes:
        path: in full; in stores of earlier versions as listed.
        size: bytes; -1 where the file could not be read.
        mtime_ns: modification time in nanoseconds since the epoch; 0 where unknown.
        codec, width, height, fps, duration: of the video stream (pixels, frames a second,
            seconds); empty or 0 where the container does not say. Width and height are
            those of the picture as shown, after rotation.
        etag: of an object in object storage, where `path` is its URL without query.
    """

    path: str
    size: int = -1
    mtime_ns: int = 0
    codec: str = ""
    width: int = 0
    height: int = 0
    fps: float = 0.0
    duration: float = 0.0
    etag: str = ""

    def as_json(self) -> dict[str, str | int | float]:
        """The fields as stores have them; the ETag only where there is one."""
        value = asdict(self)
        if not self.etag:
            del value["etag"]
        return value


@dataclass(frozen=True)
class VideoRecord:
    """A stored video, as recorded in the manifest of a store.

    Attributes:
        id: the user's name for it.
        frames: T, stored frames with those of insets; short videos are not repeated here.
        source: where it came from.
        note: empty, or a remark for the user ("damaged after 12.0 s, 13 frames kept").
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
        return f"VideoFeatures({self.id!r}, {self.vectors.dtype} {list(self.vectors.shape)})"
