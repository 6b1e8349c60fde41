"""The search for duplicates as one piece of work, for the command line and for Python alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .config import Config, SimilarityFunction
from .errors import InputError
from .output.duplicates import DuplicateReport, check_duplicates_file, write_duplicates
from .output.selection import Selection
from .workflow import (
    SearchHost,
    check_rate_range,
    check_threshold,
    open_video_set,
    store_notes,
    with_calibrated_threshold,
)

if TYPE_CHECKING:
    from .candidates import CandidateCount
    from .search.collection_pairs import DistributePairs
    from .search.request import SearchRequest
    from .search.time_estimate import TimeEstimate
    from .search.video_set import VideoSet

# The larger score of both directions of a pair: of two duplicates either may contain the other.
SIMILARITY_FUNCTION: SimilarityFunction = "max_chamfer"


@dataclass(frozen=True)
class DuplicateSearch:
    """Which collection is searched for duplicates, and how. Making it checks what needs no store.

    Attributes:
        stores: (id prefix, path) of each store of the collection.
        config: settings of stage two and of the search for duplicates. Unless they name a
            similarity function it is `SIMILARITY_FUNCTION`; insets of both sides count where the
            stores have some. Scores are not normalised, whatever they say.
        threshold: scores of at least this are duplicates.
        max_fpr: in place of a threshold, see `search.calibrate.threshold_for`. Where the model is
            calibrated only for the way in which `compare` searches, pairs are compared so.
        output_file: see `output.duplicates.write_duplicates`; None writes nothing.
        other_inputs: files that the result must not replace.
        candidates: compare each video only with so many others, those that the candidate indices
            of the stores name.
        gpu_id: see `nets.backend.device_scope`.

    Raises:
        InputError: no store, both threshold and max_fpr, or the result cannot be written.
    """

    stores: Sequence[tuple[str, str | Path]]
    config: Config = field(default_factory=Config)
    _: KW_ONLY
    threshold: float | None = None
    max_fpr: float | None = None
    output_file: str | Path | None = None
    other_inputs: Sequence[str | Path] = ()
    candidates: CandidateCount | None = None
    gpu_id: int | None = None

    def __post_init__(self) -> None:
        if not self.stores:
            raise InputError("no store given")
        if self.threshold is not None and self.max_fpr is not None:
            raise InputError("give a threshold (--threshold) or a rate (--max_fpr), not both")
        check_rate_range(self.max_fpr)
        Selection(threshold=self.threshold)  # checks its type
        if self.threshold is not None:
            check_threshold(self.threshold)
        if self.output_file is not None:
            inputs = (*self.other_inputs, *(path for _, path in self.stores))
            check_duplicates_file(self.output_file, inputs)


def find_duplicates(
    search: DuplicateSearch,
    host: SearchHost,
    group_progress: Callable[[int, int], None] | None = None,
    distribute: DistributePairs | None = None,
) -> DuplicateReport:
    """Do all of a search for duplicates, and write its result if that was asked for.

    No video and no store is changed.

    Args:
        search: what is searched.
        host: its `progress` is told products of frames, done and all.
        group_progress: called with (groups done, groups) while segments are looked for.
        distribute: scores the pairs elsewhere, see `search.collection_pairs`.

    Raises:
        PipelineError: of stores, model or output; see `errors`.
    """
    from .search import duplicate_search
    from .search.adapt import adapt_request
    from .search.candidate_search import CandidateFinder

    with ExitStack() as stack:
        collection = open_video_set(stack, search.stores)
        for note in store_notes(collection):
            host.note(note)
        request = _request(search, collection, host)
        if request.config.adapt:
            host.say(f"adapting the model to the {len(collection)} videos of the collection")
        request = adapt_request(request)
        finder = None
        if search.candidates is not None:
            finder = CandidateFinder(collection, request.model, search.gpu_id)
            finder.tell(host.note)
        host.say(f"{len(collection)} videos, {len(collection) * (len(collection) - 1) // 2} pairs")
        report = duplicate_search.find_duplicates(
            request,
            search.config.duplicates,
            progress=_estimate(search, collection, host).tell,
            group_progress=group_progress,
            finder=finder,
            distribute=distribute,
        )
    if search.output_file is not None:
        write_duplicates(search.output_file, report)
    return report


def _request(search: DuplicateSearch, collection: VideoSet, host: SearchHost) -> SearchRequest:
    """The collection as both sides of a search."""
    from .search.request import SearchRequest

    model, compare = host.load_model(), search.config.compare
    function = search.config.duplicates.similarity_function or compare.similarity_function
    # A query's level among all videos is not known when its first pairs are kept or dropped.
    unnormalized = replace(compare, similarity_function=function, normalize="none")
    config = replace(
        unnormalized,
        similarity_function=function or SIMILARITY_FUNCTION,
        query_insets=unnormalized.query_insets or collection.insets > 0,
    )
    request = SearchRequest(
        collection,
        collection,
        model,
        config,
        selection=Selection(threshold=search.threshold),
        candidates=search.candidates,
        gpu_id=search.gpu_id,
    )
    if model.layout.query > model.regions and not collection.spec.query_descriptors:
        host.note(
            f"the videos in {collection.path} were stored without --as_queries, so without "
            "further views of their pictures: copies that are cropped, turned or shrunk score "
            "lower, and more of them are missed"
        )
    if search.threshold is not None:
        return request
    return _with_calibrated_threshold(
        request, replace(request, config=unnormalized), search.max_fpr, host
    )


def _with_calibrated_threshold(
    request: SearchRequest, as_compare: SearchRequest, rate: float | None, host: SearchHost
) -> SearchRequest:
    """The request with the threshold of a rate; the one that compares as `compare` where needed.

    Raises:
        InputError: the model is calibrated for neither.
    """
    try:
        return with_calibrated_threshold(request, rate, host)
    except InputError as error:
        try:
            chosen = with_calibrated_threshold(as_compare, rate, host)
        except InputError:
            raise error from None
    host.note(
        f"the model has no calibration for {request.similarity_function} with insets of both "
        f"sides, so pairs are compared by {chosen.similarity_function}: how much of the shorter "
        "video is found in the longer one"
    )
    return chosen


def _estimate(search: DuplicateSearch, collection: VideoSet, host: SearchHost) -> TimeEstimate:
    """Says how long the work takes, and how long it would take with candidates."""
    from .search.time_estimate import EXAMPLE, TimeEstimate

    share = 2 * EXAMPLE / max(1, len(collection) - 1)
    return TimeEstimate(host.progress, host.say, 1.0, None if search.candidates else share)
