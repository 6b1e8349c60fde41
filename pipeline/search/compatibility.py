"""Which sets of videos may be compared, and with which model; all else is refused with a remedy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import FingerprintMismatchError, InputError, ModelError
from ..store import FeatureStore
from .video_set import Collection, _refuse

if TYPE_CHECKING:
    from ..nets.model.model import Model


def require_mirrored(queries: Collection, mirrored: Collection) -> None:
    """Refuse what are no mirrored features of some of the queries.

    Raises:
        FingerprintMismatchError: not mirrored, or made with other settings besides.
        InputError: a video that is no query.
    """
    as_mirrored = replace(queries.spec, mirrored=True, insets=mirrored.spec.insets)
    differences = as_mirrored.differences(mirrored.spec)
    if differences:
        raise FingerprintMismatchError(
            f"{mirrored.path} is no store of mirrored queries for {queries.path} "
            f"({'; '.join(differences)}): make it with extract_features.py --mirrored"
        )
    strangers = set(mirrored.ids) - set(queries.ids)
    if strangers:
        raise InputError(f"{mirrored.path}: {min(strangers)!r} is mirrored, but is no query")


def require_insets(queries: Collection) -> None:
    """Refuse queries in which no insets were looked for.

    Raises:
        InputError: naming the store.
    """
    if not queries.insets:
        raise InputError(
            f"{queries.path}: no insets were looked for in these queries; make the store anew with "
            "extract_features.py --insets 2, or leave out --query_insets"
        )


def require_background(queries: Collection, background: Collection, least: int) -> None:
    """Refuse a background with too few sound videos, or that shows a query to itself.

    Raises:
        InputError: naming the store and what is wrong.
    """
    sound = int(background.sound.sum())
    if sound < least:
        damaged = (
            f" ({len(background) - sound} more are damaged)" if sound < len(background) else ""
        )
        raise InputError(
            f"{background.path}: {sound} background videos{damaged}, expected {least} or more "
            "(background_top_k)"
        )
    known = set(queries.ids) & set(background.ids)
    if known:
        raise InputError(
            f"{background.path}: {min(known)!r} is a query; a background holds only videos that "
            "are unrelated to all queries"
        )


def require_comparable(queries: Collection, database: Collection) -> None:
    """As `require_same_features`, but either side may have been made as queries.

    Raises:
        FingerprintMismatchError: naming both files and every setting that differs.
    """
    differences = queries.spec.as_database.differences(database.spec.as_database)
    _refuse(queries, database, differences)


def require_model(videos: Collection | FeatureStore, model: Model) -> None:
    """Refuse a model that did not make the features.

    Args:
        videos: what was made.
        model: as loaded; its dims may be more than those of the features.

    Raises:
        FingerprintMismatchError: the weights of backbone or whitening are others.
        ModelError: its attention or adaptation was learned for another number of values.
    """
    spec = videos.spec
    if model.features_digest != spec.digest:
        raise FingerprintMismatchError(
            f"{videos.path} was made with model {spec.model!r} (digest {spec.digest[:12]}), but "
            f"{model.name!r} is loaded (digest {model.features_digest[:12]}): give --model_dir "
            "of the store's model"
        )
    for name, learned, remedy in (
        ("attention", model.attention, "extract without --dims"),
        ("adaptation", model.adaptation, "give the model it was made of"),
    ):
        if learned is not None and model.dims != spec.dims:
            raise ModelError(
                f"{videos.path} holds {spec.dims} values a region, but the {name} of "
                f"{model.name!r} was learned for {model.dims}: {remedy}"
            )
