"""The two stages as functions for Python use; the command line does the same with messages."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace as with_fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import CompareConfig, Config, DuplicatesConfig, ExtractConfig, KeepRule
from .default_model import default_model_dir
from .errors import InputError, PipelineWarning, ReportError
from .inputs import check_prefix, read_list, refuse_duplicates, scan_folder
from .records import VideoRef

if TYPE_CHECKING:
    from .candidates import IndexReport
    from .extraction.report import ExtractReport
    from .extraction.run import Progress
    from .nets.extractor.feature_net import FeatureNet
    from .nets.model.model import Model
    from .output.duplicates import DuplicateReport
    from .output.match import Match
    from .workflow import VideoSource

Videos = str | Path | Mapping[str, str | Path] | Sequence[VideoRef]
Stores = str | Path | Sequence[str | Path] | Mapping[str, str | Path]

_EXPECTED = "a path, several, or a dictionary of paths"
_CACHED_NETWORKS = 2  # that of a database, and that of queries
_networks: dict[tuple[object, ...], FeatureNet] = {}  # the one used last stands last


def extract_features(
    videos: Videos,
    store: str | Path,
    model_dir: str | Path | None = None,
    config: ExtractConfig | None = None,
    *,
    retry_failed: bool = False,
    replace: str = "never",
    gpu_id: int | None = None,
    progress: Progress | None = None,
    extensions: Sequence[str] = (),
    all_files: bool = False,
    follow_links: bool = False,
    id_prefix: str = "",
) -> ExtractReport:
    """Stage one: bring a feature store up to date with a list of videos.

    Args:
        videos: a list file (lines `id<TAB>path`), a folder, `{id: path}`, or `VideoRef`s.
        store: path ending in .h5 or .zarr; made if it does not exist.
        model_dir: None takes the shipped model.
        config, retry_failed, replace, progress: see `extraction.run.extract_features`.
        gpu_id: see `nets.backend.device_scope`.
        extensions, all_files, follow_links: of a folder, see `inputs.scan_folder`.
        id_prefix: stands before every id, so that a second collection with the same names fits
            into the store.

    Returns:
        What was stored and what failed, and why, and which listed files are not those that are
        stored under their ids. One bad video raises nothing.

    Raises:
        PipelineError: of list, model or store; see `errors.py`.
    """
    from .extraction import run
    from .nets.formats.loader import load_model

    config = config or ExtractConfig()
    scan = {"extensions": extensions, "all_files": all_files, "follow_links": follow_links}
    refs = _refs(videos, id_prefix, **scan)
    weights = load_model(model_dir or default_model_dir(), config.dims)
    net = _network(weights, config, gpu_id)
    return run.extract_features(
        refs,
        store,
        net,
        config,
        retry_failed=retry_failed,
        replace=replace,
        progress=progress,
    )


def compute_similarity(
    queries: Videos | Stores,
    database: Videos | Stores,
    output_file: str | Path | None = None,
    model_dir: str | Path | None = None,
    config: CompareConfig | None = None,
    *,
    file_format: str | None = None,
    info_file: str | Path | None = None,
    top_k: int | None = None,
    threshold: float | None = None,
    max_fpr: float | None = None,
    segments: bool = False,
    refine_segments: bool = False,
    video_root: str | Path | None = None,
    report_file: str | Path | None = None,
    candidates: int | float | str | None = None,
    mirror_queries: bool = False,
    mirrored_queries: Stores | None = None,
    background: Stores | None = None,
    query_store: str | Path | None = None,
    database_store: str | Path | None = None,
    extract_config: ExtractConfig | None = None,
    gpu_id: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    extract_progress: Progress | None = None,
) -> dict[str, Any] | None:
    """Stage two: every query against every database video. Videos go through stage one first.

    Args:
        queries, database: stores: the path of one (.h5, .hdf5, .zarr, .parts), or several, or
            `{prefix: path}`, where the prefix stands before all ids of a store, so that stores with
            equal ids go together. Or videos, as `extract_features` takes them.
        output_file: write the matches there, in the format that its extension says, and return
            None; without it the scores are returned.
        model_dir: the model the stores were made with; None takes the shipped one.
        config: see `CompareConfig`.
        file_format, info_file: see `output.writers.open_writer`.
        top_k, threshold: see `output.selection.Selection`.
        max_fpr: in place of a threshold, see `search.calibrate.threshold_for`; not together with a
            background, as a calibration is of plain scores.
        segments: find from when to when the pairs match that top_k, threshold or max_fpr select.
        refine_segments: the same, and the ends are found again in the videos where these are at
            hand; a `PipelineWarning` says why some were not.
        video_root: where moved videos are, see `source_files.SourceFiles`.
        report_file: write a page with pictures of all matches there, see `match_report`.
        candidates: compare each query only with so many stored videos, those that the candidate
            indices of the stores name (`index_candidates`): a number, or a share such as "1%";
            other pairs have no score. None compares all.
        mirror_queries: score query videos mirrored as well, and count the better score.
        mirrored_queries: stores of the same queries made with `ExtractConfig(mirrored=True)`, with
            the same effect; if the queries are videos, the store that these features are kept in.
        background: stores of videos unrelated to all queries; scores are normalised by them, see
            `search.score_normalization`.
        query_store, database_store: where features are kept if that side is videos; None keeps
            them for this call only.
        extract_config: settings of stage one.
        gpu_id: see `nets.backend.device_scope`.
        progress: called with (database videos done, database videos).
        extract_progress: called by stage one, see `extraction.run.extract_features`.

    Returns:
        `{query_id: {database_id: similarity}}`, with segments `{query_id: [Match]}`, see
        `output.match.Match`; or None. A damaged query has no scores, a damaged
        database video is left out; a `PipelineWarning` names each of them, and each video that
        stage one could not use.

    Raises:
        PipelineError: of stores or model; see `errors.py`.
        InputError: both threshold and max_fpr, or a number that cannot be used.
        ReportError: the report could not be written; without an output file its `result` is what
            is returned else.
    """
    from .candidates import CandidateCount
    from .output.selection import Selection
    from .workflow import Comparison, compare, find_matches

    host = _Python(model_dir, gpu_id, progress, extract_progress)
    comparison = Comparison(
        _source(queries, query_store),
        _source(database, database_store),
        Config(extract_config or ExtractConfig(), config or CompareConfig()),
        candidates=None if candidates is None else CandidateCount.parse(candidates),
        mirror_queries=mirror_queries,
        mirrored=() if mirrored_queries is None else _stores(mirrored_queries),
        background=() if background is None else _stores(background),
        selection=Selection(top_k, threshold),
        max_fpr=max_fpr,
        segments=segments,
        refine_segments=refine_segments,
        video_root=video_root,
        report_file=report_file,
        output_file=output_file,
        file_format=file_format,
        info_file=info_file,
        other_inputs=_input_files(queries, database, model_dir),
        gpu_id=gpu_id,
    )
    if output_file is not None:
        _warn_damaged(compare(comparison, host)[0].damaged)
        return None
    try:
        by_query, damaged = find_matches(comparison, host)
    except ReportError as error:
        error.result = _returned(error.result[0], comparison.finds_segments)
        raise
    _warn_damaged(damaged)
    return _returned(by_query, comparison.finds_segments)


def _input_files(*places: Any) -> list[str | Path]:
    """What a result must not replace: lists, one-file stores, and the model's folder, the last."""
    *sides, model_dir = places
    files = [side for side in sides if isinstance(side, (str, Path)) and Path(side).is_file()]
    return [*files, model_dir or default_model_dir()]


