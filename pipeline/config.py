"""All settings, and how a settings file is read.

A file is YAML with the sections `extract:`, `compare:`, `train:` and `duplicates:`, each with the
fields of the class below; what is left out keeps its default. Options on the command line win over
the file.
`configs/default.yaml` is made from the same fields: `visil-index settings > configs/default.yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from .errors import InputError
from .settings import Section, Setting, refuse_unknown, setting, settings_of
from .settings_file import default_text, read_yaml

Precision = Literal["auto", "float32", "bfloat16", "float16"]
ModelFunction = Literal["chamfer", "symmetric_chamfer"]  # that models are made for
SimilarityFunction = Literal["chamfer", "symmetric_chamfer", "max_chamfer"]
Dtype = Literal["float32", "float16", "int8", "binary"]
KeepRule = Literal["longest", "largest", "oldest", "first"]
Sampling = Literal["frames", "keyframes"]
Whitening = Literal["keep", "pca", "paired"]
Engine = Literal["auto", "keras", "openvino"]
Normalize = Literal["auto", "none", "database"]
# Of `alignment.METHODS`.
SegmentMethod = Literal["lines", "hough", "vcsl_tn", "vcsl_hv", "vcsl_dp", "vcsl_dtw"]

PRECISIONS: tuple[str, ...] = get_args(Precision)
MODEL_FUNCTIONS: tuple[str, ...] = get_args(ModelFunction)
SIMILARITY_FUNCTIONS: tuple[str, ...] = get_args(SimilarityFunction)
NORMALIZATIONS: tuple[str, ...] = get_args(Normalize)
DTYPES: tuple[str, ...] = get_args(Dtype)
SAMPLINGS: tuple[str, ...] = get_args(Sampling)
ENGINES: tuple[str, ...] = get_args(Engine)
HWACCELS = ("none", "auto", "cuda", "videotoolbox", "vaapi", "qsv", "d3d11va")
MAX_INSETS = 4
SEGMENT_EVIDENCE = 1.25
# Of models as they are, and adapted: three of four queries have a lower level than their scores in
# a small database and so many videos at this level say (benchmarks/NOTES.md).
LEVEL_PRIORS = {False: 0.27, True: 0.17}
LEVEL_PRIOR_VIDEOS = {False: 30, True: 50}
MAX_PIXELS = 8192 * 8192  # of a picture
FETCH_MB = 8192
DECODER_MEMORY_MB, MIN_DECODER_MEMORY_MB = 4096, 256


@dataclass(frozen=True, kw_only=True)
class ExtractConfig(Section):
    """Settings of stage one."""

    fps: float = setting(1.0, "Frames sampled per second of video.", "--fps", gt=0, le=60)
    sampling: Sampling = setting(
        "frames",
        "Which frames are taken: frames at even distances, or the nearest keyframes, which is "
        "much faster and less exact.",
        "--sampling",
    )
    mirrored: bool = setting(
        False,
        "Mirror every frame, left for right: for stores that are given as --mirrored_query_store.",
        "--mirrored",
    )
    as_queries: bool = setting(
        False,
        "The videos will be queries: store query views as well, which find them in other pictures. "
        "Such a store can still be searched.",
        "--as_queries",
    )
    view_step: int | None = setting(
        None,
        "With --as_queries: compute the lowpass views for every so many frames; the frames between "
        "take those of the frame before. 3 saves nearly half of the time.",
        "--view_step",
        null="as in the store, in a new one 1",
        ge=1,
        le=4,
    )
    thumbnails: bool = setting(
        False,
        "Keep a small picture of each sample beside the store, so that reports show stills where "
        "the videos are not at hand.",
        "--thumbnails",
    )
    dims: int | None = setting(
        None, "Values kept of each descriptor.", "--dims", null="all the model has", ge=1
    )
    dtype: Dtype | None = setting(
        None,
        "How the store keeps descriptors: int8 takes half of float16, binary (signs alone) "
        "a sixteenth.",
        "--dtype",
        null="as in the store, in a new one float16",
    )
    batch_size: int = setting(32, "Frames in one run of the feature network.", "--batch_sz", ge=1)
    precision: Precision = setting("auto", "Arithmetic of the network.", "--precision")
    engine: Engine = setting(
        "auto",
        "What computes the network on a CPU: openvino is faster and must be installed, "
        "keras is there always, auto takes openvino where it is installed. Features of both go "
        "together.",
        "--engine",
    )
    workers: int = setting(
        0, "Decoding processes; 0: one per processor core.", "--workers", "--threads", ge=0
    )
    hwaccel: str = setting(
        "none",
        "Decode on a device, in software where none works.",
        "--hwaccel",
        values=f"one of {', '.join(HWACCELS)}, maybe with the number of a device (cuda:1)",
        pattern=rf"^({'|'.join(HWACCELS)})(:[0-9]*)?\Z",
    )
    commit_seconds: float = setting(
        2.0,
        "A video is safe on disk at most this long after its last frame went through the network.",
        unit="seconds",
        ge=0,
    )
    stall_seconds: float = setting(
        120.0, "A decoder without a sign of life for this long is given up.", unit="seconds", gt=0
    )
    idle_seconds: float = setting(
        14_400.0,
        "A decoder that has used this much processor time since its last sample is given up, "
        "even if it gives signs of life.",
        unit="seconds",
        gt=0,
    )
    min_frames: int = setting(
        4, "A damaged video is kept if at least this many sampled frames are good.", ge=1
    )
    max_pixels: int = setting(
        MAX_PIXELS,
        "Pictures with more pixels than this (width times height) are refused before they are "
        "decoded. 67108864 is 8192 x 8192.",
        "--max_pixels",
        ge=1,
    )
    decoder_memory_mb: int = setting(
        DECODER_MEMORY_MB,
        "Memory that one decoding process may take; 0: no limit.",
        unit="MiB",
        values=f"0 or at least {MIN_DECODER_MEMORY_MB} MiB",
        ge=0,
    )
    fetch_mb: int = setting(
        FETCH_MB,
        "Scratch (TMPDIR) for videos of object storage that are fetched ahead of the decoders.",
        unit="MiB",
        ge=1,
    )
    insets: int | None = setting(
        None,
        "Insets to look for (picture in picture, split screens), at most this many at a time; "
        "0: none.",
        "--insets",
        null="as in the store, in a new one as the model asks for, of queries none",
        ge=0,
        le=MAX_INSETS,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.decoder_memory_mb < MIN_DECODER_MEMORY_MB:
            values = settings_of(ExtractConfig)["decoder_memory_mb"].allowed
            raise InputError(f"decoder_memory_mb is {self.decoder_memory_mb}, expected {values}")


@dataclass(frozen=True, kw_only=True)
class CompareConfig(Section):
    """Settings of stage two."""

    similarity_function: SimilarityFunction | None = setting(
        None,
        "chamfer: how much of the query is found in the database video; symmetric_chamfer: "
        "mean of both directions; max_chamfer: the larger of both.",
        "-s",
        "--similarity_function",
        null="the one the model was made for",
    )
    precision: Precision = setting("auto", "Arithmetic of the network.", "--precision")
    batch_size: int = setting(
        1024,
        "Pairs in one run of the comparator, at most; long videos make it fewer.",
        "--batch_sz_sim",
        ge=1,
    )
    block_mb: int = setting(
        32,
        "Memory for the database features that are read at once, counted as float16 where "
        "they are int8 or binary.",
        "--block_mb",
        unit="MiB",
        ge=1,
    )
    load_queries: bool = setting(
        False, "Keep the query features on the device.", "-l", "--load_queries"
    )
    query_insets: bool = setting(
        False,
        "Search also for the insets of queries (picture in picture, split screens), the best score "
        "counts: finds the original of a video that shows it small.",
        "--query_insets",
    )
    adapt: bool = setting(
        False,
        "Adapt the model to the database first, as `visil-index adapt` does: what all its "
        "videos have in common counts for less.",
        "--adapt",
    )
    normalize: Normalize = setting(
        "auto",
        "database: take off each query's scores the level that it reaches among the searched "
        "videos, so that one threshold fits all queries; none: leave scores as they are; auto: "
        "database with --max_fpr if the model is calibrated for it, else none.",
        "--normalize",
    )
    normalize_quantile: float = setting(
        0.97,
        "With a normalisation: this quantile of a query's scores is its level.",
        "--normalize_quantile",
        gt=0,
        lt=1,
    )
    normalize_match: float = setting(
        0.4,
        "With a normalisation: parts of a query that resemble a video more than this match it and "
        "do not count for the level, so that copies do not raise it.",
        "--normalize_match",
        ge=-1,
        le=1,
    )
    normalize_prior: float | None = setting(
        None,
        "With a normalisation: a high level, which counts as much as "
        f"{LEVEL_PRIOR_VIDEOS[False]} videos, with an adapted model {LEVEL_PRIOR_VIDEOS[True]}. It "
        "keeps a small database on the safe side.",
        "--normalize_prior",
        null=f"{LEVEL_PRIORS[False]:g}, and {LEVEL_PRIORS[True]:g} for an adapted model",
        ge=-1,
        le=1,
    )
    background_weight: float = setting(
        0.5,
        "With a background: this part of a query's mean best score in it is taken off its scores.",
        ge=0,
        le=2,
    )
    background_top_k: int = setting(
        5, "With a background: the mean is of this many best scores.", ge=1
    )
    resident_mb: int = setting(
        2048,
        "Index in Python: memory for database features that stay on the device between searches. "
        "What is beyond it is read again for every search.",
        unit="MiB",
        ge=0,
    )
    checksums: bool = setting(
        True, "Compare the checksums of stored features while they are read.", "--no_checksums"
    )
    published_features: Literal["dns"] | None = setting(
        None,
        "An HDF5 file that is no store is a published feature file, of these features: dns is of "
        "DnS and S2VS.",
        "--as",
        null="refuse such a file",
    )
    segment_method: SegmentMethod = setting(
        "lines",
        "How --segments finds them: straight lines through the frame matrix; votes for offsets, "
        "which is simpler and less exact; or VCSL's temporal network, Hough voting, dynamic "
        "programming, dynamic time warping.",
        "--alignment",
    )
    max_segments: int = setting(8, "Segments of a pair, at most.", ge=1, le=1000)
    segment_min_score: float = setting(
        0.3, "Segments whose frames resemble each other less are left out.", ge=-1, le=1
    )
    segment_evidence: float | None = setting(
        None,
        "What the best segment of a pair must amount to for any to be given: its score above 0.3 "
        "times its seconds, and up to 2 more or less for the score of the pair. "
        f"{SEGMENT_EVIDENCE:g} marks up to one unrelated pair in a thousand.",
        null=f"{SEGMENT_EVIDENCE:g} without a threshold, with one 0",
        ge=0,
    )
    refine_fps: float = setting(
        4.0, "Frames a second that --refine_segments decodes around the ends.", gt=0, le=60
    )
    refine_seconds: float = setting(
        2.5,
        "How far to either side of an end --refine_segments decodes.",
        unit="seconds",
        ge=1,
        le=30,
    )

    @property
    def normalization(self) -> str:
        """How scores are normalised, in words: calibrations are told apart by it."""
        if self.normalize != "database":
            return "none"
        priors = [
            f"{self.level_prior(adapted):g} as {LEVEL_PRIOR_VIDEOS[adapted]} videos"
            for adapted in (False, True)
        ]
        return (
            f"{self.normalize}, quantile {self.normalize_quantile:g}, match "
            f"{self.normalize_match:g}, prior {' or '.join(priors)}"
        )

    def level_prior(self, adapted: bool) -> float:
        """The prior of a query's level, for a model as it is or adapted to the database."""
        return LEVEL_PRIORS[adapted] if self.normalize_prior is None else self.normalize_prior


