"""One or more stores that are searched again and again, as one object that stays warm."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ..config import CompareConfig, Config, ExtractConfig
from ..default_model import default_model_dir
from ..errors import InputError
from ..output.search_result import SearchResult, Verdict
from ..output.selection import Selection
from ..workflow import (
    Comparison,
    Host,
    VideoSource,
    check_rate_range,
    config_as_in,
    open_video_set,
    prepared_search,
    report_errors,
    segment_refiner,
    store_notes,
    tell_segments,
    write_report,
)
from .arguments import check, store_pairs
from .hosts import PythonHost, Recorder
from .queries import Queries, QueryFinder

if TYPE_CHECKING:
    from ..alignment.segment import Segment
    from ..nets.similarity.pair_scorer import PairScorer
    from ..output.match import Match
    from ..search.candidate_search import CandidateFinder
    from ..search.engine import SearchEngine
    from ..search.pair_alignment import PairMatrix
    from ..search.quick import QuickEngine
    from ..search.request import SearchRequest
    from ..search.score_sink import RestScores
    from ..search.shards import Distribute

DEFAULT_RATE = 0.001  # of verdicts where neither a rate nor a threshold is asked for


@dataclass(frozen=True, eq=False)
class PairComparison:
    """Two videos, frame by frame.

    Attributes:
        query_id, database_id: the two videos.
        matrix: similarities of their frames, with the times of both sides.
        segments: from when to when they match, the most certain first.
    """

    query_id: str
    database_id: str
    matrix: PairMatrix
    segments: tuple[Segment, ...]

    def __repr__(self) -> str:
        rows, columns = self.matrix.values.shape
        return (
            f"<PairComparison of {self.query_id!r} and {self.database_id!r}: {rows} x {columns} "
            f"frames, {len(self.segments)} segments>"
        )


class Index:
    """Stored videos that are searched for copies of others; `Index.open` makes one.

    The networks, the stores and, up to `CompareConfig.resident_mb`, the database's features stay in
    memory, so that the second search takes little more than extracting the query. It sees the
    stores as they were when it was opened. It may be used from several threads, one of which
    searches at a time. Close it, or use it in a `with` block.

    Attributes:
        ids: of all stored videos.
    """

    def __init__(
        self,
        stores: Sequence[tuple[str, str | Path]],
        host: Host,
        config: Config,
        gpu_id: int | None = None,
        *,
        inputs: Sequence[str | Path] = (),
        distribute: Distribute | None = None,
        once: bool = False,
    ) -> None:
        """Open stores for a host; `open` is for Python users.

        Args:
            stores: (id prefix, path) of each.
            host: loads the model and runs stage one.
            config: settings of both stages.
            gpu_id: see `nets.backend.device_scope`.
            inputs: files beside the stores that a report must not replace, as the model's folder.
            distribute: scores the pairs of each search elsewhere, see `search.shards`.
            once: it is made for a single search.

        Raises:
            PipelineError: see `open`.
        """
        from ..search.request import check_sets

        self._host, self._gpu_id, self._inputs = host, gpu_id, inputs
        self._distribute, self._once = distribute, once
        self._lock = threading.RLock()
        self._stack = ExitStack()
        self._engine: SearchEngine | None = None
        self._quick: QuickEngine | None = None
        self._scorer: PairScorer | None = None
        self._candidates: CandidateFinder | None = None
        self._closed = False
        with ExitStack() as opening:
            self._database = open_video_set(
                opening, stores, published=config.compare.published_features
            )
            self._finder = QueryFinder(self._database)
            self._source = VideoSource(stores, opened=self._database)
            self._model = host.load_model()
            check_sets(self._model, config.compare, database=self._database)
            self._notes = tuple(store_notes(self._database))
            if config.compare.adapt:
                config = self._adapted(config)
            self._config = replace(config, extract=config_as_in(config.extract, self._database))
            self._stack = opening.pop_all()
        for note in self._notes:
            host.note(note)

    @classmethod
    def open(
        cls,
        *stores: str | Path | Sequence[str | Path] | Mapping[str, str | Path],
        model_dir: str | Path | None = None,
        config: CompareConfig | None = None,
        extract_config: ExtractConfig | None = None,
        gpu_id: int | None = None,
    ) -> Self:
        """Open stores to be searched.

        Args:
            stores: path of each, or `{prefix: path}`, where the prefix stands before all ids of a
                store, so that stores with equal ids go together.
            model_dir: the model that the stores were made with; None takes the included one.
            config: settings of the comparison. With `adapt` the model is adapted to the stored
                videos once, here.
            extract_config: settings of stage one for queries; fps, dims and sampling are those of
                the stores.
            gpu_id: see `nets.backend.device_scope`.

        Raises:
            InputError: no store, one without videos, two that hold the same id, or an argument of
                another type.
            FingerprintMismatchError: a store was made with another model, or two with different
                settings.
            PipelineError: of stores or model; see `errors`.
        """
        pairs = store_pairs(stores)
        model_dir = default_model_dir() if model_dir is None else model_dir
        config, extract_config = config or CompareConfig(), extract_config or ExtractConfig()
        check(model_dir, "model_dir", (str, Path), "the path of a model's folder")
        check(config, "config", (CompareConfig,), "a CompareConfig")
        check(extract_config, "extract_config", (ExtractConfig,), "an ExtractConfig")
        check(gpu_id, "gpu_id", (int, type(None)), "the number of a GPU, -1 for the CPU, or None")
        settings = Config(extract_config, config)
        return cls(pairs, PythonHost(model_dir, gpu_id), settings, gpu_id, inputs=[model_dir])

    @property
    def ids(self) -> Sequence[str]:
        """Of all stored videos."""
        return self._database.ids

    def __len__(self) -> int:
        return len(self._database)

    def __contains__(self, video_id: object) -> bool:
        return video_id in self._finder.numbers

    def __repr__(self) -> str:
        paths = ", ".join(str(store.path) for store in self._database.stores)
        return f"<Index of {len(self)} videos in {paths}, model {self._model.name!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the stores and let the memory go. Nothing can be searched after that."""
        with self._lock:
            self._engine = self._quick = self._scorer = self._candidates = None
            self._closed = True
            self._stack.close()

    def search(
        self,
        videos: Queries | None = None,
        *,
        ids: str | Iterable[str] | None = None,
        top_k: int | None = 10,
        threshold: float | None = None,
        max_fpr: float | None = None,
        mirror_queries: bool = False,
        segments: bool = True,
        refine_segments: bool = False,
        video_root: str | Path | None = None,
        report_file: str | Path | None = None,
        candidates: int | float | str | None = None,
    ) -> SearchResult:
        """Find the stored videos that are most like one or more queries.

        Videos are extracted as queries (`ExtractConfig.as_queries`); their features are kept for
        this call only. Of several videos a bad one raises nothing, `SearchResult.failures` names
        it.

        Args:
            videos: a file, a folder, several of these, `VideoRef`s, or `{id: path}`. Without an id
                the path is the id.
            ids: stored videos as queries, in place of `videos`. A query is not a match of itself.
            top_k: the best N of each query; None gives all.
            threshold: leave out lower scores; pairs that reach it have the verdict match.
            max_fpr: share of unrelated pairs that may be called a match; nothing is left out for
                it. Without it and without a threshold it is 0.001 if the model is calibrated for
                this way of comparing, else there is no verdict.
            mirror_queries: score the videos mirrored as well, and count the better score.
            segments: find out from when to when the two videos of each match show the same.
            refine_segments: the same, and find the ends again in the videos where these are at
                hand; `SearchResult.notes` says why some were not.
            video_root: where moved videos are, see `source_files.SourceFiles`.
            report_file: write a page with pictures of all matches there, see `match_report`.
            candidates: compare only so many videos with each query, those that the candidate
                indices of the stores name (`index_candidates`): a number, or a share of the
                database ("1%" or 0.01). None compares all.

        Raises:
            InputError: an id or file does not exist, a number cannot be used, the model has no
                calibration for `max_fpr`, or none of several videos could be used.
            VideoError: the only video could not be used.
            ReportError: the report could not be written; its `result` is what is returned else.
            PipelineError: of stores or model; see `errors`.
        """
        from ..candidates import CandidateCount

        count = None if candidates is None else CandidateCount.parse(candidates)
        if (videos is None) == (ids is None):
            raise InputError("give either videos or ids of stored videos to search for")
        if mirror_queries and ids is not None:
            raise InputError(
                "mirror_queries (--mirrored_queries) is for files: a stored video was extracted "
                "one way; search for its file"
            )
        selection = Selection(top_k, threshold)
        check_rate_range(max_fpr)
        with self._lock:
            self._require_open()
            if count is not None:
                self._candidate_finder()
            queries = self._finder.listed(videos) if ids is None else self._finder.stored(ids)
            comparison = Comparison(
                queries,
                self._source,
                self._config,
                mirror_queries=mirror_queries,
                selection=selection,
                max_fpr=max_fpr,
                segments=segments,
                refine_segments=refine_segments,
                video_root=video_root,
                report_file=report_file,
                other_inputs=self._inputs,
                candidates=count,
                gpu_id=self._gpu_id,
            )
            return self._search(comparison)

    def compare(self, query: str | Path, database: str | Path) -> PairComparison:
        """The frame matrix and the segments of a pair of videos.

        Args:
            query, database: stored ids or files; a text that is a stored id is that video. Files
                are extracted for this call only.

        Raises:
            InputError: neither a stored id nor a file.
            VideoError: a file could not be used.
            PipelineError: of stores or model; see `errors`.
        """
        from ..search.pair_alignment import PairAligner

        with self._lock:
            self._require_open()
            sides = self._finder.one(query, "query"), self._finder.one(database, "database")
            comparison = Comparison(*sides, self._config, gpu_id=self._gpu_id)
            with self._prepared(comparison, Recorder(self._host, self._model)) as request:
                aligner = PairAligner(request, scorer=self._pair_scorer(request))
                matrix = aligner.matrix(0, 0)
                return PairComparison(
                    request.queries.ids[0],
                    request.database.ids[0],
                    matrix,
                    tuple(aligner.segments(matrix)),
                )

    def _search(self, comparison: Comparison) -> SearchResult:
        """All of a search. Its rate gives verdicts, and leaves nothing out."""
        from ..search.calibrate import check_rate, with_calibrated_scores
        from ..search.run import level_scores, levels_of

        rate = comparison.max_fpr
        if rate is not None:
            check_rate(rate, self._model, self._config.compare, comparison.mirrors)
        comparison = replace(comparison, max_fpr=None)
        recorder = Recorder(self._host, self._model)
        with self._prepared(comparison, recorder) as request:
            judged = request
            if rate is not None:
                request = judged = with_calibrated_scores(rate, request)
            elif self._scored_here(request) and request.selection.threshold is None:
                judged = with_calibrated_scores(DEFAULT_RATE, request)
            rest = None if judged is request else level_scores(judged)
            query_ids, matches = self._matches(comparison, request, recorder, rest)
            verdict = _verdict(judged, rate)
            if rest is not None:
                verdict = replace(verdict, levels=levels_of(rest, judged))
            result = self._result(query_ids, matches, request, verdict, recorder)
            with report_errors(result):
                write_report(comparison, request, matches, recorder, verdict=verdict)
            return replace(result, notes=(*self._notes, *recorder.notes))

    @contextmanager
    def _prepared(self, comparison: Comparison, recorder: Recorder) -> Iterator[SearchRequest]:
        with ExitStack() as stack:
            try:
                prepared = stack.enter_context(prepared_search(comparison, recorder))
            except InputError as error:
                raise recorder.reason(error) from error
            yield prepared.request

    def _matches(
        self,
        comparison: Comparison,
        request: SearchRequest,
        recorder: Recorder,
        rest: RestScores | None,
    ) -> tuple[Sequence[str], list[Match]]:
        """Ids of all queries, and their matches, best first; `rest` as in `find_matches`."""
        from ..search.run import find_matches
        from ..search.segments import SegmentMatches

        at_hand = self._scored_here(request)
        if at_hand:
            self._warm_up(request)
        table, _ = find_matches(
            request,
            refiner=segment_refiner(comparison, request, recorder.say),
            engine=self._engine if at_hand else None,
            quick=self._quick if at_hand else None,
            finder=None if request.candidates is None else self._candidate_finder(),
            scorer=None if at_hand else self._pair_scorer(request),
            progress=self._host.progress,
            of_database=comparison.queries.opened is not None,
            distribute=self._distribute,
            rest=rest,
        )
        matches: list[Match] = []
        for query_id in table.query_ids:
            matches += sorted(table.matches(query_id), key=lambda match: -match.score)
        if isinstance(table, SegmentMatches) and (
            comparison.refine_segments or table.report.thinned
        ):
            tell_segments(table.report, recorder)
        return table.query_ids, matches

    def _scored_here(self, request: SearchRequest) -> bool:
        """Whether all pairs are scored here, with features that stay for the next search."""
        return request.candidates is None and self._distribute is None

    def _warm_up(self, request: SearchRequest) -> None:
        """Have one engine ready, which keeps features on the device: the quick one if it serves."""
        from ..search.engine import SearchEngine
        from ..search.pair_alignment import is_normalized
        from ..search.quick import QuickEngine

        scorer, resident_mb = self._pair_scorer(request), self._config.compare.resident_mb
        if request.selection.top_k is not None and not is_normalized(request):
            self._quick = self._quick or QuickEngine.of(
                request, scorer, resident_mb=resident_mb, once=self._once
            )
            if self._quick is not None:
                self._engine = None
                return
        self._quick = None
        self._engine = self._engine or SearchEngine(request, scorer=scorer, resident_mb=resident_mb)

    def _candidate_finder(self) -> CandidateFinder:
        """The candidate indices, opened once."""
        from ..search.candidate_search import CandidateFinder

        if self._candidates is None:
            assert self._source.opened is not None
            self._candidates = CandidateFinder(self._source.opened, self._model, self._gpu_id)
            self._candidates.tell(self._host.note)
        return self._candidates

    def _pair_scorer(self, request: SearchRequest) -> PairScorer:
        from ..search.engine import pair_scorer

        if self._scorer is None:
            self._scorer = pair_scorer(request)
        return self._scorer

    def _result(
        self,
        query_ids: Sequence[str],
        matches: Sequence[Match],
        request: SearchRequest,
        verdict: Verdict,
        recorder: Recorder,
    ) -> SearchResult:
        from ..search.run import result_info
        from ..search.video_set import damage_lines

        numbers = self._finder.numbers
        names = {match.database_id for match in matches}
        return SearchResult(
            tuple(query_ids),
            tuple(matches),
            verdict,
            result_info(request),
            paths={name: self._database.source(numbers[name]).path for name in names},
            failures=recorder.failures,
            damaged=damage_lines(*request.video_sets),
            notes=(*self._notes, *recorder.notes),
        )

    def _adapted(self, config: Config) -> Config:
        """Adapt the model to the stored videos; the settings then ask for it no more."""
        from ..search.adapt import adapt

        self._host.say(f"adapting the model to the {len(self)} videos of the index")
        checksums = config.compare.checksums
        self._model = adapt(self._database, self._model, checksums=checksums).model
        return replace(config, compare=replace(config.compare, adapt=False))

    def _require_open(self) -> None:
        if self._closed:
            raise InputError("this index was closed: open it again")


def _verdict(request: SearchRequest, max_fpr: float | None) -> Verdict:
    """From which score on pairs are called a match."""
    from ..search.calibrate import threshold_for

    normalized = request.config.normalize == "database"
    if request.selection.threshold is not None:
        return Verdict(request.selection.threshold, normalized=normalized)
    rate = DEFAULT_RATE if max_fpr is None else max_fpr
    try:
        return Verdict(threshold_for(rate, request), rate, normalized=normalized)
    except InputError as error:
        if max_fpr is not None:
            raise
        return Verdict(reason=str(error).removeprefix("max_fpr: "))
