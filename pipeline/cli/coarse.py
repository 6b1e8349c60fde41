"""`coarse-to-fine`: stage two as DnS does it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import click

from ..config import Config
from ..output.target import check_output_file
from . import common, options


@click.command()
@click.option("--query_store", multiple=True, required=True, help="As for compare; repeatable.")
@click.option("--database_store", multiple=True, required=True, help="As for compare; repeatable.")
@click.option("--as", "published", help="Which features published files hold: dns.")
@click.option("-m", "--model_dir", required=True, help="The fine student, or another such model.")
@click.option("--coarse", required=True, help="Folder of the coarse student.")
@click.option("--selector", help="Folder of the selector that belongs to both students.")
@click.option(
    "--share",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="Part of each query's pairs that goes to the fine student.",
)
@click.option(
    "--vectors",
    "vectors_file",
    help="File to keep the database's coarse vectors in, for the next search (.npz).",
)
@click.option("-o", "--output_file", default="results.json", show_default=True, help="The result.")
@common.gpu_option
@common.handled("interrupted; no result was written")
@options.settings(
    "compare.similarity_function", "compare.precision", "compare.batch_size", "compare.checksums"
)
def coarse_to_fine(
    query_store: tuple[str, ...],
    database_store: tuple[str, ...],
    published: str | None,
    model_dir: str,
    coarse: str,
    selector: str | None,
    share: float,
    vectors_file: str | None,
    output_file: str,
    gpu_id: int,
    config: Config,
) -> int:
    """Compare by coarse vectors, and a share of the pairs by the fine student (DnS).

    All pairs get a score: the fine score brought to 0 to 1 where the fine student was asked, else
    the product of the coarse vectors. The selector says which pairs gain most by the fine student;
    without one those with the highest coarse scores are sent.
    """
    from ..nets.formats.loader import load_student
    from ..output.match_tables import DenseMatches
    from ..output.score_table import ScoreTable
    from ..output.selection import Selection
    from ..output.writers import write_matches
    from ..search.coarse_to_fine import score_coarse_to_fine
    from ..search.request import SearchRequest
    from ..search.run import result_info
    from ..search.video_set import damage_lines
    from ..workflow import open_video_set

    stores = [common.split_store(store) for store in (*query_store, *database_store)]
    inputs = [*(path for _, path in stores), model_dir, coarse, *([selector] if selector else [])]
    check_output_file(output_file, [*inputs, *([vectors_file] if vectors_file else [])])
    if vectors_file:
        check_output_file(vectors_file, inputs, option="--vectors")
    students = load_student(coarse), load_student(selector) if selector else None
    model, line = common.load_weights(model_dir), common.ProgressLine()
    with ExitStack() as stack:
        queries, database = (
            open_video_set(stack, [common.split_store(s) for s in side], published=published)
            for side in (query_store, database_store)
        )
        request = SearchRequest(queries, database, model, config.compare, gpu_id=gpu_id)
        result = score_coarse_to_fine(
            request,
            *students,
            share=share,
            vectors_file=vectors_file,
            progress=lambda done, total: line.show(done, total, "queries"),
        )
        sound = queries.sound, database.sound
        table = ScoreTable(queries.ids, database.ids, result.scores, *sound)
        info = result_info(request)
        names = [student.name if student else None for student in students]
        used = {"coarse": names[0], "selector": names[1], "share": share}
        info = replace(info, settings={**info.settings, **used})
        written = write_matches(output_file, DenseMatches(table, Selection()), info)
        damage = damage_lines(queries, database)
    common.say(f"{output_file}: {written} scores, {int(result.selected.sum())} by {model.name}")
    return common.report_damaged(damage)
