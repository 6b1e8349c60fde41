"""A comparison in parts: one shard of the database, and the join of all partial results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..output.target import check_extension, check_output_file
from ..output.writers import check_result_file
from .comparison import Comparison
from .host import Host
from .preparation import prepared_search

if TYPE_CHECKING:
    from ..search.run import CompareReport


@dataclass(frozen=True)
class ShardReport:
    """What one shard of a comparison did.

    Attributes:
        queries, database: videos on each side that were compared.
        kept: scores that may be selected.
        damaged: a line for each damaged video.
        complete: stage one stored every listed video.
    """

    queries: int
    database: int
    kept: int
    damaged: tuple[str, ...]
    complete: bool


def compare_shard(
    comparison: Comparison, host: Host, shard: tuple[int, int], output_file: str | Path
) -> ShardReport:
    """Score one shard of the database, with candidates of the queries; write a partial result.

    Args:
        comparison: without `output_file`, segments and report.
        shard: number, 1 to count, and count.
        output_file: ends in .npz.

    Raises:
        PipelineError: of lists, stores, model or output; see `errors`.
    """
    from ..search.partial_results import PartialResult, write_partial
    from ..search.run import result_info, score_candidate_shard, score_shard, table_level
    from ..search.shards import shard_range

    if comparison.finds_segments or comparison.report_file is not None:
        raise InputError(
            "segments and a report are of a whole result: give them to a comparison without --shard"
        )
    check_output_file(output_file, comparison.inputs(output_file))
    check_extension(output_file, (".npz",), "--output_file")
    number, count = shard
    with prepared_search(comparison, host) as prepared:
        request = prepared.request
        sets = request.queries.ids, request.database.ids
        level, _ = table_level(request)
        if request.candidates is None:
            span = shard_range(len(sets[1]), number, count)
            scores = score_shard(request, *span, level, progress=host.progress)
        else:
            span = shard_range(len(sets[0]), number, count)
            scores = score_candidate_shard(
                request, span, level, prepared.finder, progress=host.progress
            )
        listed, info = request.listed_queries, result_info(request)
        write_partial(output_file, PartialResult(scores, number, count, *sets, listed, info))
        damaged = (*scores.damaged_queries.values(), *scores.damaged_database.values())
        selectable = len(scores.entries)
        videos = len(sets[0]), len(sets[1])
        done = (
            (videos[0], span[1] - span[0])
            if scores.rows is None
            else (span[1] - span[0], videos[1])
        )
        return ShardReport(*done, selectable, damaged, prepared.complete)


def merge_results(
    partial_files: Sequence[str | Path],
    output_file: str | Path,
    *,
    file_format: str | None = None,
    info_file: str | Path | None = None,
) -> CompareReport:
    """Join the partial results of all shards to one result, as one process would write it.

    Raises:
        InputError: a file is no partial result, is of another search, or one is missing.
        PipelineError: a score is no number, or the result cannot be written.
    """
    from ..output.writers import write_matches
    from ..search.partial_results import read_partial, require_one_search
    from ..search.run import CompareReport
    from ..search.shards import merge_shards

    check_result_file(output_file, partial_files, file_format=file_format, info_file=info_file)
    partials = [(str(path), read_partial(path)) for path in partial_files]
    require_one_search(partials)
    first = partials[0][1]
    queries, database = first.query_ids, first.database_ids
    merged = merge_shards([p.scores for _, p in partials], len(queries), len(database))
    matches = merged.matches(queries, database, first.selection, first.listed_queries)
    written = write_matches(
        output_file, matches, first.info, file_format=file_format, info_file=info_file
    )
    return CompareReport(
        queries=len(queries),
        database=len(database),
        written=written,
        seconds=0.0,
        waited=merged.waited,
        damaged=merged.damaged,
    )
