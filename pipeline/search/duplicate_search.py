"""Finds the duplicates of a collection: pairs, groups, relations, and what could be removed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..config import DuplicatesConfig
from ..output.duplicates import (
    DuplicateGroup,
    DuplicateReport,
    GroupMember,
    Relation,
    Stretch,
)
from .candidate_search import CandidateFinder
from .collection_candidates import candidate_pairs
from .collection_pairs import (
    CollectionPairs,
    DistributePairs,
    WorkProgress,
    pairs_of_collection,
)
from .duplicates import (
    VideoFacts,
    connected_groups,
    coverages,
    decide,
    keep_order,
    relation_kind,
)
from .engine import pair_scorer
from .limits import Limits
from .pair_alignment import PairAligner
from .request import SearchRequest
from .run import result_info
from .video_set import damage_lines

if TYPE_CHECKING:
    from ..nets.similarity.pair_scorer import PairScorer


def find_duplicates(
    request: SearchRequest,
    config: DuplicatesConfig | None = None,
    *,
    progress: WorkProgress | None = None,
    group_progress: Callable[[int, int], None] | None = None,
    limits: Limits | None = None,
    finder: CandidateFinder | None = None,
    distribute: DistributePairs | None = None,
) -> DuplicateReport:
    """Find groups of duplicates within one collection.

    Args:
        request, progress, limits, distribute: see `collection_pairs.pairs_of_collection`.
        config: which videos stay.
        group_progress: called with (groups done, groups) while segments are looked for.
        finder: compare only the candidates that it names, if the request asks for candidates.

    Raises:
        PipelineError: see `pairs_of_collection`.
    """
    config, collection = config or DuplicatesConfig(), request.database
    scorer = pair_scorer(request)
    if finder is None:
        pairs = pairs_of_collection(
            request, scorer, progress=progress, limits=limits, distribute=distribute
        )
    else:
        pairs = candidate_pairs(
            request, scorer, finder, progress=progress, limits=limits, distribute=distribute
        )
    links = PairLinks(pairs)
    numbers = connected_groups(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    relations = RelationFinder(request, scorer, links, config.cover)
    groups = []
    for done, group in enumerate(numbers, 1):
        groups.append(_decided(group, relations, config.keep))
        if group_progress:
            group_progress(done, len(numbers))
    return DuplicateReport(
        tuple(groups),
        videos=int(collection.sound.sum()),
        pairs=pairs.compared,
        info=result_info(request),
        keep=config.keep,
        cover=config.cover,
        damaged=damage_lines(collection),
    )


class PairLinks:
    """The pairs of each video.

    Attributes:
        scores: for each video of a pair its partners, and the score with each.
    """

    def __init__(self, pairs: CollectionPairs) -> None:
        self.scores: dict[int, dict[int, float]] = {}
        self._query_first: set[tuple[int, int]] = set()
        columns = (array.tolist() for array in (pairs.first, pairs.second, pairs.scores))
        for first, second, score in zip(*columns, strict=True):
            self.scores.setdefault(first, {})[second] = score
            self.scores.setdefault(second, {})[first] = score
            self._query_first.add((first, second))

    def is_query(self, video: int, other: int) -> bool:
        """Whether the video is the query of this pair: the shorter one."""
        return (video, other) in self._query_first


class RelationFinder:
    """Tells how two videos of a collection relate, by the segments in which they match.

    Args:
        request: as for `find_duplicates`.
        scorer: the request's network.
        links: pairs above the threshold.
        cover: from this share on a video counts as shown.
    """

    def __init__(
        self, request: SearchRequest, scorer: PairScorer, links: PairLinks, cover: float
    ) -> None:
        self.collection, self.links = request.database, links
        self._aligner, self._cover = PairAligner(request, scorer=scorer), cover

    def seconds(self, video: int) -> float:
        """How long a video is; its samples tell where the file did not."""
        record = self.collection.record(video)
        return record.source.duration or record.own_frames / self.collection.spec.fps

    def relate(self, video: int, other: int) -> Relation:
        """How a video relates to another one; the two are a pair above the threshold.

        Raises:
            StoreError: one of them is damaged.
        """
        is_query = self.links.is_query(video, other)
        segments = self._aligner.align(*((video, other) if is_query else (other, video))).segments
        stretches = []
        for segment in segments:
            query = segment.query_start, segment.query_end
            database = segment.database_start, segment.database_end
            own, theirs = (query, database) if is_query else (database, query)
            stretches.append(Stretch(*own, *theirs, segment.score))
        decidable = all(segment.query_decidable for segment in segments)
        seconds = self.seconds(video), self.seconds(other)
        coverage, other_coverage = coverages(stretches, *seconds, decidable=decidable)
        return Relation(
            relation_kind(coverage, other_coverage, self._cover),
            self.collection.ids[other],
            self.links.scores[video][other],
            coverage,
            other_coverage,
            tuple(stretches),
            decidable,
        )


def _decided(group: list[int], finder: RelationFinder, keep: str) -> DuplicateGroup:
    """Decide which videos of a group stay."""
    collection, links = finder.collection, finder.links
    records = {video: collection.record(video) for video in group}
    facts = {v: VideoFacts(record.own_frames, record.source) for v, record in records.items()}
    decisions = decide(keep_order(facts, keep), links.scores, finder.relate)
    members = tuple(
        GroupMember(
            collection.ids[video], stays, relation, records[video].source, finder.seconds(video)
        )
        for video, stays, relation in decisions
    )
    pairs = tuple(
        (collection.ids[video], collection.ids[other], score)
        for video in group
        for other, score in sorted(links.scores[video].items())
        if links.is_query(video, other)
    )
    return DuplicateGroup(members, pairs)
