"""Training from a list of videos to a model: cache, whitening, head, choice by validation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..config import TrainConfig
from ..errors import InputError, ModelError
from ..nets.backend import deterministic
from ..nets.extractor.feature_net import FeatureNet
from ..nets.model.blank import Blank
from ..nets.model.model import Model
from ..records import Failure, VideoRef
from . import pair_sampler
from . import whitening_fit as whitening
from .blank_frames import blank_space
from .clip_loader import chance
from .feature_cache import CachedClip, CacheSettings, FeatureCache, Progress
from .pair_sampler import PairSampler
from .score_scaling import scale_scores
from .trainer import Trainer
from .validation import Validation

Say = Callable[[str], None]
MIN_CLIPS = 4  # for training, and half as many for validation
# Fields of a model that decide, with its backbone, which features it has.
_FEATURE_FIELDS = ("whitening", "lowpass", "thumbnail", "anchors")


@dataclass
class TrainReport:
    """The result of a training.

    Attributes:
        weights: the model to write: with the head if that is better, or if it was forced.
        with_head: whether it has one.
        whitening: how its whitening was fitted; "keep" also where a new one was no better.
        map_before, map_plain, map_head: validation mAP of the start model's whitening with plain
            Chamfer, of the whitening in use with plain Chamfer, and with the head.
        failures: videos that could not be used, with reasons.
        clips, validation_clips: how many there were.
        folder: of the log and the checkpoint.
    """

    weights: Model
    with_head: bool
    whitening: str
    map_before: float
    map_plain: float
    map_head: float
    clips: int
    validation_clips: int
    folder: Path
    failures: list[Failure] = field(default_factory=list)


def split(
    refs: Sequence[VideoRef], share: float, seed: int
) -> tuple[list[VideoRef], list[VideoRef]]:
    """Split videos into training and validation videos, by their ids and the seed alone."""
    validation = [chance(ref.id, seed) < share for ref in refs]
    return (
        [ref for ref, selected in zip(refs, validation, strict=True) if not selected],
        [ref for ref, selected in zip(refs, validation, strict=True) if selected],
    )


def train_model(
    refs: Sequence[VideoRef],
    validation_refs: Sequence[VideoRef] | None,
    weights: Model,
    config: TrainConfig,
    work_dir: Path,
    *,
    force_head: bool = False,
    say: Say = lambda text: None,
    progress: Progress | None = None,
) -> TrainReport:
    """Fit whitening and head on videos.

    Args:
        refs: videos to train on.
        validation_refs: other videos, to validate on; None takes a share of `refs`.
        weights: the start model; its backbone is used as it is, its head is not used.
        config: see `TrainConfig`.
        work_dir: for cached features, checkpoint and log; with the same folder a killed run
            continues.
        force_head: keep the head also if plain Chamfer similarity is as good.
        say: called with a line of text for each step.
        progress: called with (videos done, videos in all) after each video.

    Raises:
        InputError: too few usable videos, or more dims than the model's thumbnail descriptor has.
        ModelError: the model is adapted, or its regions have fewer values than its thumbnails.
    """
    _check_start(weights, config)
    deterministic()
    if validation_refs is None:
        refs, validation_refs = split(refs, config.validation_share, config.seed)
    clips = _load_clips(
        {"training": refs, "validation": validation_refs},
        FeatureCache(work_dir / "features", weights, _cache_settings(config)),
        config.workers,
        say,
        progress,
    )
    plain, map_before = _choose_whitening(clips, weights, config, say)
    say(f"validation mAP without a head: {plain.map:.4f} (start model: {map_before:.4f})")
    folder = work_dir / f"run-{_key(plain.weights, config, [*clips.training, *clips.validation])}"
    headed = _train_head(clips, plain, config, folder, say)
    with_head = _keeps_head(headed.map, plain.map, force_head, say)
    result = headed.weights if with_head else plain.weights
    if weights.blank is not None:
        result = replace(result, blank=_blank_space(result, weights, say))
    same_features = plain.weights.features_digest == weights.features_digest
    return TrainReport(
        weights=result,
        with_head=with_head,
        whitening="keep" if same_features else config.whitening,
        map_before=map_before,
        map_plain=plain.map,
        map_head=headed.map,
        clips=len(clips.training),
        validation_clips=len(clips.validation),
        folder=folder,
        failures=clips.failures,
    )


@dataclass(frozen=True)
class _Clips:
    """Cached clips of both sides, and the videos that gave none."""

    training: list[CachedClip]
    validation: list[CachedClip]
    failures: list[Failure]


@dataclass(frozen=True)
class _Validated:
    """A model, the validation for its features, and the mAP by it."""

    weights: Model
    validation: Validation
    map: float


def _cache_settings(config: TrainConfig) -> CacheSettings:
    return CacheSettings(
        config.copies, config.clip_seconds, config.clips_per_video, config.hosts, config.seed
    )


def _load_clips(
    sides: dict[str, Sequence[VideoRef]],
    cache: FeatureCache,
    workers: int,
    say: Say,
    progress: Progress | None,
) -> _Clips:
    """Fill the cache with the clips of both sides, and read them.

    Raises:
        InputError: a side has too few clips.
    """
    clips: dict[str, list[CachedClip]] = {}
    failures: list[Failure] = []
    for (side, refs), minimum in zip(sides.items(), (MIN_CLIPS, MIN_CLIPS // 2), strict=True):
        if refs:
            say(f"features of clips and copies for {side}, {len(refs)} videos")
            failures += cache.fill(refs, workers, progress)
        clips[side] = list(cache.read(refs))
        if len(clips[side]) < minimum:
            raise InputError(
                f"{len(clips[side])} clips for {side}, expected {minimum} or more; list more videos"
            )
    return _Clips(**clips, failures=failures)


def _choose_whitening(
    clips: _Clips, start: Model, config: TrainConfig, say: Say
) -> tuple[_Validated, float]:
    """The model without a head, with the better whitening; and the mAP of the start model's."""
    fitted = replace(
        start,
        **_whitenings(clips.training, start, config),
        attention=None,
        comparator=None,
        residual_weight=0.0,
        blank=None,
        calibrations=(),
        similarity_function=config.similarity_function or start.similarity_function,
        features_digest="",
    )
    new = _validated(clips.validation, fitted, config)
    if config.whitening == "keep":
        return new, new.map
    start_values = {name: getattr(start, name) for name in _FEATURE_FIELDS}
    old = _validated(clips.validation, replace(fitted, **start_values, features_digest=""), config)
    if old.map < new.map:
        return new, old.map
    say(f"the {config.whitening} whitening has a validation mAP of {new.map:.4f} only")
    return old, old.map


