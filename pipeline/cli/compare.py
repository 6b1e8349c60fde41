"""`compare`: the command line of stage two, and the original's single command.

Lists of videos may be given in place of stores; stage one then runs first, into a store that is
kept if `--database_store` names one and temporary otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from ..config import Config
from ..errors import InputError
from . import common, options
from .sources import Sources

if TYPE_CHECKING:
    from ..records import VideoRef
    from ..search.video_set import Collection

# Of stage one, for sides that are lists of videos.
LIST_SETTINGS = "sampling", "batch_size", "workers", "hwaccel", "precision"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-q", "--query_file", help="List of query videos, one `id<TAB>path` a line.")
@click.option("--query_dir", help="Folder of query videos; ids are the relative paths.")
@click.option(
    "--query_store", multiple=True, help="[PREFIX=]Store with query features; repeatable."
)
@click.option("-d", "--database_file", help="List of database videos, one `id<TAB>path` a line.")
@click.option("--database_dir", help="Folder of database videos; ids are the relative paths.")
@click.option(
    "--database_store",
    multiple=True,
    help="Store with database features; repeatable. With --database_file: where to keep them. "
    "card2/=db2.h5 puts card2/ before all its ids, so that stores with equal ids go together; this "
    "holds for all stores.",
)
@click.option(
    "--mirrored_queries",
    is_flag=True,
    help="Score queries mirrored as well, the better score counts: finds mirrored copies that "
    "the plain score misses.",
)
@click.option(
    "--mirrored_query_store",
    multiple=True,
    help="Stores of the same queries made with extract_features.py --mirrored; repeatable. "
    "With --mirrored_queries and a list: where to keep them.",
)
@click.option(
    "--background_store",
    multiple=True,
    help="Store of videos unrelated to all queries; repeatable. Scores are then normalised by "
    "how well each query does among them.",
)
@click.option(
    "-o",
    "--output_file",
    default="results.json",
    show_default=True,
    help="The result: a file, a pipe, or - for standard output.",
)
@common.model_dir_option
@common.config_option
@click.option("--top_k", type=click.IntRange(min=1), help="Write the best N of each query only.")
@click.option(
    "--threshold", type=click.FloatRange(-1, 1), help="Write scores of at least this only."
)
@click.option(
    "--max_fpr",
    type=float,
    help="Instead of --threshold: write the scores that at most this part of unrelated pairs "
    "reaches (0.001: one in a thousand), with the confidence the model was calibrated with.",
)
@common.gpu_option
@click.option("--network", type=click.Choice(["resnet"]), hidden=True, help="As the original.")
@common.handled("interrupted; no result was written")
@options.settings("compare", *(f"extract.{name}" for name in LIST_SETTINGS))
def compare(
    query_file: str | None,
    query_dir: str | None,
    query_store: tuple[str, ...],
    database_file: str | None,
    database_dir: str | None,
    database_store: tuple[str, ...],
    mirrored_queries: bool,
    mirrored_query_store: tuple[str, ...],
    background_store: tuple[str, ...],
    output_file: str,
    model_dir: str | None,
    top_k: int | None,
    threshold: float | None,
    max_fpr: float | None,
    gpu_id: int,
    network: str | None,
    config: Config,
) -> int:
    """Compare query videos with database videos, write {query: {database: similarity}}.

    Either side is a list or folder of videos or one or more stores. Exit code 3 says that some
    listed or stored videos could not be scored.
    """
    from ..output.selection import check_selection
    from ..output.target import check_output_file
    from ..search.compatibility import require_insets

    lists = [path for path in (query_file, database_file, config.file) if path]
    stores = (*query_store, *database_store, *mirrored_query_store, *background_store)
    check_output_file(output_file, (*lists, *(common.split_store(store)[1] for store in stores)))
    check_selection(top_k, threshold)
    if threshold is not None and max_fpr is not None:
        raise InputError("give --threshold or --max_fpr, not both")
    mirror = mirrored_queries or bool(mirrored_query_store)
    if max_fpr is not None and background_store:
        raise InputError("--max_fpr is for scores without --background_store: give --threshold")
    if max_fpr is not None:  # refused before any video is decoded
        from ..search.calibrate import check_rate

        check_rate(max_fpr, common.load_weights(model_dir), config.compare, mirror)
    with ExitStack() as stack:
        sources = Sources(stack, config, model_dir, gpu_id)
        query_list = sources.listed(query_file, query_dir, "query")
        database_list = sources.listed(database_file, database_dir, "database")
        _check_sides(query_list, query_store, database_list, database_store)
        if config.compare.adapt and database_list:  # before any video is decoded
            from ..search.adapt import check_adaptable

            where = str(database_file or database_dir)
            check_adaptable(common.load_weights(model_dir), len(database_list), where)
        _check_mirrored(query_list, mirror, mirrored_query_store)
        # What is stored already sets fps, dims and sampling of what is not; of two lists the
        # queries come first, since they are few and their errors show at once.
        made = None if database_list else sources.stored(database_store)
        if config.compare.adapt and made:
            from ..search.adapt import require_adaptable

            require_adaptable(made, common.load_weights(model_dir))
        queries = (
            sources.extracted("queries", query_list, query_store, made)
            if query_list
            else sources.stored(query_store)
        )
        if config.compare.query_insets:  # before a long list is decoded
            require_insets(queries)
        database = made or sources.extracted(
            "database", database_list or [], database_store, queries
        )
        mirrored = None
        if mirror:
            mirrored = sources.mirrored(queries, query_list, mirrored_query_store)
        background = sources.stored(background_store) if background_store else None
        if max_fpr is not None:
            threshold = _threshold(max_fpr, queries, database, model_dir, config, mirror)
        damaged = _run(
            queries, database, output_file, model_dir, config, top_k, threshold, gpu_id, query_list,
            mirrored,
            background,
        )  # fmt: skip
    return common.PARTIAL_FAILURE if sources.failed or damaged else 0


def _check_sides(
    query_list: Sequence[VideoRef] | None,
    query_store: tuple[str, ...],
    database_list: Sequence[VideoRef] | None,
    database_store: tuple[str, ...],
) -> None:
    for listed, stores, side in (
        (query_list, query_store, "query"),
        (database_list, database_store, "database"),
    ):
        if listed is None and not stores:
            raise InputError(f"give --{side}_file, --{side}_dir or --{side}_store")
        if listed is not None and len(stores) > 1:
            raise InputError(f"with a list of {side} videos, give at most one --{side}_store")


def _check_mirrored(
    query_list: Sequence[VideoRef] | None, mirror: bool, stores: tuple[str, ...]
) -> None:
    if mirror and query_list is None and not stores:
        raise InputError(
            "--mirrored_queries with stored queries needs their mirrored features: make them with "
            "extract_features.py --mirrored and give them as --mirrored_query_store"
        )
    if query_list is not None and len(stores) > 1:
        raise InputError("with a list of query videos, give at most one --mirrored_query_store")


def _threshold(
    rate: float,
    queries: Collection,
    database: Collection,
    model_dir: str | None,
    config: Config,
    mirrored: bool,
) -> float:
    from ..search.calibrate import calibration_for

    weights = common.load_weights(model_dir)
    made = calibration_for(queries, database, weights, config.compare)
    threshold = made.threshold(rate, 1 + mirrored)
    sure = f" with confidence {made.confidence:g}" if made.confidence is not None else ""
    common.say(
        f"threshold: {threshold:.4f} for --max_fpr {rate:g}, as calibrated on "
        f"{made.pairs} unrelated pairs{sure}"
    )
    return threshold


def _run(
    queries: Collection,
    database: Collection,
    output_file: str,
    model_dir: str | None,
    config: Config,
    top_k: int | None,
    threshold: float | None,
    gpu_id: int,
    query_list: Sequence[VideoRef] | None,
    mirrored: Collection | None,
    background: Collection | None,
) -> int:
    """Returns 0, or another number if damaged videos were left out."""
    from ..search.run import compute_similarity

    weights = common.load_weights(model_dir)
    if weights.layout.query > weights.regions and not queries.spec.query_descriptors:
        common.say(
            f"note: the queries in {queries.path} were stored without --as_queries, so without "
            "further views of their pictures: crops and outlines, for instance, are missed more "
            "often"
        )
    if config.compare.adapt:
        common.say(f"adapting the model to the {len(database)} videos of the database")
    line = common.ProgressLine()
    report = compute_similarity(
        queries,
        database,
        output_file,
        weights,
        config.compare,
        top_k,
        threshold,
        gpu_id,
        lambda done, total: line.show(done, total, "database videos"),
        [video.id for video in query_list] if query_list else None,
        mirrored,
        background,
    )
    damaged = common.report_damaged(report.damaged)
    common.say(
        f"{output_file}: {report.written} scores of {report.queries} queries and "
        f"{report.database} database videos in {report.seconds:.2f} s "
        f"({report.waited:.2f} s waiting for features)"
    )
    return damaged
