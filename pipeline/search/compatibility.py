"""Which sets of videos may be compared, and by which model; all else is refused with a remedy."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..errors import FingerprintMismatchError, InputError, ModelError
from ..program import command
from ..records import FeatureSpec

if TYPE_CHECKING:
    from ..config import CompareConfig
    from ..nets.model.model import Model
    from ..nets.model.student import Student
    from .video_set import VideoSet

MIN_ADAPT_VIDEOS = 20


class Features(Protocol):
    """A store, or a set of videos."""

    @property
    def path(self) -> Path: ...
    @property
    def spec(self) -> FeatureSpec: ...


def require_same_features(first: Features, second: Features) -> None:
    """Refuse two stores of one side that were made with different settings, but for insets.

    Raises:
        FingerprintMismatchError: naming both files and every setting that differs.
    """
    if first.spec.query_descriptors != second.spec.query_descriptors:
        _refuse_mixed_views(first, second)
    same = replace(first.spec, insets=second.spec.insets)
    _refuse(first, second, same.differences(second.spec))


def require_comparable(queries: Features, database: Features, model: Model | None = None) -> None:
    """Refuse two sides that were made with different settings; either may have query views.

    Args:
        model: if the features of both sides fit it, they are of the same weights, though published
            files say so by a name alone.

    Raises:
        FingerprintMismatchError: naming both files and every setting that differs.
    """
    here, there = queries.spec.as_database, database.spec.as_database
    if model is not None and model.fits(here) and model.fits(there):
        here = replace(here, digest=there.digest)
    _refuse(queries, database, here.differences(there))


def require_mirrored(queries: VideoSet, mirrored: VideoSet) -> None:
    """Refuse a set that does not hold mirrored features of some of the queries.

    Raises:
        FingerprintMismatchError: not mirrored, or made with other settings besides.
        InputError: a video that is no query.
    """
    expected = replace(queries.spec, mirrored=True, insets=mirrored.spec.insets)
    differences = expected.differences(mirrored.spec)
    if differences:
        if (
            mirrored.spec.mirrored
            and queries.spec.query_descriptors != mirrored.spec.query_descriptors
        ):
            _refuse_mixed_views(queries, mirrored)
        raise FingerprintMismatchError(
            f"{mirrored.path} is no store of mirrored queries for {queries.path} "
            f"({_shortened(differences)}): make it with {command('extract')} --mirrored"
        )
    unknown = set(mirrored.ids) - set(queries.ids)
    if unknown:
        raise InputError(f"{mirrored.path}: {min(unknown)!r} is mirrored, but is no query")


def require_insets(queries: VideoSet) -> None:
    """Refuse queries in which no insets were looked for.

    Raises:
        InputError: naming the store.
    """
    if not queries.insets:
        raise InputError(
            f"{queries.path}: no insets were looked for in these queries; make the store anew with "
            f"{command('extract')} --insets 2, or leave out --query_insets"
        )


def require_background(background: VideoSet, query_ids: set[str], min_videos: int) -> None:
    """Refuse a background with too few sound videos, or that holds a query.

    Args:
        query_ids: ids of all queries.
        min_videos: as many as are averaged for a query, `CompareConfig.background_top_k`.

    Raises:
        InputError: naming the store and what is wrong.
    """
    sound = int(background.sound.sum())
    if sound < min_videos:
        lost = len(background) - sound
        damaged = f" ({lost} more are damaged)" if lost else ""
        raise InputError(
            f"{background.path}: {sound} background videos{damaged}, expected {min_videos} or more "
            "(background_top_k)"
        )
    shared = query_ids & set(background.ids)
    if shared:
        raise InputError(
            f"{background.path}: {min(shared)!r} is a query; a background holds only videos that "
            "are unrelated to all queries"
        )


def require_model(videos: Features, model: Model) -> None:
    """Refuse a model that did not make the features.

    Args:
        videos: a store, or a set of videos.
        model: as loaded; its dims may be more than those of the features.

    Raises:
        FingerprintMismatchError: the weights of backbone or whitening are others.
        ModelError: its attention, binarization or adaptation was learned for another number of
            values, of which the features do not hold the first ones.
    """
    spec = videos.spec
    if not model.fits(spec):
        raise FingerprintMismatchError(
            f"{videos.path} was made with model {spec.model!r} (digest {spec.digest[:12]}), but "
            f"{model.name!r} is loaded (digest {model.features_digest[:12]}): give --model_dir "
            "of the store's model"
        )
    for name in model.learned:
        first = bool(model.head_dims) and model.dims < spec.dims <= model.whitening.dims
        if model.dims != spec.dims and not first:
            made_of = name == "adaptation"
            remedy = "give the model it was made of" if made_of else "extract without --dims"
            if model.dims > spec.dims and not made_of:
                remedy += ", or give a model that was learned for these values"
            raise ModelError(
                f"{videos.path} holds {spec.dims} values a region, but the {name} of "
                f"{model.name!r} was learned for {model.dims}: {remedy}"
            )


def require_student(videos: Features, student: Student) -> None:
    """Refuse a student of other features.

    Raises:
        FingerprintMismatchError: naming the store and the student.
        InputError: fewer values than the student takes.
    """
    from ..nets.model.student import DIMS
    from ..records import published_digest

    spec = videos.spec
    if spec.digest not in (student.features_digest, published_digest("dns")):
        raise FingerprintMismatchError(
            f"{videos.path} was made with model {spec.model!r} (digest {spec.digest[:12]}), but "
            f"{student.name!r} is for other features (digest {student.features_digest[:12]}): "
            "convert it together with that model's folder (visil-index convert-model)"
        )
    if spec.dims < DIMS:
        raise InputError(
            f"{videos.path} holds {spec.dims} values a region, {student.name!r} takes {DIMS}: "
            "extract without --dims"
        )


def require_query_views(queries: Features, model: Model) -> None:
    """Refuse queries whose views are not those that the model asks for.

    Raises:
        FingerprintMismatchError: naming the store.
    """
    spec = queries.spec
    if spec.query_descriptors and spec.views_digest != model.views_digest:
        raise FingerprintMismatchError(
            f"{queries.path} holds query views of other kinds than model {model.name!r} has: give "
            "--model_dir of the store's model, or extract them again"
        )


def check_adaptable(model: Model, videos: int, origin: str) -> None:
    """Refuse what cannot be adapted, as far as that is known before there are features.

    Args:
        videos: how many the database has.
        origin: the list, folder or store that they are from, for the message.

    Raises:
        ModelError: the model has attention.
        InputError: too few videos.
    """
    if model.attention is not None or model.binarization is not None:
        part = "attention" if model.attention is not None else "binarization"
        raise ModelError(
            f"{model.name}: has {part}, which was learned for vectors as they are, so it cannot "
            "be adapted; compare by it as it is"
        )
    if videos < MIN_ADAPT_VIDEOS:
        raise InputError(
            f"{origin}: {videos} videos, expected {MIN_ADAPT_VIDEOS} or more of the collection "
            "that will be searched, to adapt to"
        )


def require_adaptable(database: VideoSet, model: Model) -> None:
    """Refuse stored features that a model cannot be adapted to.

    Raises:
        InputError, ModelError: see `check_adaptable`.
        FingerprintMismatchError: the store was made with another model, or keeps fewer values.
    """
    check_adaptable(model, len(database), str(database.path))
    require_model(database, replace(model, adaptation=None))
    if database.spec.dims != model.dims:
        raise FingerprintMismatchError(
            f"{database.path} keeps {database.spec.dims} of {model.dims} values; adapting needs "
            "all of them: extract without --dims"
        )


def check_normalization(config: CompareConfig, background: bool) -> None:
    """Refuse to normalise scores both by a background and by the database.

    Raises:
        InputError: both are asked for.
    """
    if background and config.normalize == "database":
        raise InputError(
            f"normalize is {config.normalize!r} and a background is given, which normalises scores "
            "as well: give --normalize none, or no background"
        )


def _refuse(first: Features, second: Features, differences: list[str]) -> None:
    if differences:
        raise FingerprintMismatchError(
            f"features of {first.path} (here) and {second.path} (there) cannot be compared: "
            f"{_shortened(differences)}. Extract one of them again with the other's settings."
        )


def _refuse_mixed_views(first: Features, second: Features) -> None:
    more, fewer = sorted((first, second), key=lambda features: -features.spec.query_descriptors)
    if fewer.spec.query_descriptors:
        raise FingerprintMismatchError(
            f"{more.path} and {fewer.path} hold different query views, so that their scores would "
            "not be comparable: extract one of them again with the other's model"
        )
    raise FingerprintMismatchError(
        f"{more.path} was made with --as_queries and {fewer.path} without, so that their scores "
        f"would not be comparable: extract the videos of {fewer.path} again into a new store with "
        f"{command('extract')} --as_queries, or search for each store by itself"
    )


def _shortened(differences: list[str]) -> str:
    """The differences in one line, digests by their first 12 digits."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1", "; ".join(differences))
