"""Stage two: a request in, scores out. Opens no video.

Adaptation of the model (`adapt`) and a threshold for a false positive rate (`calibrate`) come
before it. Here all pairs are scored (`scoring`), and a background is subtracted afterwards
(`score_normalization`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..output.match import Match, MatchTable
from ..output.match_tables import DenseMatches, OtherMatches, SparseMatches, WatchedMatches
from ..output.result_info import ResultInfo
from ..output.score_table import ScoreTable, new_score_table
from ..output.sparse_scores import Chunk, SparseScores
from ..output.target import scratch_folder
from ..output.writers import check_result_file, write_matches
from .candidate_search import (
    CandidateFinder,
    CandidateScorer,
    join_scores,
    sample_columns,
    score_candidates,
)
from .compatibility import require_background
from .engine import SearchEngine
from .limits import Limits
from .pair_alignment import is_normalized, min_evidence
from .query_sequences import query_sequences
from .quick import QuickEngine, agree, may_be_best
from .request import SearchRequest
from .score_normalization import (
    background_level,
    database_level,
    level_columns,
    subtract_background,
    unusual_scores,
)
from .score_sink import BestScores, DenseScores, RestScores, ScoreSink, WatchedScores
from .segments import SegmentMatches, SegmentRefiner, SegmentReport, require_selection
from .shards import Distribute, ShardScores, merge_shards
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
    distribute: Distribute | None = None,
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
        distribute: see `find_matches`.

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
        distribute=distribute,
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
    rest: RestScores | None = None,
) -> tuple[ScoreTable, float]:
    """Score every query against every database video; arguments and errors as `score_table`.

    Args:
        rest: of `level_scores`, to be filled beside plain scores.

    Returns:
        The scores with their ids, and the seconds spent waiting for features.
    """
    if rest is None:
        scores, waited = score_table(
            request, progress=progress, folder=folder, limits=limits, engine=engine
        )
    else:
        scores, _, waited = score_tables(
            request, progress=progress, folder=folder, limits=limits, engine=engine, rest=rest
        )
    return _score_table_of(request, scores), waited


def _score_table_of(request: SearchRequest, scores: np.ndarray) -> ScoreTable:
    """Scores float32 [queries, database] with their ids."""
    queries, database = request.queries, request.database
    return ScoreTable(queries.ids, database.ids, scores, queries.sound, database.sound)


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
    table, rest, waited = score_tables(
        request, progress=progress, folder=folder, limits=limits, engine=engine
    )
    if rest is not None:
        table -= _level(rest, request)
    return table, waited


def score_tables(
    request: SearchRequest,
    *,
    progress: Progress | None = None,
    folder: str | Path | None = None,
    limits: Limits | None = None,
    engine: SearchEngine | None = None,
    rest: RestScores | None = None,
) -> tuple[np.ndarray, np.ndarray | None, float]:
    """What normalised scores are made of; arguments and errors as `score_table`.

    Args:
        rest: where the rest scores go; None: chosen by the request.

    Returns:
        Scores float32 [queries, database] before levels are subtracted, rest scores float32
        [queries, n] of the videos of `level_columns`, and the seconds spent waiting for features.
        The rest scores are None if scores are not normalised by the database.
    """
    limits = limits or Limits()
    level, background_waited = _background_level(request, limits)
    if rest is None:
        rest = _rest_scores(request, request.database, limits, folder)
    table, waited = _scores(
        request,
        request.database,
        limits,
        folder=folder,
        rest=rest,
        progress=progress,
        engine=engine,
    )
    if level is not None:
        subtract_background(table, level, request.config.background_weight)
    return table, None if rest is None else rest.table, waited + background_waited


def find_matches(
    request: SearchRequest,
    *,
    refiner: SegmentRefiner | None = None,
    progress: Progress | None = None,
    folder: str | Path | None = None,
    limits: Limits | None = None,
    engine: SearchEngine | None = None,
    quick: QuickEngine | None = None,
    finder: CandidateFinder | None = None,
    scorer: PairScorer | None = None,
    of_database: bool = False,
    distribute: Distribute | None = None,
    rest: RestScores | None = None,
) -> tuple[MatchTable, float]:
    """Score every query against every database video and select; arguments as `score_table`.

    The scores of all pairs are kept only where all are selected, or where they are few and are
    normalised by themselves.

    Args:
        refiner: finds ends of segments again.
        quick: of the request's database, in place of an engine: scores that cannot be among the
            best of a query are computed in bfloat16 only. The matches are the same.
        finder: of the request's database, where it asks for candidates and one was made already.
        scorer: the request's network for candidates and segments, if it was made already.
        of_database: the queries are videos of the database; none is a match of itself.
        distribute: scores the pairs elsewhere; see `shards`.
        rest: of `level_scores`, where the scores are plain and all pairs are scored here.

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
    top_k = request.selection.top_k
    selecting = request
    if of_database and top_k is not None:
        selecting = replace(request, selection=replace(request.selection, top_k=top_k + 1))
    matches: MatchTable
    needed: np.ndarray | None = None
    if request.candidates is not None:
        matches, waited = _candidate_matches(
            selecting,
            finder,
            progress=progress,
            limits=limits,
            scorer=scorer,
            distribute=distribute,
        )
    elif distribute is not None:
        matches, waited, needed = _distributed_matches(selecting, distribute, limits)
    else:
        sample = _score_sample(request, limits or Limits(), folder)
        matches, waited = _matches(
            selecting,
            sample,
            progress=progress,
            folder=folder,
            limits=limits,
            engine=engine,
            quick=quick,
            rest=rest,
        )
        if sample is not None:
            needed = unusual_scores(sample.table)
    if of_database:
        matches = OtherMatches(matches, top_k)
    if request.segments:
        scorer = engine.loop.scorer if engine else quick.scorer if quick else scorer
        matches = SegmentMatches(matches, request, refiner, scorer=scorer, needed=needed)
    return matches, waited


