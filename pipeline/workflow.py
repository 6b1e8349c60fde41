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
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from .config import Config, ExtractConfig
from .errors import InputError
from .output.selection import Selection
from .output.target import check_extension, check_output_file, opened_output
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
        if self.max_fpr is not None and self.selection.threshold is not None:
            raise InputError("give threshold or max_fpr, not both")
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


def compare(comparison: Comparison, host: Host) -> tuple[CompareReport, bool]:
    """Do all of a comparison and write its result.

    Returns:
        What stage two did, and whether stage one stored every listed video.

    Raises:
        PipelineError: of lists, stores, model or output; see `errors`.
    """
    from .search.run import compute_similarity

    if comparison.output_file is None:
        raise InputError("no output_file given")
    with prepared_search(comparison, host) as prepared:
        _require_selection(comparison, prepared.request)
        matches: list[Match] = []
        report = compute_similarity(
            prepared.request,
            comparison.output_file,
            file_format=comparison.file_format,
            info_file=comparison.info_file,
            refiner=_refiner(comparison, prepared.request),
            on_matches=matches.extend if comparison.report_file is not None else None,
            progress=_estimate(prepared.request, host),
            finder=prepared.finder,
        )
        _tell_segments(report.segments, host)
        _write_report(comparison, prepared.request, matches, host)
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
    """
    from .search import run
    from .search.segments import SegmentMatches
    from .search.video_set import damage_lines

    with prepared_search(comparison, host) as prepared:
        request = prepared.request
        _require_selection(comparison, request)
        refiner = _refiner(comparison, request)
        table, _ = run.find_matches(
            request, refiner=refiner, progress=host.progress, finder=prepared.finder
        )
        matches = {query_id: table.matches(query_id) for query_id in table.query_ids}
        if isinstance(table, SegmentMatches):
            _tell_segments(table.report, host)
        listed = [match for of_query in matches.values() for match in of_query]
        _write_report(comparison, request, listed, host)
        return matches, damage_lines(*request.video_sets)


def _estimate(request: SearchRequest, host: Host) -> Callable[[int, int], None]:
    """The host's progress, and for a long search a line that says how long it takes."""
    from .search.time_estimate import EXAMPLE, LARGE_PAIRS, TimeEstimate

    queries, database = request.queries, request.database
    pairs = int(queries.lengths.sum()) * int(database.lengths.sum())
    if request.candidates is not None or pairs < LARGE_PAIRS:
        return host.progress
    estimate = TimeEstimate(host.progress, host.say, pairs / len(database), EXAMPLE / len(database))
    return estimate.tell


def _require_selection(comparison: Comparison, request: SearchRequest) -> None:
    """Refuse to align all pairs of large sets, for segments or for a report."""
    from .search.segments import require_selection

    if comparison.finds_segments or comparison.report_file is not None:
        selects = request.selection.leaves_out(len(request.database))
        require_selection(len(request.queries), len(request.database), selects)


def _refiner(comparison: Comparison, request: SearchRequest) -> SegmentRefiner | None:
    from .refinement import VideoRefiner
    from .source_files import SourceFiles

    if not comparison.refine_segments:
        return None
    return VideoRefiner(request, comparison.config.extract, SourceFiles(comparison.video_root))


def _tell_segments(report: SegmentReport | None, host: Host) -> None:
    """Say what was found, and which segments could not be refined."""
    if report is None:
        return
    host.say(f"{report.segments} segments in {report.marked} of {report.pairs} matches")
    if report.refinement is None:
        return
    host.say(f"{report.refinement.refined} of {report.refinement.segments} segments refined")
    for reason, ids in report.refinement.reasons.items():
        more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
        host.note(f"not refined in {', '.join(ids[:3])}{more}: {reason}")


def _write_report(
    comparison: Comparison, request: SearchRequest, matches: Sequence[Match], host: Host
) -> None:
    from .match_report import report_matches
    from .search.run import result_info
    from .source_files import SourceFiles

    if comparison.report_file is None:
        return
    locate = SourceFiles(comparison.video_root).locate
    summary = report_matches(
        comparison.report_file, request, matches, result_info(request), locate=locate
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
    stack: ExitStack, stores: Sequence[tuple[str, str | Path]], ids: Iterable[str] | None = None
) -> VideoSet:
    """The videos of stores, which stay open as long as `stack`.

    Args:
        stores: (id prefix, path) of each.
        ids: take those of these ids that the stores hold, if they hold any; None takes all.
    """
    from .search.video_set import VideoSet
    from .store import open_store

    opened = [stack.enter_context(open_store(path)) for _, path in stores]
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
        self._give_notes(request)
        request = self._with_threshold(request)
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
            mirrored = open_video_set(self.stack, self.comparison.mirrored, queries.ids)
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

        finder = CandidateFinder(database, self.host.load_model())
        for note in finder.notes():
            self.host.note(note)
        return finder

    def _opened(self, source: VideoSource) -> VideoSet:
        if source.opened is not None:
            return source.opened
        videos = open_video_set(self.stack, source.stores)
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
        from .search.score_normalization import PRIOR_VIDEOS

        model, queries = request.model, request.queries
        videos = len(request.database)
        if request.config.normalize != "none" and videos < PRIOR_VIDEOS:
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
    request: SearchRequest, rate: float, host: SearchHost
) -> SearchRequest:
    """The request with the threshold of a false-positive rate, as the model was calibrated.

    Raises:
        InputError: see `search.calibrate.threshold_for`.
    """
    from .search.calibrate import calibration_for, threshold_for

    calibration = calibration_for(request)
    threshold = threshold_for(rate, request)
    sure = ""
    if calibration.confidence is not None:
        sure = f" with confidence {calibration.confidence:g}"
    host.say(
        f"threshold: {threshold:.4f} for --max_fpr {rate:g}, as calibrated on "
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
    return replace(config, fps=spec.fps, dims=spec.dims, sampling=sampling)


def _as_begun(path: str | Path, config: ExtractConfig) -> ExtractConfig:
    """The settings, with query views and insets only if a store there has them."""
    from .store import read_spec

    if not Path(path).exists():
        return config
    return replace(config, as_queries=read_spec(path).query_descriptors > 0, insets=None)