@dataclass(frozen=True, kw_only=True)
class DuplicatesConfig(Section):
    """Settings of the search for duplicates, beside those of stage two."""

    keep: KeepRule = setting(
        "longest",
        "Which video represents a group: longest (by samples, then pixels, then bytes), largest "
        "(by pixels, then bytes), oldest (by the time of the file), or first (as listed).",
        "--keep",
    )
    cover: float = setting(
        0.8,
        "A video is a copy of another one, or contained in it, if matching segments cover at "
        "least this share of it.",
        "--cover",
        gt=0,
        le=1,
    )
    similarity_function: SimilarityFunction | None = setting(
        None,
        "max_chamfer: the larger of how much of either video is found in the other; chamfer: how "
        "much of the shorter one is found in the longer one; symmetric_chamfer: the mean of both "
        "directions.",
        "-s",
        "--similarity_function",
        null="that of `compare` in the settings file, else max_chamfer; with --max_fpr chamfer if "
        "the model is calibrated only for it",
    )


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Section):
    """Settings of the training of whitening, attention and comparator."""

    copies: int = setting(8, "Copies made of each clip, once.", "--copies", ge=1)
    clip_seconds: float = setting(
        16.0, "Longer videos are cut into clips of this length.", unit="seconds", ge=4
    )
    clips_per_video: int = setting(
        4, "Clips of a long video that are used, at even distances.", ge=1
    )
    hosts: int = setting(24, "Videos that copies are set in (picture in picture, excerpts).", ge=1)
    validation_share: float = setting(
        0.2, "Part of the videos to judge by, if no list of others is given.", ge=0, le=1
    )
    whitening: Whitening = setting(
        "pca",
        "keep: that of the start model, so that stores stay valid. pca, paired: fit it anew, "
        "paired so that what copies disturb counts for less; it is taken if it does better on "
        "validation.",
        "--whitening",
    )
    whitening_frames: int = setting(3000, "Frames that the whitening is fitted on, at most.", ge=1)
    dims: int | None = setting(
        None,
        "Values of a descriptor after a whitening that is fitted.",
        null="as many as there were",
        ge=1,
    )
    shrinkage: float = setting(
        0.3,
        "How far the eigenvalues of a whitening that is fitted are drawn to their mean.",
        ge=0,
        le=1,
    )
    similarity_function: ModelFunction | None = setting(
        None,
        "Similarity function that the comparator is trained for.",
        null="that of the start model",
    )
    attention: bool = setting(True, "Train attention as well, not the comparator alone.")
    start: Literal["average", "random"] = setting(
        "average", "Weights that the comparator begins with: average is near the plain similarity."
    )
    skip: float = setting(
        0.5,
        "Part of the comparator's output that is the frame-to-frame matrix itself. With "
        "attention there is none, as attention shortens vectors.",
        ge=0,
        lt=1,
    )
    loss: Literal["infonce", "triplet"] = setting("infonce", "Loss that training makes small.")
    temperature: float = setting(0.05, "Temperature of the InfoNCE loss.", gt=0)
    margin: float = setting(0.5, "Margin of the triplet loss.", ge=0)
    regularisation: float = setting(
        1.0, "Weight of what the comparator gives beyond [-1, 1].", ge=0
    )
    self_weight: float = setting(
        0.1, "Weight of self-similarity near 1 and of hardest negatives near 0.", ge=0
    )
    batch_clips: int = setting(24, "Clips in a batch.", ge=2)
    batch_copies: int = setting(1, "Copies of each clip in a batch.", ge=1)
    window: int = setting(
        16, "Frames of a clip or copy that are compared in a batch.", ge=4, multiple_of=4
    )
    clean_share: float = setting(
        0.7, "How often a query is the clip itself and not one more copy.", ge=0, le=1
    )
    same_limit: float = setting(
        0.5, "Clips with a plain similarity above it do not count as negatives of each other."
    )
    epochs: int = setting(
        30, "Epochs, at most; one is `steps` batches and a validation.", "--epochs", ge=1
    )
    steps: int = setting(40, "Batches in an epoch.", ge=1)
    patience: int = setting(
        8, "Epochs without a better validation mAP, after which training ends.", ge=1
    )
    chosen_epoch: Literal["best", "last"] = setting(
        "best",
        "Which epoch the model is taken from: best by validation mAP, or last, which never "
        "ends early. By then learning rates have come down to 0, while the best of few "
        "validation clips is chosen by chance.",
    )
    learning_rate: float = setting(0.001, "Highest learning rate of Adam.", gt=0)
    warm_up: float = setting(
        0.05,
        "Part of all steps until the highest learning rate is reached; then it falls as a cosine.",
        ge=0,
        le=1,
    )
    seed: int = setting(
        0,
        "Start of all random numbers. The same seed, videos and machine give the same model.",
        "--seed",
        ge=0,
        values="a whole number, 0 or more",
        le=2**63 - 1,
    )
    workers: int = setting(
        0,
        "Decoding processes, and threads that make copies; 0: one per processor core.",
        "--workers",
        "--threads",
        ge=0,
    )