def _validated(clips: list[CachedClip], weights: Model, config: TrainConfig) -> _Validated:
    features, same = _clip_features(clips, weights, config)
    validation = Validation(features, same, _is_symmetric(weights))
    return _Validated(weights, validation, validation(weights))


def _train_head(
    clips: _Clips, plain: _Validated, config: TrainConfig, folder: Path, say: Say
) -> _Validated:
    """The model with a trained head whose scores are scaled, and the mAP of that head."""
    symmetric = _is_symmetric(plain.weights)
    features, same = _clip_features(clips.training, plain.weights, config)
    trainer = Trainer(
        plain.weights,
        PairSampler(
            features,
            same,
            size=config.batch_clips,
            copies=config.batch_copies,
            window=config.window,
            clean_share=config.clean_share,
        ),
        plain.validation,
        config,
        folder,
        symmetric=symmetric,
        log=lambda entry: say(_line(entry, plain.map)),
    )
    trained = trainer.run()
    validation_features = _clip_features(clips.validation, plain.weights, config)
    scaled = scale_scores(trained, *validation_features, symmetric)
    return _Validated(scaled, plain.validation, trainer.best)


def _keeps_head(map_head: float, map_plain: float, force_head: bool, say: Say) -> bool:
    if map_head > map_plain:
        return True
    say(
        f"the head's validation mAP is {map_head:.4f}, without it {map_plain:.4f}: "
        + ("kept as asked for" if force_head else "the model is written without it")
    )
    return force_head


