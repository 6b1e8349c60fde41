"""One or more stores that are searched again and again, as one object that stays warm."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from . import api
from .config import CompareConfig, Config, ExtractConfig
from .errors import InputError, VideoError
from .inputs import printable_path, scan_folder
from .output.search_result import SearchResult, Verdict
from .output.selection import Selection
from .records import Failure, VideoRef
from .workflow import (
    Comparison,
    Host,
    VideoSource,
    config_as_in,
    open_video_set,
    prepared_search,
    store_notes,
)

if TYPE_CHECKING:
    from .alignment.segment import Segment
    from .candidates import CandidateCount
    from .extraction.report import ExtractReport
    from .nets.model.model import Model
    from .nets.similarity.pair_scorer import PairScorer
    from .output.match import Match, MatchTable
    from .search.candidate_search import CandidateFinder
    from .search.engine import SearchEngine
    from .search.pair_alignment import PairMatrix
    from .search.request import SearchRequest
    from .search.video_set import VideoSet

DEFAULT_RATE = 0.001  # of verdicts where neither a rate nor a threshold is asked for
_MAX_COMPARED_IDS = 50_000  # in the search for an id that is spelled nearly alike: a second

Queries = str | Path | Mapping[str, str | Path] | Iterable[str | Path | VideoRef]


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
    ) -> None:
        """Open stores for a host; `open` is for Python users.

        Args:
            stores: (id prefix, path) of each.
            host: loads the model and runs stage one.
            config: settings of both stages.
            gpu_id: see `nets.backend.device_scope`.

        Raises:
            PipelineError: see `open`.
        """
        from .search.request import check_sets

        self._host, self._gpu_id = host, gpu_id
        self._lock = threading.RLock()
        self._stack = ExitStack()
        self._engine: SearchEngine | None = None
        self._scorer: PairScorer | None = None
        self._candidates: CandidateFinder | None = None
        self._closed = False
        with ExitStack() as opening:
            self._database = open_video_set(opening, stores)
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
        *stores: str | Path | Mapping[str, str | Path],
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
            InputError: no store, one without videos, or two that hold the same id.
            FingerprintMismatchError: a store was made with another model, or two with different
                settings.
            PipelineError: of stores or model; see `errors`.
        """
        pairs = [pair for store in stores for pair in api._stores(store)]
        if not pairs:
            raise InputError("no store given")
        settings = Config(extract_config or ExtractConfig(), config or CompareConfig())
        return cls(pairs, _PythonHost(model_dir, gpu_id), settings, gpu_id)

    @property
    def ids(self) -> Sequence[str]:
        """Of all stored videos."""
        return self._database.ids

    def __len__(self) -> int:
        return len(self._database)

    def __contains__(self, video_id: object) -> bool:
        return video_id in self._numbers

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
            self._engine = self._scorer = self._candidates = None
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
        segments: bool = True,
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
            segments: find out from when to when the two videos of each match show the same.
            candidates: compare only so many videos with each query, those that the candidate
                indices of the stores name (`visil-index index`): a number, or a share of the
                database ("1%" or 0.01). None compares all.

        Raises:
            InputError: an id or file does not exist, a number cannot be used, the model has no
                calibration for `max_fpr`, or none of several videos could be used.
            VideoError: the only video could not be used.
            PipelineError: of stores or model; see `errors`.
        """
        from .candidates import CandidateCount
        from .search.calibrate import check_rate

        count = None if candidates is None else CandidateCount.parse(candidates)
        if (videos is None) == (ids is None):
            raise InputError("give either videos or ids of stored videos to search for")
        if threshold is not None and max_fpr is not None:
            raise InputError("give threshold or max_fpr, not both")
        selection = Selection(top_k, threshold)
        with self._lock:
            self._require_open()
            if count is not None:
                self._finder()
            if max_fpr is not None:
                check_rate(max_fpr, self._model, self._config.compare, mirrored=False)
            if ids is not None:
                queries = VideoSource(opened=self._stored([ids] if isinstance(ids, str) else ids))
                if top_k is not None:  # one of them is the query itself
                    selection = replace(selection, top_k=top_k + 1)
            else:
                assert videos is not None
                queries = self._listed(videos)
            recorder = _Recorder(self._host, self._model)
            database = VideoSource(opened=self._database)
            with self._prepared(queries, database, recorder, selection, segments, count) as request:
                verdict = _verdict(request, max_fpr)
                table = self._matches(request)
                best = list(self._selected(table, top_k, leave_out_same=ids is not None))
                return self._result(
                    table, best, request, verdict=verdict, recorder=recorder, top_k=top_k
                )

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
        from .search.pair_alignment import PairAligner

        with self._lock:
            self._require_open()
            sides = self._side(query), self._side(database)
            recorder = _Recorder(self._host, self._model)
            with self._prepared(*sides, recorder) as request:
                aligner = PairAligner(request, scorer=self._pair_scorer(request))
                matrix = aligner.matrix(0, 0)
                return PairComparison(
                    request.queries.ids[0],
                    request.database.ids[0],
                    matrix,
                    tuple(aligner.segments(matrix)),
                )

    @contextmanager
    def _prepared(
        self,
        queries: VideoSource,
        database: VideoSource,
        recorder: _Recorder,
        selection: Selection | None = None,
        segments: bool = False,
        candidates: CandidateCount | None = None,
    ) -> Iterator[SearchRequest]:
        comparison = Comparison(
            queries,
            database,
            self._config,
            selection=selection or Selection(),
            segments=segments,
            candidates=candidates,
            gpu_id=self._gpu_id,
        )
        with ExitStack() as stack:
            try:
                prepared = stack.enter_context(prepared_search(comparison, recorder))
            except InputError as error:
                raise recorder.reason(error) from error
            yield prepared.request

    def _matches(self, request: SearchRequest) -> MatchTable:
        from .search.engine import SearchEngine
        from .search.run import find_matches

        if request.candidates is not None:
            return find_matches(request, finder=self._finder(), scorer=self._pair_scorer(request))[
                0
            ]
        if self._engine is None:
            scorer = self._pair_scorer(request)
            resident_mb = self._config.compare.resident_mb
            self._engine = SearchEngine(request, scorer=scorer, resident_mb=resident_mb)
        return find_matches(request, engine=self._engine, progress=self._host.progress)[0]

    def _finder(self) -> CandidateFinder:
        """The candidate indices, opened once."""
        from .search.candidate_search import CandidateFinder

        if self._candidates is None:
            self._candidates = CandidateFinder(self._database, self._model)
            for note in self._candidates.notes():
                self._host.note(note)
        return self._candidates

    def _pair_scorer(self, request: SearchRequest) -> PairScorer:
        from .search.engine import pair_scorer

        if self._scorer is None:
            self._scorer = pair_scorer(request)
        return self._scorer

    @staticmethod
    def _selected(table: MatchTable, top_k: int | None, leave_out_same: bool) -> Iterator[Match]:
        """The matches of all queries, best first."""
        for query_id in table.query_ids:
            ranked = sorted(table.matches(query_id), key=lambda match: -match.score)
            if leave_out_same:
                ranked = [match for match in ranked if match.database_id != query_id]
            yield from ranked[:top_k]

    def _result(
        self,
        table: MatchTable,
        matches: Sequence[Match],
        request: SearchRequest,
        *,
        verdict: Verdict,
        recorder: _Recorder,
        top_k: int | None,
    ) -> SearchResult:
        from .search.run import result_info
        from .search.video_set import damage_lines

        names = {match.database_id for match in matches}
        return SearchResult(
            tuple(table.query_ids),
            tuple(matches),
            verdict,
            replace(result_info(request), top_k=top_k),
            paths={name: self._database.source(self._numbers[name]).path for name in names},
            failures=recorder.failures,
            damaged=damage_lines(*request.video_sets),
            notes=(*self._notes, *recorder.notes),
        )

    def _adapted(self, config: Config) -> Config:
        """Adapt the model to the stored videos; the settings then ask for it no more."""
        from .search.adapt import adapt

        self._host.say(f"adapting the model to the {len(self)} videos of the index")
        checksums = config.compare.checksums
        self._model = adapt(self._database, self._model, checksums=checksums).model
        return replace(config, compare=replace(config.compare, adapt=False))

    def _require_open(self) -> None:
        if self._closed:
            raise InputError("this index was closed: open it again")

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {video_id: number for number, video_id in enumerate(self.ids)}

    def _stored(self, ids: Iterable[str]) -> VideoSet:
        chosen = list(dict.fromkeys(ids))
        for video_id in chosen:
            if video_id not in self._numbers:
                raise InputError(
                    f"no stored video has the id {video_id!r}{_suggestion(video_id, self.ids)}"
                )
        return self._database.subset(chosen)

    def _side(self, video: str | Path) -> VideoSource:
        """A stored video or a file."""
        if isinstance(video, str) and video in self._numbers:
            return VideoSource(opened=self._stored([video]))
        if os.path.isdir(video):
            raise InputError(f"{video}: is a folder, expected a video or the id of a stored one")
        return self._listed(video)

    def _listed(self, videos: Queries) -> VideoSource:
        if isinstance(videos, Mapping):
            refs: Sequence[VideoRef] = api._refs(videos, "")
        else:
            paths = [videos] if isinstance(videos, (str, Path)) else list(videos)
            refs = refs_of(paths)
        if not refs:
            raise InputError("no video given to search for")
        if len(refs) == 1 and not os.path.exists(refs[0].path):
            self._refuse_missing(refs[0])
        return VideoSource(videos=refs)

    def _refuse_missing(self, ref: VideoRef) -> None:
        name = printable_path(ref.path)
        if name in self._numbers:
            hint = "; a stored video has this id: give it as ids (--id)"
        else:
            hint = _suggestion(name, self.ids)
        raise InputError(f"{name}: no such file{hint}")


class _PythonHost:
    """A `workflow.Host` that says nothing."""

    def __init__(self, model_dir: str | Path | None, gpu_id: int | None) -> None:
        self._model_dir, self._gpu_id = model_dir, gpu_id
        self._model: Model | None = None

    def load_model(self) -> Model:
        from .default_model import default_model_dir
        from .nets.formats import loader

        if self._model is None:
            self._model = loader.load_model(self._model_dir or default_model_dir())
        return self._model

    def extract(
        self, videos: Sequence[VideoRef], store: str | Path, config: ExtractConfig, label: str
    ) -> ExtractReport:
        from .extraction import run

        net = api._network(self.load_model().with_dims(config.dims), config, self._gpu_id)
        return run.extract_features(videos, store, net, config)

    def note(self, text: str) -> None:
        pass

    def say(self, text: str) -> None:
        pass

    def progress(self, done: int, total: int) -> None:
        pass


class _Recorder:
    """A `workflow.Host` for one call: passes on to another one, and remembers for the result."""

    def __init__(self, host: Host, model: Model) -> None:
        self._host, self._model = host, model
        self.notes: list[str] = []
        self.failures: dict[str, Failure] = {}
        self._unusable: list[Failure] = []  # all that were listed at once

    def load_model(self) -> Model:
        return self._model

    def extract(
        self, videos: Sequence[VideoRef], store: str | Path, config: ExtractConfig, label: str
    ) -> ExtractReport:
        report = self._host.extract(videos, store, config, label)
        self.failures |= report.failures
        if len(report.failures) == len(videos):
            self._unusable = list(report.failures.values())
        self.notes += [f"{video_id}: {note}" for video_id, note in report.notes.items()]
        return report

    def note(self, text: str) -> None:
        self.notes.append(text)
        self._host.note(text)

    def say(self, text: str) -> None:
        self._host.say(text)

    def progress(self, done: int, total: int) -> None:
        self._host.progress(done, total)

    def reason(self, error: InputError) -> InputError | VideoError:
        """The error, or where no video could be used the one that says why."""
        failures = self._unusable
        if not failures:
            return error
        first = failures[0]
        if len(failures) == 1:
            return VideoError(first.reason, f"{first.id}: {first.detail}")
        return InputError(
            f"none of the {len(failures)} videos could be used; {first.id}: {first.reason}: "
            f"{first.detail}"
        )


def refs_of(paths: Iterable[str | Path | VideoRef]) -> list[VideoRef]:
    """Files and the videos of folders, each once; the path of a file is its id.

    Raises:
        InputError: a store, a folder without videos, or an id that is used twice.
    """
    refs: dict[str, VideoRef] = {}
    for item in paths:
        if isinstance(item, VideoRef):
            listed: Iterable[VideoRef] = [item]
        elif os.path.isdir(item) and not api._are_stores(item):
            listed = [replace(ref, id=printable_path(ref.path)) for ref in scan_folder(item)]
        else:
            listed = [_file_ref(item)]
        for ref in listed:
            if refs.setdefault(ref.id, ref).path != ref.path:
                raise InputError(f"id {ref.id!r} is used twice; ids must be unique")
    return list(refs.values())


def _file_ref(path: str | Path) -> VideoRef:
    if not isinstance(path, (str, Path)):
        raise InputError(f"{path!r} is neither a path nor a VideoRef")
    if api._are_stores(path):
        raise InputError(
            f"{path}: is a store, expected videos; the videos of a store are compared by "
            "compute_similarity (visil-index compare --query_store)"
        )
    try:
        return VideoRef(printable_path(str(path)), str(path))
    except ValueError as error:
        raise InputError(f"video {path!r}: {error}") from error


def _verdict(request: SearchRequest, max_fpr: float | None) -> Verdict:
    """From which score on pairs are called a match."""
    from .search.calibrate import threshold_for

    if request.selection.threshold is not None:
        return Verdict(request.selection.threshold)
    rate = DEFAULT_RATE if max_fpr is None else max_fpr
    try:
        return Verdict(threshold_for(rate, request), rate)
    except InputError as error:
        if max_fpr is not None:
            raise
        return Verdict(reason=str(error).removeprefix("max_fpr: "))


def _suggestion(text: str, ids: Sequence[str]) -> str:
    """The stored id that was probably meant, for a message."""
    name = os.path.splitext(os.path.basename(text))[0].lower()
    alike = [i for i in ids if name and os.path.splitext(os.path.basename(i))[0].lower() == name]
    if not alike and len(ids) <= _MAX_COMPARED_IDS:
        alike = get_close_matches(text, ids, n=1)
    if alike:
        return f"; did you mean {alike[0]!r}?"
    return f"; the index holds {len(ids)} videos, such as {ids[0]!r} (visil-index info --ids)"