def _distributed_matches(
    request: SearchRequest, distribute: Distribute, limits: Limits | None
) -> tuple[MatchTable, float, np.ndarray | None]:
    """The matches without segments, scored in shards by others; and what segments need of scores.

    Returns:
        The matches, the seconds waited, and see `unusual_scores`; None without such evidence.
    """
    queries, database = request.queries, request.database
    level, waited = table_level(request, limits)
    shards = sorted(distribute.table(request, level), key=lambda shard: shard.first)
    merged = merge_shards(shards, len(queries), len(database))
    _note_damage(request, merged.damaged_queries, merged.damaged_database)
    database.require_sound()
    matches = merged.matches(queries.ids, database.ids, request.selection, request.listed_queries)
    needed = None
    if needs_sample(request):
        samples = [shard.sample for shard in shards if shard.sample is not None]
        needed = unusual_scores(np.concatenate(samples, axis=1))
    return matches, waited + merged.waited, needed


def needs_sample(request: SearchRequest) -> bool:
    """Whether segments are found by what is usual for a query.

    Normalised scores were made comparable already.
    """
    return request.segments and bool(min_evidence(request)) and not is_normalized(request)


def _score_sample(
    request: SearchRequest, limits: Limits, folder: str | Path | None
) -> RestScores | None:
    """Where scores go that tell what is usual for a query; None if segments need none."""
    if not needs_sample(request):
        return None
    chosen = level_columns(len(request.database))
    table = new_score_table(len(request.queries), len(chosen), folder, limits.table_bytes)
    return RestScores(table, chosen, len(request.database), np.inf)


