"""FIVR-200K and FIVR-5K (Kordopatis-Zilos et al., IEEE Trans. Multimedia 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import InputError
from .files import SourceFile, texts
from .ranking import Hits, interpolated_precision
from .report import Evaluation, Task, coverage, ranking_task, reasons
from .results import Results
from .selection import pooled, ranking, scored

TASKS = {
    "DSVR": ("ND", "DS"),  # duplicate scene video retrieval
    "CSVR": ("ND", "DS", "CS"),  # complementary scene
    "ISVR": ("ND", "DS", "CS", "IS"),  # incident scene
    "DAVR": ("DA",),  # duplicate audio
}
_LEVELS = np.linspace(0, 1, 21)


@dataclass(frozen=True)
class Annotation:
    """What FIVR's files say.

    Attributes:
        labels: query -> label -> ids.
        queries: of the version that is evaluated.
        database: ids of that version.
        easy: easy duplicates, which the hard variant leaves out; empty without their list.
    """

    labels: Mapping[str, Mapping[str, Set[str]]]
    queries: Sequence[str]
    database: Set[str]
    easy: Set[str] = frozenset()

    def relevant(self, task: str, *, itself: bool = True) -> dict[str, set[str]]:
        """Ids of the database that are relevant, by query.

        The task about sound has the queries with such a label alone, as in S2VS.

        Args:
            itself: a query that is labelled for itself counts among its relevant videos, as in
                the authors' script, in ViSiL and DnS; S2VS takes the query out of both.
        """
        return {
            query: {
                video
                for label in TASKS[task]
                for video in self.labels.get(query, {}).get(label, ())
                if video in self.database and (itself or video != query)
            }
            for query in self.queries
            if task != "DAVR" or self.labels.get(query, {}).get("DA")
        }

    @property
    def hard(self) -> Annotation:
        """The same without easy duplicates."""
        return replace(self, database=self.database - self.easy)


def read_annotation(files: Sequence[SourceFile], version: str) -> Annotation:
    """Read `fivr.pickle`, or `annotation.json` with the ids of the database; and easy duplicates.

    Args:
        files: in any order. Of a text file the name tells what it is: "easy" is in that of the
            easy duplicates. For FIVR-5K without a pickle: a JSON with `queries` and `database`.
        version: "200k" or "5k".

    Raises:
        InputError: a file is not of these, or one is not given.
    """
    labels: Any = None
    queries: Any = None
    database: Any = None
    easy: set[str] = set()
    for file in files:
        if file.suffix in (".pickle", ".pkl"):
            content = file.unpickled()
            try:
                labels = content["annotation"]
                queries, database = content[version]["queries"], content[version]["database"]
            except (KeyError, TypeError):
                raise InputError(
                    f"{file.path}: has no 'annotation' or no {version!r}; give fivr.pickle"
                ) from None
        elif file.suffix == ".json":
            content = file.json()
            if isinstance(content, dict) and set(content) == {"queries", "database"}:
                queries, database = content["queries"], content["database"]
            else:
                labels = content
        elif "easy" in file.path.name:
            easy = {line[0] for line in file.lines()}
        else:
            database = {line[0] for line in file.lines()}
    if labels is None or (version == "5k" and queries is None) or database is None:
        needed = (
            "annotation.json and youtube_ids.txt"
            if version == "200k"
            else "fivr.pickle, as only it says which videos FIVR-5K has,"
        )
        raise InputError(f"the annotation is not complete; give {needed} as --annotation")
    try:
        return Annotation(
            {
                q: {label: set(texts(ids)) for label, ids in own.items()}
                for q, own in labels.items()
            },
            texts(list(labels) if queries is None else queries),
            set(texts(database)),
            easy,
        )
    except (TypeError, AttributeError):
        raise InputError(
            f"{files[0].path}: is no annotation of FIVR; give annotation.json or fivr.pickle"
        ) from None


def rankings(
    annotation: Annotation,
    results: Results,
    task: str,
    *,
    itself: bool = True,
    database: Set[str] | None = None,
) -> list[Hits]:
    """The ranking of each query; the query itself is not in it.

    Args:
        itself: see `Annotation.relevant`.
        database: ids of which ranking and relevant videos may be, if not the annotation's.
    """
    if database is not None:
        annotation = replace(annotation, database=database)
    allowed = results.mask(annotation.database)
    return [
        ranking(results, query, relevant, allowed=allowed, left_out=[query])
        for query, relevant in annotation.relevant(task, itself=itself).items()
    ]


def curve(annotation: Annotation, results: Results, task: str) -> list[float]:
    """Precision at recall 0, 0.05, ..., 1, as the authors' script has it.

    The mean over queries with results. Videos without a score, and the query itself, stand with a
    score of 0; the precision at recall 0 is 1.
    """
    allowed = results.mask(annotation.database)
    values = []
    for query, relevant in annotation.relevant(task).items():
        if query in results.rows and relevant:
            scores, hits = scored(results, query, relevant, allowed=allowed, left_out=[query])
            absent = len(annotation.database) - len(scores)
            missed = len(relevant) - int(hits.sum())
            scores = np.concatenate([scores, np.zeros(absent)])
            hits = np.concatenate([hits, np.arange(absent) < missed])
            values.append(interpolated_precision(Hits.of(scores, hits, len(relevant)), _LEVELS))
    return [1.0, *np.mean(values, axis=0)[1:].tolist()] if values else []


def evaluate(annotation: Annotation, results: Results) -> Evaluation:
    """All tasks; with easy duplicates those of the hard variant, too."""
    variants = {"": annotation} | ({" hard": annotation.hard} if annotation.easy else {})
    tasks = [
        _task(variant, results, task, task + suffix)
        for suffix, variant in variants.items()
        for task in TASKS
    ]
    queries = coverage(set(annotation.queries), list(results.rows))
    videos = coverage(annotation.database, results.names)
    own = sum(q in ids for q, ids in annotation.relevant("ISVR").items())
    notes = [f"{own} queries are labelled for themselves: no ranking holds them, mAP counts them"]
    return Evaluation(
        [task for task in tasks if task.queries],
        queries,
        videos,
        reasons("FIVR", queries, videos, results, set(annotation.database)),
        notes if own else [],
    )


def _task(annotation: Annotation, results: Results, task: str, name: str) -> Task:
    relevant = annotation.relevant(task, itself=False)
    return ranking_task(
        name,
        rankings(annotation, results, task),
        pooled=pooled(results, relevant, allowed=results.mask(annotation.database)),
        details={"interpolated_precision": curve(annotation, results, task)},
    )
