"""Stage two: a request in, scores out. Opens no video.

Adaptation of the model (`adapt`) and a threshold for a false positive rate (`calibrate`) come
before it. Here all pairs are scored (`scoring`), and a background is subtracted afterwards
(`score_normalization`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..output.json_writer import write_json
from ..output.score_table import ScoreTable, new_score_table
from ..output.target import check_output_file, scratch_folder
from .compatibility import require_background
from .engine import SearchEngine
from .limits import Limits
from .request import SearchRequest
from .score_normalization import background_level, subtract_background
from .video_set import VideoSet, damage_lines

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CompareReport:
    """What stage two did.

    Attributes:
        queries, database: videos on each side.
        written: scores in the output file.
        damaged: a line for each video of either side, of the mirrored queries or of the background
            that was left out, naming its store, its id and what is wrong.
        seconds: wall time.
        waited: the part of it in seconds that was spent waiting for features that were not read
            and on the device in time.
    """

    queries: int
    database: int
    written: int
    seconds: float
    waited: float
    damaged: tuple[str, ...] = ()


def compute_similarity(
    request: SearchRequest,
    output_file: str | Path,
    *,
    progress: Progress | None = None,
    limits: Limits | None = None,
) -> CompareReport:
    """Score every query against every database video and write the JSON.

    A damaged video ends nothing: a query is written without scores, a database video is left out,
    and the report names it. So are videos whose checksum does not fit (`config.checksums`).

    Args:
        output_file: see `output.json_writer.write_json`.
        progress: called with (database videos done, database videos) after each block.
        limits: how much is in memory at once.

    Raises:
        InputError: the output cannot be written, or the model is still to be adapted.
        StoreError: all videos of a side are damaged.
    """
    check_output_file(output_file)  # stage one may have run for days since it was checked first
    begin = time.perf_counter()
    folder = scratch_folder(output_file)
    table, waited = search(request, progress=progress, folder=folder, limits=limits)
    written = write_json(output_file, table, request.selection, request.listed_queries)
    return CompareReport(
        queries=len(request.queries),
        database=len(request.database),
        written=written,
        seconds=time.perf_counter() - begin,
        waited=waited,
        damaged=damage_lines(*request.video_sets),
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
    queries, config = request.queries, request.config
    if config.adapt:
        raise InputError("the model is still to be adapted to the database: see adapt_request")
    limits = limits or Limits()
    if request.mirrored is not None:
        request.mirrored.check(config.checksums)
    queries.check(config.checksums)  # they are few, and read again for each block of the database
    level, background_waited = None, 0.0
    background = request.background
    if background is not None:  # first, as it is the smaller one and may turn out to be too small
        among, background_waited = _score_pairs(request, background, limits)
        require_background(background, set(queries.ids), config.background_top_k)
        level = background_level(among[:, background.sound], config.background_top_k)
    scores, waited = _score_pairs(
        request, request.database, limits, folder=folder, progress=progress, engine=engine
    )
    if level is not None:
        subtract_background(scores, level, config.background_weight)
    return scores, waited + background_waited


def _score_pairs(
    request: SearchRequest,
    database: VideoSet,
    limits: Limits,
    *,
    folder: str | Path | None = None,
    progress: Progress | None = None,
    engine: SearchEngine | None = None,
) -> tuple[np.ndarray, float]:
    """Plain scores against a database, NaN for damaged videos, and the seconds waited."""
    from ..nets.backend import device_scope

    queries, config = request.queries, request.config
    query_sequences, row_index = _query_sequences(request)
    engine = engine or SearchEngine(request, database, limits)
    table = new_score_table(len(queries), len(database), folder, engine.limits.table_bytes)
    with device_scope(request.gpu_id):
        waited = engine.loop.fill(
            table,
            engine.loop.query_reader(query_sequences),
            engine.reader,
            row_index=row_index,
            column_index=engine.column_index,
            progress=progress,
        )
    database.check(config.checksums)
    database.require_sound()
    table[~queries.sound] = np.nan
    table[:, ~database.sound] = np.nan
    return table, waited


def _query_sequences(request: SearchRequest) -> tuple[VideoSet, np.ndarray]:
    """What is searched for each query: it, its insets and its mirrored copy; and its row."""
    queries, mirrored = request.queries, request.mirrored
    insets = request.config.query_insets
    sequences, row_index = queries.split_insets(insets)
    if mirrored is None or not mirrored.sound.any():
        return sequences, row_index
    row = {video_id: number for number, video_id in enumerate(queries.ids)}
    mirrored_rows = np.array([row[video_id] for video_id in mirrored.ids], np.intp)
    mirrored_sequences, owner = mirrored.split_insets(insets)
    return sequences.concat(mirrored_sequences), np.concatenate([row_index, mirrored_rows[owner]])