def _matches(
    request: SearchRequest,
    sample: RestScores | None,
    *,
    progress: Progress | None,
    folder: str | Path | None,
    limits: Limits | None,
    engine: SearchEngine | None,
    quick: QuickEngine | None,
    rest: RestScores | None,
) -> tuple[MatchTable, float]:
    """The matches without segments, as `find_matches`; some scores go to a sample as well."""
    queries, database = request.queries, request.database
    selection, listed = request.selection, request.listed_queries
    normalize = request.config.normalize == "database"
    few = normalize and len(database) <= (limits or Limits()).all_scores_videos
    if few or quick or not selection.leaves_out(len(database)):
        if quick:
            table, waited = _quick_search(
                request, quick, limits or Limits(), folder=folder, rest=rest, progress=progress
            )
        else:
            table, waited = search(
                request, progress=progress, folder=folder, limits=limits, engine=engine, rest=rest
            )
        if sample is not None:
            sample.table[:] = table.scores[:, level_columns(len(database))]
        return DenseMatches(table, selection, listed), waited
    limits = limits or Limits()
    level, background_waited = _background_level(request, limits)
    if level is not None:
        level = (request.config.background_weight * level)[:, 0]
    if normalize:
        level, background_waited = _sampled_level(request, limits)
    sink = BestScores(
        selection,
        (len(queries), len(database)),
        database.sound_between,
        level=level,
        folder=folder,
        in_memory_bytes=limits.table_bytes,
        pending_scores=limits.pending_scores,
    )
    into = sink if sample is None else WatchedScores(sink, sample)
    waited = _score_pairs(
        request, database, into, limits, rest=rest, progress=progress, engine=engine
    )
    for kept in (sample, rest):
        if kept is not None:
            kept.leave_out(~queries.sound, ~database.sound)
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


def _quick_search(
    request: SearchRequest,
    quick: QuickEngine,
    limits: Limits,
    *,
    folder: str | Path | None,
    rest: RestScores | None,
    progress: Progress | None,
) -> tuple[ScoreTable, float]:
    """As `search`, but only the scores that can be among the `top_k` of a query are exact."""
    top_k, database = request.selection.top_k, request.database
    assert top_k is not None and not is_normalized(request), "Index asks for nothing else"
    _background_level(request, limits)  # it checks the queries
    table, waited = _scores(
        request, database, limits, folder=folder, rest=rest, progress=progress, engine=quick.engine
    )
    chosen = may_be_best(table, top_k)
    for columns in (chosen, np.flatnonzero(database.sound)):  # all, should the first disagree
        part = database.take(columns)
        engine = SearchEngine(request, part, limits, scorer=quick.scorer)
        exact, more = _scores(request, part, limits, folder=folder, engine=engine)
        agreed = agree(table[:, columns], exact)
        table[:, columns], waited = exact, waited + more
        if agreed:
            break
    return _score_table_of(request, table), waited


def _candidate_matches(
    request: SearchRequest,
    finder: CandidateFinder | None,
    *,
    progress: Progress | None,
    limits: Limits | None,
    scorer: PairScorer | None,
    distribute: Distribute | None,
) -> tuple[MatchTable, float]:
    """The matches among the candidates of each query, as `find_matches`."""
    queries, database = request.queries, request.database
    finder = finder or CandidateFinder(database, request.model, request.gpu_id)
    level, level_waited = table_level(request, limits, scorer)
    if distribute is None:
        found = score_candidates(
            request, finder, level=level, limits=limits, scorer=scorer, progress=progress
        )
    else:
        chosen = list(CandidateScorer(request, scorer).choose(finder))
        found = join_scores(distribute.candidates(request, level, chosen))
        _note_damage(request, found.damaged_queries, found.damaged_database)
    matches = SparseMatches(
        queries.ids,
        database.ids,
        SparseScores([Chunk.of(found.entries, len(queries))], found.bad),
        request.selection,
        queries.sound,
        database.sound,
        request.listed_queries,
    )
    return matches, found.waited + level_waited


