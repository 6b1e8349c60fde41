"""A report of matches: frame matrices and segments from the features, stills from the videos.

The videos are needed for stills alone. Where they are not at hand, or are not the files that the
features were made of, the stills are thumbnails of the store; without these the report shows heat
maps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError
from .output.heat_map import heat_map
from .output.html_report import write_report
from .output.match import Match
from .output.report_cards import ReportEntry, Side, wanted_stills
from .records import Preprocess, VideoRef

if TYPE_CHECKING:
    from .output.result_info import ResultInfo
    from .output.search_result import Verdict
    from .search.pair_alignment import PairAligner, PairMatrix
    from .search.request import SearchRequest
    from .search.video_set import VideoSet

STILL_PIXELS = 96  # short side
VERDICT_RATE = 0.01  # of unrelated pairs above the threshold of the verdict, if none is given
_PREPROCESS = Preprocess(resize=STILL_PIXELS, crop=1)
Still = tuple[Side, str, float]


@dataclass(frozen=True)
class ReportSummary:
    """What a report shows.

    Attributes:
        matches: in the report.
        videos: with stills.
        without_stills: videos that have segments, but neither thumbnails nor a file at hand that
            could be decoded.
    """

    matches: int
    videos: int
    without_stills: int


def report_matches(
    path: str | Path,
    request: SearchRequest,
    matches: Sequence[Match],
    info: ResultInfo,
    *,
    stills: bool = True,
    locate: Callable[[str], str] = lambda path: path,
    verdict: Verdict | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ReportSummary:
    """Write a report of matches; see `output.html_report.write_report`.

    Args:
        path: of the page.
        request: what was searched.
        matches: of the request's videos, query by query; of each query the page shows the best
            first. Segments are looked for where a match has none yet.
        info: what the scores were made with.
        stills: decode stills of the videos that are at hand.
        locate: where a video is that a store says to be at a path.
        verdict: from which score on a match counts as a copy; without it `verdict_threshold` says.
        progress: called with (matches done, matches).

    Raises:
        InputError: a match is of videos that the request does not have.
        StoreError: a query is damaged.
        PipelineError: the report cannot be written.
    """
    queries = dict.fromkeys(match.query_id for match in matches)
    places = {query_id: place for place, query_id in enumerate(queries)}
    matches = sorted(matches, key=lambda match: (places[match.query_id], -match.score))
    entries = _entries(request, matches, progress or (lambda done, total: None))
    files = _Files(request, locate)
    wanted = wanted_stills([entry.match for entry in entries]) if stills else {}
    files.decode(wanted)
    files.take_thumbnails(wanted)
    threshold, text = verdict_threshold(request)
    if verdict is not None:
        threshold, text = verdict.threshold, verdict.meaning
    levels = None if verdict is None else verdict.levels
    write_report(
        path, entries, info, files, threshold=threshold, threshold_text=text, levels=levels
    )
    shown = {video[:2] for video in files.stills}
    return ReportSummary(len(entries), len(shown), len(wanted) - len(shown))


def pair_matrix(
    request: SearchRequest, query_id: str, database_id: str
) -> tuple[PairMatrix, Match]:
    """The frame matrix of one pair, and the pair with its segments; it has no score (NaN).

    Raises:
        InputError: the request has no such videos.
        StoreError: a video is damaged.
    """
    match = Match(query_id, database_id, float("nan"))
    aligner = _aligner(request)
    matrix = aligner.matrix(
        _index(request.queries, query_id, "queries"),
        _index(request.database, database_id, "database"),
    )
    segments = tuple(aligner.segments(matrix))
    return matrix, replace(match, segments=segments, mirrored=matrix.mirrored)


def verdict_threshold(request: SearchRequest) -> tuple[float | None, str]:
    """The score from which a match counts as a copy, and what it stands for.

    It is the threshold of the selection, else the calibrated one of `VERDICT_RATE`, else None.
    """
    from .search.calibrate import threshold_for

    selection = request.selection
    if selection.threshold is not None and selection.rate is not None:
        return selection.threshold, _calibrated_text(selection.rate)
    if selection.threshold is not None:
        return selection.threshold, "as asked for"
    if request.background is not None:
        return None, ""
    try:
        threshold = threshold_for(VERDICT_RATE, request)
    except InputError:  # the model was not calibrated for this way of comparing
        return None, ""
    return threshold, _calibrated_text(VERDICT_RATE)


def _calibrated_text(rate: float) -> str:
    return f"as calibrated, at most {rate:g} of unrelated pairs reach it"


def _entries(
    request: SearchRequest, matches: Sequence[Match], progress: Callable[[int, int], None]
) -> list[ReportEntry]:
    """The matches with segments and pictures; one with a damaged video has neither."""
    aligner = _aligner(request)
    rows, columns = _indices(request.queries), _indices(request.database)
    entries: list[ReportEntry] = []
    for query_id, group in groupby(matches, lambda match: match.query_id):
        of_query = list(group)
        row = _known(rows, query_id, "queries")
        videos = [_known(columns, match.database_id, "database") for match in of_query]
        for match, matrix in zip(of_query, aligner.matrices(row, videos), strict=True):
            entries.append(ReportEntry(match) if matrix is None else _entry(aligner, match, matrix))
            progress(len(entries), len(matches))
    return entries


def _entry(aligner: PairAligner, match: Match, matrix: PairMatrix) -> ReportEntry:
    if match.segments is None:
        segments = tuple(aligner.segments(matrix, match.score))
        match = replace(match, segments=segments, mirrored=matrix.mirrored)
    return ReportEntry(match, heat_map(matrix))


def _aligner(request: SearchRequest) -> PairAligner:
    from .search.pair_alignment import PairAligner

    return PairAligner(request)


def _indices(videos: VideoSet) -> dict[str, int]:
    return {video_id: index for index, video_id in enumerate(videos.ids)}


def _index(videos: VideoSet, video_id: str, side: str) -> int:
    return _known(_indices(videos), video_id, side)


def _known(indices: Mapping[str, int], video_id: str, side: str) -> int:
    if video_id not in indices:
        raise InputError(
            f"video {video_id!r} is not among the {side} (visil-index info --ids STORE lists them)"
        )
    return indices[video_id]


class _Files:
    """Stills and paths of the videos of a request, as `output.report_cards.VideoFiles`.

    Attributes:
        stills: JPEG files by side, id and second.
    """

    def __init__(self, request: SearchRequest, locate: Callable[[str], str]) -> None:
        self._sets: dict[Side, VideoSet] = {"query": request.queries, "database": request.database}
        self._indices = {side: _indices(videos) for side, videos in self._sets.items()}
        self._locate = locate
        self.stills: dict[Still, bytes] = {}

    def still(self, side: Side, video_id: str, seconds: float) -> bytes | None:
        """A picture of a video as a JPEG file."""
        return self.stills.get((side, video_id, seconds))

    def path(self, side: Side, video_id: str) -> str | None:
        """Where a video is, or was when its features were made."""
        index = self._indices[side].get(video_id)
        return None if index is None else self._locate(self._sets[side].source(index).path) or None

    def decode(self, wanted: Mapping[tuple[Side, str], Sequence[float]]) -> None:
        """Decode stills of the videos that are at hand, in processes of their own."""
        seconds: dict[str, set[float]] = {}
        users: dict[str, list[tuple[Side, str]]] = {}
        for (side, video_id), times in wanted.items():
            if path := self._unchanged(side, video_id):
                seconds.setdefault(path, set()).update(times)
                users.setdefault(path, []).append((side, video_id))
        ordered = {path: sorted(times) for path, times in seconds.items()}
        for path, second, picture in _decoded(ordered):
            for side, video_id in users[path]:
                self.stills[side, video_id, second] = picture

    def take_thumbnails(self, wanted: Mapping[tuple[Side, str], Sequence[float]]) -> None:
        """Take the stills that could not be decoded from the thumbnails of the stores."""
        from .store import read_thumbnails

        for (side, video_id), seconds in wanted.items():
            if all((side, video_id, second) in self.stills for second in seconds):
                continue
            store, own_id = self._sets[side].stored(self._indices[side][video_id])
            pack = read_thumbnails(store.path, own_id, store.checksum(own_id))
            if pack is not None:
                for second in seconds:
                    self.stills.setdefault((side, video_id, second), pack.at(second))

    def _unchanged(self, side: Side, video_id: str) -> str | None:
        """The path of a video if the file there has the size that the store recorded."""
        from .video.container import file_info

        path = self.path(side, video_id)
        if path is None:
            return None
        recorded = self._sets[side].source(self._indices[side][video_id]).size
        return path if 0 < file_info(path).size == recorded else None


def _decoded(seconds: Mapping[str, Sequence[float]]) -> list[tuple[str, float, bytes]]:
    """Stills as (path, second, JPEG file); a video that fails has none."""
    from .decode import Frames, decode_videos
    from .decode.pool import PACKAGE
    from .video.stills import encode_jpeg

    if not seconds:
        return []
    paths = list(seconds)
    refs = [VideoRef(f"{number}", path) for number, path in enumerate(paths)]
    decoder, options = f"{PACKAGE}.video.stills:StillDecoder", {"seconds": seconds}
    stills = []
    with decode_videos(refs, _PREPROCESS, decoder=decoder, options=options) as events:
        for event in events:
            if isinstance(event, Frames):
                path = paths[event.index]
                for second, image in zip(event.seconds.tolist(), event.images, strict=True):
                    stills.append((path, second, encode_jpeg(image)))
    return stills
