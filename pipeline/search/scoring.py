"""Stage two's inner loop: features of two sides in, scores out.

The database is read in blocks and loaded onto the device (one thread does both, a block ahead),
each block is multiplied with the queries' frames, and the pairs' windows of that matrix go through
the comparator. A pair's score does not depend on blocks, batches or their order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .aggregation import PairBatch, PairScores
from .limits import Limits
from .read_plan import CHAMFER_ONLY, COMPARATOR, Geometry, Piece, plan_reads
from .reader import BlockReader, FeatureSource, ResidentReader
from .score_sink import RestScores, ScoreSink

if TYPE_CHECKING:
    from ..nets.similarity.pair_scorer import PairScorer

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class LoadedBlock:
    """A block of one side on the device.

    Attributes:
        pieces: whose frames it holds.
        features: what the scorer made of them.
    """

    pieces: Sequence[Piece]
    features: Any


@dataclass(frozen=True)
class ScoringLoop:
    """Scores every query against every database video.

    Attributes:
        scorer: the similarity network.
        function: the one that the scorer was made for, of `config.SIMILARITY_FUNCTIONS`.
        batch_size: pairs in one run of the comparator, at most.
        keep_queries: keep the query features on the device for the whole run.
        gpu_id: the device, see `nets.backend.device_scope`.
        limits: how much is in memory at once.
    """

    scorer: PairScorer
    function: str
    batch_size: int = 1024
    keep_queries: bool = False
    gpu_id: int | None = None
    limits: Limits = field(default_factory=Limits)

    @property
    def geometry(self) -> Geometry:
        """How outputs relate to frames."""
        return COMPARATOR if self.scorer.has_comparator else CHAMFER_ONLY

    def reader(
        self,
        source: FeatureSource,
        block_frames: int,
        *,
        descriptors: int | None = None,
        checksums: bool = True,
        resident_frames: int = 0,
    ) -> BlockReader:
        """A reader of one side in pieces and blocks of the right size.

        Args:
            block_frames: frames read at a time.
            descriptors, checksums: see `BlockReader`.
            resident_frames: blocks of so many frames in all stay loaded, see `ResidentReader`.
        """
        lengths = source.lengths.tolist()
        plan = plan_reads(lengths, self.geometry, self.limits.piece_frames, block_frames)
        sizes = np.cumsum([sum(piece.frames for piece in block) for block in plan.blocks])
        return ResidentReader(
            source,
            plan,
            descriptors=descriptors,
            checksums=checksums,
            resident_blocks=int(np.searchsorted(sizes, resident_frames, side="right")),
        )

    def query_reader(self, source: FeatureSource) -> BlockReader:
        """A reader of the queries."""
        return self.reader(source, self.limits.query_block_frames)

    def pair_scores(
        self,
        queries: BlockReader,
        database: BlockReader,
        *,
        row_index: np.ndarray | None = None,
        column_index: np.ndarray | None = None,
        rest: RestScores | None = None,
    ) -> PairScores:
        """What turns maxima of pieces into scores; see `PairScores` for what is optional."""
        return PairScores(
            queries.plan.pieces,
            database.plan.pieces,
            self.geometry,
            self.function,
            row_index=row_index,
            column_index=column_index,
            rest=rest,
        )

    def fill(
        self,
        sink: ScoreSink,
        queries: BlockReader,
        database: BlockReader,
        *,
        row_index: np.ndarray | None = None,
        column_index: np.ndarray | None = None,
        rest: RestScores | None = None,
        progress: Progress | None = None,
    ) -> float:
        """Score all pairs.

        Args:
            sink: where the scores go.
            row_index, column_index: where the videos of each side go, see `PairScores`; the
                latter ascends.
            rest: where rest scores go, see `PairScores`.
            progress: called with (columns done, columns) after each database block.

        Returns:
            Seconds spent waiting for features that were not read and on the device in time.
        """
        from ..nets.backend import device_scope

        scores = self.pair_scores(
            queries, database, row_index=row_index, column_index=column_index, rest=rest
        )

        def load_targets(vectors: np.ndarray) -> Any:
            with device_scope(self.gpu_id):  # a scope holds for its own thread only
                return self.scorer.place_targets(vectors)

        load_queries = self.scorer.place_queries
        resident = None
        if self.keep_queries or len(queries.plan.blocks) == 1:  # one is on the device anyway
            resident = [load_queries(vectors) for vectors in queries.read_all()]
        waited = 0.0
        for pieces, features, wait_seconds in database.load_ahead(load_targets):
            waited += wait_seconds
            targets = LoadedBlock(pieces, features)
            loaded = resident or (load_queries(vectors) for vectors in queries.read_all())
            done = _complete_columns(pieces[-1], database, column_index, sink.columns)
            sink.begin_block(done)
            for query_pieces, query_features in zip(queries.plan.blocks, loaded, strict=True):
                self.score_block(scores, LoadedBlock(query_pieces, query_features), targets, sink)
            if progress:
                progress(done, sink.columns)
        return waited

    def score_block(
        self, scores: PairScores, queries: LoadedBlock, targets: LoadedBlock, sink: ScoreSink
    ) -> None:
        """Score all pairs of two blocks and pass on the scores that are complete."""
        scorer = self.scorer
        ahead: deque[tuple[PairBatch, Any]] = deque()
        matrix = scorer.frame_matrix(queries.features, targets.features)
        weights = (
            scorer.fetched_weights(queries.features),
            scorer.fetched_weights(targets.features),
        )
        batches = scores.batches(
            queries.pieces,
            targets.pieces,
            self.batch_size,
            self.limits.batch_cells,
            few_shapes=scorer.few_shapes,
            weights=weights,
        )
        for batch in batches:
            maxima = scorer.maxima(matrix, batch.windows, batch.rows, batch.columns, weights)
            ahead.append((batch, maxima))
            if len(ahead) > 1:  # a GPU works on the next batch while this one is fetched
                first, first_maxima = ahead.popleft()
                scores.add(first, *scorer.fetched(first_maxima), sink)
        while ahead:
            first, first_maxima = ahead.popleft()
            scores.add(first, *scorer.fetched(first_maxima), sink)


def _complete_columns(
    last: Piece, database: BlockReader, column_index: np.ndarray | None, columns: int
) -> int:
    """Columns of the table, of so many, that are complete after a block that ends with `last`."""
    lengths = database.source.lengths
    videos = last.video + int(last.last == lengths[last.video])
    if videos == len(lengths):
        return columns
    return videos if column_index is None else int(column_index[videos])
