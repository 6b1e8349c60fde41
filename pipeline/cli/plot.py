"""`plot`: one pair of stored videos as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..config import Config
from . import common, options, streams
from .compare import Terminal

if TYPE_CHECKING:
    from ..output.match import Match


@click.command()
@click.argument("query_id")
@click.argument("database_id")
@click.option(
    "--query_store",
    multiple=True,
    required=True,
    help="[PREFIX=]Store that holds the query; repeatable.",
)
@click.option(
    "--database_store",
    multiple=True,
    required=True,
    help="[PREFIX=]Store that holds the database video; repeatable.",
)
@click.option(
    "--mirrored_query_store",
    multiple=True,
    help="Store of the query's mirrored features: the better direction is drawn; repeatable.",
)
@click.option("-o", "--output_file", required=True, help="The PNG file.")
@common.model_dir_option
@common.config_option
@common.gpu_option
@common.handled()
@options.settings("compare.adapt", "compare.query_insets")
def plot(
    query_id: str,
    database_id: str,
    query_store: tuple[str, ...],
    database_store: tuple[str, ...],
    mirrored_query_store: tuple[str, ...],
    output_file: str,
    model_dir: str | None,
    gpu_id: int,
    config: Config,
) -> None:
    """Draw the similarities of the frames of QUERY_ID and DATABASE_ID, and their segments.

    The query runs downwards, the database video to the right; a bright diagonal is a match. The
    segments are listed as well. Ids with a leading dash go behind `--`.
    """
    from .. import workflow
    from ..output.target import is_stream

    queries, database, mirrored = (
        [common.split_store(store) for store in stores]
        for stores in (query_store, database_store, mirrored_query_store)
    )
    comparison = workflow.Comparison(
        workflow.VideoSource(queries),
        workflow.VideoSource(database),
        config,
        mirrored=mirrored,
        other_inputs=[*([config.file] if config.file else []), common.model_folder(model_dir)],
        gpu_id=gpu_id,
    )
    host = Terminal(model_dir, gpu_id)
    match = workflow.plot_pair(comparison, host, query_id, database_id, output_file=output_file)
    show = common.say if is_stream(output_file) else streams.show
    for line in _segment_lines(match):
        show(line)


def _segment_lines(match: Match) -> list[str]:
    """A line for each segment, with its times on both sides."""
    from ..output.report_cards import clock

    lines = [
        f"query {clock(s.query_start)} to {clock(s.query_end)}   "
        f"database {clock(s.database_start)} to {clock(s.database_end)}   "
        f"similarity {s.score:.2f}{'   query mirrored' if match.mirrored else ''}"
        for s in match.segments or ()
    ]
    return lines or ["no segment: no stretch of the two videos stands out"]
