"""Segments of many pairs, by VCSL's rule; labelled boxes as VCSL and TransVCL write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..metrics import pair_precision_recall, segment_figures
from .files import SourceFile
from .report import TIES, Figure, Task
from .results import Box, Results


@dataclass(frozen=True)
class PairFigures:
    """Precision and recall of one pair.

    Attributes:
        precision, recall: see `metrics.pair_precision_recall`.
        labelled, predicted: whether there are any boxes.
        has_entry: whether the results have an entry for the pair; without one it has no boxes.
    """

    precision: float
    recall: float
    labelled: bool
    predicted: bool
    has_entry: bool


def read_label_boxes(file: SourceFile) -> dict[str, list[Box]]:
    """Read a `label_file.json`: `{"a-b": [[start a, start b, end a, end b], ...]}` in seconds.

    A box that ends before it starts is taken as it is; the published files have some.

    Raises:
        InputError: it has another form.
    """
    content = file.json()
    try:
        return {
            pair: [(float(b[0]), float(b[2]), float(b[1]), float(b[3])) for b in boxes]
            for pair, boxes in content.items()
        }
    except (AttributeError, TypeError, ValueError, LookupError, OverflowError):
        raise InputError(f"{file.path}: holds no labelled boxes; give label_file.json") from None


def predicted_boxes(results: Results) -> dict[str, list[Box]] | None:
    """Predicted boxes by "query-reference"; None if the results have no segments.

    Raises:
        InputError: two pairs have the same name.
    """
    if results.by_pair is not None:
        return results.by_pair
    if results.segments is None:
        return None
    named = {f"{q}-{r}": [s.box for s in own] for (q, r), own in results.segments.items()}
    if len(named) < len(results.segments):
        raise InputError("two pairs of the results have the same name in VCSL's form (QUERY-REF)")
    return named


def pair_figures(
    predicted: Mapping[str, Sequence[Box]],
    labelled: Mapping[str, Sequence[Box]],
    pairs: Sequence[str] | None = None,
    *,
    mirror: bool = False,
) -> dict[str, PairFigures]:
    """Precision and recall of each pair.

    Args:
        pairs: "query-reference"; None: the labelled ones.
        mirror: take the prediction for "b-a" where there is none for "a-b".
    """
    figures = {}
    for pair in labelled if pairs is None else pairs:
        boxes = predicted.get(pair)
        if boxes is None and mirror:
            first, _, second = pair.partition("-")
            other = predicted.get(f"{second}-{first}")
            boxes = None if other is None else [(b[2], b[3], b[0], b[1]) for b in other]
        truth = labelled.get(pair, ())
        precision, recall = pair_precision_recall(boxes or (), truth)
        figures[pair] = PairFigures(precision, recall, bool(truth), bool(boxes), boxes is not None)
    return figures


def overall(pairs: Sequence[PairFigures]) -> dict[str, float]:
    """VCSL's overall precision, recall and F1; shares of pairs missed (FRR) and wrong (FAR).

    FRR and FAR are shares of all pairs, times 2, as half of VCSL's pairs have a copy.
    """
    figures = segment_figures([(p.precision, p.recall) for p in pairs])
    count = max(len(pairs), 1)
    return {
        "precision": figures.precision,
        "recall": figures.recall,
        "F1": figures.f1,
        "FRR": 2 * sum(p.labelled and not p.predicted for p in pairs) / count,
        "FAR": 2 * sum(p.predicted and not p.labelled for p in pairs) / count,
    }


def macro(
    pairs: Mapping[str, PairFigures], query_sets: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """Means within each query set, then over sets; pairs with exactly 1 counted."""
    means = [
        np.mean([(pairs[p].precision, pairs[p].recall) for p in own], axis=0)
        for own in query_sets.values()
        if own
    ]
    precision, recall = np.mean(means, axis=0).tolist()
    return {
        "precision": precision,
        "recall": recall,
        "F1": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
    }


def segment_task(name: str, pairs: Mapping[str, PairFigures]) -> Task:
    """The overall figures, with pairs without an entry as ones with nothing found, and without."""
    everything = list(pairs.values())
    counted = overall(everything)
    left_out = overall([p for p in everything if p.has_entry])
    figures = [
        Figure(key, dict.fromkeys(TIES, counted[key]), dict.fromkeys(TIES, left_out[key]))
        for key in ("F1", "precision", "recall", "FRR", "FAR")
    ]
    missing = sum(p.labelled and not p.has_entry for p in everything)
    relevant = sum(p.labelled for p in everything)
    return Task(name, figures, relevant - missing, missing, len(everything))
