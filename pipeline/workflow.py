"""Both stages as one piece of work, for the command line and for Python alike.

A comparison names where the videos of each side come from. Stores are opened, listed videos go
through stage one first, the model is adapted or a threshold looked up if that was asked for, and
stage two runs. Whoever calls gives a `Host`, which loads the model, runs stage one and passes on
notes in its own way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import KW_ONLY, dataclass, field, replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from .config import LEVEL_PRIOR_VIDEOS, Config, ExtractConfig
from .errors import InputError, PipelineError, ReportError
from .output.selection import Selection
from .output.target import (
    STANDARD_OUTPUT,
    check_extension,
    check_output_file,
    opened_output,
)
from .output.writers import check_result_file
from .program import command
from .records import VideoRef
from .scratch import scratch_folder

if TYPE_CHECKING:
    from .candidates import CandidateCount
    from .extraction.report import ExtractReport
    from .nets.model.model import Model
    from .output.match import Match
    from .search.candidate_search import CandidateFinder
    from .search.request import SearchRequest
    from .search.run import CompareReport
    from .search.segments import SegmentRefiner, SegmentReport
    from .search.shards import Distribute
    from .search.video_set import VideoSet

QUERY_INSETS = 2  # looked for in queries where neither settings nor model say how many


@dataclass(frozen=True)
class VideoSource:
    """Where the videos of one side come from.

    Attributes:
        stores: (id prefix, path) of each store. With listed videos: the one that their features
            are kept in, or none.
        videos: listed videos, which go through stage one; None: all that the stores hold.
        origin: the list or folder of `videos`, for messages.
        opened: stored videos of stores that are open already, in place of `stores`.

    Raises:
        InputError: neither videos nor a store, or listed videos and several stores.
    """

    stores: Sequence[tuple[str, str | Path]] = ()
    videos: Sequence[VideoRef] | None = None
    origin: str = "the list"
    opened: VideoSet | None = None

    def __post_init__(self) -> None:
        if self.videos is None and not self.stores and self.opened is None:
            raise InputError("no store given")
        if self.videos is not None and len(self.stores) > 1:
            raise InputError(
                f"{self.origin}: features of listed videos are kept in one store, but "
                f"{len(self.stores)} are given; give at most one store with a list of videos"
            )


@dataclass(frozen=True)
class Comparison:
    """What is compared with what, and how. Making it checks what needs neither model nor features.

    Attributes:
        queries, database: the two sides.
        config: settings of both stages.
        mirror_queries: score listed queries mirrored as well; stored ones need `mirrored`.
        mirrored: stores of mirrored features of the queries; with listed queries the store that
            these are kept in.
        background: stores of videos that are unrelated to all queries.
        selection: which scores are written.
        max_fpr: in place of a threshold, see `search.calibrate.threshold_for`.
        segments: find from when to when the selected pairs match.
        refine_segments: find segments, and their ends again in the videos where these are at hand.
        video_root: where moved videos are, see `source_files.SourceFiles`.
        report_file: where a page with pictures of all matches is written, see `match_report`.
        output_file: where the result will be written; None for a result in memory.
        file_format, info_file: of the result, see `output.writers.open_writer`.
        other_inputs: files that the result must not replace, as lists and settings, and the
            model's folder.
        candidates: score only so many videos of each query, see `search.candidate_search`; the
            database is of stores that each have a candidate index.
        gpu_id: see `nets.backend.device_scope`.

    Raises:
        InputError: two of these exclude each other, or the result cannot be written.
    """

    queries: VideoSource
    database: VideoSource
    config: Config = field(default_factory=Config)
    _: KW_ONLY
    mirror_queries: bool = False
    mirrored: Sequence[tuple[str, str | Path]] = ()
    background: Sequence[tuple[str, str | Path]] = ()
    selection: Selection = field(default_factory=Selection)
    max_fpr: float | None = None
    segments: bool = False
    refine_segments: bool = False
    video_root: str | Path | None = None
    report_file: str | Path | None = None
    output_file: str | Path | None = None
    file_format: str | None = None
    info_file: str | Path | None = None
    other_inputs: Sequence[str | Path] = ()
    candidates: CandidateCount | None = None
    gpu_id: int | None = None

    def __post_init__(self) -> None:
        from .search.compatibility import check_normalization

        self._check_types()
        if self.output_file is not None:
            check_result_file(
                self.output_file,
                self.inputs(self.output_file),
                file_format=self.file_format,
                info_file=self.info_file,
                segments=self.finds_segments,
            )
        elif self.file_format is not None or self.info_file is not None:
            raise InputError("file_format and info_file are of an output_file, but there is none")
        if self.report_file is not None:
            self._check_report_file(self.report_file)
        if self.video_root is not None and not (self.refine_segments or self.report_file):
            raise InputError(
                "video_root is where videos are for refine_segments and for a report; neither was "
                "asked for"
            )
        if self.finds_segments or self.report_file is not None:
            self._check_pairs()
        self._check_threshold()
        if self.max_fpr is not None and self.background:
            raise InputError(
                "max_fpr is for scores without a background, as the model was calibrated: give a "
                "threshold"
            )
        if self.queries.videos is not None and len(self.mirrored) > 1:
            raise InputError(
                "mirrored features of listed queries are kept in one store, but "
                f"{len(self.mirrored)} are given"
            )
        if self.mirror_queries and self.queries.videos is None and not self.mirrored:
            raise InputError(
                "stored queries can be mirrored only with their mirrored features: make these with "
                f"{command('extract')} --mirrored and give their store (--mirrored_query_store)"
            )
        if self.candidates is not None and self.database.videos is not None:
            raise InputError(
                "candidates are found by the index of a store, so the database has to be a store: "
                f"make one with {command('extract')} --index"
            )
        check_normalization(self.config.compare, bool(self.background))

    def inputs(self, output: str | Path) -> list[str | Path]:
        """Stores, `other_inputs` and listed videos, which an output must not replace."""
        named = (*self.queries.stores, *self.database.stores, *self.mirrored, *self.background)
        name = os.path.basename(os.path.realpath(output))
        listed = (*(self.queries.videos or ()), *(self.database.videos or ()))
        videos = (video.path for video in listed if os.path.basename(video.path) == name)
        return [*self.other_inputs, *(path for _, path in named), *videos]

    def _check_report_file(self, report_file: str | Path) -> None:
        outputs = [p for p in (self.output_file, self.info_file) if p is not None]
        check_output_file(report_file, [*self.inputs(report_file), *outputs], option="--report")
        check_extension(report_file, (".html", ".htm"), "--report")

    def _check_types(self) -> None:
        for name in ("mirror_queries", "segments", "refine_segments"):
            if not isinstance(value := getattr(self, name), bool):
                raise InputError(f"{name} is {value!r}, expected true or false")
        for name in ("output_file", "info_file", "report_file", "video_root"):
            if not isinstance(value := getattr(self, name), (str, Path, type(None))):
                raise InputError(f"{name} is {value!r}, expected a path")

    def _check_threshold(self) -> None:
        check_rate_range(self.max_fpr)
        threshold = self.selection.threshold
        if threshold is None:
            return
        if self.max_fpr is not None:
            raise InputError("give threshold or max_fpr, not both")
        config = self.config.compare
        # A level or background is a score as well, so at least -1, and is subtracted.
        taken_off = config.background_weight if self.background else 0
        check_threshold(threshold, 1 + taken_off + (config.normalize == "database"))

    def _check_pairs(self) -> None:
        """Refuse too many pairs before videos are decoded."""
        from .search.segments import require_selection

        selects = self.selection != Selection() or self.max_fpr is not None
        queries, database = self.queries.videos, self.database.videos
        if queries is not None and database is not None:
            require_selection(len(queries), len(database), selects)

    @property
    def finds_segments(self) -> bool:
        """Segments are found for what is selected."""
        return self.segments or self.refine_segments

    @property
    def mirrors(self) -> bool:
        """Queries are scored mirrored as well."""
        return self.mirror_queries or bool(self.mirrored)


def check_threshold(threshold: float, highest: float = 1) -> None:
    """Refuse a threshold that no score can reach, or that all do.

    Args:
        highest: possible score; the lowest one is less this.

    Raises:
        InputError: naming the range.
    """
    if not -highest <= threshold <= highest:
        raise InputError(
            f"threshold is {threshold:g}, but scores lie between {-highest:g} and {highest:g}: "
            "give one in this range, such as 0.4"
        )


def check_rate_range(max_fpr: float | None) -> None:
    """Refuse what is no false-positive rate.

    Raises:
        InputError: not a number between 0 and 1.
    """
    if max_fpr is None:
        return
    number = isinstance(max_fpr, Real) and not isinstance(max_fpr, bool)
    if not number or not 0 < max_fpr < 1:
        shown = f"{max_fpr:g}" if number else repr(max_fpr)
        raise InputError(f"max_fpr is {shown}, expected more than 0 and less than 1")


class SearchHost(Protocol):
    """What the command line and Python do in ways of their own, for stored videos."""

    def load_model(self) -> Model:
        """The model, loaded once."""

    def note(self, text: str) -> None:
        """Pass on what a person should know."""

    def say(self, text: str) -> None:
        """Pass on what is being done."""

    def progress(self, done: int, total: int) -> None:
        """Database videos compared so far, and all."""


class Host(SearchHost, Protocol):
    """The same for listed videos as well."""

    def extract(
        self, videos: Sequence[VideoRef], store: str | Path, config: ExtractConfig, label: str
    ) -> ExtractReport:
        """Run stage one; `label` stands for a temporary store in messages, else it is empty."""


@dataclass(frozen=True)
class PreparedSearch:
    """A request that can be run.

    Attributes:
        request: checked, its model adapted and its threshold looked up if asked for.
        complete: stage one stored every listed video.
        finder: of its candidates, if it asks for some and its stores were opened here.
    """

    request: SearchRequest
    complete: bool
    finder: CandidateFinder | None = None


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
    from .search.run import compute_similarity

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
        with _after_result(comparison):
            write_report(comparison, prepared.request, matches, host)
    return report, prepared.complete


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
    from .search.partial_results import PartialResult, write_partial
    from .search.run import result_info, score_candidate_shard, score_shard, table_level
    from .search.shards import shard_range

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
        kept = len(scores.entries)
        videos = len(sets[0]), len(sets[1])
        done = (
            (videos[0], span[1] - span[0])
            if scores.rows is None
            else (span[1] - span[0], videos[1])
        )
        return ShardReport(*done, kept, damaged, prepared.complete)


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
    from .output.writers import write_matches
    from .search.partial_results import read_partial, require_one_search
    from .search.run import CompareReport
    from .search.shards import merge_shards

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
    from .match_report import pair_matrix
    from .output.plot import plot_matrix

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
    from .search import run
    from .search.segments import SegmentMatches
    from .search.video_set import damage_lines

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
    from .search.time_estimate import EXAMPLE, LARGE_PAIRS, TimeEstimate

    queries, database = request.queries, request.database
    pairs = int(queries.lengths.sum()) * int(database.lengths.sum())
    if request.candidates is not None or pairs < LARGE_PAIRS:
        return host.progress
    estimate = TimeEstimate(host.progress, host.say, pairs / len(database), EXAMPLE / len(database))
    return estimate.tell


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
def _after_result(comparison: Comparison) -> Iterator[None]:
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
    from .search.segments import require_selection

    if comparison.finds_segments or comparison.report_file is not None:
        selects = request.selection.leaves_out(len(request.database))
        require_selection(len(request.queries), len(request.database), selects)


def segment_refiner(
    comparison: Comparison, request: SearchRequest, say: Callable[[str], None]
) -> SegmentRefiner | None:
    """What finds ends of segments again, if that was asked for; it says how far it is."""
    from .refinement import VideoRefiner
    from .source_files import SourceFiles

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
    verdict: tuple[float | None, str] | None = None,
) -> None:
    """Write the page of `report_file`, if there is to be one, and say what it shows.

    Args:
        verdict: see `match_report.report_matches`.
    """
    from .match_report import report_matches
    from .search.run import result_info
    from .source_files import SourceFiles

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


@contextmanager
def prepared_search(comparison: Comparison, host: Host) -> Iterator[PreparedSearch]:
    """Open stores, run stage one for listed videos, and build the request of stage two.

    Its stores stay open inside the block; temporary ones are removed at its end. What can fail
    without features fails before a video is decoded.
    """
    with ExitStack() as stack:
        preparation = _Preparation(comparison, host, stack)
        request = preparation.request()
        yield PreparedSearch(request, preparation.complete, preparation.finder)


def open_video_set(
    stack: ExitStack,
    stores: Sequence[tuple[str, str | Path]],
    ids: Iterable[str] | None = None,
    *,
    published: str | None = None,
) -> VideoSet:
    """The videos of stores, which stay open as long as `stack`.

    Args:
        stores: (id prefix, path) of each.
        ids: take those of these ids that the stores hold, if they hold any; None takes all.
        published: see `store.open_store`.
    """
    from .search.video_set import VideoSet
    from .store import open_store

    opened = [stack.enter_context(open_store(path, published=published)) for _, path in stores]
    prefixes = [prefix for prefix, _ in stores]
    if ids is not None:
        stored = {p + i for p, store in zip(prefixes, opened, strict=True) for i in store}
        ids = [video_id for video_id in ids if video_id in stored] or None
    return VideoSet(opened, ids, prefixes)


def store_notes(videos: VideoSet) -> Iterator[str]:
    """What a person should know about the stores of one side."""
    for store in videos.stores:
        if store.failures:
            yield (
                f"{len(store.failures)} videos failed when {store.path} was made and "
                "are not compared (visil-index info --failures)"
            )
    if len({store.encoding == "binary" for store in videos.stores}) > 1:
        yield "some stores are binary and some are not: scores of the binary ones are lower"


class _Preparation:
    """The steps from a comparison to a request."""

    def __init__(self, comparison: Comparison, host: Host, stack: ExitStack) -> None:
        self.comparison, self.config = comparison, comparison.config
        self.host, self.stack = host, stack
        self.complete = True
        self.finder: CandidateFinder | None = None

    def request(self) -> SearchRequest:
        from .search.adapt import adapt_request
        from .search.request import SearchRequest

        self._check_lists()
        queries, database, mirrored, background = self._stored_sets()
        if (
            self.comparison.candidates is not None
            and database
            and not self.comparison.database.opened
        ):
            self.finder = self._opened_finder(database)
        # What is stored already sets fps, dims and sampling of what is not; of two lists the
        # queries come first, since they are few and their errors show at once.
        queries = queries or self._extracted("queries", self.comparison.queries, database)
        database = database or self._extracted("database", self.comparison.database, queries)
        if self.comparison.mirrors and mirrored is None:
            mirrored = self._extracted_mirrored(queries)
        listed = self.comparison.queries.videos
        request = SearchRequest(
            queries,
            database,
            self.host.load_model(),
            self.config.compare,
            mirrored=mirrored,
            background=background,
            selection=self.comparison.selection,
            listed_queries=None if listed is None else [video.id for video in listed],
            segments=self.comparison.finds_segments,
            candidates=self.comparison.candidates,
            gpu_id=self.comparison.gpu_id,
        )
        request = self._with_threshold(request)
        self._give_notes(request)
        if request.config.adapt:
            self.host.say(f"adapting the model to the {len(database)} videos of the database")
        return adapt_request(request)

    def _check_lists(self) -> None:
        """Check what needs the model, but no features."""
        from .search.calibrate import check_rate
        from .search.compatibility import check_adaptable

        comparison, compare = self.comparison, self.config.compare
        if comparison.max_fpr is not None:
            check_rate(comparison.max_fpr, self.host.load_model(), compare, comparison.mirrors)
        database = comparison.database
        if compare.adapt and database.videos is not None:
            check_adaptable(self.host.load_model(), len(database.videos), database.origin)

    def _stored_sets(self) -> tuple[VideoSet | None, ...]:
        """Queries, database, mirrored queries, background: what is stored already, checked."""
        from .search.compatibility import require_background
        from .search.request import check_sets

        sides = self.comparison.queries, self.comparison.database
        queries, database = (self._opened(side) if side.videos is None else None for side in sides)
        mirrored = background = None
        if queries and self.comparison.mirrored:
            published = self.config.compare.published_features
            mirrored = open_video_set(
                self.stack, self.comparison.mirrored, queries.ids, published=published
            )
            self._note_unmirrored(queries, mirrored)
        if self.comparison.background:
            background = self._opened(VideoSource(self.comparison.background))
            listed = {video.id for video in self.comparison.queries.videos or ()}
            require_background(background, listed, self.config.compare.background_top_k)
        if queries or database or background:
            check_sets(
                self.host.load_model(),
                self.config.compare,
                queries=queries,
                database=database,
                mirrored=mirrored,
                background=background,
            )
        return queries, database, mirrored, background

    def _opened_finder(self, database: VideoSet) -> CandidateFinder:
        from .search.candidate_search import CandidateFinder

        finder = CandidateFinder(database, self.host.load_model(), self.comparison.gpu_id)
        for note in finder.notes():
            self.host.note(note)
        return finder

    def _opened(self, source: VideoSource) -> VideoSet:
        if source.opened is not None:
            return source.opened
        published = self.config.compare.published_features
        videos = open_video_set(self.stack, source.stores, published=published)
        for note in store_notes(videos):
            self.host.note(note)
        return videos

    def _extracted(
        self, side: str, source: VideoSource, like: VideoSet | None, mirrored: bool = False
    ) -> VideoSet:
        """Features of listed videos, made with the settings of `like` where that is given."""
        from .search.video_set import VideoSet
        from .store import open_store

        assert source.videos is not None
        config = self._extract_config(side, like, mirrored)
        if source.stores:
            path = source.stores[0][1]
            config = _as_begun(path, config)
        else:
            if side == "database":
                self.host.note("features are kept only with --database_store PATH")
            path = Path(self.stack.enter_context(scratch_folder())) / "features.h5"
        label = "" if source.stores else side
        report = self.host.extract(source.videos, path, config, label)
        self.complete &= report.complete
        store = self.stack.enter_context(open_store(path))
        # What is stored under a refused id is another film.
        usable = [v.id for v in source.videos if v.id in store and v.id not in report.refused]
        if not usable:
            raise InputError(
                f"none of the {len(source.videos)} listed videos ({side}) could be used"
            )
        return VideoSet([store], usable)

    def _extract_config(self, side: str, like: VideoSet | None, mirrored: bool) -> ExtractConfig:
        """Settings of stage one for one side."""
        as_queries = side != "database"
        if mirrored and like is not None:  # as the queries that they are the mirror of
            as_queries = like.spec.query_descriptors > 0
        config = replace(self.config.extract, as_queries=as_queries, mirrored=mirrored)
        if side != "database":
            config = replace(config, insets=self._query_insets())
        return config if like is None else self._as_in(config, like, side)

    def _query_insets(self) -> int | None:
        """Insets to look for in queries: only where they are searched for as well."""
        if not self.config.compare.query_insets:
            return None
        return self.config.extract.insets or self.host.load_model().insets or QUERY_INSETS

    def _as_in(self, config: ExtractConfig, like: VideoSet, side: str) -> ExtractConfig:
        """`config_as_in`, with a note where other settings were given."""
        changed, default = config_as_in(config, like), ExtractConfig()
        dims = changed.dims
        needed = (changed.fps, dims, changed.sampling)
        given = (config.fps, config.dims or dims, config.sampling)
        if given != needed and given != (default.fps, dims, default.sampling):
            self.host.note(
                f"{side} made as {like.path}: fps {changed.fps:g}, dims {dims}, {changed.sampling}"
            )
        return changed

    def _extracted_mirrored(self, queries: VideoSet) -> VideoSet:
        """Mirrored features of listed queries, of those that could be used."""
        usable = set(queries.ids)
        source = self.comparison.queries
        again = [video for video in source.videos or () if video.id in usable]
        mirrored = self._extracted(
            "mirrored queries",
            VideoSource(self.comparison.mirrored, again, source.origin),
            queries,
            mirrored=True,
        )
        self._note_unmirrored(queries, mirrored)
        return mirrored

    def _note_unmirrored(self, queries: VideoSet, mirrored: VideoSet) -> None:
        missing = len(queries) - len(mirrored)
        if missing > 0:
            self.host.note(f"{missing} queries have no mirrored features, scored as they are")

    def _give_notes(self, request: SearchRequest) -> None:
        model, queries = request.model, request.queries
        videos, few = len(request.database), LEVEL_PRIOR_VIDEOS[model.adaptation is not None]
        if request.config.normalize == "database" and videos < few:
            self.host.note(
                f"{videos} database videos are few to normalise scores by: a usual level counts "
                "for more than what queries reach among them"
            )
        if model.layout.query > model.regions and not queries.spec.query_descriptors:
            self.host.note(
                f"the queries in {queries.path} were stored without --as_queries, so without "
                "further views of their pictures: crops and outlines, for instance, are missed "
                "more often"
            )

    def _with_threshold(self, request: SearchRequest) -> SearchRequest:
        """The request with the threshold of `max_fpr`, as the model was calibrated."""
        rate = self.comparison.max_fpr
        return request if rate is None else with_calibrated_threshold(request, rate, self.host)


def with_calibrated_threshold(
    request: SearchRequest, rate: float | None, host: SearchHost
) -> SearchRequest:
    """The request with the threshold of a false-positive rate, as the model was calibrated.

    Its scores are normalised if that is left open, see `search.calibrate.with_calibrated_scores`.

    Args:
        rate: None takes the lowest that the calibration can tell.

    Raises:
        InputError: see `search.calibrate.threshold_for`.
    """
    from .search.calibrate import (
        calibration_for,
        score_chances,
        threshold_for,
        with_calibrated_scores,
    )

    if rate is not None:
        request = with_calibrated_scores(rate, request)
    calibration = calibration_for(request)
    rate = calibration.rates[-1] * score_chances(request) if rate is None else rate
    threshold = threshold_for(rate, request)
    sure = ""
    if calibration.confidence is not None:
        sure = f" with confidence {calibration.confidence:g}"
    normalized = request.config.normalize == "database"
    scores = ", of scores normalised by the database" if normalized else ""
    host.say(
        f"threshold: {threshold:.4f} for --max_fpr {rate:.3g}{scores}, as calibrated on "
        f"{calibration.pairs} unrelated pairs{sure}"
    )
    return replace(request, selection=replace(request.selection, threshold=threshold, rate=rate))


def config_as_in(config: ExtractConfig, like: VideoSet) -> ExtractConfig:
    """Settings of stage one with what stored features were made with: only that can be compared.

    Raises:
        InputError: their frames were picked by a rule that this version does not know.
    """
    from .video import SAMPLING_RULES

    spec = like.spec
    sampling = next((name for name, rule in SAMPLING_RULES.items() if rule == spec.sampling), None)
    if sampling is None:
        raise InputError(
            f"{like.path}: frames picked by the rule {spec.sampling!r}, which this version "
            "does not know; compare it with a store made the same way"
        )
    step = spec.view_step if spec.query_descriptors else config.view_step
    return replace(config, fps=spec.fps, dims=spec.dims, sampling=sampling, view_step=step)


def _as_begun(path: str | Path, config: ExtractConfig) -> ExtractConfig:
    """The settings, with query views and insets only if a store there has them."""
    from .store import read_spec, store_exists

    if not store_exists(path):
        return config
    return replace(config, as_queries=read_spec(path).query_descriptors > 0, insets=None)
