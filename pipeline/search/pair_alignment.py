"""Where the videos of single pairs match: frame matrices and segments from stored features.

For the pairs that are shown or written, never for all: a pair costs some milliseconds. Matches of
one query go together: frames of several database videos are on the device at a time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..alignment import EndWindow, align, fold_insets, refine
from ..alignment.evidence import UNRELATED
from ..alignment.segment import Segment
from ..config import SEGMENT_EVIDENCE, CompareConfig
from ..errors import StorageError, StoreError
from .engine import pair_scorer
from .request import SearchRequest
from .video_set import VideoSet

if TYPE_CHECKING:
    from ..nets.similarity.device_features import DeviceFeatures
    from ..nets.similarity.pair_scorer import PairScorer

_MAX_CELLS = 32 << 20  # of a matrix: 128 MiB. longer videos are aligned in stretches
_MAX_PRODUCTS = 12_000_000_000  # of descriptors, in a pair: about 80 s of processor time
_PLACED_QUERIES = 2  # on the device: the last one, plain and mirrored
_SEAM = 1.0  # seconds between the parts of a segment that two stretches share, times the step
_WINDOW_STEPS = 3  # steps of thinned frames, to either side of an end that is found again
_SAME_SLOPE = 0.1  # |log2| of the slopes of two such parts
_UNRELATED_SCORE = 0.3  # that most segments of unrelated videos stay below
_PAIR_SCORE = 0.425  # of a pair: it speaks neither for a match nor against it
_LEVEL_SHARE = 0.75  # of the prior of levels, which most queries' levels stay below
_PAIR_WEIGHT, _PAIR_LIMIT = 20.0, 2.0  # evidence for a pair's score above that, at most


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
        step: every so many-th frame of both was compared, all frames around the ends of segments.
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

    def parts(self, checksum: bool, part_frames: int) -> Iterator[np.ndarray]:
        """Their descriptors as stored, [n, R, C] for so many of the video's frames at a time.

        Raises:
            StoreError: the video is damaged.
        """
        videos = self.videos
        for start in range(0, self.stored, part_frames):
            stop = min(start + part_frames, self.stored)
            rows = self.rows[(self.rows >= start) & (self.rows < stop)] - start
            if not len(rows):
                continue
            vectors = np.empty((stop - start, *videos.row_shape), videos.dtype)
            videos.read(self.index, start, stop, vectors, checksum=checksum)
            yield vectors if len(rows) == len(vectors) else vectors[rows]

    @property
    def end(self) -> float:
        """Second at which the video ends: its duration, or its last frame where that is later."""
        return max(self.duration or 0.0, float(self.seconds[: self.own].max(initial=0.0)))

    def around(self, second: float, reach: int) -> _Frames:
        """So many of the frames to either side of a second, with the insets in that time."""
        own = self.seconds[: self.own]
        middle = int(np.searchsorted(own, second))
        first, stop = max(0, middle - reach), min(self.own, middle + reach)
        inside = np.zeros(len(self.rows), bool)
        inside[first:stop] = True
        if stop > first:
            insets = self.seconds[self.own :]
            inside[self.own :] = (insets >= own[first]) & (insets <= own[stop - 1])
        return replace(self, rows=self.rows[inside], seconds=self.seconds[inside], own=stop - first)

    def tiles(self, size: int) -> Iterator[tuple[_Frames, float, float | None]]:
        """Stretches of so many frames, with the insets in them, and from when to when each is.

        The last one ends with the video, None where its file did not say when.
        """
        own = self.seconds[: self.own]
        starts = range(0, self.own, size)
        cuts = [0.0, *((own[at - 1] + own[at]) / 2 for at in starts[1:])]
        ends: list[float | None] = [*cuts[1:], self.duration]
        for at, first, end in zip(starts, cuts, ends, strict=True):
            inside = np.zeros(len(self.rows), bool)
            inside[at : min(at + size, self.own)] = True
            insets = self.seconds[self.own :]
            inside[self.own :] = (insets >= first) & (insets < (np.inf if end is None else end))
            rows, seconds = self.rows[inside], self.seconds[inside]
            count = min(size, self.own - at)
            yield replace(self, rows=rows, seconds=seconds - first, own=count), first, end


class PairAligner:
    """Frame matrices and segments of pairs of a request's videos.

    The settings of segments are the request's. A matrix has 32 million cells at most, as of two
    videos of 96 minutes at one frame a second. Longer ones are aligned stretch by stretch, and
    segments that go on in the next stretch are joined. Where that would take minutes, only every
    second frame of both is compared, or every third and so on, and all frames around the ends of
    the segments; the alignment says so.

    Args:
        request: as for `search.run.search`; its model is adapted already.
        max_cells: of a matrix.
        max_products: products of descriptors in a pair.
        scorer: the request's network, if it was made already.
        block_frames: database frames that are on the device together, about.
        part_frames: frames of a video that are read at a time.
    """

    def __init__(
        self,
        request: SearchRequest,
        *,
        max_cells: int = _MAX_CELLS,
        max_products: int = _MAX_PRODUCTS,
        scorer: PairScorer | None = None,
        block_frames: int = 2048,
        part_frames: int = 4096,
    ) -> None:
        self._request, self._max_cells, self._max_products = request, max_cells, max_products
        self._block_frames, self._part_frames = block_frames, part_frames
        self._scorer = scorer or pair_scorer(request)
        self._judge = SegmentJudge.of(
            request.config,
            request.selection.threshold is not None,
            is_normalized=is_normalized(request),
        )
        # Pairs come query by query: the last query stays on the device, plain and mirrored.
        self._placed_queries: dict[tuple[int, ...], tuple[DeviceFeatures, int]] = {}
        mirrored = request.mirrored.ids if request.mirrored else ()
        self._mirrored_index = {video_id: i for i, video_id in enumerate(mirrored)}

    def align(self, query: int, database: int) -> PairAlignment:
        """Find the segments of a pair.

        Args:
            query, database: indices into the request's queries and database.

        Raises:
            StoreError: a video is damaged.
        """
        (alignment,) = self.align_all(query, [database])
        if alignment is None:
            raise self._damage(database)
        return alignment

    def align_all(
        self, query: int, database: Sequence[int], scores: Sequence[float] | None = None
    ) -> Iterator[PairAlignment | None]:
        """Find the segments of a query in several database videos, in their order.

        Args:
            query, database: indices into the request's queries and database.
            scores: of the pairs, if they are known; they count in the judgement of segments.

        Returns:
            An alignment for each; None where the database video is damaged, which its `VideoSet`
            then knows.

        Raises:
            StoreError: the query is damaged.
        """
        sides = self._sides(query)
        known = iter(scores if scores is not None else itertools.repeat(None, len(database)))
        for is_long, group in itertools.groupby(database, lambda v: self._step(sides, v) > 1):
            if is_long:
                yield from (self._align_tiles(sides, video, next(known)) for video in group)
                continue
            for matrices in self._matrices(sides, group):
                score = next(known)
                yield self._best(matrices, score)[1] if matrices else None

    def matrix(self, query: int, database: int) -> PairMatrix:
        """The frame matrix of a pair; of a mirrored query the one with more that matches.

        Of two very long videos it has every second frame only, or every third and so on.

        Args:
            query, database: indices into the request's queries and database.

        Raises:
            StoreError: a video is damaged.
        """
        (matrices,) = self._matrices(self._sides(query), [database])
        if matrices is None:
            raise self._damage(database)
        return self._better(matrices)

    def matrices(self, query: int, database: Sequence[int]) -> Iterator[PairMatrix | None]:
        """The frame matrices of a query with several database videos, in their order.

        Arguments, errors and None as in `align_all`; of a mirrored query as in `matrix`.
        """
        for matrices in self._matrices(self._sides(query), database):
            yield self._better(matrices) if matrices else None

    def segments(self, matrix: PairMatrix, score: float | None = None) -> list[Segment]:
        """The segments of a frame matrix, the most certain first; `score` of the pair if known."""
        return self._judge.convincing(self._aligned(matrix), score)

    def _aligned(self, matrix: PairMatrix) -> list[Segment]:
        config = self._request.config
        return align(
            matrix.values,
            matrix.query_seconds,
            matrix.database_seconds,
            query_duration=matrix.query_duration,
            database_duration=matrix.database_duration,
            method=config.segment_method,
            max_segments=config.max_segments,
        )

    def _damage(self, database: int) -> StoreError:
        videos = self._request.database
        return StoreError(videos.damaged[videos.ids[database]])

    def _better(self, matrices: Sequence[PairMatrix]) -> PairMatrix:
        return matrices[0] if len(matrices) == 1 else self._best(matrices)[0]

    def _best(
        self, matrices: Sequence[PairMatrix], score: float | None = None
    ) -> tuple[PairMatrix, PairAlignment]:
        """The direction with more that matches."""
        pairs = [
            (matrix, PairAlignment(tuple(self.segments(matrix, score)), matrix.mirrored))
            for matrix in matrices
        ]
        return max(pairs, key=lambda pair: _matched(pair[1]))

    def _step(self, sides: Sequence[tuple[VideoSet, int]], video: int) -> int:
        """Every so many-th frame of both videos can be compared at once."""
        cells = _max_frames(sides) * int(self._request.database.lengths[video])
        return max(1, math.ceil(math.sqrt(cells / self._max_cells)))

    def _align_tiles(
        self, sides: Sequence[tuple[VideoSet, int]], video: int, score: float | None
    ) -> PairAlignment | None:
        """Align two very long videos stretch by stretch; None if the database video is damaged."""
        insets, step = self._request.config.query_insets, self._thinning(sides, video)
        alignments = []
        for number, (videos, index) in enumerate(sides):
            query = _Frames.of(videos, index, step, insets)
            try:
                database = _Frames.of(self._request.database, video, step, with_insets=True)
                segments = self._tile_segments(query, database)
                if step > 1:
                    # A frame stands for several seconds there: some alike frames are no evidence.
                    segments = [s for s in segments if evidence(s) >= SEGMENT_EVIDENCE * step]
                    whole = _Frames.of(videos, index, 1, insets)
                    other = _Frames.of(self._request.database, video, 1, with_insets=True)
                    segments = [self._with_exact_ends(s, whole, other, step) for s in segments]
            except StoreError:
                if self._request.database.ids[video] in self._request.database.damaged:
                    return None
                raise
            convincing = self._judge.convincing(segments, score)
            limit = self._request.config.max_segments
            alignments.append(PairAlignment(tuple(convincing[:limit]), bool(number), step))
        return max(alignments, key=_matched)

    def _thinning(self, sides: Sequence[tuple[VideoSet, int]], video: int) -> int:
        """Every so many-th frame of two very long videos can be compared in bounded time."""
        database = self._request.database
        products = _max_frames(sides) * int(database.lengths[video]) * len(sides)
        products *= sides[0][0].row_shape[0] * database.spec.shared_descriptors
        return max(1, math.ceil(math.sqrt(products / self._max_products)))

    def _tile_segments(self, query: _Frames, database: _Frames) -> list[Segment]:
        """The segments of all pairs of stretches in seconds of the videos; those that go on joined.

        Raises:
            StoreError: the database video is damaged.
        """
        size = math.isqrt(self._max_cells)
        segments: list[Segment] = []
        for rows, columns in itertools.product(query.tiles(size), database.tiles(size)):
            matrix = self._matrix_of(rows[0], columns[0])
            lengths = [None if end is None else end - first for _, first, end in (rows, columns)]
            matrix = replace(matrix, query_duration=lengths[0], database_duration=lengths[1])
            segments += [_moved(s, rows[1], columns[1]) for s in self._aligned(matrix)]
        return joined(segments, seam=_SEAM * query.step)

    def _matrix_of(self, query: _Frames, database: _Frames) -> PairMatrix:
        """The matrix of some frames of two videos.

        Raises:
            StoreError: the database video is damaged.
        """
        (values,) = self._values([query], [database])
        if values is None:
            raise self._damage(database.index)
        return _folded(query, database, values[0], mirrored=False)

    def _with_exact_ends(
        self, segment: Segment, query: _Frames, database: _Frames, step: int
    ) -> Segment:
        """The segment of thinned frames with ends as all frames around them show.

        Raises:
            StoreError: the database video is damaged.
        """

        def window(at: float, database_at: float) -> EndWindow | None:
            reach = _WINDOW_STEPS * step
            rows, columns = query.around(at, reach), database.around(database_at, reach)
            if not rows.own or not columns.own:
                return None
            matrix = self._matrix_of(rows, columns)
            return EndWindow(matrix.values, matrix.query_seconds, matrix.database_seconds)

        return refine(
            segment,
            head=window(segment.query_start, segment.database_start),
            tail=window(segment.query_end, segment.database_end),
            query_duration=query.end,
            database_duration=database.end,
            furthest=2.0 * step,
        )

    def _matrices(
        self, sides: Sequence[tuple[VideoSet, int]], database: Iterable[int]
    ) -> Iterator[list[PairMatrix] | None]:
        """Of each database video the matrices of all directions; None if it is damaged."""
        own_frames = _max_frames(sides)
        insets = self._request.config.query_insets
        for step, group in itertools.groupby(database, lambda video: self._step(sides, video)):
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
        room = min(self._block_frames, max(1, self._max_cells // query_frames))
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
        checksums = self._request.config.checksums
        for place, frames in enumerate(videos):
            try:
                for part in frames.parts(checksums, self._part_frames) if frames else ():
                    waiting.append((place, part))
                    if sum(len(vectors) for _, vectors in waiting) >= self._block_frames:
                        self._compare(queries, waiting, columns)
                        waiting = []
            except StorageError:
                raise
            except StoreError:
                columns[place] = None
        self._compare(queries, waiting, columns)
        return [
            None if sides is None else [np.concatenate(side, axis=1) for side in sides]
            for sides in (
                None if frames is None else part
                for frames, part in zip(videos, columns, strict=True)
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
                for features, count in self._placed(query):
                    product = ops.convert_to_numpy(self._scorer.frame_matrix(features, targets))
                    rows.append(np.asarray(product[:count, : ends[-1]], np.float32))
                matrix = rows[0] if len(rows) == 1 else np.concatenate(rows)
                split = np.split(matrix, ends[:-1], axis=1)
                for (place, _), part in zip(parts, split, strict=True):
                    of_video = columns[place]
                    if of_video is not None:
                        of_video[number].append(part)

    def _placed(self, query: _Frames) -> Iterable[tuple[DeviceFeatures, int]]:
        """Parts of a query on the device, and their frames; a short one stays there."""
        checksums = self._request.config.checksums
        if query.stored > self._part_frames:
            parts = query.parts(checksums, self._part_frames)
            return ((self._scorer.place_queries(part), len(part)) for part in parts)
        key = id(query.videos), query.index, query.step, int(query.rows[0]), len(query.rows)
        placed = self._placed_queries.get(key)
        if placed is None:
            (part,) = query.parts(checksums, self._part_frames)
            placed = self._scorer.place_queries(part), len(part)
            if len(self._placed_queries) >= _PLACED_QUERIES:
                self._placed_queries.clear()
            self._placed_queries[key] = placed
        return (placed,)


@dataclass(frozen=True)
class SegmentJudge:
    """Which segments of a pair convince.

    Attributes:
        min_score: of a segment.
        min_evidence: that the best segment of a pair needs, see `evidence`; 0 asks for none.
        pair_score: score of a pair that says nothing about it.
    """

    min_score: float
    min_evidence: float
    pair_score: float = _PAIR_SCORE

    @classmethod
    def of(
        cls, config: CompareConfig, has_threshold: bool, *, is_normalized: bool = False
    ) -> SegmentJudge:
        """As the settings say. With a threshold the scores say already which pairs match."""
        evidence = config.segment_evidence
        if evidence is None:
            evidence = 0.0 if has_threshold else SEGMENT_EVIDENCE
        level = _LEVEL_SHARE * config.level_prior(adapted=False) if is_normalized else 0.0
        return cls(config.segment_min_score, evidence, _PAIR_SCORE - level)

    def convincing(self, segments: Sequence[Segment], score: float | None = None) -> list[Segment]:
        """The segments that convince; none if the best one does not.

        Args:
            segments: of a pair.
            score: of the pair. A higher one than `pair_score` counts as evidence, a lower one
                against it, within limits: scores of another model may lie elsewhere.
        """
        enough = [segment for segment in segments if segment.score >= self.min_score]
        if not enough or not self.min_evidence:
            return enough
        best = max(evidence(segment) for segment in enough)
        if score is not None:
            above = _PAIR_WEIGHT * (score - self.pair_score)
            best += min(max(above, -_PAIR_LIMIT), _PAIR_LIMIT)
        return enough if best >= self.min_evidence else []


def min_evidence(request: SearchRequest) -> float:
    """Evidence that a request asks of segments; 0 for none, as its threshold tells matches."""
    config, selection = request.config, request.selection
    return SegmentJudge.of(config, selection.threshold is not None).min_evidence


def is_normalized(request: SearchRequest) -> bool:
    """Whether something is taken off a request's scores."""
    return request.config.normalize == "database" or request.background is not None