def _note_damage(
    request: SearchRequest, queries: Mapping[int, str], database: Mapping[int, str]
) -> None:
    """Count videos as damaged, as other processes found."""
    for number, line in queries.items():
        request.queries.note_damage(number, line)
    for number, line in database.items():
        request.database.note_damage(number, line)


def table_level(
    request: SearchRequest, limits: Limits | None = None, scorer: PairScorer | None = None
) -> tuple[np.ndarray | None, float]:
    """What is subtracted from each query's scores, by the whole database or a background.

    Args:
        limits: how much is in memory at once.
        scorer: the request's network, if it was made already.

    Returns:
        Float32 [queries], or None for nothing; and the seconds waited.

    Raises:
        InputError, StoreError: see `score_table`.
    """
    limits = limits or Limits()
    level, waited = _background_level(request, limits)
    if level is not None:
        return (request.config.background_weight * level)[:, 0], waited
    if request.config.normalize == "database":
        few = request.candidates is not None
        columns = sample_columns(len(request.database)) if few else None
        return _sampled_level(request, limits, columns, scorer)
    return None, waited


def score_shard(
    request: SearchRequest,
    first: int,
    last: int,
    level: np.ndarray | None,
    *,
    progress: Progress | None = None,
    limits: Limits | None = None,
    scorer: PairScorer | None = None,
    sampled: bool = False,
) -> ShardScores:
    """Score every query against some videos of the database.

    Args:
        first, last: these, [first, last) in listed order.
        level: of `table_level`.
        progress, limits: see `compute_similarity`.
        scorer: the request's network, if it was made already.
        sampled: keep the scores of `level_columns` as well, see `needs_sample`.
    """
    limits = limits or Limits()
    check_queries(request)
    database = request.database.take(range(first, last))
    shape = len(request.queries), last - first
    sink = BestScores(
        request.selection,
        shape,
        database.sound_between,
        level=level,
        pending_scores=limits.pending_scores,
    )
    waited, sample = 0.0, None
    if sampled:
        columns = level_columns(len(request.database))
        columns = columns[(columns >= first) & (columns < last)] - first
        table = np.full((len(request.queries), len(columns)), -np.inf, np.float32)
        sample = RestScores(table, columns, last - first, np.inf)
    if first < last:
        own = SearchEngine(request, database, limits, scorer=scorer)
        into = sink if sample is None else WatchedScores(sink, sample)
        waited = _score_pairs(
            request, database, into, limits, progress=progress, engine=own, may_be_damaged=True
        )
    if sample is not None:
        sample.leave_out(~request.queries.sound, ~database.sound)
    scores = sink.finish()
    entries = np.concatenate([chunk.entries for chunk in scores.chunks])
    entries["column"] += first
    return ShardScores(
        first,
        last,
        entries,
        {row: (column + first, score) for row, (column, score) in scores.bad.items()},
        request.queries.sound,
        database.sound,
        request.queries.damage_by_number(),
        {number + first: line for number, line in database.damage_by_number().items()},
        waited,
        sample=None if sample is None else sample.table,
    )


def score_candidate_shard(
    request: SearchRequest,
    rows: tuple[int, int],
    level: np.ndarray | None,
    finder: CandidateFinder | None = None,
    *,
    progress: Progress | None = None,
) -> ShardScores:
    """Score some queries against their candidates, which come from the whole database.

    Args:
        rows: queries [first, last).
        level: of `table_level`.
        finder: of the database, if it was made already.
        progress: called with (queries done, queries).
    """
    check_queries(request)
    queries, database = request.queries, request.database
    finder = finder or CandidateFinder(database, request.model, request.gpu_id)
    found = score_candidates(request, finder, level=level, progress=progress, rows=rows)
    return ShardScores(
        0,
        len(database),
        found.entries,
        found.bad,
        queries.sound,
        database.sound,
        queries.damage_by_number(),
        database.damage_by_number(),
        found.waited,
        rows=rows,
    )


