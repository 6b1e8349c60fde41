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
from ..nets.model.whitening import Whitening
from ..records import Failure, VideoRef
from . import pair_sampler
from . import whitening_fit as whitening
from .blank_frames import blank_space
from .clip_loader import chance
from .feature_cache import CachedClip, CacheSettings, FeatureCache, Progress
from .score_scaling import scaled
from .trainer import Fit
from .validation import Validation

Say = Callable[[str], None]
LEAST_CLIPS = 4  # for training, and half as many for validation


@dataclass
class TrainReport:
    """What came of a training.

    Attributes:
        weights: the model to write: with the head if that pays, or if it was asked for.
        with_head: whether it has one.
        whitening: way of the whitening in it; "keep" also where another did no better.
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
    """Videos to train on and to validate on; which is which depends on id and seed alone."""
    held = [chance(ref.id, seed) < share for ref in refs]
    return (
        [ref for ref, out in zip(refs, held, strict=True) if not out],
        [ref for ref, out in zip(refs, held, strict=True) if out],
    )


def train_model(
    refs: Sequence[VideoRef],
    validation_refs: Sequence[VideoRef] | None,
    weights: Model,
    config: TrainConfig,
    work_dir: Path,
    force_head: bool = False,
    say: Say = lambda text: None,
    progress: Progress | None = None,
) -> TrainReport:
    """Fit whitening and head on videos.

    Args:
        refs: videos to train on.
        validation_refs: others to validate on; None takes a share of `refs`.
        weights: the start model; its backbone is used as it is, a head of its own is not.
        config: see `TrainConfig`.
        work_dir: for cached features, checkpoint and log; the same folder goes on where a killed
            run was.
        force_head: keep the head also if plain Chamfer is as good.
        say: told of steps; progress: of videos.

    Raises:
        InputError: too few usable videos, or more dims than the model's pixels can have.
        ModelError: the model is adapted, or has pixels but regions of fewer values than these.
    """
    _check_start(weights, config)
    deterministic()
    if validation_refs is None:
        refs, validation_refs = split(refs, config.validation_share, config.seed)
    settings = CacheSettings(
        config.copies, config.clip_seconds, config.clips_per_video, config.hosts, config.seed
    )
    cache = FeatureCache(work_dir / "features", weights, settings)
    failures, sides = [], []
    for name, some, least in (
        ("training", refs, LEAST_CLIPS),
        ("validation", validation_refs, LEAST_CLIPS // 2),
    ):
        if some:
            say(f"features of clips and copies for {name}, {len(some)} videos")
            failures += cache.fill(some, config.workers, progress)
        sides.append(list(cache.read(some)))
        if len(sides[-1]) < least:
            raise InputError(
                f"{len(sides[-1])} clips for {name}, expected {least} or more; list more videos"
            )
    clips, held = sides
    pca, lowpass, thumbnail, anchors = _whitenings(clips, weights, config)
    fitted = replace(
        weights,
        whitening=pca,
        lowpass=lowpass,
        thumbnail=thumbnail,
        anchors=anchors,
        attention=None,
        comparator=None,
        residual_weight=0.0,
        blank=None,
        calibrations=(),
        similarity_function=config.similarity_function or weights.similarity_function,
        features_digest="",
    )
    symmetric = fitted.similarity_function == "symmetric_chamfer"
    validation = _validation(held, fitted, symmetric, config)
    plain = before = validation(fitted)
    if config.whitening != "keep":
        old = replace(
            fitted,
            whitening=weights.whitening,
            lowpass=weights.lowpass,
            thumbnail=weights.thumbnail,
            anchors=weights.anchors,
            features_digest="",
        )
        of_old = _validation(held, old, symmetric, config)
        before = of_old(old)
        if before >= plain:
            say(f"the {config.whitening} whitening has a validation mAP of {plain:.4f} only")
            fitted, validation, plain = old, of_old, before
    say(f"validation mAP without a head: {plain:.4f} (start model: {before:.4f})")
    views, same = _views(clips, fitted, config)
    sampler = pair_sampler.Sampler(
        views, same, config.batch_clips, config.batch_copies, config.window, config.clean_share
    )
    folder = work_dir / f"run-{_key(fitted, config, [*clips, *held])}"
    fit = Fit(
        fitted, sampler, validation, symmetric, config, folder, lambda e: say(_line(e, plain))
    )
    best = scaled(fit.run(), *_views(held, fitted, config), symmetric)
    pays = fit.best > plain
    if not pays:
        say(
            f"the head's validation mAP is {fit.best:.4f}, without it {plain:.4f}: "
            + ("kept as asked for" if force_head else "the model is written without it")
        )
    with_head = pays or force_head
    chosen = best if with_head else fitted
    if weights.blank is not None:
        chosen = replace(chosen, blank=_blank_of(chosen, weights, say))
    return TrainReport(
        weights=chosen,
        with_head=with_head,
        whitening="keep" if fitted.features_digest == weights.features_digest else config.whitening,
        map_before=before,
        map_plain=plain,
        map_head=fit.best,
        clips=len(clips),
        validation_clips=len(held),
        folder=folder,
        failures=failures,
    )


def _check_start(weights: Model, config: TrainConfig) -> None:
    """Fail before features are made."""
    if weights.adaptation is not None:
        raise ModelError(
            f"{weights.name}: is adapted to a collection; train the model it was made of, and "
            "adapt what comes of that"
        )
    if weights.thumbnail is None:
        return
    size, of_regions = len(weights.thumbnail.mean), len(weights.whitening.mean)
    if of_regions < size:
        raise ModelError(
            f"{weights.name}: its regions have {of_regions} values before whitening, fewer than "
            f"the {size} of its thumbnail; such a model cannot be trained, tap more channels"
        )
    if config.whitening != "keep" and (config.dims or 0) > size:
        raise InputError(
            f"train.dims is {config.dims}, but {weights.name} has thumbnail descriptors, whose "
            f"whitening gives {size} values at most"
        )


def _blank_of(chosen: Model, start: Model, say: Say) -> Blank | None:
    """The space of blank frames, which only other features have another of."""
    if chosen.features_digest == start.features_digest:
        return start.blank
    say("the space of blank frames is found again")
    return blank_space(FeatureNet(chosen))


def _whitenings(
    clips: list[CachedClip], weights: Model, config: TrainConfig
) -> tuple[Whitening, Whitening | None, Whitening | None, np.ndarray | None]:
    """Whitenings of regions, lowpass and thumbnail, and the anchors of the lowpass descriptor."""
    old = weights.whitening
    dims = config.dims or old.dims
    most, seed = config.whitening_frames, config.seed
    if config.whitening == "keep":
        kept = weights.with_dims(dims if dims < old.dims else None)
        return kept.whitening, kept.lowpass, kept.thumbnail, kept.anchors
    frames = whitening.frames_of(clips, most, seed)
    fitted, lowpass, thumbnail = whitening.whitenings(
        frames, weights.layout, dims, config.shrinkage
    )
    if config.whitening == "paired":
        pairs = whitening.pairs_of(clips, most // 2, seed, old, weights.layout.regions)
        fitted = whitening.fit_paired(*pairs, dims, config.shrinkage)
    anchors = None
    if weights.anchors is not None and lowpass is not None:
        place = whitening.database_slices(weights.layout)["lowpass"].start
        anchors = whitening.anchors_of(frames[:, place], lowpass)
    return fitted, lowpass, thumbnail, anchors


def _views(
    clips: list[CachedClip], fitted: Model, config: TrainConfig
) -> tuple[list[pair_sampler.Views], np.ndarray]:
    views = pair_sampler.whitened(clips, fitted)
    return views, pair_sampler.alike(views, config.same_limit, fitted.layout.regions)


def _validation(
    clips: list[CachedClip], fitted: Model, symmetric: bool, config: TrainConfig
) -> Validation:
    return Validation(*_views(clips, fitted, config), symmetric)


def _key(weights: Model, config: TrainConfig, clips: list[CachedClip]) -> str:
    """Of all that a head depends on: a checkpoint of anything else is not gone on from."""
    settings: dict[str, Any] = asdict(config)
    for name in ("workers", "patience", "chosen_epoch", "validation_share"):
        settings.pop(name)
    listed = [(clip.video, clip.first, len(clip.clean)) for clip in clips]
    looks = asdict(weights.layout)
    made = [weights.features_digest, weights.views_digest]
    text = json.dumps([made, looks, settings, listed], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _line(entry: dict[str, Any], plain: float) -> str:
    loss = "" if entry["loss"] is None else f"loss {entry['loss']:.4f}, "
    best = "" if entry["best_epoch"] == entry["epoch"] else f", best: epoch {entry['best_epoch']}"
    return (
        f"epoch {entry['epoch']}: {loss}validation mAP {entry['validation_map']:.4f} "
        f"(without a head {plain:.4f}{best})"
    )
