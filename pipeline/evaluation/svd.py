"""SVD, short videos (Jiang et al., ICCV 2019), as ViSiL and DnS evaluate it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from ..errors import InputError
from .files import SourceFile
from .ranking import Hits
from .report import Evaluation, coverage, ranking_task, reasons
from .results import Results
from .selection import ranking


@dataclass(frozen=True)
class Annotation:
    """What SVD's files say.

    Attributes:
        labels: query -> candidate -> whether it is a copy.
        unlabelled: ids of further videos, irrelevant to all queries; empty without their list.
    """

    labels: Mapping[str, Mapping[str, bool]]
    unlabelled: Set[str]


def read_annotation(files: Sequence[SourceFile]) -> Annotation:
    """Read `test_groundtruth`, and `unlabeled-data-id` if it is given.

    Raises:
        InputError: a line is neither `query candidate 1|0` nor an id.
    """
    labels: dict[str, dict[str, bool]] = {}
    unlabelled: set[str] = set()
    for file in files:
        for count, line in enumerate(file.lines(), start=1):
            if len(line) == 1:
                unlabelled.add(line[0])
            elif len(line) == 3 and line[2] in ("0", "1"):
                labels.setdefault(line[0], {})[line[1]] = line[2] == "1"
            else:
                raise InputError(
                    f"{file.path}, line {count}: expected `query candidate 1|0` or an id; "
                    "give test_groundtruth and unlabeled-data-id"
                )
    if not labels:
        raise InputError(f"{files[0].path}: has no labels; give test_groundtruth as well")
    return Annotation(labels, unlabelled)


def rankings(annotation: Annotation, results: Results, *, unlabelled: bool) -> list[Hits]:
    """The ranking of each query: its own candidates, and perhaps all unlabelled videos.

    Candidates of other queries do not take part.
    """
    others = results.mask(annotation.unlabelled if unlabelled else ())
    return [
        ranking(
            results,
            query,
            {video for video, copy in candidates.items() if copy},
            allowed=others | results.mask(candidates),
        )
        for query, candidates in annotation.labels.items()
    ]


def evaluate(annotation: Annotation, results: Results) -> Evaluation:
    """With the unlabelled videos, if their list is given, and without them."""
    tasks = [ranking_task("labelled only", rankings(annotation, results, unlabelled=False))]
    if annotation.unlabelled:
        own = rankings(annotation, results, unlabelled=True)
        tasks.insert(0, ranking_task("all videos", own))
    database = {v for own in annotation.labels.values() for v in own} | annotation.unlabelled
    queries = coverage(set(annotation.labels), list(results.rows))
    videos = coverage(database, results.names)
    caveats = _reasons(annotation, results, reasons("SVD", queries, videos, results, set()))
    if not annotation.unlabelled:
        caveats.append("the unlabelled videos take no part: give unlabeled-data-id as --annotation")
    notes = ["ViSiL and DnS leave missing videos out and take equal scores as one step"]
    return Evaluation(tasks, queries, videos, caveats, notes)


def _reasons(annotation: Annotation, results: Results, caveats: list[str]) -> list[str]:
    """A query needs the scores of its own candidates and of the unlabelled videos alone."""
    others = int(results.mask(annotation.unlabelled).sum())
    short = 0
    for query, candidates in annotation.labels.items():
        row = results.rows.get(query)
        if row is not None:
            held = results.mask(annotation.unlabelled) | results.mask(candidates)
            wanted = others + len(set(candidates) - annotation.unlabelled)
            short += int(held[row.videos].sum()) < wanted
    cut = f"{short} queries have not all scores, as in a top-k output"
    return [*caveats, cut] if short else caveats
