"""EVVE (Revaud et al., CVPR 2013), by its authors' rules and by those of the ViSiL family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .files import SourceFile, texts
from .ranking import Hits, Ties, mean, trapezoid_average_precision, without_missing
from .report import TIES, Evaluation, Figure, Task, coverage, ranking_task, reasons
from .results import Results
from .selection import pooled, ranking


@dataclass(frozen=True)
class Event:
    """One event: ids of its queries, of its relevant videos, and of those that do not count."""

    queries: Set[str]
    relevant: Set[str]
    null: Set[str]


@dataclass(frozen=True)
class Annotation:
    """What EVVE's files say.

    Attributes:
        events: by name.
        database: ids of all videos that are no queries; with the authors' files, of the listed.
    """

    events: Mapping[str, Event]
    database: Set[str]

    @property
    def relevant(self) -> dict[str, Set[str]]:
        """Relevant ids by query."""
        return {q: event.relevant for event in self.events.values() for q in sorted(event.queries)}


def read_annotation(files: Sequence[SourceFile]) -> Annotation:
    """Read `evve.pickle`, or the authors' files `EVENT.dat`, one for each event.

    Raises:
        InputError: a file is not of these.
    """
    if all(file.suffix == ".dat" for file in files):
        return _from_lines(files)
    file = files[0]
    content = file.unpickled()
    try:
        events = {
            name: Event(set(texts(queries)), set(texts(relevant)), set(texts(null)))
            for name, (queries, relevant, null) in content["annotation"].items()
        }
        database = set(texts(content["database"]))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(
            f"{file.path}: is no annotation of EVVE; give evve.pickle, or the .dat files"
        ) from None
    return Annotation(events, database)


def _from_lines(files: Sequence[SourceFile]) -> Annotation:
    """Lines `id label split`; label above 0: relevant, 0: does not count, below: not relevant."""
    events: dict[str, Event] = {}
    database: set[str] = set()
    for file in files:
        queries: set[str] = set()
        relevant: set[str] = set()
        null: set[str] = set()
        for count, line in enumerate(file.lines(), start=1):
            try:
                video, label, split = line[0], int(line[1]), line[2]
            except (IndexError, ValueError):
                raise InputError(
                    f"{file.path}, line {count}: expected `id label split`; correct the line"
                ) from None
            if split == "query":
                queries.add(video)
                continue
            database.add(video)
            if label >= 0:
                (relevant if label > 0 else null).add(video)
        events[file.path.stem] = Event(queries, relevant, null)
    return Annotation(events, database)


def authors_rankings(annotation: Annotation, results: Results) -> dict[str, list[Hits]]:
    """Rankings by event as the authors' script has them.

    Videos that do not count are taken out; videos that no list names stay, as distractors.
    """
    return {
        name: [
            ranking(results, query, event.relevant, left_out=event.null)
            for query in sorted(event.queries)
        ]
        for name, event in annotation.events.items()
    }


def family_rankings(
    annotation: Annotation, results: Results, *, database: Set[str] | None = None
) -> dict[str, list[Hits]]:
    """Rankings by event as ViSiL, DnS and S2VS have them: videos of the database alone.

    Args:
        database: ids of which ranking and relevant videos may be, if not the annotation's.
    """
    database = annotation.database if database is None else database
    allowed = results.mask(database)
    return {
        name: [
            ranking(results, query, event.relevant & database, allowed=allowed)
            for query in sorted(event.queries)
        ]
        for name, event in annotation.events.items()
    }


def evaluate(annotation: Annotation, results: Results) -> Evaluation:
    """Both rules; the mean over all queries, and over events."""
    queries = coverage(set(annotation.relevant), list(results.rows))
    videos = coverage(annotation.database, results.names)
    all_pairs = pooled(
        results, annotation.relevant, allowed=results.mask(annotation.database), without_query=False
    )
    family = family_rankings(annotation, results)
    tasks = [_task("authors' rule", authors_rankings(annotation, results))]
    tasks.append(_task("ViSiL family's rule", family, all_pairs))
    caveats = reasons("EVVE", queries, videos, results, set(annotation.database))
    strangers = len(set(results.names) - annotation.database)
    notes = ["mAP is the mean over queries, avg-mAP the one over events (EVVE's paper)"]
    if strangers:
        notes.append(
            f"{strangers} videos are not in EVVE: distractors in the authors' rule, left out in "
            "the other"
        )
    return Evaluation(tasks, queries, videos, caveats, notes)


def _task(name: str, by_event: Mapping[str, Sequence[Hits]], all_pairs: Hits | None = None) -> Task:
    everything = [hits for rankings in by_event.values() for hits in rankings]
    task = ranking_task(name, everything, pooled=all_pairs, measure="trapezoids")
    events = {event: _event_mean(own, "steps") for event, own in by_event.items()}
    complete = {event: without_missing(own) for event, own in by_event.items()}
    average = Figure(
        "avg-mAP",
        {ties: _mean_over(by_event, ties) for ties in TIES},
        {ties: _mean_over(complete, ties) for ties in TIES},
    )
    return Task(
        name,
        [*task.figures, average],
        task.relevant,
        task.missing,
        task.queries,
        {"mAP_by_event": events},
    )


def _event_mean(rankings: Sequence[Hits], ties: Ties) -> float:
    return mean(rankings, ties, measure=trapezoid_average_precision)


def _mean_over(by_event: Mapping[str, Sequence[Hits]], ties: Ties) -> float:
    values = [_event_mean(own, ties) for own in by_event.values() if any(h.total for h in own)]
    return float(np.mean(values)) if values else float("nan")
