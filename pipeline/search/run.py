"""Stage two: feature stores in, scores out. Opens no video.

The way of the data: the database is read in blocks and put on the device (one thread does both,
a block ahead), each block is multiplied with the queries' frames, and the pairs' windows of that
matrix go through the comparator. A pair's score does not depend on blocks, batches or their order.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import CompareConfig
from ..errors import FingerprintMismatchError, StoreError
from ..output.json_writer import write_json
from ..output.score_table import new_score_table
from ..output.target import check_output_file, scratch_folder
from .adapt import adapt
from .aggregation import PairBatch, PairScores
from .compatibility import (
    require_background,
    require_comparable,
    require_insets,
    require_mirrored,
    require_model,
)
from .read_plan import (
    CHAMFER_ONLY,
    COMPARATOR,
    Geometry,
    Piece,
    plan_blocks,
    plan_pieces,
)
from .video_set import Collection, all_damaged

if TYPE_CHECKING:
    from ..nets.model.model import Model
    from ..nets.similarity.pair_scorer import DeviceFeatures, PairScorer

_PIECE_FRAMES = 256  # own frames of a piece: 272 x 272 x 32 activations are 9 MiB
_QUERY_BLOCK_FRAMES = 2048
_MATRIX_CELLS = 1 << 25  # of a query block times a block: 128 MiB, whatever the dims
_BATCH_CELLS = 1 << 18  # matrix entries in a batch of pairs: 32 MiB a layer, full speed


@dataclass(frozen=True)
class CompareReport:
    """What stage two did.

    Attributes:
        queries, database: videos on each side.
        written: scores in the output file.
        damaged: a line for each video of either side, of the mirrored queries or of the background
            that was left out, naming its store, its id and what is wrong.
        seconds: wall time; `waited` is the part of it spent waiting for features that were not
            read and on the device in time.
    """

    queries: int
    database: int
    written: int
    seconds: float
    waited: float
    damaged: tuple[str, ...] = ()


def compute_similarity(
    queries: Collection,
    database: Collection,
    output_file: str | Path,
    model: Model,
    config: CompareConfig | None = None,
    top_k: int | None = None,
    threshold: float | None = None,
    gpu_id: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    listed_queries: Sequence[str] | None = None,
    mirrored: Collection | None = None,
    background: Collection | None = None,
) -> CompareReport:
    """Score every query against every database video and write the JSON.

    A damaged video ends nothing: a query is written without scores, a database video is left out,
    and the report tells. So are videos whose checksum does not fit (`config.checksums`).

    Args:
        queries, database: see `Collection`; they may share stores.
        output_file: see `output.json_writer.write_json`.
        model: the one that made the features; what acts after the store is used.
        top_k, threshold: see `output.json_writer.select`.
        gpu_id: see `nets.backend.device_scope`.
        progress: called with (database videos done, all) after each block.
        listed_queries: see `output.json_writer.write_json`.
        mirrored, background: see `score_table`.

    Raises:
        FingerprintMismatchError: the two sides, or the model, do not fit each other.
        InputError: the output cannot be written.
        StoreError: all videos of a side are damaged.
    """
    check_output_file(output_file)
    begin = time.perf_counter()
    config = config or CompareConfig()
    folder = scratch_folder(output_file)
    table, waited = score_table(
        queries, database, model, config, gpu_id, progress, folder, mirrored, background
    )
    written = write_json(
        output_file,
        queries.ids,
        database.ids,
        table,
        top_k,
        threshold,
        listed_queries,
        (queries.sound, database.sound),
    )
    seconds = time.perf_counter() - begin
    damaged = all_damaged(queries, database, mirrored, background)
    return CompareReport(len(queries), len(database), written, seconds, waited, damaged)


def score_table(
    queries: Collection,
    database: Collection,
    model: Model,
    config: CompareConfig,
    gpu_id: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    folder: str | Path | None = None,
    mirrored: Collection | None = None,
    background: Collection | None = None,
) -> tuple[np.ndarray, float]:
    """Scores [queries, database] float32, and the seconds spent waiting for features.

    Damaged videos (`Collection.damaged` tells which were found) have NaN in their row or column. A
    query whose mirrored features are damaged is scored as it is.

    Arguments and errors are those of `compute_similarity`; `folder` is for scores that are too
    many for memory, see `output.json_writer.new_score_table`.

    Insets (`video.pip.detector`) that the database's stores have are compared as videos of their
    own, and with `config.query_insets` those of queries as well; the best score of what belongs to
    a pair counts.

    `mirrored` holds features of mirrored frames of some or all of the queries, under the same ids:
    such a query is scored both ways and the better score counts.

    With `config.adapt` the model is adapted to the database first; `search.adapt.adapt` has the
    errors.

    `background` holds videos unrelated to all queries. How well a query does among them is a
    measure of how much it is like anything, and a part of it is taken off its scores (score
    normalisation, as in the descriptor baseline of Meta's Video Similarity Challenge, 2022). They
    then lie in [-1 - w, 1 + w] for a `background_weight` of w.

    Raises:
        InputError: the background holds a query, or fewer videos than `background_top_k`; or
            insets of queries are asked for, and were not looked for.
    """
    if background is not None:
        require_background(queries, background, config.background_top_k)
        require_comparable(queries, background)
    require_comparable(queries, database)
    require_model(database, model)
    _require_views(queries, model)
    from ..nets.backend import device_scope

    if config.adapt:
        model = adapt(database, model, checksums=config.checksums).weights
        config = replace(config, adapt=False)  # the background is compared by the same model
    model = model.with_dims(database.spec.dims)
    insets = config.query_insets
    if insets:
        require_insets(queries)
    if mirrored is not None:
        require_mirrored(queries, mirrored)
        mirrored.check(config.checksums)
    queries.check(config.checksums)  # they are few, and read again for each block of the database
    among, already = None, 0.0
    if background is not None:  # first, as it is the smaller one and may turn out to be too small
        among, already = score_table(queries, background, model, config, gpu_id, mirrored=mirrored)
        require_background(queries, background, config.background_top_k)
        among = among[:, background.sound]
    asked, rows = queries.apart(insets)
    if mirrored is not None and mirrored.sound.any():
        others, of_others = mirrored.apart(insets)
        asked = asked.followed_by(others)
        row = {video: i for i, video in enumerate(queries.ids)}
        of_mirrored = np.array([row[video] for video in mirrored.ids], np.intp)
        rows = np.concatenate([rows, of_mirrored[of_others]])
    searched, columns = database.apart()
    table = new_score_table(len(queries), len(database), folder)
    with device_scope(gpu_id):
        waited = _fill_table(
            table, asked, searched, (rows, columns), model, config, gpu_id, progress
        )
    database.check(config.checksums)
    database.require_sound()
    table[~queries.sound] = np.nan
    table[:, ~database.sound] = np.nan
    if among is not None:
        best = -np.partition(-among, config.background_top_k - 1)[:, : config.background_top_k]
        table -= config.background_weight * best.mean(axis=1, keepdims=True)
    return table, waited + already


def _fill_table(
    table: np.ndarray,
    queries: Collection,
    database: Collection,
    places: tuple[np.ndarray, np.ndarray],
    model: Model,
    config: CompareConfig,
    gpu_id: int | None,
    progress: Callable[[int, int], None] | None,
) -> float:
    """Returns the seconds waited for features; `places` are the rows and columns of both sides."""
    from ..nets.backend import device_scope, resolve_similarity_precision
    from ..nets.similarity.pair_scorer import PairScorer

    function = config.similarity_function or model.similarity_function
    precision = resolve_similarity_precision(config.precision, gpu_id)
    scorer = PairScorer(model, function, precision, gpu_id=gpu_id)
    geometry = COMPARATOR if scorer.has_comparator else CHAMFER_ONLY
    query_side = _Side(queries, geometry, _QUERY_BLOCK_FRAMES)
    frames = _frames_in(config.block_mb, database)
    database_side = _Side(
        database, geometry, frames, database.spec.shared_descriptors, config.checksums
    )
    scores = PairScores(query_side.pieces, database_side.pieces, geometry, function, places)

    def place(vectors: np.ndarray) -> Any:
        with device_scope(gpu_id):  # a scope holds for its own thread only
            return scorer.place_targets(vectors)

    resident = (
        [scorer.place_queries(v) for v in query_side.read_all()] if config.load_queries else None
    )
    waited, done = 0.0, 0
    for block, targets, wait in database_side.placed_ahead(place):
        waited += wait
        placed = resident or (scorer.place_queries(v) for v in query_side.read_all())
        for query_block, query_vectors in zip(query_side.blocks, placed, strict=True):
            _score_block(
                scorer, scores, table, query_vectors, targets, query_block, block, config.batch_size
            )
        done = block[-1].video + (block[-1].last == database.lengths[block[-1].video])
        if progress:
            whole = places[1][done] if done < len(database) else table.shape[1]
            progress(int(whole), table.shape[1])
    return waited


def _frames_in(megabytes: int, videos: Collection) -> int:
    # On the device int8 and signs are floats again: no more of them at once than of float16.
    value_bytes = max(2, videos.dtype.itemsize)
    frame_bytes = videos.spec.descriptors * videos.spec.dims * value_bytes
    most = _MATRIX_CELLS // _QUERY_BLOCK_FRAMES
    return max(1, min((megabytes << 20) // frame_bytes, most))


def _score_block(
    scorer: PairScorer,
    scores: PairScores,
    table: np.ndarray,
    queries: DeviceFeatures,
    targets: DeviceFeatures,
    query_block: Sequence[Piece],
    block: Sequence[Piece],
    batch_size: int,
) -> None:
    ahead: deque[tuple[PairBatch, Any]] = deque()
    matrix = scorer.frame_matrix(queries, targets)
    weights = scorer.fetched_weights(queries), scorer.fetched_weights(targets)
    batches = scores.batches(
        query_block, block, batch_size, _BATCH_CELLS, scorer.few_shapes, weights
    )
    for batch in batches:
        maxima = scorer.maxima(matrix, batch.windows, batch.rows, batch.columns, weights)
        ahead.append((batch, maxima))
        if len(ahead) > 1:  # a GPU works on the next batch while this one is fetched
            _fetch(scorer, scores, table, *ahead.popleft())
    while ahead:
        _fetch(scorer, scores, table, *ahead.popleft())


def _fetch(
    scorer: PairScorer, scores: PairScores, table: np.ndarray, batch: PairBatch, maxima: Any
) -> None:
    scores.add(batch, *scorer.fetched(maxima), table)


def _require_views(queries: Collection, model: Model) -> None:
    """Refuse queries whose further vectors were made of other pictures than the model's are."""
    spec = queries.spec
    if spec.query_descriptors and spec.augmentation_digest != model.views_digest:
        raise FingerprintMismatchError(
            f"{queries.path} holds further vectors of queries, made of other pictures than "
            f"those of {model.name!r}: give --model_dir of the store's model, or extract them again"
        )


class _Side:
    """Pieces and blocks of one side, and how to read them."""

    def __init__(
        self,
        videos: Collection,
        geometry: Geometry,
        budget: int,
        vectors: int | None = None,
        checksums: bool = True,
    ) -> None:
        self.videos = videos
        self.checksums = checksums
        self.vectors = vectors or videos.spec.descriptors  # of a frame, the first so many
        self.pieces = plan_pieces(videos.lengths.tolist(), geometry, _PIECE_FRAMES)
        self.blocks = plan_blocks(self.pieces, budget)

    def read(self, block: Sequence[Piece]) -> np.ndarray:
        """[frames of the block, `vectors`, C] as stored, the pieces one behind the other.

        A damaged piece is filled with something, so that the block stays as it was planned; the
        scores of its video are taken out of the table at the end.
        """
        total = sum(p.frames for p in block)
        vectors = np.empty((total, *self.videos.row_shape), self.videos.dtype)
        at = 0
        for piece in block:
            part = vectors[at : at + piece.frames]
            try:
                self.videos.read(piece.video, piece.start, piece.stop, part, self.checksums)
            except StoreError:
                part[:] = 1 if part.dtype.kind != "f" else self.videos.spec.dims**-0.5
            at += piece.frames
        return vectors[:, : self.vectors]

    def read_all(self) -> Iterator[np.ndarray]:
        return (self.read(block) for block in self.blocks)

    def placed_ahead(
        self, place: Callable[[np.ndarray], Any]
    ) -> Iterator[tuple[list[Piece], Any, float]]:
        """Blocks, what `place` makes of their vectors, and the seconds waited for it.

        The next block is read and placed while the caller works on this one.
        """

        def made(block: Sequence[Piece]) -> Any:
            return place(self.read(block))

        with ThreadPoolExecutor(1, "read-ahead") as pool:
            pending = pool.submit(made, self.blocks[0])
            for i, block in enumerate(self.blocks):
                begin = time.perf_counter()
                placed = pending.result()
                wait = time.perf_counter() - begin
                if i + 1 < len(self.blocks):
                    pending = pool.submit(made, self.blocks[i + 1])
                yield block, placed, wait
