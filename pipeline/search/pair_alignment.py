"""Where the videos of single pairs match: frame matrices and segments from stored features.

For the pairs that are shown or written, never for all: a pair costs some milliseconds. Matches of
one query go together: frames of several database videos are on the device at a time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..alignment import align, fold_insets
from ..alignment.segment import Segment
from ..config import SEGMENT_EVIDENCE, CompareConfig
from ..errors import StoreError
from .engine import pair_scorer
from .request import SearchRequest
from .video_set import VideoSet

if TYPE_CHECKING:
    from ..nets.similarity.device_features import DeviceFeatures
    from ..nets.similarity.pair_scorer import PairScorer

_BLOCK_FRAMES = 2048  # database frames that are on the device together, about
_PART_FRAMES = 4096  # frames of a video that are read at a time
_MOST_CELLS = 32 << 20  # of a matrix: 128 MiB. Of longer videos not every frame is compared
_PLACED_QUERIES = 2  # on the device: the last one, plain and mirrored
_UNRELATED_SCORE = 0.3  # that most segments of unrelated videos stay below


@dataclass(frozen=True, eq=False)
class PairMatrix:
    """Similarities of the frames of two videos, insets folded into the frames that they are in.

    Attributes:
        values: float32 [Q, D] within [-1, 1], before the comparator.
        query_seconds, database_seconds: float64 [Q] and [D], ascending.
        query_duration, database_duration: seconds of the videos; None where the file did not say.
        mirrored: these are the mirrored query's similarities, which are the higher ones.
        step: every so many-th stored frame was compared; more than 1 for two very long videos.
    """

    values: np.ndarray
    query_seconds: np.ndarray
    database_seconds: np.ndarray
    query_duration: float | None
    database_duration: float | None
    mirrored: bool = False
    step: int = 1


@dataclass(frozen=True)
class PairAlignment:
    """Where two videos match.

    Attributes:
        segments: the most certain first; none where nothing matches.
        mirrored: the mirrored query matches better.
        step: see `PairMatrix`; ends are known to about as many samples.
    """

    segments: tuple[Segment, ...]
    mirrored: bool = False
    step: int = 1


@dataclass(frozen=True)
class _Frames:
    """The frames of one video that are compared.

    Attributes:
        videos, index: where they are stored.
        rows: intp [N], which of the stored frames; those of insets last.
        seconds: float64 [N].
        own: how many are frames of the video itself.
        stored: number of stored frames.
        step: every so many-th of them.
    """

    videos: VideoSet
    index: int
    rows: np.ndarray
    seconds: np.ndarray
    own: int
    stored: int
    step: int

    @classmethod
    def of(cls, videos: VideoSet, index: int, step: int, with_insets: bool) -> _Frames:
        """Every `step`-th frame of a video, and of its insets.

        Raises:
            StoreError: its times are damaged.
        """
        seconds, own = videos.frame_seconds(index)
        end = len(seconds) if with_insets else own
        rows = np.concatenate([np.arange(0, own, step), np.arange(own, end, step)])
        return cls(videos, index, rows, seconds[rows], -(-own // step), len(seconds), step)

    @property
    def duration(self) -> float | None:
        """Seconds of the video, None where its file did not say."""
        return self.videos.source(self.index).duration or None

    def parts(self, checksum: bool) -> Iterator[np.ndarray]:
        """Their descriptors as stored, [n, R, C] for some of the frames at a time.

        Raises:
            StoreError: the video is damaged.
        """
        videos = self.videos
        for start in range(0, self.stored, _PART_FRAMES):
            stop = min(start + _PART_FRAMES, self.stored)
            vectors = np.empty((stop - start, *videos.row_shape), videos.dtype)
            videos.read(self.index, start, stop, vectors, checksum=checksum)
            rows = self.rows[(self.rows >= start) & (self.rows < stop)] - start
            if len(rows):
                yield vectors if len(rows) == len(vectors) else vectors[rows]


class PairAligner:
    """Frame matrices and segments of pairs of a request's videos.

    The settings of segments are the request's. A matrix has 32 million cells at most, as of two
    videos of 94 minutes at one frame a second. Of longer ones every second frame is compared, or
    every third and so on: a segment of few samples is then missed, and ends are less exact.

    Args:
        request: as for `search.run.search`; its model is adapted already.
        most_cells: of a matrix.
        scorer: the request's network, if it was made already.
    """

    def __init__(
        self,
        request: SearchRequest,
        *,
        most_cells: int = _MOST_CELLS,
        scorer: PairScorer | None = None,
    ) -> None:
        self._request, self._most_cells = request, most_cells
        self._scorer = scorer or pair_scorer(request)
        self._judge = SegmentJudge.of(request.config, request.selection.threshold is not None)
        # Pairs come query by query: the last query stays on the device, plain and mirrored.
        self._placed_queries: dict[tuple[bool, int, int], tuple[DeviceFeatures, int]] = {}
        mirrored = request.mirrored.ids if request.mirrored else ()
        self._mirrored_index = {video_id: i for i, video_id in enumerate(mirrored)}

    def align(self, query: int, database: int) -> PairAlignment:
        """Find the segments of a pair.

        Args:
            query, database: indices into the request's queries and database.

        Raises:
            StoreError: a video is damaged.
        """
        return self._best(self._pair(query, database))[1]

    def align_all(self, query: int, database: Sequence[int]) -> Iterator[PairAlignment | None]:
        """Find the segments of a query in several database videos, in their order.

        Args:
            query, database: indices into the request's queries and database.

        Returns:
            An alignment for each; None where the database video is damaged, which its `VideoSet`
            then knows.

        Raises:
            StoreError: the query is damaged.
        """
        for matrices in self._matrices(query, database):
            yield self._best(matrices)[1] if matrices else None

    def matrix(self, query: int, database: int) -> PairMatrix:
        """The frame matrix of a pair; of a mirrored query the one with more that matches.

        Args:
            query, database: indices into the request's queries and database.

        Raises:
            StoreError: a video is damaged.
        """
        return self._better(self._pair(query, database))

    def matrices(self, query: int, database: Sequence[int]) -> Iterator[PairMatrix | None]:
        """The frame matrices of a query with several database videos, in their order.

        Arguments, errors and None as in `align_all`; of a mirrored query as in `matrix`.
        """
        for matrices in self._matrices(query, database):
            yield self._better(matrices) if matrices else None

    def segments(self, matrix: PairMatrix) -> list[Segment]:
        """The segments of a frame matrix, the most certain first."""
        config = self._request.config
        found = align(
            matrix.values,
            matrix.query_seconds,
            matrix.database_seconds,
            query_duration=matrix.query_duration,
            database_duration=matrix.database_duration,
            method=config.segment_method,
            most=config.max_segments,
        )
        return self._judge.convincing(found)

    def _pair(self, query: int, database: int) -> list[PairMatrix]:
        matrices = next(self._matrices(query, [database]))
        if matrices is None:
            videos = self._request.database
            raise StoreError(videos.damaged[videos.ids[database]])
        return matrices

    def _better(self, matrices: Sequence[PairMatrix]) -> PairMatrix:
        return matrices[0] if len(matrices) == 1 else self._best(matrices)[0]

    def _best(self, matrices: Sequence[PairMatrix]) -> tuple[PairMatrix, PairAlignment]:
        """The direction with more that matches."""
        pairs = [
            (matrix, PairAlignment(tuple(self.segments(matrix)), matrix.mirrored, matrix.step))
            for matrix in matrices
        ]
        return max(pairs, key=lambda pair: _matched(pair[1]))

    def _matrices(self, query: int, database: Sequence[int]) -> Iterator[list[PairMatrix] | None]:
        """Of each database video the matrices of all directions; None if it is damaged."""
        sides = self._sides(query)
        own_frames = max(int(videos.lengths[index]) for videos, index in sides)
        insets = self._request.config.query_insets

        def step_for(video: int) -> int:
            frames = int(self._request.database.lengths[video])
            return max(1, math.ceil(math.sqrt(own_frames * frames / self._most_cells)))

        for step, group in itertools.groupby(database, step_for):
            queries = [_Frames.of(videos, index, step, insets) for videos, index in sides]
            for videos in self._blocks(group, step, own_frames):
                values = self._values(queries, videos)
                for frames, of_video in zip(videos, values, strict=True):
                    if frames is None or of_video is None:
                        yield None
                        continue
                    yield [
                        _folded(side, frames, matrix, mirrored=bool(place))
                        for place, (side, matrix) in enumerate(zip(queries, of_video, strict=True))
                    ]

    def _sides(self, query: int) -> list[tuple[VideoSet, int]]:
        """Where the features of a query are: as it is, and mirrored where these are sound."""
        queries, mirrored = self._request.queries, self._request.mirrored
        sides = [(queries, query)]
        index = self._mirrored_index.get(queries.ids[query])
        if mirrored is not None and index is not None:
            with suppress(StoreError):  # then it is compared as it is, as for its score
                mirrored.check_video(index, self._request.config.checksums)
                sides.append((mirrored, index))
        return sides

    def _blocks(
        self, database: Iterable[int], step: int, query_frames: int
    ) -> Iterator[list[_Frames | None]]:
        """Database videos that go to the device together; None for a damaged one."""
        room = min(_BLOCK_FRAMES, max(1, self._most_cells // query_frames))
        block: list[_Frames | None] = []
        frames = 0
        for video in database:
            loaded: _Frames | None = None
            with suppress(StoreError):
                loaded = _Frames.of(self._request.database, video, step, with_insets=True)
            more = len(loaded.rows) if loaded else 0
            if block and frames + more > room:
                yield block
                block, frames = [], 0
            block.append(loaded)
            frames += more
        if block:
            yield block

    def _values(
        self, queries: Sequence[_Frames], videos: Sequence[_Frames | None]
    ) -> list[list[np.ndarray] | None]:
        """Of each video its columns in the matrix of each query side; None if it is damaged."""
        columns: list[list[list[np.ndarray]] | None] = [[[] for _ in queries] for _ in videos]
        waiting: list[tuple[int, np.ndarray]] = []
        for place, frames in enumerate(videos):
            try:
                for part in frames.parts(self._request.config.checksums) if frames else ():
                    waiting.append((place, part))
                    if sum(len(vectors) for _, vectors in waiting) >= _BLOCK_FRAMES:
                        self._compare(queries, waiting, columns)
                        waiting = []
            except StoreError:
                columns[place] = None
        self._compare(queries, waiting, columns)
        return [
            None if sides is None else [np.concatenate(side, axis=1) for side in sides]
            for sides in (
                None if frames is None else found
                for frames, found in zip(videos, columns, strict=True)
            )
        ]

    def _compare(
        self,
        queries: Sequence[_Frames],
        parts: Sequence[tuple[int, np.ndarray]],
        columns: Sequence[list[list[np.ndarray]] | None],
    ) -> None:
        """Compare parts of database videos with all query sides and append their columns."""
        from ..nets.backend import device_scope, ops

        if not parts:
            return
        shared = self._request.database.spec.shared_descriptors
        ends = np.cumsum([len(vectors) for _, vectors in parts])
        with device_scope(self._request.gpu_id):
            vectors = [vectors[:, :shared] for _, vectors in parts]
            targets = self._scorer.place_targets(
                vectors[0] if len(vectors) == 1 else np.concatenate(vectors)
            )
            for number, query in enumerate(queries):
                rows = []
                for features, count in self._placed(query, mirrored=bool(number)):
                    found = ops.convert_to_numpy(self._scorer.frame_matrix(features, targets))
                    rows.append(np.asarray(found[:count, : ends[-1]], np.float32))
                matrix = rows[0] if len(rows) == 1 else np.concatenate(rows)
                split = np.split(matrix, ends[:-1], axis=1)
                for (place, _), part in zip(parts, split, strict=True):
                    of_video = columns[place]
                    if of_video is not None:
                        of_video[number].append(part)

    def _placed(self, query: _Frames, mirrored: bool) -> Iterable[tuple[DeviceFeatures, int]]:
        """Parts of a query on the device, and their frames; a short one stays there."""
        checksums = self._request.config.checksums
        if query.stored > _PART_FRAMES:
            parts = query.parts(checksums)
            return ((self._scorer.place_queries(part), len(part)) for part in parts)
        key = mirrored, query.index, query.step
        placed = self._placed_queries.get(key)
        if placed is None:
            (part,) = query.parts(checksums)
            placed = self._scorer.place_queries(part), len(part)
            if len(self._placed_queries) >= _PLACED_QUERIES:
                self._placed_queries.clear()
            self._placed_queries[key] = placed
        return (placed,)


@dataclass(frozen=True)
class SegmentJudge:
    """Which segments of a pair convince.

    Attributes:
        least_score: of a segment.
        least_evidence: that the best segment of a pair needs, see `evidence`.
    """

    least_score: float
    least_evidence: float

    @classmethod
    def of(cls, config: CompareConfig, has_threshold: bool) -> SegmentJudge:
        """As the settings say. With a threshold the scores say already which pairs match."""
        evidence = config.segment_evidence
        if evidence is None:
            evidence = 0.0 if has_threshold else SEGMENT_EVIDENCE
        return cls(config.segment_min_score, evidence)

    def convincing(self, segments: Sequence[Segment]) -> list[Segment]:
        """The segments that convince; none if the best one does not."""
        enough = [segment for segment in segments if segment.score >= self.least_score]
        best = max((evidence(segment) for segment in enough), default=0.0)
        return enough if best >= self.least_evidence else []


def evidence(segment: Segment) -> float:
    """Seconds of a segment times how far its score is above that of unrelated frames.

    A second of black frames, or of titles, has a high score in unrelated videos, and some seconds
    have a low one by chance; both have little evidence.
    """
    seconds = max(
        segment.query_end - segment.query_start, segment.database_end - segment.database_start
    )
    return (segment.score - _UNRELATED_SCORE) * seconds


def _folded(query: _Frames, database: _Frames, values: np.ndarray, mirrored: bool) -> PairMatrix:
    values, query_seconds, database_seconds = fold_insets(
        values, (query.seconds, query.own), (database.seconds, database.own)
    )
    return PairMatrix(
        values,
        query_seconds,
        database_seconds,
        query.duration,
        database.duration,
        mirrored,
        query.step,
    )


def _matched(alignment: PairAlignment) -> float:
    """Seconds that match, each weighted by its similarity."""
    return sum((s.query_end - s.query_start) * s.score for s in alignment.segments)
