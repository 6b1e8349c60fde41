"""What is compared with what, and how: the two sides and all options, checked before any work."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import Config
from ..errors import InputError
from ..output.selection import Selection
from ..output.target import check_extension, check_output_file
from ..output.writers import check_result_file
from ..program import command
from ..records import VideoRef

if TYPE_CHECKING:
    from ..candidates import CandidateCount
    from ..search.video_set import VideoSet


@dataclass(frozen=True)
class VideoSource:
    """Where the videos of one side come from.

    Attributes:
        stores: (id prefix, path) of each store. With listed videos: the one that their features
            are kept in, or none.
        videos: listed videos, which go through stage one; None: all that the stores hold.
        origin: the list or folder of `videos`, for messages.
        opened: stored videos of stores that are open already, in place of `stores`.

    Raises:
        InputError: neither videos nor a store, or listed videos and several stores.
    """

    stores: Sequence[tuple[str, str | Path]] = ()
    videos: Sequence[VideoRef] | None = None
    origin: str = "the list"
    opened: VideoSet | None = None

    def __post_init__(self) -> None:
        if self.videos is None and not self.stores and self.opened is None:
            raise InputError("no store given")
        if self.videos is not None and len(self.stores) > 1:
            raise InputError(
                f"{self.origin}: features of listed videos are kept in one store, but "
                f"{len(self.stores)} are given; give at most one store with a list of videos"
            )


@dataclass(frozen=True)
class Comparison:
    """What is compared with what, and how. Making it checks what needs neither model nor features.

    Attributes:
        queries, database: the two sides.
        config: settings of both stages.
        mirror_queries: score listed queries mirrored as well; stored ones need `mirrored`.
        mirrored: stores of mirrored features of the queries; with listed queries the store that
            these are kept in.
        background: stores of videos that are unrelated to all queries.
        selection: which scores are written.
        max_fpr: in place of a threshold, see `search.calibrate.threshold_for`.
        segments: find from when to when the selected pairs match.
        refine_segments: find segments, and their ends again in the videos where these are at hand.
        video_root: where moved videos are, see `source_files.SourceFiles`.
        report_file: where a page with pictures of all matches is written, see `match_report`.
        output_file: where the result will be written; None for a result in memory.
        file_format, info_file: of the result, see `output.writers.open_writer`.
        other_inputs: files that the result must not replace, as lists and settings, and the
            model's folder.
        candidates: score only so many videos of each query, see `search.candidate_search`; the
            database is of stores that each have a candidate index.
        gpu_id: see `nets.backend.device_scope`.

    Raises:
        InputError: two of these exclude each other, or the result cannot be written.
    """

    queries: VideoSource
    database: VideoSource
    config: Config = field(default_factory=Config)
    _: KW_ONLY
    mirror_queries: bool = False
    mirrored: Sequence[tuple[str, str | Path]] = ()
    background: Sequence[tuple[str, str | Path]] = ()
    selection: Selection = field(default_factory=Selection)
    max_fpr: float | None = None
    segments: bool = False
    refine_segments: bool = False
    video_root: str | Path | None = None
    report_file: str | Path | None = None
    output_file: str | Path | None = None
    file_format: str | None = None
    info_file: str | Path | None = None
    other_inputs: Sequence[str | Path] = ()
    candidates: CandidateCount | None = None
    gpu_id: int | None = None

    def __post_init__(self) -> None:
        from ..search.compatibility import check_normalization

        self._check_types()
        if self.output_file is not None:
            check_result_file(
                self.output_file,
                self.inputs(self.output_file),
                file_format=self.file_format,
                info_file=self.info_file,
                segments=self.finds_segments,
            )
        elif self.file_format is not None or self.info_file is not None:
            raise InputError("file_format and info_file are of an output_file, but there is none")
        if self.report_file is not None:
            self._check_report_file(self.report_file)
        if self.video_root is not None and not (self.refine_segments or self.report_file):
            raise InputError(
                "video_root is where videos are for refine_segments and for a report; neither was "
                "asked for"
            )
        if self.finds_segments or self.report_file is not None:
            self._check_pairs()
        self._check_threshold()
        if self.max_fpr is not None and self.background:
            raise InputError(
                "max_fpr is for scores without a background, as the model was calibrated: give a "
                "threshold"
            )
        if self.queries.videos is not None and len(self.mirrored) > 1:
            raise InputError(
                "mirrored features of listed queries are kept in one store, but "
                f"{len(self.mirrored)} are given"
            )
        if self.mirror_queries and self.queries.videos is None and not self.mirrored:
            raise InputError(
                "stored queries can be mirrored only with their mirrored features: make these with "
                f"{command('extract')} --mirrored and give their store (--mirrored_query_store)"
            )
        if self.candidates is not None and self.database.videos is not None:
            raise InputError(
                "candidates are found by the index of a store, so the database has to be a store: "
                f"make one with {command('extract')} --index"
            )
        check_normalization(self.config.compare, bool(self.background))

    def inputs(self, output: str | Path) -> list[str | Path]:
        """Stores, `other_inputs` and listed videos, which an output must not replace."""
        named = (*self.queries.stores, *self.database.stores, *self.mirrored, *self.background)
        name = os.path.basename(os.path.realpath(output))
        listed = (*(self.queries.videos or ()), *(self.database.videos or ()))
        videos = (video.path for video in listed if os.path.basename(video.path) == name)
        return [*self.other_inputs, *(path for _, path in named), *videos]

    def _check_report_file(self, report_file: str | Path) -> None:
        outputs = [p for p in (self.output_file, self.info_file) if p is not None]
        check_output_file(report_file, [*self.inputs(report_file), *outputs], option="--report")
        check_extension(report_file, (".html", ".htm"), "--report")

    def _check_types(self) -> None:
        for name in ("mirror_queries", "segments", "refine_segments"):
            if not isinstance(value := getattr(self, name), bool):
                raise InputError(f"{name} is {value!r}, expected true or false")
        for name in ("output_file", "info_file", "report_file", "video_root"):
            if not isinstance(value := getattr(self, name), (str, Path, type(None))):
                raise InputError(f"{name} is {value!r}, expected a path")

    def _check_threshold(self) -> None:
        check_rate_range(self.max_fpr)
        threshold = self.selection.threshold
        if threshold is None:
            return
        if self.max_fpr is not None:
            raise InputError("give threshold or max_fpr, not both")
        config = self.config.compare
        # A level or background is a score as well, so at least -1, and is subtracted.
        taken_off = config.background_weight if self.background else 0
        check_threshold(threshold, 1 + taken_off + (config.normalize == "database"))

    def _check_pairs(self) -> None:
        """Refuse too many pairs before videos are decoded."""
        from ..search.segments import require_selection

        selects = self.selection != Selection() or self.max_fpr is not None
        queries, database = self.queries.videos, self.database.videos
        if queries is not None and database is not None:
            require_selection(len(queries), len(database), selects)

    @property
    def finds_segments(self) -> bool:
        """Segments are found for what is selected."""
        return self.segments or self.refine_segments

    @property
    def mirrors(self) -> bool:
        """Queries are scored mirrored as well."""
        return self.mirror_queries or bool(self.mirrored)


def check_threshold(threshold: float, highest: float = 1) -> None:
    """Refuse a threshold that no score can reach, or that all do.

    Args:
        highest: possible score; the lowest one is less this.

    Raises:
        InputError: naming the range.
    """
    if not -highest <= threshold <= highest:
        raise InputError(
            f"threshold is {threshold:g}, but scores lie between {-highest:g} and {highest:g}: "
            "give one in this range, such as 0.4"
        )


def check_rate_range(max_fpr: float | None) -> None:
    """Refuse what is no false-positive rate.

    Raises:
        InputError: not a number between 0 and 1.
    """
    if max_fpr is None:
        return
    number = isinstance(max_fpr, Real) and not isinstance(max_fpr, bool)
    if not number or not 0 < max_fpr < 1:
        shown = f"{max_fpr:g}" if number else repr(max_fpr)
        raise InputError(f"max_fpr is {shown}, expected more than 0 and less than 1")
