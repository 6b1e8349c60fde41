"""What stage two is asked to do: one record, and the only place that checks it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING

from ..config import CompareConfig
from ..output.selection import Selection
from .compatibility import (
    check_normalization,
    require_adaptable,
    require_background,
    require_comparable,
    require_insets,
    require_mirrored,
    require_model,
    require_query_views,
)

if TYPE_CHECKING:
    from ..candidates import CandidateCount
    from ..nets.model.model import Model
    from .video_set import VideoSet


@dataclass(frozen=True)
class SearchRequest:
    """A search that can be run: making the record checks it.

    Attributes:
        queries, database: the two sides; they may share stores.
        model: the one that made the features, cut to their dims; what acts after the store is
            used.
        config: settings of stage two.
        mirrored: mirrored features of some or all of the queries, under the same ids. Such a query
            is scored both ways and the better score counts.
        background: videos unrelated to all queries; scores are normalised by them, see
            `score_normalization`.
        selection: which scores are written.
        listed_queries: ids of all listed queries, in their order, those included that could not be
            used; None: those of `queries`.
        segments: find segments of what is selected.
        candidates: of each query only so many videos are scored, those that the candidate index
            of the database names; None: all.
        gpu_id: the device, see `nets.backend.device_scope`.

    Raises:
        FingerprintMismatchError: two of the sets, or the model, do not fit each other.
        InputError: queries without insets where these are searched; a mirrored video that is no
            query; a background that holds a query or too few videos; a database with too few
            videos to adapt to.
        ModelError: the model cannot be cut to the features' dims, or cannot be adapted.
    """

    queries: VideoSet
    database: VideoSet
    model: Model
    config: CompareConfig = field(default_factory=CompareConfig)
    _: KW_ONLY
    mirrored: VideoSet | None = None
    background: VideoSet | None = None
    selection: Selection = field(default_factory=Selection)
    listed_queries: Sequence[str] | None = None
    segments: bool = False
    candidates: CandidateCount | None = None
    gpu_id: int | None = None

    def __post_init__(self) -> None:
        check_sets(
            self.model,
            self.config,
            queries=self.queries,
            database=self.database,
            mirrored=self.mirrored,
            background=self.background,
        )
        object.__setattr__(self, "model", self.model.for_store(self.database.spec.dims))

    @property
    def similarity_function(self) -> str:
        """The one of the settings, else the model's own."""
        return self.config.similarity_function or self.model.similarity_function

    @property
    def video_sets(self) -> tuple[VideoSet | None, ...]:
        """All sets of videos that are read."""
        return self.queries, self.database, self.mirrored, self.background


def check_sets(
    model: Model,
    config: CompareConfig,
    *,
    queries: VideoSet | None = None,
    database: VideoSet | None = None,
    mirrored: VideoSet | None = None,
    background: VideoSet | None = None,
) -> None:
    """Check the sets of videos that there are against the model and against each other.

    Before videos are decoded only some of the sets exist, and a search that must fail fails then.

    Raises:
        FingerprintMismatchError, InputError, ModelError: see `SearchRequest`.
    """
    check_normalization(config, background is not None)
    if queries and background:
        require_background(background, set(queries.ids), config.background_top_k)
        require_comparable(queries, background, model)
    if queries and database:
        require_comparable(queries, database, model)
    if database and background:
        require_comparable(database, background, model)
    for videos in (database, queries, background):
        if videos:
            require_model(videos, model)
    if queries:
        require_query_views(queries, model)
        if config.query_insets:
            require_insets(queries)
        if mirrored:
            require_mirrored(queries, mirrored)
    if database and config.adapt:
        require_adaptable(database, model)
