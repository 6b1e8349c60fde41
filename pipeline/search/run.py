"""Stage two: a request in, scores out. Opens no video.

Adaptation of the model (`adapt`) and a threshold for a false positive rate (`calibrate`) come
before it. Here all pairs are scored (`scoring`), and a background is subtracted afterwards
(`score_normalization`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..output.match import Match, MatchTable
from ..output.match_tables import DenseMatches, SparseMatches, WatchedMatches
from ..output.result_info import ResultInfo
from ..output.score_table import ScoreTable, new_score_table
from ..output.target import scratch_folder
from ..output.writers import check_result_file, write_matches
from .candidate_search import CandidateFinder, sample_columns, score_candidates
from .compatibility import require_background
from .engine import SearchEngine
from .limits import Limits
from .query_sequences import query_sequences
from .request import SearchRequest
from .score_normalization import (
    background_level,
    database_level,
    level_columns,
    normalize_by_database,
    subtract_background,
)
from .score_sink import BestScores, DenseScores, ScoreSink
from .segments import SegmentMatches, SegmentRefiner, SegmentReport, require_selection
from .video_set import VideoSet, damage_lines

if TYPE_CHECKING:
    from ..nets.similarity.pair_scorer import PairScorer

Progress = Callable[[int, int], None]
# Larger databases are sampled for levels before the search, which costs a tenth of it at most. Of
# smaller ones all scores are kept instead.


@dataclass(frozen=True)
class CompareReport:
    """What stage two did.

    Attributes:
        queries, database: videos on each side.
        written: matches in the output file.
        damaged: a line for each video of either side, of the mirrored queries or of the background
            that was left out, naming its store, its id and what is wrong.
        seconds: wall time.
        waited: the part of it in seconds that was spent waiting for features that were not read
            and on the device in time.
        segments: what was found; None if no segments were looked for.
    """

    queries: int
    database: int
    written: int
    seconds: float
    waited: float
    damaged: tuple[str, ...] = ()
    segments: SegmentReport | None = None


def compute_similarity(
    request: SearchRequest,
    output_file: str | Path,
    *,
    file_format: str | None = None,
    info_file: str | Path | None = None,
    refiner: SegmentRefiner | None = None,
    on_matches: Callable[[Sequence[Match]], None] | None = None,
    progress: Progress | None = None,
    limits: Limits | None = None,
    finder: CandidateFinder | None = None,
) -> CompareReport:
    """Score every query against every database video and write the matches.

    A damaged video ends nothing: a query is written without scores, a database video is left out,
    and the report names it. So are videos whose checksum does not fit (`config.checksums`).

    Args:
        output_file, file_format, info_file: see `output.writers.open_writer`.
        refiner: of the segments, see `find_matches`.
        on_matches: called with the matches of each query that are written.
        progress: called with (database videos done, database videos) after each block.
        limits: how much is in memory at once.
        finder: see `find_matches`.

    Raises:
        InputError: the output cannot be written, or the model is still to be adapted.
        StoreError: all videos of a side are damaged.
    """
    # Stage one may have run for days since the files were checked first.
    segments = request.segments
    check_result_file(output_file, file_format=file_format, info_file=info_file, segments=segments)
    begin = time.perf_counter()
    folder = scratch_folder(output_file)
    matches, waited = find_matches(
        request,
        refiner=refiner,
        progress=progress,
        folder=folder,
        limits=limits,
        finder=finder,
    )
    info = result_info(request)
    written = write_matches(
        output_file,
        matches if on_matches is None else WatchedMatches(matches, on_matches),
        info,
        file_format=file_format,
        info_file=info_file,
        segments=segments,
    )
    return CompareReport(
        queries=len(request.queries),
        database=len(request.database),
        written=written,
        seconds=time.perf_counter() - begin,
        waited=waited,
        damaged=damage_lines(*request.video_sets),
        segments=matches.report if isinstance(matches, SegmentMatches) else None,
    )


def search(
    request: SearchRequest,
    *,
    progress: Progress | None = None,
    folder: str | Path | None = None,
    limits: Limits | None = None,
    engine: SearchEngine | None = None,
) -> tuple[ScoreTable, float]:
    """Score every query against every database video; arguments and errors as `score_table`.

    Returns:
        The scores with their ids, and the seconds spent waiting for features.
    """
    scores, waited = score_table(
        request, progress=progress, folder=folder, limits=limits, engine=engine
    )
    queries, database = request.queries, request.database
    table = ScoreTable(queries.ids, database.ids, scores, queries.sound, database.sound)
    return table, waited


def score_table(
    request: SearchRequest,
    *,
    progress: Progress | None = None,
    folder: str | Path | None = None,
    limits: Limits | None = None,
    engine: SearchEngine | None = None,
) -> tuple[np.ndarray, float]:
    """Score every query against every database video.

    Insets (`video.pip.detector`) that the database's stores have are compared as videos of their
    own, and with `config.query_insets` those of queries as well; the best score of what belongs to
    a pair counts.

    Args:
        progress, limits: see `compute_similarity`.
        folder: for a table that is too large for memory, see `output.score_table.new_score_table`.
        engine: made for the request's database, model and settings by an earlier search.

    Returns:
        Scores float32 [queries, database], and the seconds spent waiting for features. A damaged
        video (`VideoSet.damaged` names them) has NaN in its row or column. A query whose mirrored
        features are damaged is scored as it is.

    Raises:
        InputError: the model is still to be adapted (`adapt.adapt_request`), or the background has
            too few sound videos.
        StoreError: all videos of a side are damaged.
    """
    limits = limits or Limits()
    level, background_waited = _background_level(request, limits)
    table, waited = _scores(
        request, request.database, limits, folder=folder, progress=progress, engine=engine
    )
    if level is not None:
        subtract_background(table, level, request.config.background_weight)
    if request.config.normalize == "database":
        normalize_by_database(table, request.config)
    return table, waited + background_waited


def find_matches(
    request: SearchRequest,
    *,
    refiner: SegmentRefiner | None = None,
    progress: Progress | None = None,
    folder: str | Path | None = None,
    limits: Limits | None = None,
    engine: SearchEngine | None = None,
    finder: CandidateFinder | None = None,
    scorer: PairScorer | None = None,
) -> tuple[MatchTable, float]:
    """Score every query against every database video and select; arguments as `score_table`.

    The scores of all pairs are kept only where all are selected, or where they are few and are
    normalised by themselves.

    Args:
        refiner: finds ends of segments again.
        finder: of the request's database, where it asks for candidates and one was made already.
        scorer: the request's network for candidates, if it was made already.

    Returns:
        The matches, `SegmentMatches` if the request asks for segments, and the seconds spent
        waiting for features.

    Raises:
        InputError, StoreError: see `score_table`.
        InputError: segments of very many pairs are asked for, see `require_selection`.
    """
    if request.segments:
        selects = request.selection.leaves_out(len(request.database))
        require_selection(len(request.queries), len(request.database), selects)
    if request.candidates is not None:
        matches, waited = _candidate_matches(request, finder, progress, limits, scorer)
    else:
        matches, waited = _matches(
            request, progress=progress, folder=folder, limits=limits, engine=engine
        )
    if request.segments:
        scorer = engine.loop.scorer if engine else scorer
        matches = SegmentMatches(matches, request, refiner, scorer=scorer)
    return matches, waited


def _matches(
    request: SearchRequest,
    *,
    progress: Progress | None,
    folder: str | Path | None,
    limits: Limits | None,
    engine: SearchEngine | None,
) -> tuple[MatchTable, float]:
    """The matches without segments, as `find_matches`."""
    queries, database = request.queries, request.database
    selection, listed = request.selection, request.listed_queries
    normalize = request.config.normalize == "database"
    few = normalize and len(database) <= (limits or Limits()).all_scores_videos
    if few or not selection.leaves_out(len(database)):
        table, waited = search(
            request, progress=progress, folder=folder, limits=limits, engine=engine
        )
        return DenseMatches(table, selection, listed), waited
    limits = limits or Limits()
    level, background_waited = _background_level(request, limits)
    if level is not None:
        level = (request.config.background_weight * level)[:, 0]
    if normalize:
        level, background_waited = _sampled_level(request, limits, level_columns(len(database)))
    sink = BestScores(
        selection,
        (len(queries), len(database)),
        database.sound_between,
        level=level,
        folder=folder,
        in_memory_bytes=limits.table_bytes,
        pending_scores=limits.pending_scores,
    )
    waited = _score_pairs(request, database, sink, limits, progress=progress, engine=engine)
    matches = SparseMatches(
        queries.ids,
        database.ids,
        sink.finish(),
        selection,
        queries.sound,
        database.sound,
        listed,
    )
    return matches, waited + background_waited


def _candidate_matches(
    request: SearchRequest,
    finder: CandidateFinder | None,
    progress: Progress | None,
    limits: Limits | None,
    scorer: PairScorer | None,
) -> tuple[MatchTable, float]:
    """The matches among the candidates of each query, as `find_matches`."""
    limits, queries, database = limits or Limits(), request.queries, request.database
    finder = finder or CandidateFinder(database, request.model)
    level, background_waited = _background_level(request, limits)
    if level is not None:
        level = (request.config.background_weight * level)[:, 0]
    if request.config.normalize == "database":
        level, background_waited = _sampled_level(
            request, limits, sample_columns(len(database)), scorer
        )
    scores, waited = score_candidates(
        request,
        finder,
        level=level,
        limits=limits,
        scorer=scorer,
        progress=progress,
    )
    matches = SparseMatches(
        queries.ids,
        database.ids,
        scores,
        request.selection,
        queries.sound,
        database.sound,
        request.listed_queries,
    )
    return matches, waited + background_waited


def result_info(request: SearchRequest) -> ResultInfo:
    """What a result says of the way it was made."""
    model, spec, selection = request.model, request.database.spec, request.selection
    return ResultInfo(
        model.name,
        model.features_digest,
        {
            **asdict(request.config),
            "similarity_function": request.similarity_function,
            "fps": spec.fps,
            "dims": spec.dims,
            "sampling": spec.sampling,
            "adapted": model.adaptation is not None,
            "mirrored": request.mirrored is not None,
            "background": request.background is not None,
            **({"candidates": str(request.candidates)} if request.candidates else {}),
        },
        selection.top_k,
        selection.threshold,
        rate=selection.rate,
    )


def _background_level(request: SearchRequest, limits: Limits) -> tuple[np.ndarray | None, float]:
    """Check the queries, and score them against the background if there is one.

    It comes first, as it is the smaller set and may turn out to be too small.

    Returns:
        The level of `background_level` or None, and the seconds waited.
    """
    queries, background, config = request.queries, request.background, request.config
    if config.adapt:
        raise InputError("the model is still to be adapted to the database: see adapt_request")
    if request.mirrored is not None:
        request.mirrored.check(config.checksums)
    queries.check(config.checksums)  # they are few, and read again for each block of the database
    if background is None:
        return None, 0.0
    among, waited = _scores(request, background, limits)
    require_background(background, set(queries.ids), config.background_top_k)
    return background_level(among[:, background.sound], config.background_top_k), waited


def _sampled_level(
    request: SearchRequest,
    limits: Limits,
    columns: np.ndarray,
    scorer: PairScorer | None = None,
) -> tuple[np.ndarray, float]:
    """The level of each query in a sample of the database, the videos `columns`.

    Returns:
        Float32 [queries] of `database_level`, and the seconds waited.
    """
    database = request.database
    sample = database.take(columns)
    engine = SearchEngine(request, sample, limits, scorer=scorer)
    scores, waited = _scores(request, sample, limits, engine=engine)
    videos = len(level_columns(len(database)))
    return database_level(scores, request.config, videos=videos)[:, 0], waited


def _scores(
    request: SearchRequest,
    database: VideoSet,
    limits: Limits,
    *,
    folder: str | Path | None = None,
    progress: Progress | None = None,
    engine: SearchEngine | None = None,
) -> tuple[np.ndarray, float]:
    """Plain scores against a database, NaN for damaged videos, and the seconds waited."""
    queries = request.queries
    table = new_score_table(len(queries), len(database), folder, limits.table_bytes)
    waited = _score_pairs(
        request, database, DenseScores(table), limits, progress=progress, engine=engine
    )
    table[~queries.sound] = np.nan
    table[:, ~database.sound] = np.nan
    return table, waited


def _score_pairs(
    request: SearchRequest,
    database: VideoSet,
    sink: ScoreSink,
    limits: Limits,
    *,
    progress: Progress | None = None,
    engine: SearchEngine | None = None,
) -> float:
    """Score all pairs with a database into a sink; returns the seconds waited."""
    from ..nets.backend import device_scope

    sequences, row_index = query_sequences(request)
    engine = engine or SearchEngine(request, database, limits)
    with device_scope(request.gpu_id):
        waited = engine.loop.fill(
            sink,
            engine.loop.query_reader(sequences),
            engine.reader,
            row_index=row_index,
            column_index=engine.column_index,
            progress=progress,
        )
    database.check(request.config.checksums)
    database.require_sound()
    return waited