@dataclass(frozen=True)
class Config:
    """The settings of all commands, and the file that some of them come from."""

    extract: ExtractConfig = field(default_factory=ExtractConfig)
    compare: CompareConfig = field(default_factory=CompareConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    duplicates: DuplicatesConfig = field(default_factory=DuplicatesConfig)
    file: str | Path | None = field(default=None, compare=False)


def load_config(
    path: str | Path | None, options: Mapping[str, Mapping[str, Any]] | None = None
) -> Config:
    """Read a settings file, and put options over it.

    Args:
        path: a YAML file; None gives the defaults.
        options: settings by section and name, such as `{"extract": {"fps": 2}}`; None as a value
            leaves what the file says.

    Raises:
        InputError: the file is missing, is not YAML, or holds an unknown section, an unknown
            key or a value out of range. The message names file and key.
        InputError: an option is about the normalisation, and scores are not normalised.
    """
    config = Config()
    if path is not None:
        try:
            config = _with_settings(Config(file=path), read_yaml(path))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error.__cause__
    given = {
        section: {name: value for name, value in values.items() if value is not None}
        for section, values in (options or {}).items()
    }
    config = _with_settings(config, given)
    if config.compare.normalize != "database":
        _refuse_normalization(given.get("compare", {}))
    return config


def _refuse_normalization(given: Mapping[str, Any]) -> None:
    """Raise an InputError if an option would change a normalisation that is not done."""
    for name in given:
        if name.startswith("normalize_"):
            raise InputError(
                f"--{name} is given, but scores are not normalised: give --normalize database "
                "too, or leave it out"
            )


def sections() -> dict[str, dict[str, Setting]]:
    """All settings by section and name."""
    hints = get_type_hints(Config).items()
    return {name: settings_of(hint) for name, hint in hints if name != "file"}


def default_yaml() -> str:
    """Every setting with its default and what it means, as a settings file."""
    return default_text(sections())


def _with_settings(config: Config, content: Any) -> Config:
    """The configuration with other values in it."""
    if not isinstance(content, Mapping):
        raise InputError("expected sections `extract:`, `compare:`, `train:`, `duplicates:`")
    for section, values in content.items():
        if section not in sections():
            raise InputError(
                f"unknown section {section!r}, expected one of {', '.join(sections())}"
            )
        if values is None:
            continue
        if not isinstance(values, Mapping):
            raise InputError(f"a section holds `key: value` lines, found {values!r}")
        before = getattr(config, section)
        try:
            refuse_unknown(type(before), values)
            config = replace(config, **{section: replace(before, **values)})
        except InputError as error:
            raise InputError(f"{section}: {error}") from error.__cause__
    return config
