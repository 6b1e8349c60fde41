"""Ends of segments found again in the videos: some seconds around each, at a finer rate.

The frames go through stage one's network and are compared as stored frames are, those of queries
without the views that only queries have: views make a copy match at all, cost eight times as much,
and hardly matter to where it begins. A video that is not at hand, or cannot be decoded, leaves its
segments as they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .alignment import EndWindow, Segment, refine
from .config import ExtractConfig
from .errors import InputError, StoreError
from .quantization import dequantize, quantize
from .records import VideoRef
from .search.engine import pair_scorer
from .search.pair_alignment import PairAlignment
from .search.request import SearchRequest
from .search.segments import RefinementReport
from .search.video_set import VideoSet
from .source_files import SourceFiles

if TYPE_CHECKING:
    from .nets.extractor.feature_net import FeatureNet
    from .nets.similarity.pair_scorer import PairScorer

_GROUP = 16  # matches of a query whose frames are in memory together
_SAY_SECONDS = 10.0
_WHOLE = 0.05  # seconds from the ends of both videos within which a segment is all of both
_ALIKE = 0.7  # similarity of a decoded frame to the stored one; of signs .8 where they are equal
_NO_MATCH = "the decoded seconds show no match near its ends"
_OTHER_PICTURES = "its pictures are not those that were stored"


@dataclass(frozen=True)
class _Side:
    """A video that is decoded again.

    Attributes:
        videos, index: where it is stored.
        mirrored: its pictures are mirrored.
    """

    videos: VideoSet
    index: int
    mirrored: bool = False

    @property
    def id(self) -> str:
        """Id of the video."""
        return self.videos.ids[self.index]

    @property
    def duration(self) -> float:
        """Seconds of the video."""
        seconds = float(self.videos.frame_seconds(self.index)[0].max(initial=0.0))
        return max(self.videos.source(self.index).duration, seconds)


@dataclass(frozen=True, eq=False)
class _Samples:
    """Frames of the decoded parts: seconds [N], vectors as stores keep a database's [N, R, C]."""

    seconds: np.ndarray
    vectors: np.ndarray


