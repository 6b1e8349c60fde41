"""CC_WEB_VIDEO (Wu et al., ACM Multimedia 2007), as the ViSiL family evaluates it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from .files import SourceFile, texts
from .ranking import Hits
from .report import Evaluation, coverage, ranking_task, reasons
from .results import Results
from .selection import ranking

_RELEVANT = frozenset("ESLMV")  # exactly, similar, long, major change, different in length and form
# Name -> whether the ranking holds all videos, whether the excluded ones of the set are left out.
TASKS = {"cc": (False, False), "cc*": (True, False), "cc_c": (False, True), "cc*_c": (True, True)}


@dataclass(frozen=True)
class Annotation:
    """What `cc_web_video.pickle` says.

    Attributes:
        names: ids of all videos by number.
        queries: ids, one for each set.
        labels: of each set, by number of the video.
        excluded: of each set, numbers.
    """

    names: Mapping[int, str]
    queries: Sequence[str]
    labels: Sequence[Mapping[int, str]]
    excluded: Sequence[Set[int]]


def read_annotation(files: Sequence[SourceFile]) -> Annotation:
    """Read `cc_web_video.pickle`.

    Raises:
        InputError: it is another file.
    """
    file = files[0]
    content = file.unpickled()
    try:
        annotation = Annotation(
            {int(place): str(name) for name, place in content["index"].items()},
            texts(content["queries"]),
            [{int(n): str(label) for n, label in own.items()} for own in content["ground_truth"]],
            [{int(n) for n in own} for own in content["excluded"]],
        )
        sizes = {len(annotation.queries), len(annotation.labels), len(annotation.excluded)}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{file.path}: is no annotation of CC_WEB_VIDEO ({error!r}); give cc_web_video.pickle"
        ) from None
    if len(files) > 1 or len(sizes) > 1:
        raise InputError(f"{file.path}: give cc_web_video.pickle, and no other file")
    return annotation


def rankings(annotation: Annotation, results: Results, task: str) -> list[Hits]:
    """The ranking of each query, which is in it as a hit, as it is labelled and in the database.

    A relevant number without an id (there is one) counts as a relevant video all the same.

    Args:
        task: of `TASKS`.
    """
    whole, clean = TASKS[task]
    rows = []
    for query, labels, excluded in zip(
        annotation.queries, annotation.labels, annotation.excluded, strict=True
    ):
        dropped = excluded if clean else set()
        relevant = {n for n, label in labels.items() if label in _RELEVANT} - dropped
        held = (set(annotation.names) if whole else set(labels)) - dropped
        rows.append(
            ranking(
                results,
                query,
                _ids(annotation, relevant),
                allowed=results.mask(_ids(annotation, held)),
                total=len(relevant),
            )
        )
    return rows


def evaluate(annotation: Annotation, results: Results) -> Evaluation:
    """The four figures."""
    database = set(annotation.names.values())
    queries = coverage(set(annotation.queries), list(results.rows))
    videos = coverage(database, results.names)
    return Evaluation(
        [ranking_task(task, rankings(annotation, results, task)) for task in TASKS],
        queries,
        videos,
        reasons("CC_WEB_VIDEO", queries, videos, results, database),
        ["published figures count missing relevant videos as missed, one of which has no id"],
    )


def _ids(annotation: Annotation, numbers: Set[Any]) -> set[str]:
    return {annotation.names[n] for n in numbers if n in annotation.names}