def _is_symmetric(weights: Model) -> bool:
    return weights.similarity_function == "symmetric_chamfer"


def _check_start(weights: Model, config: TrainConfig) -> None:
    """Fail before features are made."""
    if weights.adaptation is not None:
        raise ModelError(
            f"{weights.name}: is adapted to a collection; train the model it was made of, and "
            "adapt what comes of that"
        )
    if weights.head_dims or weights.comparator_padding != "edge" or not weights.has_extractor:
        raise ModelError(
            f"{weights.name}: has a head of another kind than training makes, or a head alone; "
            "train from a model such as visil, with the same backbone and whitening"
        )
    if weights.thumbnail is None:
        return
    size, region_size = len(weights.thumbnail.mean), len(weights.whitening.mean)
    if region_size < size:
        raise ModelError(
            f"{weights.name}: its regions have {region_size} values before whitening, fewer than "
            f"the {size} of its thumbnail; such a model cannot be trained, tap more channels"
        )
    if config.whitening != "keep" and (config.dims or 0) > size:
        raise InputError(
            f"train.dims is {config.dims}, but {weights.name} has thumbnail descriptors, whose "
            f"whitening gives {size} values at most"
        )


def _blank_space(model: Model, start: Model, say: Say) -> Blank | None:
    """The space of blank frames; that of the start model where the features are the same."""
    if model.features_digest == start.features_digest:
        return start.blank
    say("the space of blank frames is found again")
    return blank_space(FeatureNet(model))


def _whitenings(clips: list[CachedClip], weights: Model, config: TrainConfig) -> dict[str, Any]:
    """The values of `_FEATURE_FIELDS`: kept, or fitted to the clips."""
    old = weights.whitening
    dims = config.dims or old.dims
    max_frames, seed = config.whitening_frames, config.seed
    if config.whitening == "keep":
        same = weights.with_dims(dims if dims < old.dims else None)
        return {name: getattr(same, name) for name in _FEATURE_FIELDS}
    frames = whitening.sample_frames(clips, max_frames, seed)
    fitted, lowpass, thumbnail = whitening.whitenings(
        frames, weights.layout, dims, config.shrinkage
    )
    if config.whitening == "paired":
        regions = weights.layout.regions
        pairs = whitening.sample_pairs(clips, max_frames // 2, seed, old, regions)
        fitted = whitening.fit_paired(*pairs, dims, config.shrinkage)
    anchors = None
    if weights.anchors is not None and lowpass is not None:
        place = whitening.database_slices(weights.layout)["lowpass"].start
        anchors = whitening.anchors_of(frames[:, place], lowpass)
    return {"whitening": fitted, "lowpass": lowpass, "thumbnail": thumbnail, "anchors": anchors}


def _clip_features(
    clips: list[CachedClip], weights: Model, config: TrainConfig
) -> tuple[list[pair_sampler.ClipFeatures], np.ndarray]:
    """Whitened features, and which clips show the same: bool [N, N]."""
    features = pair_sampler.whiten_clips(clips, weights)
    return features, pair_sampler.same_content(features, config.same_limit, weights.layout.regions)


def _key(weights: Model, config: TrainConfig, clips: list[CachedClip]) -> str:
    """Digest of all that a head depends on: a checkpoint with another key is not continued."""
    settings: dict[str, Any] = asdict(config)
    for name in ("workers", "patience", "chosen_epoch", "validation_share"):
        settings.pop(name)
    clip_keys = [(clip.video, clip.first, len(clip.clean)) for clip in clips]
    digests = [weights.features_digest, weights.views_digest]
    text = json.dumps([digests, asdict(weights.layout), settings, clip_keys], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _line(entry: dict[str, Any], plain: float) -> str:
    loss = "" if entry["loss"] is None else f"loss {entry['loss']:.4f}, "
    best = "" if entry["best_epoch"] == entry["epoch"] else f", best: epoch {entry['best_epoch']}"
    return (
        f"epoch {entry['epoch']}: {loss}validation mAP {entry['validation_map']:.4f} "
        f"(without a head {plain:.4f}{best})"
    )