def evidence(segment: Segment) -> float:
    """Seconds of a segment times how far its score is above that of unrelated frames.

    A second of black frames, or of titles, has a high score in unrelated videos, and some seconds
    have a low one by chance; both have little evidence.
    """
    seconds = max(
        segment.query_end - segment.query_start, segment.database_end - segment.database_start
    )
    return (segment.score - _UNRELATED_SCORE) * seconds


def joined(segments: Sequence[Segment], seam: float = _SEAM) -> list[Segment]:
    """Segments of stretches of two videos, those that continue each other as one.

    Args:
        segments: in seconds of the whole videos.
        seam: seconds between two parts, at most.

    Returns:
        The segments with the most evidence first. Those with less than half of the contrast of
        the best one are left out, as within one stretch.
    """
    rest = sorted(segments, key=lambda segment: segment.query_start)
    whole: list[Segment] = []
    for segment in rest:
        place = next((i for i, other in enumerate(whole) if _continues(other, segment, seam)), None)
        if place is None:
            whole.append(segment)
        else:
            whole[place] = _chained(whole[place], segment)
    best = max((segment.score for segment in whole), default=0.0)
    clear = [s for s in whole if s.score - UNRELATED >= (best - UNRELATED) / 2]
    return sorted(clear, key=evidence, reverse=True)


def _continues(first: Segment, second: Segment, seam: float) -> bool:
    """Whether a segment goes on where another one ends, at about its speed."""
    return (
        abs(second.query_start - first.query_end) <= seam
        and abs(second.database_start - first.database_end) <= seam
        and abs(math.log2(second.slope / first.slope)) <= _SAME_SLOPE
    )


def _chained(first: Segment, second: Segment) -> Segment:
    lengths = np.array([s.query_end - s.query_start for s in (first, second)])
    return Segment(
        first.query_start,
        second.query_end,
        first.database_start,
        second.database_end,
        float(np.average([first.score, second.score], weights=lengths)),
        first.query_decidable and second.query_decidable,
    )


def _moved(segment: Segment, query: float, database: float) -> Segment:
    """A segment later by some seconds in each video."""
    return replace(
        segment,
        query_start=segment.query_start + query,
        query_end=segment.query_end + query,
        database_start=segment.database_start + database,
        database_end=segment.database_end + database,
    )


def _max_frames(sides: Sequence[tuple[VideoSet, int]]) -> int:
    return max(int(videos.lengths[index]) for videos, index in sides)


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
