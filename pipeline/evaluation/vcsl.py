"""VCSL (He et al., CVPR 2022): segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import InputError
from .files import SourceFile, texts
from .report import TIES, Coverage, Evaluation, Figure, coverage
from .results import Box, Results
from .segments import macro, pair_figures, predicted_boxes, read_label_boxes, segment_task


@dataclass(frozen=True)
class Annotation:
    """What VCSL's files say.

    Attributes:
        boxes: labelled boxes by "query-reference".
        pairs: of the test set, by (query, reference); None without a pair file.
        query_sets: "query-reference" of each set of the test split; empty without the meta file.
    """

    boxes: Mapping[str, Sequence[Box]]
    pairs: Sequence[tuple[str, str]] | None = None
    query_sets: Mapping[str, Sequence[str]] = field(default_factory=dict)


def read_annotation(files: Sequence[SourceFile]) -> Annotation:
    """Read `label_file.json`, `pair_file_test.csv` and `split_meta_pairs.json`, in any order.

    Raises:
        InputError: there are no labels, or a file is not of these.
    """
    boxes: dict[str, list[Box]] = {}
    annotation = Annotation({})
    for file in files:
        if file.suffix == ".csv":
            rows = file.rows("query_id", "reference_id")
            annotation = replace(
                annotation, pairs=[(row["query_id"], row["reference_id"]) for row in rows]
            )
        elif isinstance(content := file.json(), dict) and "test" in content:
            annotation = replace(annotation, query_sets=_query_sets(file, content["test"]))
        else:
            boxes |= read_label_boxes(file)
    if not boxes:
        raise InputError(f"{files[0].path}: has no labels; give label_file.json as --annotation")
    return replace(annotation, boxes=boxes)


def _query_sets(file: SourceFile, content: Any) -> dict[str, list[str]]:
    try:
        return {name: texts(own) for name, own in content.items()}
    except (AttributeError, TypeError):
        raise InputError(
            f"{file.path}: 'test' holds no lists of pairs; give split_meta_pairs.json"
        ) from None


def evaluate(annotation: Annotation, results: Results) -> Evaluation:
    """Overall figures; with the meta file those over query sets, too."""
    predicted = predicted_boxes(results)
    if predicted is None:
        raise InputError("VCSL needs segments: compare with --segments")
    pairs = None
    if annotation.pairs is not None:
        pairs = [f"{query}-{reference}" for query, reference in annotation.pairs]
    by_pair = pair_figures(predicted, annotation.boxes, pairs)
    task = segment_task("overall", by_pair)
    tasks = [task]
    sets = {name: [p for p in own if p in by_pair] for name, own in annotation.query_sets.items()}
    if any(sets.values()):
        values = macro(by_pair, sets)
        figures = [
            Figure(key, dict.fromkeys(TIES, value), dict.fromkeys(TIES, float("nan")))
            for key, value in values.items()
        ]
        tasks.append(replace(task, name="over query sets", figures=figures))
    absent = sum(not p.has_entry for p in by_pair.values())
    reasons = [f"{absent} of {len(by_pair)} pairs have no entry"] if absent else []
    if pairs is None:
        reasons.append("only the labelled pairs: give pair_file_test.csv as --annotation")
    notes = ["F1 of the task 'overall' is the benchmark's figure"]
    if pairs is not None and len(pairs) == 55530:
        notes.append("these are the pairs of 2022; since 2023-03 the test set has 54,630 pairs")
    return Evaluation(tasks, *_coverage(by_pair, predicted), reasons, notes)


def _coverage(
    by_pair: Mapping[str, object], predicted: Mapping[str, object]
) -> tuple[Coverage, Coverage]:
    """Queries and references of the pairs, as the names of the pairs have them."""
    wanted = [pair.partition("-")[::2] for pair in by_pair]
    present = [pair.partition("-")[::2] for pair in predicted if pair in by_pair]
    return (
        coverage({q for q, _ in wanted}, [q for q, _ in present]),
        coverage({r for _, r in wanted}, [r for _, r in present]),
    )
