"""Where the videos of single pairs match: frame matrices and segments from stored features.

For the pairs that are shown or written, never for all: a pair costs some milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..alignment import DEFAULT_METHOD, align, fold_insets
from ..alignment.segment import Segment
from .engine import pair_scorer
from .request import SearchRequest
from .video_set import VideoSet

if TYPE_CHECKING:
    from ..nets.similarity.pair_scorer import PairScorer

# Frames of a database video on the device at a time; the matrix itself is on the host.
_PART_FRAMES = 4096


@dataclass(frozen=True, eq=False)
class PairMatrix:
    """Similarities of the frames of two videos, insets folded into the frames that they are in.

    Attributes:
        values: float32 [Q, D] within [-1, 1], before the comparator.
        query_seconds, database_seconds: float64 [Q] and [D], ascending.
        query_duration, database_duration: seconds of the videos; None where the file did not say.
        mirrored: these are the mirrored query's similarities, which are the higher ones.
    """

    values: np.ndarray
    query_seconds: np.ndarray
    database_seconds: np.ndarray
    query_duration: float | None
    database_duration: float | None
    mirrored: bool = False


@dataclass(frozen=True)
class PairAlignment:
    """Where two videos match.

    Attributes:
        segments: the most certain first; none where nothing matches.
        mirrored: the mirrored query matches better.
    """

    segments: tuple[Segment, ...]
    mirrored: bool = False


class PairAligner:
    """Frame matrices and segments of pairs of a request's videos.

    Args:
        request: as for `search.run.search`; its model is adapted already.
        method: of `alignment.METHODS`.
        scorer: the request's network, if it was made already.
    """

    def __init__(
        self,
        request: SearchRequest,
        *,
        method: str = DEFAULT_METHOD,
        scorer: PairScorer | None = None,
    ) -> None:
        self._request, self._method = request, method
        self._scorer = scorer or pair_scorer(request)
        # Pairs come query by query: the last query stays on the device, plain and mirrored.
        self._loaded_query = lru_cache(maxsize=2)(self._load_query)
        mirrored = request.mirrored.ids if request.mirrored else ()
        self._mirrored_index = {video_id: i for i, video_id in enumerate(mirrored)}

    def align(self, query: int, database: int) -> PairAlignment:
        """Find the segments of a pair.

        Args:
            query, database: indices into the request's queries and database.

        Raises:
            StoreError: a video is damaged.
        """
        return self.align_each(query, [database])[0]

    def align_each(self, query: int, database: Sequence[int]) -> list[PairAlignment]:
        """Find the segments of a query in each of some database videos.

        Many short videos at once take less time than one by one.

        Args:
            query, database: indices into the request's queries and database.

        Raises:
            StoreError: a video is damaged.
        """
        ways = [
            [
                PairAlignment(tuple(self.segments(matrix)), mirrored)
                for matrix in self._matrices(query, database, mirrored)
            ]
            for mirrored in self._directions(query)
        ]
        return [max(alignments, key=_matched) for alignments in zip(*ways, strict=True)]

    def matrix(self, query: int, database: int) -> PairMatrix:
        """The frame matrix of a pair; of a mirrored query the one with more that matches.

        Args:
            query, database: indices into the request's queries and database.

        Raises:
            StoreError: a video is damaged.
        """
        ways = [next(self._matrices(query, [database], m)) for m in self._directions(query)]
        if len(ways) == 1:
            return ways[0]
        return max(ways, key=lambda m: _matched(PairAlignment(tuple(self.segments(m)), m.mirrored)))

    def segments(self, matrix: PairMatrix) -> list[Segment]:
        """The segments of a frame matrix, the most certain first."""
        return align(
            matrix.values,
            matrix.query_seconds,
            matrix.database_seconds,
            query_duration=matrix.query_duration,
            database_duration=matrix.database_duration,
            method=self._method,
        )

    def _directions(self, query: int) -> tuple[bool, ...]:
        mirrored = self._request.queries.ids[query] in self._mirrored_index
        return (False, True) if mirrored else (False,)

    def _matrices(
        self, query: int, database: Sequence[int], mirrored: bool
    ) -> Iterator[PairMatrix]:
        """The frame matrices of a query and each of some database videos."""
        for group in self._groups(database):
            values, start = self._values(query, group, mirrored), 0
            for video in group:
                frames = self._frames(video)
                yield self._folded(values[:, start : start + frames], query, video, mirrored)
                start += frames

    def _groups(self, database: Sequence[int]) -> Iterator[list[int]]:
        """Videos that are together on the device; a long one is by itself."""
        group: list[int] = []
        room = 0
        for video in database:
            frames = self._frames(video)
            if group and frames > room:
                yield group
                group = []
            room = (room if group else _PART_FRAMES) - frames
            group.append(video)
        if group:
            yield group

    def _frames(self, video: int) -> int:
        return len(self._request.database.frame_seconds(video)[0])

    def _values(self, query: int, group: Sequence[int], mirrored: bool) -> np.ndarray:
        """Similarities of a query's frames to those of a group, one video after the other."""
        from ..nets.backend import device_scope

        videos = self._request.database
        with device_scope(self._request.gpu_id):
            features = self._loaded_query(query, mirrored)
            if len(group) > 1:
                read = [self._read(videos, video, slice(0, _PART_FRAMES)) for video in group]
                return self._columns(features, np.concatenate(read))
            starts = range(0, self._frames(group[0]), _PART_FRAMES)
            columns = [
                self._columns(
                    features, self._read(videos, group[0], slice(start, start + _PART_FRAMES))
                )
                for start in starts
            ]
        return np.concatenate(columns, axis=1)

    def _folded(self, values: np.ndarray, query: int, database: int, mirrored: bool) -> PairMatrix:
        """The frame matrix of a pair out of all similarities of their frames."""
        queries, index = self._query(query, mirrored)
        videos = self._request.database
        query_seconds, own_rows = queries.frame_seconds(index)
        database_seconds, own_columns = videos.frame_seconds(database)
        values = values[: len(query_seconds)]
        if not self._request.config.query_insets:
            values, query_seconds = values[:own_rows], query_seconds[:own_rows]
        values, query_seconds, database_seconds = fold_insets(
            values, (query_seconds, own_rows), (database_seconds, own_columns)
        )
        return PairMatrix(
            values,
            query_seconds,
            database_seconds,
            queries.source(index).duration or None,
            videos.source(database).duration or None,
            mirrored,
        )

    def _query(self, query: int, mirrored: bool) -> tuple[VideoSet, int]:
        """The set that a query's features are in, and its index there."""
        if not mirrored:
            return self._request.queries, query
        assert self._request.mirrored is not None
        return self._request.mirrored, self._mirrored_index[self._request.queries.ids[query]]

    def _load_query(self, query: int, mirrored: bool) -> Any:
        queries, index = self._query(query, mirrored)
        frames = len(queries.frame_seconds(index)[0])
        return self._scorer.place_queries(self._read(queries, index, slice(0, frames)))

    def _columns(self, query: Any, vectors: np.ndarray) -> np.ndarray:
        """Similarities of a query's frames to database frames, [Q', frames]."""
        from ..nets.backend import ops

        shared = self._request.database.spec.shared_descriptors
        targets = self._scorer.place_targets(vectors[:, :shared])
        matrix = ops.convert_to_numpy(self._scorer.frame_matrix(query, targets))
        return np.asarray(matrix[:, : len(vectors)], np.float32)

    def _read(self, videos: VideoSet, video: int, part: slice) -> np.ndarray:
        stop = min(part.stop, len(videos.frame_seconds(video)[0]))
        vectors = np.empty((stop - part.start, *videos.row_shape), videos.dtype)
        videos.read(video, part.start, stop, vectors, checksum=self._request.config.checksums)
        return vectors


def _matched(alignment: PairAlignment) -> float:
    """Seconds that match, each weighted by its similarity."""
    return sum((s.query_end - s.query_start) * s.score for s in alignment.segments)
