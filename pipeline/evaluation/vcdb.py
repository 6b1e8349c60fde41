"""VCDB (Jiang et al., ECCV 2014): rankings as S2VS has them, segments as VCSL has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from ..errors import InputError
from .files import SourceFile, texts
from .ranking import Hits
from .report import Evaluation, Task, coverage, ranking_task, reasons
from .results import Box, Results
from .segments import pair_figures, predicted_boxes, read_label_boxes, segment_task
from .selection import pooled, ranking


@dataclass(frozen=True)
class Annotation:
    """What VCDB's files say.

    Attributes:
        positives: relevant ids by query.
        distractors: ids of the background videos; empty without `vcdb.pickle`.
        boxes: labelled boxes by "a-b", a pair once; empty without `label_file.json`.
    """

    positives: Mapping[str, Set[str]]
    distractors: Set[str] = frozenset()
    boxes: Mapping[str, Sequence[Box]] = field(default_factory=dict)


def read_annotation(files: Sequence[SourceFile]) -> Annotation:
    """Read S2VS's `vcdb.pickle`, TransVCL's `label_file.json`, or both.

    Without the pickle the pairs of the label file in both directions are the relevant ones; a
    video is not relevant to itself.

    Raises:
        InputError: a file is not of these.
    """
    positives: dict[str, set[str]] | None = None
    distractors: set[str] = set()
    boxes: dict[str, list[Box]] = {}
    for file in files:
        if file.suffix == ".json":
            boxes = read_label_boxes(file)
            continue
        content = file.unpickled()
        try:
            queries, relevant = texts(content["queries"]), content["positives"]
            positives = {query: set(texts(relevant[query])) for query in queries}
            distractors = set(texts(content["dataset"]))
        except (KeyError, TypeError):
            raise InputError(f"{file.path}: is no annotation of VCDB; give vcdb.pickle") from None
    return Annotation(_of_boxes(boxes) if positives is None else positives, distractors, boxes)


def _of_boxes(boxes: Mapping[str, Sequence[Box]]) -> dict[str, set[str]]:
    positives: dict[str, set[str]] = {}
    for pair in boxes:
        first, _, second = pair.partition("-")
        for a, b in ((first, second), (second, first)):
            own = positives.setdefault(a, set())
            if a != b:
                own.add(b)
    return positives


def relevant_among(annotation: Annotation, database: Set[str]) -> dict[str, set[str]]:
    """Relevant ids by query, of a database alone."""
    return {q: set(own & database) - {q} for q, own in annotation.positives.items()}


def rankings(annotation: Annotation, results: Results, database: Set[str]) -> list[Hits]:
    """The ranking of each query, without itself, of a database."""
    allowed = results.mask(database)
    return [
        ranking(results, query, relevant, allowed=allowed, left_out=[query])
        for query, relevant in relevant_among(annotation, database).items()
    ]


def all_pairs(annotation: Annotation, results: Results, database: Set[str]) -> Hits:
    """All pairs of a database in one ranking."""
    relevant = relevant_among(annotation, database)
    return pooled(results, relevant, allowed=results.mask(database))


def evaluate(annotation: Annotation, results: Results) -> Evaluation:
    """The core videos, with distractors if they are known, and segments if there are some."""
    core = set(annotation.positives)
    tasks: list[Task] = []
    if results.rows:
        databases = {"core": core}
        if annotation.distractors:
            databases["core and distractors"] = core | annotation.distractors
        tasks = [
            ranking_task(
                name,
                rankings(annotation, results, database),
                pooled=all_pairs(annotation, results, database),
            )
            for name, database in databases.items()
        ]
    predicted = predicted_boxes(results)
    if annotation.boxes and predicted is not None:
        tasks.append(
            segment_task("segments", pair_figures(predicted, annotation.boxes, mirror=True))
        )
    if not tasks:
        raise InputError("the results have segments alone: give label_file.json as --annotation")
    return _with_coverage(annotation, results, tasks, core)


def _with_coverage(
    annotation: Annotation, results: Results, tasks: list[Task], core: set[str]
) -> Evaluation:
    ids = list(results.rows)
    names = results.names
    if results.by_pair is not None:
        ids = names = [v for pair in results.by_pair for v in pair.split("-")]
    queries, videos = coverage(core, ids), coverage(core | annotation.distractors, names)
    caveats = reasons("VCDB", queries, videos, results, core | annotation.distractors)
    return Evaluation(tasks, queries, videos, caveats)
