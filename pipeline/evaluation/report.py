"""What an evaluation says: figures, what was missing, and whether they can be compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .ranking import (
    Hits,
    Ties,
    average_precision,
    mean,
    trapezoid_average_precision,
    without_missing,
)
from .results import Results

TIES: tuple[Ties, ...] = ("steps", "file")
_MEASURES = {"AP": average_precision, "trapezoids": trapezoid_average_precision}


@dataclass(frozen=True)
class Figure:
    """One figure four times.

    Attributes:
        name: such as "mAP".
        counted: missing videos and queries counted as missed; by `Ties`, see `ranking`.
        left_out: missing videos and queries left out; by `Ties`.
    """

    name: str
    counted: Mapping[Ties, float]
    left_out: Mapping[Ties, float]


@dataclass(frozen=True)
class Task:
    """Figures of one task of a benchmark.

    Attributes:
        name: such as "DSVR".
        figures: of the task.
        relevant: relevant videos (pairs) with a score; missing: without one.
        queries: that have relevant videos.
        details: further values, for JSON alone.
    """

    name: str
    figures: Sequence[Figure]
    relevant: int
    missing: int
    queries: int
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Coverage:
    """How many of the annotation's have scores, and how many have none."""

    scored: int
    missing: int


@dataclass
class Evaluation:
    """What a benchmark's module gives.

    Attributes:
        tasks: with figures.
        queries, videos: how many of the annotation's are in the results.
        reasons: why the figures are not comparable with published ones; empty if they are.
        notes: what else a reader should know.
        published: there are published figures to compare with.
    """

    tasks: list[Task]
    queries: Coverage
    videos: Coverage
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    published: bool = True


def ranking_task(
    name: str,
    rankings: Sequence[Hits],
    *,
    pooled: Hits | None = None,
    measure: str = "AP",
    details: Mapping[str, Any] | None = None,
) -> Task:
    """The figures of rankings: mAP, and micro-AP if there is a ranking of all pairs.

    Args:
        rankings: one for each query of the annotation.
        pooled: all pairs in one ranking.
        measure: "AP" or "trapezoids".
    """
    own = _MEASURES[measure]
    complete = without_missing(rankings)
    figures = [
        Figure(
            "mAP",
            {ties: mean(rankings, ties, measure=own) for ties in TIES},
            {ties: mean(complete, ties, measure=own) for ties in TIES},
        )
    ]
    if pooled is not None:
        figures.append(micro_ap(pooled))
    total, scored = sum(h.total for h in rankings), sum(h.scored for h in rankings)
    with_relevant = sum(h.total > 0 for h in rankings)
    return Task(name, figures, scored, total - scored, with_relevant, details or {})


def micro_ap(pooled: Hits, name: str = "uAP") -> Figure:
    """The average precision of all pairs in one ranking."""
    return Figure(
        name,
        {ties: average_precision(pooled, ties) for ties in TIES},
        {ties: mean(without_missing([pooled]), ties) for ties in TIES},
    )


def coverage(wanted: Iterable[str], present: Iterable[str]) -> Coverage:
    """How many of the wanted ids are present."""
    ids = set(wanted)
    scored = len(ids & set(present))
    return Coverage(scored, len(ids) - scored)


def reasons(
    evaluation_of: str, queries: Coverage, videos: Coverage, results: Results, database: set[str]
) -> list[str]:
    """Why figures would not be comparable: something is missing, or only the best were written."""
    caveats = []
    if queries.missing:
        caveats.append(f"{queries.missing} queries of {evaluation_of} have no results")
    if videos.missing:
        caveats.append(f"{videos.missing} videos of {evaluation_of} have no score")
    for name, value in results.limits.items():
        caveats.append(f"the results were cut ({name} {value:g}): compare without --{name}")
    short = 0
    for query, row in results.rows.items():
        wanted = results.mask(database - {query})
        short += int(wanted[row.videos].sum()) < int(wanted.sum())
    if short and not results.limits:
        caveats.append(
            f"{short} queries have not the scores of all videos, as in a top-k output or one with "
            "a threshold"
        )
    return caveats


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as JSON has it; a figure that does not exist is null."""
    return {
        "queries": vars(evaluation.queries),
        "videos": vars(evaluation.videos),
        "tasks": {
            task.name: {
                "queries": task.queries,
                "relevant_scored": task.relevant,
                "relevant_missing": task.missing,
                "figures": {
                    figure.name: {
                        "missing_counted": _by_ties(figure.counted),
                        "missing_left_out": _by_ties(figure.left_out),
                    }
                    for figure in task.figures
                },
                **{name: _without_nan(value) for name, value in task.details.items()},
            }
            for task in evaluation.tasks
        },
        "comparable": not evaluation.reasons,
        "reasons": evaluation.reasons,
        "notes": evaluation.notes,
    }


def lines(evaluation: Evaluation) -> Iterator[str]:
    """The evaluation for a terminal."""
    for what, counts in (("queries", evaluation.queries), ("videos", evaluation.videos)):
        yield f"{what + ':':9} {counts.scored} scored, {counts.missing} missing"
    yield ""
    yield f"{'':34}{'relevant pairs':>16}{'missing counted':>19}{'missing left out':>19}"
    yield (
        f"{'task':24}{'figure':10}{'scored':>8}{'missing':>8}"
        f"{'ties free':>10}{'in file':>9}{'ties free':>10}{'in file':>9}"
    )
    for task in evaluation.tasks:
        for figure in task.figures:
            values = [*_values(figure.counted), *_values(figure.left_out)]
            cells = "".join(map(_cell, values, (10, 9, 10, 9)))
            yield f"{task.name:24}{figure.name:10}{task.relevant:>8}{task.missing:>8}{cells}"
    yield ""
    for note in evaluation.notes:
        yield f"note: {note}"
    others = "published figures" if evaluation.published else "other figures of this annotation"
    yield f"{'not ' * bool(evaluation.reasons)}comparable with {others}"
    for reason in evaluation.reasons:
        yield f"  {reason}"


def _cell(value: float, width: int) -> str:
    return f"{'-':>{width}}" if math.isnan(value) else f"{value:{width}.4f}"


def _values(by_ties: Mapping[Ties, float]) -> list[float]:
    return [by_ties[ties] for ties in TIES]


def _without_nan(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _by_ties(values: Mapping[Ties, float]) -> dict[str, float | None]:
    names = {"steps": "ties_free", "file": "file_order"}
    return {
        names[ties]: None if math.isnan(value) else float(np.float64(value))
        for ties, value in values.items()
    }
