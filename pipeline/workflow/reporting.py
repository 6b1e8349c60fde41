"""What follows a search: segments that are refined, the report, and what is said of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import PipelineError, ReportError
from ..output.target import STANDARD_OUTPUT
from ..program import command
from .comparison import Comparison
from .host import Host

if TYPE_CHECKING:
    from ..output.match import Match
    from ..output.search_result import Verdict
    from ..search.request import SearchRequest
    from ..search.segments import SegmentRefiner, SegmentReport


@contextmanager
def report_errors(result: object, where: str = "is complete") -> Iterator[None]:
    """What fails in the block says that the result itself is complete.

    Args:
        result: for `ReportError`.
        where: what became of the result, for the message.

    Raises:
        ReportError: in place of another expected error.
    """
    try:
        yield
    except PipelineError as error:
        raise ReportError(
            f"{error}; the report was not written, but the result {where}", result
        ) from error


@contextmanager
def after_result(comparison: Comparison) -> Iterator[None]:
    """The same where the result was written, also for a user who stops the command."""
    file = comparison.output_file
    where = f"was written: {'standard output' if str(file) == STANDARD_OUTPUT else file}"
    try:
        with report_errors(None, where):
            yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(
            f"interrupted; there is no report, but the result {where}"
        ) from error


def require_selection(comparison: Comparison, request: SearchRequest) -> None:
    """Refuse to align all pairs of large sets, for segments or for a report."""
    from ..search.segments import require_selection

    if comparison.finds_segments or comparison.report_file is not None:
        selects = request.selection.leaves_out(len(request.database))
        require_selection(len(request.queries), len(request.database), selects)


def segment_refiner(
    comparison: Comparison, request: SearchRequest, say: Callable[[str], None]
) -> SegmentRefiner | None:
    """What finds ends of segments again, if that was asked for; it says how far it is."""
    from ..refinement import VideoRefiner
    from ..source_files import SourceFiles

    if not comparison.refine_segments:
        return None
    files = SourceFiles(comparison.video_root)
    return VideoRefiner(request, comparison.config.extract, files, say=say)


def tell_segments(report: SegmentReport | None, host: Host) -> None:
    """Say what was found, and which segments could not be refined."""
    if report is None:
        return
    host.say(f"{report.segments} segments in {report.marked} of {report.pairs} matches")
    if report.thinned:
        host.note(
            f"{report.thinned} of them are pairs of very long videos: one frame in "
            f"{report.thinned_step} was compared there, so matches of less than about "
            f"{3 * report.thinned_step} frames may be missing"
        )
    if report.refinement is None:
        return
    host.say(f"{report.refinement.refined} of {report.refinement.segments} segments refined")
    for reason, ids in report.refinement.reasons.items():
        more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
        host.note(f"not refined in {', '.join(ids[:3])}{more}: {reason}")


def write_report(
    comparison: Comparison,
    request: SearchRequest,
    matches: Sequence[Match],
    host: Host,
    *,
    verdict: Verdict | None = None,
) -> None:
    """Write the page of `report_file`, if there is to be one, and say what it shows.

    Args:
        verdict: see `match_report.report_matches`.
    """
    from ..match_report import report_matches
    from ..search.run import result_info
    from ..source_files import SourceFiles

    if comparison.report_file is None:
        return
    locate = SourceFiles(comparison.video_root).locate
    summary = report_matches(
        comparison.report_file,
        request,
        matches,
        result_info(request),
        locate=locate,
        verdict=verdict,
    )
    host.say(
        f"{comparison.report_file}: {summary.matches} matches, stills of {summary.videos} videos"
    )
    if summary.without_stills:
        host.note(
            f"no stills of {summary.without_stills} videos, as they are not at hand: --video_root "
            f"says where they are now, {command('extract')} --thumbnails keeps small pictures"
        )