class VideoRefiner:
    """A `search.segments.SegmentRefiner` that decodes the videos.

    Args:
        request: what the segments were found with.
        config: settings of stage one; those of decoding and of the network are used.
        files: finds the videos.
        say: is told how far it is, once in `_SAY_SECONDS`.

    Attributes:
        report: how many segments were refined so far, and why others were not.

    Raises:
        InputError: the features have the finer rate already.
    """

    def __init__(
        self,
        request: SearchRequest,
        config: ExtractConfig,
        files: SourceFiles,
        *,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        rate = max(request.queries.spec.fps, request.database.spec.fps)
        if rate >= request.config.refine_fps:
            raise InputError(
                f"refine_fps is {request.config.refine_fps:g}, but the features have {rate:g} "
                "frames a second: set a higher one, or do without refinement"
            )
        self._request, self._config, self._files = request, config, files
        self.report = RefinementReport()
        self._say, self._said = say, time.monotonic()

    def refined(
        self, query: int, database: Sequence[int], alignments: Sequence[PairAlignment | None]
    ) -> list[PairAlignment | None]:
        """Find ends again; see `SegmentRefiner`."""
        result = list(alignments)
        for mirrored in (False, True):
            places = [
                place
                for place, alignment in enumerate(alignments)
                if alignment is not None and alignment.segments and alignment.mirrored == mirrored
            ]
            for start in range(0, len(places), _GROUP):
                group = places[start : start + _GROUP]
                pairs = [
                    (_Side(self._request.database, database[place]), alignments[place])
                    for place in group
                ]
                better = self._refined_group(self._query_side(query, mirrored), pairs)
                for place, alignment in zip(group, better, strict=True):
                    result[place] = alignment
                if time.monotonic() - self._said >= _SAY_SECONDS:
                    self._said = time.monotonic()
                    self._say(f"refining: {self.report.segments} segments done")
        return result

    def _query_side(self, query: int, mirrored: bool) -> _Side:
        queries = self._request.queries
        if not mirrored or self._request.mirrored is None:
            return _Side(queries, query)
        index = self._request.mirrored.ids.index(queries.ids[query])
        return _Side(self._request.mirrored, index, mirrored=True)

    def _refined_group(
        self, query: _Side, pairs: Sequence[tuple[_Side, PairAlignment | None]]
    ) -> list[PairAlignment | None]:
        """Decode a query and some database videos, and refine all their segments."""
        wanted: dict[_Side, list[float]] = {}
        for side, alignment in pairs:
            for segment in alignment.segments if alignment else ():
                if not _is_whole(segment, query, side):
                    wanted.setdefault(query, []).extend((segment.query_start, segment.query_end))
                    ends = segment.database_start, segment.database_end
                    wanted.setdefault(side, []).extend(ends)
        samples, reasons = self._decoded(wanted)
        return [
            None
            if alignment is None
            else self._refined_pair(query, side, alignment, samples, reasons)
            for side, alignment in pairs
        ]

    def _refined_pair(
        self,
        query: _Side,
        side: _Side,
        alignment: PairAlignment,
        samples: Mapping[_Side, _Samples],
        reasons: Mapping[_Side, str],
    ) -> PairAlignment:
        self.report.segments += len(alignment.segments)
        matrix: np.ndarray | None = None
        segments = []
        for segment in alignment.segments:
            better = segment
            if _is_whole(segment, query, side):
                self._count("all of both videos, which is exact already", side)
            elif missing := next((each for each in (query, side) if each in reasons), None):
                self._count(reasons[missing], missing)
            else:
                if matrix is None:
                    matrix = self._matrix(samples[query], samples[side])
                better = self._refined_segment(query, side, segment, samples, matrix)
                if better == segment:
                    self._count(_NO_MATCH, side)
                else:
                    self.report.refined += 1
            segments.append(better)
        return replace(alignment, segments=tuple(segments))

    def _refined_segment(
        self,
        query: _Side,
        side: _Side,
        segment: Segment,
        samples: Mapping[_Side, _Samples],
        matrix: np.ndarray,
    ) -> Segment:
        rows, columns = samples[query].seconds, samples[side].seconds
        reach = self._request.config.refine_seconds
        head = _window(matrix, rows, columns, (segment.query_start, segment.database_start), reach)
        tail = _window(matrix, rows, columns, (segment.query_end, segment.database_end), reach)
        return refine(
            segment,
            head=head,
            tail=tail,
            query_duration=query.duration,
            database_duration=side.duration,
        )

    def _count(self, reason: str, side: _Side) -> None:
        ids = self.report.reasons.setdefault(reason, [])
        if side.id not in ids:
            ids.append(side.id)

    def _decoded(
        self, wanted: Mapping[_Side, Sequence[float]]
    ) -> tuple[dict[_Side, _Samples], dict[_Side, str]]:
        """Decode the seconds around some ends of each video.

        Returns:
            The samples of each video, and why others have none.
        """
        reasons: dict[_Side, str] = {}
        paths: dict[_Side, str] = {}
        parts: dict[str, list[tuple[float, float]]] = {}
        reach = self._request.config.refine_seconds
        for side, ends in wanted.items():
            location = self._files.find(side.videos.source(side.index))
            if location.path is None:
                reasons[side] = location.reason
                continue
            paths[side] = location.path
            around = [(max(0.0, end - reach), end + reach) for end in ends]
            parts[location.path] = _joined([*parts.get(location.path, []), *around])
        samples = self._samples_of(paths, parts, reasons)
        for side in list(samples):
            if not self._shows_what_is_stored(side, samples[side]):
                reasons[side] = _OTHER_PICTURES
                del samples[side]
        return samples, reasons

    def _samples_of(
        self,
        paths: Mapping[_Side, str],
        parts: Mapping[str, Sequence[tuple[float, float]]],
        reasons: dict[_Side, str],
    ) -> dict[_Side, _Samples]:
        """Decode and run the network; adds to `reasons` what cannot be decoded."""
        from .decode import Ended, Frames, decode_videos
        from .decode.pool import PACKAGE

        if not paths:
            return {}
        config, sides = self._config, list(paths)
        seconds: list[list[np.ndarray]] = [[] for _ in sides]
        vectors: list[list[np.ndarray]] = [[] for _ in sides]
        with decode_videos(
            [VideoRef(f"{number}", paths[side]) for number, side in enumerate(sides)],
            self._net.preprocess,
            self._request.config.refine_fps,
            workers=config.workers,
            stall_seconds=config.stall_seconds,
            idle_seconds=config.idle_seconds,
            max_pixels=config.max_pixels,
            memory_mb=config.decoder_memory_mb,
            decoder=f"{PACKAGE}.video.part_decoder:PartDecoder",
            options={"parts": parts},
        ) as events:
            for event in events:
                if isinstance(event, Frames):
                    seconds[event.index].append(event.seconds)
                    vectors[event.index].append(self._features(sides[event.index], event.images))
                elif isinstance(event, Ended) and event.failure is not None:
                    reasons[sides[event.index]] = f"it cannot be decoded: {event.failure.reason}"
        return {
            side: _Samples(np.concatenate(seconds[i]), np.concatenate(vectors[i]))
            for i, side in enumerate(sides)
            if seconds[i] and side not in reasons
        }

    def _features(self, side: _Side, images: np.ndarray) -> np.ndarray:
        """Features of frames as the store of a side would keep them, without views."""
        if side.mirrored:
            images = np.ascontiguousarray(images[:, :, ::-1])
        return quantize(self._net(images), side.videos.dtype)

    @cached_property
    def _net(self) -> FeatureNet:
        """Stage one's network, for frames of database videos."""
        from .nets.extractor.feature_net import network_for

        config = replace(self._config, as_queries=False)
        return network_for(self._request.model, config, self._request.gpu_id)

    @cached_property
    def _scorer(self) -> PairScorer:
        return pair_scorer(self._request)

    def _matrix(self, query: _Samples, database: _Samples) -> np.ndarray:
        from .nets.backend import device_scope, ops

        shared = self._request.database.spec.shared_descriptors
        with device_scope(self._request.gpu_id):
            rows = self._scorer.place_queries(query.vectors)
            columns = self._scorer.place_targets(database.vectors[:, :shared])
            matrix = ops.convert_to_numpy(self._scorer.frame_matrix(rows, columns))
        size = len(query.seconds), len(database.seconds)
        return np.asarray(matrix[: size[0], : size[1]], np.float32)

    def _shows_what_is_stored(self, side: _Side, samples: _Samples) -> bool:
        """Whether decoded frames are the stored ones where both have the same second.

        A clock that leaps, or a file that was replaced by one of the same size, shows here.
        """
        stored, own = side.videos.frame_seconds(side.index)
        nearest = np.abs(samples.seconds[:, None] - stored[None, :own]).argmin(axis=1)
        apart = np.abs(samples.seconds - stored[nearest])
        places = np.flatnonzero(apart < 0.5 / self._request.config.refine_fps)
        if not len(places):
            return False
        rows = nearest[places]
        first, last = int(rows.min()), int(rows.max()) + 1
        vectors = np.empty((last - first, *side.videos.row_shape), side.videos.dtype)
        try:
            side.videos.read(side.index, first, last, vectors, checksum=False)
        except StoreError:
            return False
        shared, dims = side.videos.spec.shared_descriptors, side.videos.spec.dims
        before, now = (
            dequantize(x, dims)[:, :shared].astype(np.float32)
            for x in (vectors[rows - first], samples.vectors[places])
        )
        return float(np.median((before * now).sum(axis=2).mean(axis=1))) >= _ALIKE


def _is_whole(segment: Segment, query: _Side, database: _Side) -> bool:
    """Whether a segment is all of both videos."""
    return (
        max(segment.query_start, segment.database_start) <= _WHOLE
        and segment.query_end >= query.duration - _WHOLE
        and segment.database_end >= database.duration - _WHOLE
    )


def _joined(parts: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The parts in ascending order, those that overlap as one."""
    joined: list[tuple[float, float]] = []
    for first, end in sorted(parts):
        if joined and first <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((first, end))
    return joined


def _window(
    matrix: np.ndarray,
    query_seconds: np.ndarray,
    database_seconds: np.ndarray,
    end: tuple[float, float],
    reach: float,
) -> EndWindow | None:
    """The part of a matrix around an end; None if no frame is there."""
    rows = np.flatnonzero(np.abs(query_seconds - end[0]) <= reach)
    columns = np.flatnonzero(np.abs(database_seconds - end[1]) <= reach)
    if not len(rows) or not len(columns):
        return None
    return EndWindow(matrix[np.ix_(rows, columns)], query_seconds[rows], database_seconds[columns])
