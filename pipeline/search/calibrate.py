"""Stage two over unrelated videos: what scores mean, thresholds for false positive rates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..calibration.curve import CONFIDENCE, Calibration, CalibrationKey, fit
from ..config import CompareConfig
from ..errors import InputError
from ..output.score_table import require_finite
from ..output.selection import select
from .run import score_table
from .video_set import Collection

if TYPE_CHECKING:
    from ..nets.model.model import Model

_REMEDY = "calibrate it on your own videos (visil-index calibrate), or give --threshold"
_SHOWN = 5  # best pairs that a calibration tells of


def calibrate(
    queries: Collection,
    database: Collection,
    model: Model,
    config: CompareConfig,
    related: Iterable[tuple[str, str]] = (),
    gpu_id: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    folder: str | Path | None = None,
    groups: Mapping[str, str] | None = None,
    confidence: float = CONFIDENCE,
) -> tuple[Calibration, list[tuple[float, str, str]]]:
    """What scores unrelated pairs reach.

    Damaged videos are left out, see `score_table`.

    Args:
        related: (query id, database id) of pairs that are left out, in this order of sides.
        groups: id -> group, for both sides: videos of one group (one film and what was made of
            it) come or stay away together where another collection is imagined. What is not
            listed is a group of its own; equal ids are one video.
        confidence: see `fit`.
        folder: see `score_table`; the other arguments are those of `compute_similarity`.

    Returns:
        The calibration, and the highest scores with their pairs, best first: if one of these
        pairs is a copy after all, list it as related and calibrate again.

    Raises:
        InputError: too few pairs are left.
        PipelineError: a score is not a finite number; else those of `compute_similarity`.
    """
    table, _ = score_table(queries, database, model, config, gpu_id, progress, folder)
    asked, searched = queries.sound_ids, database.sound_ids
    if table.shape != (len(asked), len(searched)):
        table = table[np.ix_(queries.sound, database.sound)]
    require_finite(table, asked, searched)
    rows = {video: i for i, video in enumerate(asked)}
    columns = {video: i for i, video in enumerate(searched)}
    same = [(video, video) for video in asked]
    for query, video in (*same, *related):
        if query in rows and video in columns:
            table[rows[query], columns[video]] = np.nan
    rows_of, columns_of = (
        [groups[v] + "\t" if groups and v in groups else v for v in side]
        for side in (asked, searched)
    )  # no id holds a tab, so no group is mistaken for an id
    key = _key(queries, database, model, config)
    calibration = fit(table, key, rows_of, columns_of, confidence)
    best = [
        (float(row[i]), query, searched[i])
        for query, row in zip(asked, np.nan_to_num(table, nan=-np.inf), strict=True)
        for i in select(row, _SHOWN, None)
    ]
    return calibration, sorted((b for b in best if b[0] >= -1), reverse=True)[:_SHOWN]


def threshold_for(
    rate: float,
    queries: Collection,
    database: Collection,
    model: Model,
    config: CompareConfig,
    mirrored: bool = False,
) -> float:
    """The score that at most this part of unrelated pairs reaches, as the model was calibrated.

    Args:
        mirrored: the better of two scores counts.

    Raises:
        InputError: the model has no calibration, or one for another way of comparing, or the
            rate is none that it can tell.
    """
    made = calibration_for(queries, database, model, config)
    return made.threshold(rate, 1 + mirrored)


def calibration_for(
    queries: Collection, database: Collection, model: Model, config: CompareConfig
) -> Calibration:
    """The model's calibration for this way of comparing.

    Raises:
        InputError: it has none, or those for other ways.
    """
    return _calibration(model, **asdict(_key(queries, database, model, config)))


def check_rate(rate: float, model: Model, config: CompareConfig, mirrored: bool) -> None:
    """As far as can be told without features: raises what `threshold_for` would raise.

    Of several calibrations that may be meant, one that can tell the rate is enough.
    """
    known = {
        "similarity_function": config.similarity_function or model.similarity_function,
        "query_insets": int(config.query_insets),  # or more, as their store says
        "adapted": _adapted(model, config),
    }
    _calibration(model, **known)
    possible = [each for each in model.calibrations if not each.differences(**known)]
    min(possible, key=lambda each: each.rates[-1]).threshold(rate, 1 + mirrored)


def _calibration(model: Model, **manner: Any) -> Calibration:
    """The one for exactly this, else one that is on the safe side of it."""
    if not model.calibrations:
        raise InputError(f"max_fpr: model {model.name!r} has no calibration: {_REMEDY}")
    nearest = min(
        model.calibrations,
        key=lambda c: (
            len(c.differences(**manner)),
            sum(getattr(c, key) != value for key, value in manner.items()),
        ),
    )
    if differences := nearest.differences(**manner):
        raise InputError(
            f"max_fpr: model {model.name!r} was calibrated for another way of comparing "
            f"({'; '.join(differences)}): {_REMEDY}"
        )
    return nearest


def _adapted(model: Model, config: CompareConfig) -> bool:
    return config.adapt or model.adaptation is not None


def _key(
    queries: Collection, database: Collection, model: Model, config: CompareConfig
) -> CalibrationKey:
    spec = database.spec
    sides = {"queries": queries.binary, "database": database.binary}
    binary = [side for side, signs in sides.items() if signs]
    return CalibrationKey(
        similarity_function=config.similarity_function or model.similarity_function,
        dims=spec.dims,
        fps=spec.fps,
        sampling=spec.sampling,
        binary="both" if len(binary) == 2 else (binary or ["none"])[0],
        query_descriptors=queries.spec.query_descriptors,
        insets=database.insets,
        query_insets=queries.insets if config.query_insets else 0,
        adapted=_adapted(model, config),
    )