def _returned(by_query: Mapping[str, Sequence[Match]], segments: bool) -> dict[str, Any]:
    """Matches of each query as `compute_similarity` returns them."""
    if segments:
        return {query_id: list(matches) for query_id, matches in by_query.items()}
    return {
        query_id: {match.database_id: match.score for match in matches}
        for query_id, matches in by_query.items()
    }


def find_duplicates(
    stores: Stores,
    output_file: str | Path | None = None,
    model_dir: str | Path | None = None,
    config: CompareConfig | None = None,
    *,
    threshold: float | None = None,
    max_fpr: float | None = None,
    keep: KeepRule = "longest",
    cover: float = 0.8,
    candidates: int | float | str | None = None,
    gpu_id: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DuplicateReport:
    """Find videos of a collection that show the same. Nothing is removed.

    Args:
        stores: as `compute_similarity` takes them; together they are the collection.
        output_file: write the groups there as well, see `output.duplicates.write_duplicates`.
        model_dir: the model the stores were made with; None takes the shipped one.
        config, threshold, max_fpr: see `deduplicate.DuplicateSearch`.
        keep, cover: which videos stay, see `config.DuplicatesConfig`.
        candidates: compare each video only with so many others, see `compute_similarity`.
        gpu_id: see `nets.backend.device_scope`.
        progress: called with (products of frames done, all of them).

    Returns:
        The groups. A `PipelineWarning` names each damaged video; these are left out.

    Raises:
        PipelineError: of stores or model; see `errors.py`.
        InputError: both threshold and max_fpr, neither of them without a calibration, or a value
            that cannot be used.
    """
    from . import deduplicate
    from .candidates import CandidateCount

    search = deduplicate.DuplicateSearch(
        _stores(stores),
        Config(
            compare=config or CompareConfig(),
            duplicates=DuplicatesConfig(keep=keep, cover=cover),
        ),
        threshold=threshold,
        max_fpr=max_fpr,
        output_file=output_file,
        candidates=None if candidates is None else CandidateCount.parse(candidates),
        gpu_id=gpu_id,
    )
    report = deduplicate.find_duplicates(search, _Python(model_dir, gpu_id, progress, None))
    _warn_damaged(report.damaged)
    return report


def index_candidates(
    stores: Stores,
    model_dir: str | Path | None = None,
    *,
    coarse: str | Path | None = None,
    gpu_id: int | None = None,
) -> list[IndexReport]:
    """Make the candidate index of each store, or bring it up to date.

    Args:
        stores: as `compute_similarity` takes them.
        model_dir: the model that the stores were made with; None takes the shipped one. It is not
            loaded for an index by a coarse student.
        coarse: folder of DnS's coarse student, whose vectors the index then holds; an index that
            was made so is brought up to date without it.
        gpu_id: see `nets.backend.device_scope`.

    Returns:
        What was done to each index. A `PipelineWarning` names each video that is damaged and is in
        no index.

    Raises:
        PipelineError: of stores, model or index; see `errors.py`.
    """
    from .candidates import update_index
    from .search.candidate_rules import rule_to_index
    from .store import open_store

    load_model, reports = _Python(model_dir, gpu_id, None, None).load_model, []
    for _, path in _stores(stores):
        with open_store(path) as store:
            reports.append(update_index(store, rule_to_index(store, load_model, coarse)))
        _warn_damaged(reports[-1].damaged)
    return reports


class _Python:
    """A `workflow.Host` that warns, and is silent otherwise."""

    def __init__(
        self,
        model_dir: str | Path | None,
        gpu_id: int | None,
        progress: Callable[[int, int], None] | None,
        extract_progress: Progress | None,
    ) -> None:
        self._model_dir, self._gpu_id = model_dir, gpu_id
        self._progress, self._extract_progress = progress, extract_progress
        self._model: Model | None = None

    def load_model(self) -> Model:
        from .nets.formats.loader import load_model

        if self._model is None:
            self._model = load_model(self._model_dir or default_model_dir())
        return self._model

    def extract(
        self, videos: Sequence[VideoRef], store: str | Path, config: ExtractConfig, label: str
    ) -> ExtractReport:
        from .extraction import run

        net = _network(self.load_model().with_dims(config.dims), config, self._gpu_id)
        report = run.extract_features(videos, store, net, config, progress=self._extract_progress)
        for failure in (*report.failures.values(), *report.known_failures.values()):
            self._warn(f"left out: {failure.id}: {failure.reason}: {failure.detail}")
        for video_id, difference in (*report.changed.items(), *report.refused.items()):
            self._warn(f"{store}: {video_id} is not the file that is stored: {difference}")
        for path, reason in report.unreadable.items():
            self._warn(f"left out: {path}: {reason}")
        return report

    def note(self, text: str) -> None:
        warnings.warn(f"note: {text}", PipelineWarning, stacklevel=2)

    def _warn(self, text: str) -> None:
        warnings.warn(text, PipelineWarning, stacklevel=3)

    def say(self, text: str) -> None:
        pass

    def progress(self, done: int, total: int) -> None:
        if self._progress:
            self._progress(done, total)


def _warn_damaged(lines: Sequence[str]) -> None:
    for line in lines:
        warnings.warn(f"left out: {line}", PipelineWarning, stacklevel=3)


def _network(weights: Model, config: ExtractConfig, gpu_id: int | None) -> FeatureNet:
    """The network for these settings; the last ones are cached, as making one takes seconds."""
    from .nets.extractor.feature_net import network_for

    views = weights.views_digest if config.as_queries else None
    model = weights.name, weights.features_digest, weights.dims, weights.insets, views
    key = (*model, config.precision, config.batch_size, gpu_id, config.engine)
    net = _networks.pop(key, None)
    if net is None:
        net = network_for(weights, config, gpu_id)
    _networks[key] = net
    while len(_networks) > _CACHED_NETWORKS:
        _networks.pop(next(iter(_networks)), None)
    return net


def _source(videos: Videos | Stores, keep: str | Path | None) -> VideoSource:
    """One side: stores, or videos whose features are kept in the store `keep`."""
    from .workflow import VideoSource

    if not _are_stores(videos):
        origin = str(videos) if isinstance(videos, (str, Path)) else "the videos"
        return VideoSource([("", keep)] if keep is not None else (), _refs(videos, ""), origin)
    if keep is not None:
        raise InputError(f"{keep}: is to keep features of videos, but stores are given")
    return VideoSource(_stores(videos))


def _are_stores(videos: Any) -> bool:
    """Whether these are paths of stores, judged by their endings, and not videos."""
    from .store.factory import names_store

    if isinstance(videos, (str, Path)):
        return names_store(videos)
    if not isinstance(videos, Iterable) or isinstance(videos, bytes):
        raise InputError(f"{videos!r} is neither videos nor stores, expected {_EXPECTED}")
    paths = list(videos.values() if isinstance(videos, Mapping) else videos)
    named = [path for path in paths if isinstance(path, (str, Path))]
    return bool(named) and all(map(names_store, named))


def _stores(stores: Any) -> list[tuple[str, str | Path]]:
    """(prefix, path) of each store."""
    if isinstance(stores, Mapping):
        for prefix in stores:
            check_prefix(prefix)
        return list(stores.items())
    paths = [stores] if isinstance(stores, (str, Path)) else stores
    if not isinstance(paths, Iterable) or isinstance(paths, bytes):
        raise InputError(f"{stores!r} is no store, expected {_EXPECTED}")
    return [("", path) for path in paths]


def _refs(videos: Any, id_prefix: str, **scan: Any) -> Sequence[VideoRef]:
    """Videos of any of the kinds that `extract_features` takes; `scan` is for a folder."""
    if isinstance(videos, (str, Path)):
        if Path(videos).is_dir():
            return scan_folder(videos, id_prefix=id_prefix, **scan)
        return read_list(videos, id_prefix)
    if not isinstance(videos, Iterable) or isinstance(videos, bytes):
        raise InputError(f"{videos!r} is no list of videos, expected {_EXPECTED}")
    if isinstance(videos, Mapping):
        return [_ref(video_id, path, id_prefix) for video_id, path in videos.items()]
    check_prefix(id_prefix)
    refs = list(videos)
    for ref in refs:
        if not isinstance(ref, VideoRef):
            raise InputError(
                f"{ref!r} is neither a VideoRef nor a store (.h5, .hdf5, .zarr or .parts)"
            )
    if id_prefix:
        refs = [with_fields(ref, id=id_prefix + ref.id) for ref in refs]
    return refuse_duplicates(refs, "videos")


def _ref(video_id: str, path: str | Path, id_prefix: str) -> VideoRef:
    if not isinstance(video_id, str):
        raise InputError(f"video id {video_id!r} is no text, expected {{id: path}}")
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise InputError(f"video {video_id!r}: {path!r} is no path, expected {{id: path}}")
    try:
        return VideoRef(id_prefix + video_id, os.fsdecode(path))
    except (TypeError, ValueError) as error:
        raise InputError(f"video {video_id!r} of {path!r}: {error}") from error
