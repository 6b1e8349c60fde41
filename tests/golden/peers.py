"""What each published evaluation code would give, out of the functions of `evaluation`.

Each code has its own rule for videos without a score, for queries without results, for the query
itself and for ties; see docs/BENCHMARKS.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.evaluation import cc_web, evve, fivr, svd, vcdb, vsc
from pipeline.evaluation.ranking import (
    Hits,
    average_precision,
    mean,
    trapezoid_average_precision,
    without_missing,
)
from pipeline.evaluation.results import Results
from pipeline.evaluation.segments import PairFigures, overall
from pipeline.evaluation.selection import pooled

CC_WEB_NAMES = ("mAP", "mAP_star", "mAP_c", "mAP_c_star")  # of `cc_web.TASKS`, in order
CURVE = "interpolated_precision_at_0_to_1_step_0.05"


def with_results(rankings: Sequence[Hits]) -> list[Hits]:
    return [hits for hits in rankings if hits.has_results and hits.total]


def fivr_authors(annotation: fivr.Annotation, results: Results, task: str) -> dict[str, Any]:
    own = with_results(fivr.rankings(annotation, results, task))
    return {
        "queries": len(own),
        "mAP": mean(own, "file"),
        CURVE: fivr.curve(annotation, results, task),
    }


def fivr_family(
    annotation: fivr.Annotation, results: Results, peer: str, name: str, scored_only: bool
) -> float:
    """Of ViSiL, DnS, S2VS. `name` is such as DSVR, DSVD (detection), DSVR_h (hard)."""
    database = set(annotation.database)
    if scored_only:
        present = {*results.names, *results.rows}
        database = present if peer == "visil-pt" else present & database
    if name.endswith("_h"):
        database -= annotation.easy
    task = name[:3] + "R"
    if name[3] == "R":
        own = fivr.rankings(annotation, results, task, itself=peer != "s2vs", database=database)
        return mean(with_results(own), "file")
    relevant = replace(annotation, database=database).relevant(task, itself=False)
    relevant = {query: ids for query, ids in relevant.items() if query in results.rows}
    return average_precision(pooled(results, relevant, allowed=results.mask(database)))


def evve_authors(annotation: evve.Annotation, results: Results) -> dict[str, Any]:
    by_event: dict[str, float | str] = {}
    rankings = evve.authors_rankings(annotation, results)
    for event, own in rankings.items():
        missing = sum(not hits.has_results for hits in own)
        by_event[event] = f"missing {missing}/{len(own)} queries" if missing else _evve_mean(own)
    values: dict[str, Any] = {"mAP by event": by_event}
    numbers = [v for v in by_event.values() if not isinstance(v, str)]
    if len(numbers) < len(by_event):
        absent = "not given: queries are missing"
        return values | {"overall mAP": absent, "avg-mAP": absent}
    everything = [hits for own in rankings.values() for hits in own]
    return values | {"overall mAP": _evve_mean(everything), "avg-mAP": np.mean(numbers)}


def evve_family(
    annotation: evve.Annotation, results: Results, scored_only: bool, names: Sequence[str]
) -> dict[str, float]:
    database = {*results.names, *results.rows} if scored_only else annotation.database
    by_event = evve.family_rankings(annotation, results, database=database)
    everything = with_results([hits for own in by_event.values() for hits in own])
    relevant = {q: r & database for q, r in annotation.relevant.items() if q in results.rows}
    pairs = pooled(results, relevant, allowed=results.mask(database), without_query=False)
    values = {event: round(_evve_mean(own), 4) for event, own in by_event.items()}
    values |= dict.fromkeys(("mAP", "EVVE_mAP"), _evve_mean(everything))
    values["EVVE_uAP"] = average_precision(pairs)
    return {name: values[name] for name in names}


def _evve_mean(rankings: Sequence[Hits]) -> float:
    return mean(rankings, "file", measure=trapezoid_average_precision)


def cc_web_figures(annotation: cc_web.Annotation, results: Results) -> dict[str, float]:
    return {
        name: mean(with_results(cc_web.rankings(annotation, results, task)), "file")
        for name, task in zip(CC_WEB_NAMES, cc_web.TASKS, strict=True)
    }


def svd_figures(annotation: svd.Annotation, results: Results, version: str) -> dict[str, float]:
    """A query whose copies all have no score counts as 0."""
    own = svd.rankings(annotation, results, unlabelled=version == "unlabeled")
    kept = without_missing(own)
    return {"mAP": mean(kept) * len(kept) / len(with_results(own))}


def vcdb_figures(
    annotation: vcdb.Annotation, results: Results, distractors: bool, scored_only: bool
) -> dict[str, float]:
    database = set(annotation.positives)
    if distractors:
        database |= annotation.distractors
    if scored_only:
        database = {*results.names, *results.rows}
    relevant = vcdb.relevant_among(annotation, database)
    relevant = {query: ids for query, ids in relevant.items() if query in results.rows}
    pairs = pooled(results, relevant, allowed=results.mask(database))
    own = with_results(vcdb.rankings(annotation, results, database))
    return {"VCDB_mAP": mean(own), "VCDB_uAP": average_precision(pairs)}


def vsc_matching(annotation: vsc.Annotation, results: Results) -> dict[str, float]:
    assert results.segments is not None
    found = vsc.segment_uap(results.segments, annotation.boxes)
    best = {p: max(0.0, *(s.score for s in own)) for p, own in results.segments.items() if own}
    pairs = vsc.pair_hits(best, annotation)
    return {
        "segment uAP (the matching track)": found.uap,
        "pairwise uAP": average_precision(pairs),
        "pairwise uAP, simple": average_precision(pairs, "file"),
        "recall at the end of the list": found.recall,
        "precision there": found.precision,
    }


def vcsl_overall(pairs: dict[str, PairFigures]) -> dict[str, Any]:
    values = overall(list(pairs.values()))
    return {
        "pairs": len(pairs),
        "overall": {name: values[name] for name in ("recall", "precision", "F1")},
        "video level": {name: values[name] for name in ("FRR", "FAR")},
    }


def assert_close(found: Any, expected: Any, where: str = "") -> None:
    """Every value of `expected` is in `found`, numbers within 1e-9."""
    if isinstance(expected, dict):
        for key, value in expected.items():
            assert_close(found[key], value, f"{where} {key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for place, (a, b) in enumerate(zip(found, expected, strict=True)):
            assert_close(a, b, f"{where} {place}")
    elif isinstance(expected, str):
        assert found == expected, where
    else:
        assert abs(found - expected) <= 1e-9, f"{where}: {found!r}, expected {expected!r}"
