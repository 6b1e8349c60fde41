"""From a comparison to a request of stage two: stores, stage one, threshold, adaptation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import LEVEL_PRIOR_VIDEOS, ExtractConfig
from ..errors import InputError
from ..scratch import scratch_folder
from .comparison import Comparison, VideoSource
from .host import Host, SearchHost

if TYPE_CHECKING:
    from ..search.candidate_search import CandidateFinder
    from ..search.request import SearchRequest
    from ..search.video_set import VideoSet


QUERY_INSETS = 2  # looked for in queries where neither settings nor model say how many


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
    from ..search.video_set import VideoSet
    from ..store import open_store

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
        from ..search.adapt import adapt_request
        from ..search.request import SearchRequest

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
        from ..search.calibrate import check_rate
        from ..search.compatibility import check_adaptable

        comparison, compare = self.comparison, self.config.compare
        if comparison.max_fpr is not None:
            check_rate(comparison.max_fpr, self.host.load_model(), compare, comparison.mirrors)
        database = comparison.database
        if compare.adapt and database.videos is not None:
            check_adaptable(self.host.load_model(), len(database.videos), database.origin)

    def _stored_sets(self) -> tuple[VideoSet | None, ...]:
        """Queries, database, mirrored queries, background: what is stored already, checked."""
        from ..search.compatibility import require_background
        from ..search.request import check_sets

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
        from ..search.candidate_search import CandidateFinder

        finder = CandidateFinder(database, self.host.load_model(), self.comparison.gpu_id)
        finder.tell(self.host.note)
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
        from ..search.video_set import VideoSet
        from ..store import open_store

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
        own = (config.fps, config.dims or dims, config.sampling)
        if own != needed and own != (default.fps, dims, default.sampling):
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
    from ..search.calibrate import (
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
    from ..video import SAMPLING_RULES

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
    from ..store import read_spec, store_exists

    if not store_exists(path):
        return config
    return replace(config, as_queries=read_spec(path).query_descriptors > 0, insets=None)
