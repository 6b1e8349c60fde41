"""`convert-model`, `seal-model`, `adapt` and `calibrate`: the commands on a model."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..calibration.curve import CONFIDENCE, Calibration
from ..config import Config
from ..errors import InputError, ModelError
from . import common, options, streams

NORMALIZE_SETTINGS = (
    "normalize",
    "normalize_quantile",
    "normalize_match",
    "normalize_prior",
)

if TYPE_CHECKING:
    from ..nets.model.model import Model


@click.command()
@click.argument("sources", nargs=-1, required=True)
@click.option("-o", "--output", "target", help="Folder for the model.")
@click.option("--name", default="", help="Name of the model.  [default: that of the head's file]")
@common.handled()
def convert_model(sources: tuple[str, ...], target: str | None, name: str) -> None:
    """Convert published weights to our own format.

    SOURCES are PyTorch files of ViSiL, DnS or S2VS: a head, and resnet50-*.pth of torchvision and
    pca_resnet50_vcdb_1M.pth, in any order. A folder of a converted model may take the place of the
    last two. A head alone gives a model that compares stored features. Or SOURCES is the folder of
    a TensorFlow release; without --output, a second folder is the target.
    """
    from ..nets.formats.loader import convert, convert_files
    from ..nets.model.student import Student

    if target is None and len(sources) == 2:
        *sources_list, target = sources
    elif target is None:
        raise InputError("no folder to write to; give --output DIR")
    else:
        sources_list = list(sources)
    if len(sources_list) == 1 and Path(sources_list[0]).is_dir():
        convert(sources_list[0], target)
    else:
        model = convert_files(sources_list, target, name)
        if isinstance(model, Student):
            return streams.show(f"{target}: written, a {model.kind} student of DnS")
        if not model.has_extractor:
            common.say(
                f"note: {model.name} is a head alone: it compares stored features and extracts none"
            )
    streams.show(f"{target}: written; use it with --model_dir {target}")


@click.command()
@click.argument("model_dir")
@common.handled()
def seal_model(model_dir: str) -> None:
    """Accept model.json in folder MODEL_DIR after an edit by hand: its digest is written anew."""
    from ..nets.formats import loader as models

    models.seal(model_dir)
    streams.show(f"{model_dir}: sealed; its values are taken as they are")


@click.command()
@common.model_dir_option
@click.option(
    "--database_store",
    multiple=True,
    required=True,
    help="Store of the collection that will be searched; repeatable.",
)
@click.option("-o", "--output_dir", required=True, help="Folder for the adapted model.")
@common.handled("interrupted; no model was written")
@options.settings("compare.checksums")
def adapt(
    model_dir: str | None, database_store: tuple[str, ...], output_dir: str, config: Config
) -> int:
    """Fit a model to the collection that it will search, by its stored features alone.

    Stores stay as they are, and serve the adapted model as they serve the one before. Its scores
    are others, so of its calibrations only those made with --adapt are kept. A model that was
    adapted into the same folder before is replaced; what it was calibrated to stays.
    """
    from ..nets.formats import native
    from ..search.adapt import adapt as fit_adaptation
    from ..search.video_set import damage_lines
    from ..workflow import open_video_set

    target = common.check_model_target(output_dir)
    before = _adapted_before(target)
    weights = common.load_weights(model_dir)
    line = common.ProgressLine()
    with ExitStack() as stack:
        database = open_video_set(stack, [common.split_store(store) for store in database_store])
        report = fit_adaptation(
            database,
            weights,
            progress=lambda done, total: line.show(done, total, "videos"),
            checksums=config.compare.checksums,
        )
    model = _with_calibrations_of(before, report.model)
    native.write(model, target, common.backbone_dtype(model))
    streams.show(
        f"{target}: adapted to {report.videos} videos, {report.frames} frames; stores stay valid, "
        f"compare them with --model_dir {target}"
    )
    return common.report_damaged(damage_lines(database))


def _with_calibrations_of(before: Model | None, model: Model) -> Model:
    """The model with what the one before it was calibrated to, if they differ in nothing else."""
    if before is None or not before.calibrations:
        return model
    if not before.differs_in_adaptation_alone(model):
        common.say("note: the model that was there is another one; its calibrations are not kept")
        return model
    own = before.calibrations
    own_keys = {calibration.key for calibration in own}
    new = [c for c in model.calibrations if c.key not in own_keys]
    common.say(f"note: calibrations kept of the model that was there: {len(own)}")
    return replace(model, calibrations=(*own, *new))


def _adapted_before(target: Path) -> Model | None:
    """The adapted model that is to be replaced, if there is one that can be read.

    Raises:
        InputError: the folder holds a model that was not adapted.
    """
    from ..nets.formats import native

    if not native.is_own(target):
        return None
    if not native.is_adapted(target):
        raise InputError(
            f"{target}: holds a model that `adapt` did not write; choose another --output_dir"
        )
    try:
        return native.read(target)
    except ModelError as error:
        common.say(f"note: {error}. It is written anew, its calibrations are not kept")
        return None


@click.command()
@click.option("-m", "--model_dir", required=True, help="Model to calibrate, in our own format.")
@click.option("--query_store", multiple=True, required=True, help="As for compare; repeatable.")
@click.option("--database_store", multiple=True, required=True, help="As for compare; repeatable.")
@click.option(
    "--related",
    help="Pairs that are copies of each other, one `query<TAB>database` a line, left out. "
    "Equal ids are left out in any case.",
)
@click.option(
    "--groups",
    "group_file",
    help="Videos of either side that belong together (one film, its parts and copies), one "
    "`id<TAB>group` a line. Without it each id is a group, and a false positive rate is promised "
    "for collections that hold the same.",
)
@click.option(
    "--confidence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=CONFIDENCE,
    show_default=True,
    help="In this part of other collections, imagined by drawing groups anew, no more than the "
    "rate asked for may get through. Higher gives higher thresholds.",
)
@common.gpu_option
@common.handled("interrupted; the model is as it was")
@options.settings(
    "compare.similarity_function",
    "compare.query_insets",
    "compare.adapt",
    "compare.checksums",
    *(f"compare.{name}" for name in NORMALIZE_SETTINGS),
)
def calibrate(
    *,
    model_dir: str,
    query_store: tuple[str, ...],
    database_store: tuple[str, ...],
    related: str | None,
    group_file: str | None,
    confidence: float,
    gpu_id: int,
    config: Config,
) -> int:
    """Measure what scores unrelated videos reach, for `compare --max_fpr`.

    All pairs but those of equal ids and those listed as related are taken as unrelated. The
    result is kept in the model's description; its weights stay as they are.
    """
    from ..inputs import read_groups, read_related
    from ..nets.formats import loader as models
    from ..search.adapt import adapt_request
    from ..search.calibrate import calibrate as measure
    from ..search.request import SearchRequest
    from ..search.video_set import damage_lines
    from ..workflow import open_video_set

    models.check_calibratable(model_dir)
    known_related = read_related(related) if related else set()
    groups = read_groups(group_file) if group_file else None
    weights = common.load_weights(model_dir)
    line = common.ProgressLine()
    with ExitStack() as stack:
        queries, database = (
            open_video_set(stack, [common.split_store(store) for store in side])
            for side in (query_store, database_store)
        )
        request = SearchRequest(queries, database, weights, config.compare, gpu_id=gpu_id)
        calibration, best = measure(
            adapt_request(request),
            related=known_related,
            groups=groups,
            confidence=confidence,
            progress=lambda done, total: line.show(done, total, "database videos"),
            folder=model_dir,
        )
    models.calibrate(model_dir, calibration)
    left_out = len(queries) * len(database) - calibration.pairs
    _show_calibration(model_dir, calibration, left_out)
    common.say("highest of them; if one is a copy, list it in --related and calibrate again:")
    for score, query, video in best:
        common.say(f"  {score:.3f}  {query}\t{video}")
    return common.report_damaged(damage_lines(queries, database))


def _show_calibration(model_dir: str, calibration: Calibration, left_out: int) -> None:
    """What was calibrated, and the thresholds of some rates."""
    streams.show(
        f"{model_dir}: calibrated on {calibration.pairs} pairs of {calibration.groups} groups or "
        f"more, {left_out} left out"
    )
    for rate in (0.1, 0.01, 0.001, 0.0001, 0.00001):
        if rate >= calibration.rates[-1]:
            streams.show(
                f"  {calibration.threshold(rate):.3f} for --max_fpr {rate:g}, "
                f"with confidence {calibration.confidence:g}"
            )
