"""YAML file -> checked dataclasses. An unknown key is an error, never ignored.

A file has the sections `extract:`, `compare:` and `train:`, each with the fields of the
dataclass below; what is left out keeps its default. Options on the command line win over the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from .errors import InputError
from .quantization import ENCODINGS

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
MODEL_FUNCTIONS = ("chamfer", "symmetric_chamfer")  # that models are made for, both of the paper
SIMILARITY_FUNCTIONS = (*MODEL_FUNCTIONS, "max_chamfer")
DTYPES = tuple(ENCODINGS)
SAMPLINGS = ("frames", "keyframes")
WHITENINGS = ("keep", "pca", "paired")
LOSSES = ("infonce", "triplet")
STARTS = ("average", "random")
EPOCHS = ("best", "last")
MOST_INSETS = 4
MOST_BYTES, MOST_VALUES = 1 << 16, 10_000  # of a file; the default one has 4 kB
MOST_NUMBER = 2**31
MAX_PIXELS = 8192 * 8192  # of a picture
DECODER_MEMORY_MB, LEAST_DECODER_MEMORY_MB = 4096, 256
HWACCELS = ("none", "auto", "cuda", "videotoolbox", "vaapi", "qsv", "d3d11va")


def _require(ok: bool, message: str) -> None:
    if not ok:
        raise InputError(message)


@dataclass(frozen=True)
class ExtractConfig:
    """Stage one.

    Attributes:
        fps: frames sampled a second of video.
        sampling: frames, or keyframes: of each step the nearest keyframe only, much faster and
            less exact.
        mirrored: mirror every frame, left for right: features of queries as their mirrored copies
            look.
        as_queries: store what only queries have as well, see `nets.model.descriptors`; such a
            store can still be searched.
        dims: values kept of each whitened region vector; None keeps all the model has.
        dtype: float16, float32, int8 or binary (signs alone), how the store keeps them, see
            `encoding`; None takes that of the store, float16 for a new one.
        batch_size: frames in one run of the network.
        precision: auto, float32, bfloat16 or float16 (of the network).
        workers: decoding processes; 0 takes one per processor core.
        hwaccel: none, auto or a kind of device that decodes ("cuda", "cuda:1"); where it does
            not work, software does.
        commit_seconds: a video is safe on disk at most this long after its last frame went
            through the network.
        stall_seconds: a decoder without a sign of life for this long is given up.
        idle_seconds: a decoder that has used so much processor time since its last sample is given
            up, also one that gives signs of life.
        min_frames: a damaged video is kept if at least so many sampled frames are good.
        max_pixels: larger pictures (width times height) are refused before they are decoded.
        decoder_memory_mb: memory of a decoding process in MiB, at most; 0 for no limit.
        insets: pictures within the picture that are looked for, see `video.pip.detector`, at most
            so many at a time; None does as was done for the store, for a new one as the model asks
            for, and looks for none in queries.
    """

    fps: float = 1.0
    sampling: str = "frames"
    mirrored: bool = False
    as_queries: bool = False
    dims: int | None = None
    dtype: str | None = None
    batch_size: int = 32
    precision: str = "auto"
    workers: int = 0
    hwaccel: str = "none"
    commit_seconds: float = 2.0
    stall_seconds: float = 120.0
    idle_seconds: float = 14_400.0
    min_frames: int = 4
    max_pixels: int = MAX_PIXELS
    decoder_memory_mb: int = DECODER_MEMORY_MB
    insets: int | None = None

    def __post_init__(self) -> None:
        _require(0 < self.fps <= 60, f"fps is {self.fps}, expected more than 0 and at most 60")
        _require(
            self.sampling in SAMPLINGS,
            f"sampling is {self.sampling!r}, expected one of {SAMPLINGS}",
        )
        kind, _, number = str(self.hwaccel).partition(":")
        _require(
            kind in HWACCELS and (not number or number.isdigit()),
            f"hwaccel is {self.hwaccel!r}, expected one of {HWACCELS}, devices maybe with a number",
        )
        whole = isinstance(self.dims, int) and self.dims is not True and self.dims > 0
        _require(self.dims is None or whole, f"dims is {self.dims!r}, expected 1 or more")
        known = self.dtype is None or self.dtype in DTYPES
        _require(known, f"dtype is {self.dtype!r}, expected one of {DTYPES}")
        _require(self.batch_size > 0, f"batch_size is {self.batch_size}, expected 1 or more")
        _require(
            self.precision in PRECISIONS,
            f"precision is {self.precision!r}, expected one of {PRECISIONS}",
        )
        _require(self.workers >= 0, f"workers is {self.workers}, expected 0 or more")
        _require(
            self.commit_seconds >= 0, f"commit_seconds is {self.commit_seconds}, expected >= 0"
        )
        _require(self.stall_seconds > 0, f"stall_seconds is {self.stall_seconds}, expected > 0")
        _require(self.idle_seconds > 0, f"idle_seconds is {self.idle_seconds}, expected > 0")
        _require(
            0 < self.max_pixels < 1 << 31,
            f"max_pixels is {self.max_pixels}, expected 1 to {(1 << 31) - 1}",
        )
        _require(
            self.decoder_memory_mb == 0 or self.decoder_memory_mb >= LEAST_DECODER_MEMORY_MB,
            f"decoder_memory_mb is {self.decoder_memory_mb}, expected 0 or at least "
            f"{LEAST_DECODER_MEMORY_MB}",
        )
        _require(self.min_frames > 0, f"min_frames is {self.min_frames}, expected 1 or more")
        whole = isinstance(self.insets, int) and not isinstance(self.insets, bool)
        _require(
            self.insets is None or (whole and 0 <= self.insets <= MOST_INSETS),
            f"insets is {self.insets!r}, expected a whole number from 0 to {MOST_INSETS}",
        )


@dataclass(frozen=True)
class CompareConfig:
    """Stage two.

    Attributes:
        similarity_function: chamfer: how much of the query is found in the database video;
            symmetric_chamfer: mean of both directions; max_chamfer: the larger of both; None takes
            the model's own.
        precision: auto, float32, bfloat16 or float16 (of the similarity network).
        batch_size: pairs in one run of the comparator, at most; long videos make it fewer.
        block_mb: memory for one block of database features, in MiB, of int8 and binary ones as
            if they were float16.
        load_queries: keep the query features on the device for the whole run.
        query_insets: search also for the pictures within the queries' pictures, see
            `video.pip.detector`.
        adapt: adapt the model to the database that is searched, see `search.adapt.adapt`.
        background_weight, background_top_k: with a background set, so much of the mean of a
            query's best scores in it is taken off its scores, and of how many; chosen on
            validation videos, see benchmarks/NOTES.md.
        checksums: compare the checksum of each video with the store's while it is read.
    """

    similarity_function: str | None = None
    precision: str = "auto"
    batch_size: int = 1024
    block_mb: int = 32
    load_queries: bool = False
    query_insets: bool = False
    adapt: bool = False
    background_weight: float = 0.5
    background_top_k: int = 5
    checksums: bool = True

    def __post_init__(self) -> None:
        _require(
            self.similarity_function in (None, *SIMILARITY_FUNCTIONS),
            f"similarity_function is {self.similarity_function!r}, "
            f"expected one of {SIMILARITY_FUNCTIONS}",
        )
        _require(
            self.precision in PRECISIONS,
            f"precision is {self.precision!r}, expected one of {PRECISIONS}",
        )
        _require(self.batch_size > 0, f"batch_size is {self.batch_size}, expected 1 or more")
        _require(self.block_mb > 0, f"block_mb is {self.block_mb}, expected 1 or more")
        weight, count = self.background_weight, self.background_top_k
        _require(0 <= weight <= 2, f"background_weight is {weight}, expected 0 to 2")
        _require(count > 0, f"background_top_k is {count}, expected 1 or more")


@dataclass(frozen=True)
class TrainConfig:
    """Training of whitening, attention and comparator.

    Attributes:
        copies: made of each clip, once.
        clip_seconds, clips_per_video: a longer video gives several clips at spread places.
        hosts: videos that copies are set in (picture in picture, excerpts).
        validation_share: of the videos, where no list of others is given.
        whitening: fit it anew, pca or paired (what copies disturb is made small), and take it
            if it does better on validation; or keep the start model's, so that stores stay valid.
        whitening_frames: it is fitted on, at most.
        dims, shrinkage: of a whitening that is fitted; dims null takes as many as there were. That
            of pixels is always PCA with a shrinkage of its own, see `training.whitening_fit`.
        similarity_function: chamfer or symmetric_chamfer; None takes the start model's.
        attention: train it, or the comparator alone.
        start: average (near the plain similarity) or random weights of the comparator.
        skip: share of the comparator's output that is the frame-to-frame matrix itself; none with
            attention, which shortens vectors.
        loss: infonce or triplet.
        temperature, margin: of InfoNCE, of triplets.
        regularisation: weight of what the comparator gives beyond [-1, 1].
        self_weight: weight of self-similarity near 1 and hardest negatives near 0.
        batch_clips, batch_copies: clips of a batch, copies of each.
        window: frames of a clip or copy that are compared, a multiple of 4.
        clean_share: how often a query is the clip itself and not one more copy.
        same_limit: clips with a plain similarity above it are no negatives of each other.
        epochs, steps: at most so many epochs of so many batches.
        patience: epochs without a better validation mAP, after which training ends.
        chosen_epoch: best (by validation mAP) or last, which never ends early: learning rates have
            come down to 0 by then, while the best of few validation clips is chosen by chance.
        learning_rate: highest of Adam; warm_up: share of all steps until it is reached, then it
            falls as a cosine.
        seed: same seed, same videos, same machine: same model.
        workers: decoding processes, and threads that make copies; 0: one per processor core.
    """

    copies: int = 8
    clip_seconds: float = 16.0
    clips_per_video: int = 4
    hosts: int = 24
    validation_share: float = 0.2
    whitening: str = "pca"
    whitening_frames: int = 3000
    dims: int | None = None
    shrinkage: float = 0.3
    similarity_function: str | None = None
    attention: bool = True
    start: str = "average"
    skip: float = 0.5
    loss: str = "infonce"
    temperature: float = 0.05
    margin: float = 0.5
    regularisation: float = 1.0
    self_weight: float = 0.1
    batch_clips: int = 24
    batch_copies: int = 1
    window: int = 16
    clean_share: float = 0.7
    same_limit: float = 0.5
    epochs: int = 30
    steps: int = 40
    patience: int = 8
    chosen_epoch: str = "best"
    learning_rate: float = 0.001
    warm_up: float = 0.05
    seed: int = 0
    workers: int = 0

    def __post_init__(self) -> None:
        for name, known in (
            ("whitening", WHITENINGS),
            ("loss", LOSSES),
            ("start", STARTS),
            ("chosen_epoch", EPOCHS),
            ("similarity_function", (None, *MODEL_FUNCTIONS)),
        ):
            value = getattr(self, name)
            _require(value in known, f"{name} is {value!r}, expected one of {known}")
        for name in (
            "copies", "clips_per_video", "batch_copies", "epochs", "steps", "patience", "hosts",
            "whitening_frames",
        ):  # fmt: skip
            _require(
                getattr(self, name) > 0, f"{name} is {getattr(self, name)}, expected 1 or more"
            )
        _require(self.batch_clips > 1, f"batch_clips is {self.batch_clips}, expected 2 or more")
        fits = self.window >= 4 and self.window % 4 == 0
        _require(fits, f"window is {self.window}, expected a multiple of 4")
        _require(self.clip_seconds >= 4, f"clip_seconds is {self.clip_seconds}, expected 4 or more")
        for name in ("temperature", "learning_rate"):
            _require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}, expected above 0")
        for name in ("validation_share", "shrinkage", "clean_share", "warm_up"):
            value = getattr(self, name)
            _require(0 <= value <= 1, f"{name} is {value}, expected 0 to 1")
        _require(0 <= self.skip < 1, f"skip is {self.skip}, expected 0 or more and less than 1")
        for name in ("margin", "regularisation", "self_weight", "seed", "workers"):
            _require(
                getattr(self, name) >= 0, f"{name} is {getattr(self, name)}, expected 0 or more"
            )
        whole = isinstance(self.dims, int) and self.dims is not True and self.dims > 0
        _require(self.dims is None or whole, f"dims is {self.dims!r}, expected 1 or more")


@dataclass(frozen=True)
class Config:
    """The settings of all commands."""

    extract: ExtractConfig = field(default_factory=ExtractConfig)
    compare: CompareConfig = field(default_factory=CompareConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


def load_config(path: str | Path | None) -> Config:
    """Read a YAML file; None gives the defaults.

    Raises:
        InputError: the file is missing, is not YAML, or holds an unknown section, an unknown
            key or a value out of range. The message names file and key.
    """
    if path is None:
        return Config()
    import yaml

    try:
        with Path(path).open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
        _require(len(raw) <= MOST_BYTES, f"{path}: more than {MOST_BYTES} bytes, no configuration")
        content = yaml.safe_load(raw.decode("utf-8")) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read the configuration: {error}") from error
    except RecursionError as error:
        raise InputError(f"{path}: nested too deeply, no configuration") from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:
        # PyYAML lets the errors of Python's own conversions through.
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    _require_small(content, path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected sections `extract:`, `compare:`, `train:`")
    config = Config()
    sections = [f.name for f in fields(Config)]
    for section, values in content.items():
        if section not in sections:
            raise InputError(f"{path}: unknown section {section!r}, expected one of {sections}")
        config = replace(config, **{section: _section(getattr(config, section), values, path)})
    return config


def _require_small(content: Any, path: str | Path) -> None:
    """Aliases let a few lines stand for billions of values, which no message could show."""
    left, count = [content], 0
    while left:
        value = left.pop()
        count += 1
        _require(count <= MOST_VALUES, f"{path}: more than {MOST_VALUES} values; leave out aliases")
        if isinstance(value, (dict, list, set, tuple)):
            left += [*value, *value.values()] if isinstance(value, dict) else [*value]


def override(section: Any, **options: Any) -> Any:
    """The section with every option that is not None put over it."""
    return replace(section, **{k: v for k, v in options.items() if v is not None})


def _section(defaults: Any, values: Any, path: str | Path) -> Any:
    if values is None:
        return defaults
    if not isinstance(values, dict):
        raise InputError(f"{path}: a section holds `key: value` lines, found {values!r}")
    known = {f.name for f in fields(defaults)}
    for key, value in values.items():
        if key not in known:
            raise InputError(f"{path}: unknown key {key!r}, expected one of {sorted(known)}")
        _check_type(f"{path}: {key}", getattr(defaults, key), value)
    try:
        return replace(defaults, **values)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _check_type(what: str, default: Any, value: Any) -> None:
    """The value is of the default's kind; where the default is None the dataclass checks."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(default, bool):
        _require(isinstance(value, bool), f"{what} is {value!r}, expected true or false")
    elif isinstance(default, (int, float)):
        _require(is_number, f"{what} is {value!r}, expected a number")
        if isinstance(default, int):
            fits = isinstance(value, int) and abs(value) < MOST_NUMBER
            _require(fits, f"{what} is {value!r}, expected a whole number below {MOST_NUMBER}")
