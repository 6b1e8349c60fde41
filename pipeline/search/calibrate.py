"""Stage two over unrelated videos: what scores mean, thresholds for false positive rates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..calibration.curve import CONFIDENCE, NOT_NORMALIZED, Calibration, CalibrationKey, fit
from ..config import CompareConfig
from ..errors import InputError
from ..output.score_table import require_finite
from ..output.selection import Selection
from .request import SearchRequest
from .run import score_table

if TYPE_CHECKING:
    from ..nets.model.model import Model

_SHOWN = 5  # best pairs that a calibration lists
_BEST = Selection(top_k=_SHOWN)


def calibrate(
    request: SearchRequest,
    *,
    related: Iterable[tuple[str, str]] = (),
    groups: Mapping[str, str] | None = None,
    confidence: float = CONFIDENCE,
    progress: Callable[[int, int], None] | None = None,
    folder: str | Path | None = None,
) -> tuple[Calibration, list[tuple[float, str, str]]]:
    """Measure what scores unrelated pairs reach.

    Damaged videos are left out, see `score_table`.

    Args:
        request: without mirrored queries and background.
        related: (query id, database id) of pairs that are left out, in this order of sides.
        groups: id -> group, for both sides: videos of one group (one film and what was made of
            it) come or stay away together where another collection is imagined. What is not
            listed is a group of its own; equal ids are one video.
        confidence: see `fit`.
        progress, folder: see `score_table`.

    Returns:
        The calibration, and the highest scores with their pairs, best first: if one of these
        pairs is a copy after all, list it as related and calibrate again.

    Raises:
        InputError: too few pairs are left.
        PipelineError: a score is not a finite number; else those of `score_table`.
    """
    queries, database = request.queries, request.database
    table, _ = score_table(request, progress=progress, folder=folder)
    query_ids, database_ids = queries.sound_ids, database.sound_ids
    if table.shape != (len(query_ids), len(database_ids)):
        table = table[np.ix_(queries.sound, database.sound)]
    require_finite(table, query_ids, database_ids)
    _leave_out(table, query_ids, database_ids, related)
    row_groups, column_groups = (
        [groups[v] + "\t" if groups and v in groups else v for v in side]
        for side in (query_ids, database_ids)
    )  # no id holds a tab, so no group is mistaken for an id
    calibration = fit(table, _key(request), row_groups, column_groups, confidence)
    best = [
        (float(row[i]), query, database_ids[i])
        for query, row in zip(query_ids, np.nan_to_num(table, nan=-np.inf), strict=True)
        for i in _BEST.indices(row)
    ]
    return calibration, sorted((b for b in best if b[0] >= -1), reverse=True)[:_SHOWN]


def _leave_out(
    table: np.ndarray,
    query_ids: list[str],
    database_ids: list[str],
    related: Iterable[tuple[str, str]],
) -> None:
    """Set the scores of equal ids and of related pairs to NaN."""
    rows = {video: i for i, video in enumerate(query_ids)}
    columns = {video: i for i, video in enumerate(database_ids)}
    same = [(video, video) for video in query_ids]
    for query, video in (*same, *related):
        if query in rows and video in columns:
            table[rows[query], columns[video]] = np.nan


def threshold_for(rate: float, request: SearchRequest) -> float:
    """The score that at most this part of unrelated pairs reaches, as the model was calibrated.

    Of mirrored queries the better of two scores counts, so each may reach it half as often.

    Raises:
        InputError: the model has no calibration, or one for another way of comparing, or the
            calibration cannot tell this rate.
    """
    return calibration_for(request).threshold(rate, score_chances(request))


def score_chances(request: SearchRequest) -> int:
    """How many scores a pair has, of which the best counts."""
    return 1 + (request.mirrored is not None)


def calibration_for(request: SearchRequest) -> Calibration:
    """The model's calibration for this way of comparing.

    Raises:
        InputError: it has none, or those for other ways.
    """
    return _calibration(request.model, **asdict(_key(request)))


def with_calibrated_scores(rate: float, request: SearchRequest) -> SearchRequest:
    """The request with normalised scores, if that is left open and the model is calibrated for it.

    A threshold for all queries holds better for them. Other settings than those that the model is
    calibrated for leave the request as it is.
    """
    if request.config.normalize != "auto":
        return request
    normalized = replace(request, config=replace(request.config, normalize="database"))
    try:
        threshold_for(rate, normalized)
    except InputError:
        return request
    return normalized


def check_rate(rate: float, model: Model, config: CompareConfig, mirrored: bool) -> None:
    """Raise what `threshold_for` would raise, as far as that is known without features.

    Of several calibrations that may be meant, one that can tell the rate is enough.

    Raises:
        InputError: see `threshold_for`.
    """
    if config.normalize == "auto":
        with suppress(InputError):
            check_rate(rate, model, replace(config, normalize="database"), mirrored)
            return
    key = {
        "similarity_function": config.similarity_function or model.similarity_function,
        "query_insets": int(config.query_insets),  # or more, as their store says
        "adapted": config.adapt or model.adaptation is not None,
        "normalization": config.normalization,
    }
    _calibration(model, **key)
    possible = [
        calibration for calibration in model.calibrations if not calibration.differences(**key)
    ]
    min(possible, key=lambda calibration: calibration.rates[-1]).threshold(rate, 1 + mirrored)


def _calibration(model: Model, **key: Any) -> Calibration:
    """The one for exactly this way of comparing, else one that is on the safe side of it."""
    if not model.calibrations:
        raise InputError(f"max_fpr: model {model.name!r} has no calibration: {_remedy(key, model)}")
    nearest = min(
        model.calibrations,
        key=lambda c: (
            len(c.differences(**key)),
            sum(getattr(c, name) != value for name, value in key.items()),
        ),
    )
    if differences := nearest.differences(**key):
        raise InputError(
            f"max_fpr: model {model.name!r} was calibrated for another way of comparing "
            f"({'; '.join(differences)}): {_remedy(key, model)}"
        )
    return nearest


def _remedy(key: Mapping[str, Any], model: Model) -> str:
    """What a user can do where no calibration fits."""
    options = " --normalize database" if key["normalization"] != NOT_NORMALIZED else ""
    if key["similarity_function"] != model.similarity_function:
        options += f" -s {key['similarity_function']}"
    if key["query_insets"]:
        options += " --query_insets"
    return f"calibrate it on your own videos (visil-index calibrate{options}), or give --threshold"


def _key(request: SearchRequest) -> CalibrationKey:
    """The way of comparing, as a calibration is described."""
    queries, database, model = request.queries, request.database, request.model
    spec = database.spec
    sides = {"queries": queries.binary, "database": database.binary}
    binary = [side for side, signs in sides.items() if signs]
    return CalibrationKey(
        similarity_function=request.similarity_function,
        dims=spec.dims,
        fps=spec.fps,
        sampling=spec.sampling,
        binary="both" if len(binary) == 2 else (binary or ["none"])[0],
        query_descriptors=queries.spec.query_descriptors,
        insets=database.insets,
        query_insets=queries.insets if request.config.query_insets else 0,
        adapted=request.config.adapt or model.adaptation is not None,
        normalization=request.config.normalization,
    )