def check_queries(request: SearchRequest) -> None:
    """Look for damage of the queries, which are few and read again for each block."""
    checksums = request.config.checksums
    if request.mirrored is not None:
        request.mirrored.check(checksums)
    request.queries.check(checksums)


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
    check_queries(request)
    if background is None:
        return None, 0.0
    among, waited = _scores(request, background, limits)
    require_background(background, set(queries.ids), config.background_top_k)
    return background_level(among[:, background.sound], config.background_top_k), waited


def _sampled_level(
    request: SearchRequest,
    limits: Limits,
    columns: np.ndarray | None = None,
    scorer: PairScorer | None = None,
) -> tuple[np.ndarray, float]:
    """The level of each query in a sample of the database.

    Args:
        columns: numbers of the videos; None: those of `level_columns`.
        scorer: the request's network, if it was made already.

    Returns:
        Float32 [queries] of `database_level`, and the seconds waited.
    """
    database = request.database
    usual = level_columns(len(database))
    chosen = (usual if columns is None else columns).tolist()
    sample = database.subset([database.ids[column] for column in chosen])
    rest = _rest_scores(request, sample, limits)
    assert rest is not None
    engine = SearchEngine(request, sample, limits, scorer=scorer) if scorer else None
    _, waited = _scores(request, sample, limits, rest=rest, engine=engine)
    return _level(rest.table, request, len(usual))[:, 0], waited


def level_scores(request: SearchRequest) -> RestScores:
    """Where a search puts what `levels_of` takes; the request's scores are normalised."""
    found = _rest_scores(request, request.database, Limits())
    assert found is not None
    return found


def levels_of(rest: RestScores, request: SearchRequest) -> dict[str, float]:
    """The level of each query of a request whose scores are normalised, by its id."""
    levels = _level(rest.table, request)[:, 0].tolist()
    return dict(zip(request.queries.ids, levels, strict=True))


def _level(rest: np.ndarray, request: SearchRequest, videos: int | None = None) -> np.ndarray:
    adapted = request.model.adaptation is not None
    return database_level(rest, request.config, adapted=adapted, videos=videos)


def _rest_scores(
    request: SearchRequest, database: VideoSet, limits: Limits, folder: str | Path | None = None
) -> RestScores | None:
    """Where the scores go that levels are estimated on; None if scores are not normalised."""
    if request.config.normalize != "database":
        return None
    chosen = level_columns(len(database))
    table = new_score_table(len(request.queries), len(chosen), folder, limits.table_bytes)
    return RestScores(table, chosen, len(database), request.config.normalize_match)


def _scores(
    request: SearchRequest,
    database: VideoSet,
    limits: Limits,
    *,
    folder: str | Path | None = None,
    rest: RestScores | None = None,
    progress: Progress | None = None,
    engine: SearchEngine | None = None,
) -> tuple[np.ndarray, float]:
    """Plain scores against a database, NaN for damaged videos, and the seconds waited."""
    queries = request.queries
    table = new_score_table(len(queries), len(database), folder, limits.table_bytes)
    waited = _score_pairs(
        request, database, DenseScores(table), limits, rest=rest, progress=progress, engine=engine
    )
    table[~queries.sound] = np.nan
    table[:, ~database.sound] = np.nan
    if rest is not None:
        rest.leave_out(~queries.sound, ~database.sound)
    return table, waited


def _score_pairs(
    request: SearchRequest,
    database: VideoSet,
    sink: ScoreSink,
    limits: Limits,
    *,
    rest: RestScores | None = None,
    progress: Progress | None = None,
    engine: SearchEngine | None = None,
    may_be_damaged: bool = False,
) -> float:
    """Score all pairs with a database into a sink; returns the seconds waited.

    `may_be_damaged`: all videos of it may be, as it is a part of the whole database.
    """
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
            rest=rest,
            progress=progress,
        )
    database.check(request.config.checksums)
    if not may_be_damaged:
        database.require_sound()
    return waited
