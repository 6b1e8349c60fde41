"""The search for duplicates as one piece of work, for the command line and for Python alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .config import Config, SimilarityFunction
from .errors import InputError
from .output.duplicates import DuplicateReport, check_duplicates_file, write_duplicates
from .output.selection import Selection
from .workflow import SearchHost, open_video_set, store_notes, with_calibrated_threshold

if TYPE_CHECKING:
    from .candidates import CandidateCount
    from .search.request import SearchRequest
    from .search.video_set import VideoSet

# The larger score of both directions of a pair: of two duplicates either may contain the other.
SIMILARITY_FUNCTION: SimilarityFunction = "max_chamfer"
_SHORT_SECONDS = 5  # nobody has to be told of less


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
        InputError: no store, not one of threshold and max_fpr, or the result cannot be written.
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
        if (self.threshold is None) == (self.max_fpr is None):
            raise InputError(
                "give either a threshold (0.5 is a start with the included model) or max_fpr"
            )
        Selection(threshold=self.threshold)  # checks it
        if self.output_file is not None:
            inputs = (*self.other_inputs, *(path for _, path in self.stores))
            check_duplicates_file(self.output_file, inputs)


def find_duplicates(
    search: DuplicateSearch,
    host: SearchHost,
    group_progress: Callable[[int, int], None] | None = None,
) -> DuplicateReport:
    """Do all of a search for duplicates, and write its result if that was asked for.

    No video and no store is changed.

    Args:
        search: what is searched.
        host: its `progress` is told products of frames, done and all.
        group_progress: called with (groups done, groups) while segments are looked for.

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
            finder = CandidateFinder(collection, request.model)
            for note in finder.notes():
                host.note(note)
        host.say(f"{len(collection)} videos, {len(collection) * (len(collection) - 1) // 2} pairs")
        report = duplicate_search.find_duplicates(
            request,
            search.config.duplicates,
            progress=_Estimate(host).tell,
            group_progress=group_progress,
            finder=finder,
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
    if search.max_fpr is None:
        return request
    return _with_calibrated_threshold(
        request, replace(request, config=unnormalized), search.max_fpr, host
    )


def _with_calibrated_threshold(
    request: SearchRequest, as_compare: SearchRequest, rate: float, host: SearchHost
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


class _Estimate:
    """Passes progress on, and says once how long the work will take.

    The first block has the network compiled, so the second one is measured.
    """

    def __init__(self, host: SearchHost) -> None:
        self._host = host
        self._first: tuple[float, int] | None = None
        self._estimate_given = False

    def tell(self, done: int, total: int) -> None:
        """Take in products of frames, done and all."""
        now = time.monotonic()
        if self._first is None:
            self._first = now, done
        elif not self._estimate_given and done > self._first[1]:
            self._estimate_given = True
            speed = (done - self._first[1]) / max(1e-6, now - self._first[0])
            left = (total - done) / speed
            if left > _SHORT_SECONDS:
                self._host.say(
                    f"about {_rounded(left)} for all pairs, at {speed / 1e6:.1f} million pairs of "
                    "frames a second"
                )
        self._host.progress(done, total)


def _rounded(seconds: float) -> str:
    """A time to no more digits than an estimate has."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
