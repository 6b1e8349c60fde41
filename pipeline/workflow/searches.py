"""One comparison from start to end: a file of results, matches in memory, or a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..output.target import check_extension, check_output_file, opened_output
from .comparison import Comparison
from .host import Host
from .preparation import prepared_search
from .reporting import (
    after_result,
    report_errors,
    require_selection,
    segment_refiner,
    tell_segments,
    write_report,
)

if TYPE_CHECKING:
    from ..output.match import Match
    from ..search.request import SearchRequest
    from ..search.run import CompareReport
    from ..search.shards import Distribute


def compare(
    comparison: Comparison, host: Host, distribute: Distribute | None = None
) -> tuple[CompareReport, bool]:
    """Do all of a comparison and write its result.

    Args:
        distribute: scores the pairs elsewhere, see `search.shards`.

    Returns:
        What stage two did, and whether stage one stored every listed video.

    Raises:
        PipelineError: of lists, stores, model or output; see `errors`.
        ReportError: the result was written, but the report could not be.
    """
    from ..search.run import compute_similarity

    if comparison.output_file is None:
        raise InputError("no output_file given")
    with prepared_search(comparison, host) as prepared:
        require_selection(comparison, prepared.request)
        matches: list[Match] = []
        report = compute_similarity(
            prepared.request,
            comparison.output_file,
            file_format=comparison.file_format,
            info_file=comparison.info_file,
            refiner=segment_refiner(comparison, prepared.request, host.say),
            on_matches=matches.extend if comparison.report_file is not None else None,
            progress=_estimate(prepared.request, host),
            finder=prepared.finder,
            distribute=distribute,
        )
        tell_segments(report.segments, host)
        with after_result(comparison):
            write_report(comparison, prepared.request, matches, host)
    return report, prepared.complete


def plot_pair(
    comparison: Comparison, host: Host, query_id: str, database_id: str, *, output_file: str | Path
) -> Match:
    """Draw the heat map of one pair of stored videos, with its segments, as a PNG file.

    Args:
        comparison: of stores, without `output_file`.
        output_file: a file, a pipe, or `-` for standard output.

    Returns:
        The pair with its segments; its score is not computed (NaN).

    Raises:
        PipelineError: of stores, model or output; see `errors`.
    """
    from ..match_report import pair_matrix
    from ..output.plot import plot_matrix

    check_output_file(output_file, comparison.inputs(output_file))
    check_extension(output_file, (".png",), "--output_file")
    with prepared_search(comparison, host) as prepared:
        matrix, match = pair_matrix(prepared.request, query_id, database_id)
    with opened_output(output_file, binary=True) as file:
        file.write(plot_matrix(matrix, match.segments or ()))
    return match


def find_matches(
    comparison: Comparison, host: Host
) -> tuple[dict[str, Sequence[Match]], tuple[str, ...]]:
    """Do all of a comparison and give its result.

    Returns:
        The matches of each listed query, and a line for each damaged video.

    Raises:
        PipelineError: as `compare`.
        ReportError: the report could not be written; `result` is what this function returns.
    """
    from ..search import run
    from ..search.segments import SegmentMatches
    from ..search.video_set import damage_lines

    with prepared_search(comparison, host) as prepared:
        request = prepared.request
        require_selection(comparison, request)
        refiner = segment_refiner(comparison, request, host.say)
        table, _ = run.find_matches(
            request, refiner=refiner, progress=host.progress, finder=prepared.finder
        )
        matches = {query_id: table.matches(query_id) for query_id in table.query_ids}
        if isinstance(table, SegmentMatches):
            tell_segments(table.report, host)
        listed = [match for of_query in matches.values() for match in of_query]
        result = matches, damage_lines(*request.video_sets)
        with report_errors(result):
            write_report(comparison, request, listed, host)
        return result


def _estimate(request: SearchRequest, host: Host) -> Callable[[int, int], None]:
    """The host's progress, and for a long search a line that says how long it takes."""
    from ..search.time_estimate import CHOICE, EXAMPLE, LARGE_PAIRS, TimeEstimate

    queries, database = request.queries, request.database
    pairs = int(queries.lengths.sum()) * int(database.lengths.sum())
    if request.candidates is not None or pairs < LARGE_PAIRS:
        return host.progress
    share = CHOICE * EXAMPLE / len(database)
    estimate = TimeEstimate(host.progress, host.say, pairs / len(database), share)
    return estimate.tell
