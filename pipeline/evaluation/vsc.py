"""VSC2022 (Pizzi et al., Meta's Video Similarity Challenge): both tracks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .descriptors import best_pairs
from .files import SourceFile
from .ranking import Hits
from .report import TIES, Coverage, Evaluation, Figure, Task, coverage, micro_ap
from .results import TIMES, Box, FoundSegment, Results, as_number

Pair = tuple[str, str]
_FRAME_PAIRS, _VIDEO_PAIRS = 1200, 25  # a query, of the descriptor track


@dataclass(frozen=True)
class Annotation:
    """Matches of the ground truth: boxes by (query id, reference id)."""

    boxes: Mapping[Pair, Sequence[Box]]


def read_annotation(files: Sequence[SourceFile]) -> Annotation:
    """Read the ground truth, a CSV with `query_id, ref_id` and four times.

    Raises:
        InputError: it is another file.
    """
    boxes: dict[Pair, list[Box]] = defaultdict(list)
    for file in files:
        for count, row in enumerate(file.rows("query_id", "ref_id", *TIMES), start=2):
            where = f"{file.path}, line {count}"
            box = tuple(as_number(f"{where}: {name}", row[name]) for name in TIMES)
            boxes[full_id(row["query_id"], "Q"), full_id(row["ref_id"], "R")].append(box)  # type: ignore[arg-type]
    return Annotation(dict(boxes))


def full_id(text: str, letter: str) -> str:
    """A number alone is an id without its letter and zeros: 17 is Q000017."""
    return f"{letter}{int(text):06d}" if text.isascii() and text.isdigit() else text


def evaluate(annotation: Annotation, results: Results) -> Evaluation:
    """The matching track where there are segments, and the ranking of pairs in any case."""
    scores = {
        (full_id(query, "Q"), full_id(results.names[place], "R")): float(score)
        for query, row in results.rows.items()
        for place, score in zip(row.videos, row.scores, strict=True)
    }
    tasks = []
    if results.segments is not None:
        segments = {
            (full_id(q, "Q"), full_id(r, "R")): own for (q, r), own in results.segments.items()
        }
        tasks.append(matching_task(segments, annotation.boxes))
        best = {p: max(0.0, *(s.score for s in own)) for p, own in segments.items() if own}
        tasks.append(pair_task("pairs of segments", best, annotation))
    else:
        tasks.append(pair_task("descriptor ranking", scores, annotation))
    present = list(scores)
    queries, videos = _coverage(annotation, present)
    notes = [
        "queries and videos are the ones of the ground truth; a query without a copy is not in it",
        "VSC2022 counts what is missing as missed",
    ]
    notes += [f"the results were cut ({n} {v:g})" for n, v in results.limits.items()]
    return Evaluation(tasks, queries, videos, [], notes)


def evaluate_features(
    annotation: Annotation, queries: SourceFile, references: SourceFile
) -> Evaluation:
    """The descriptor track out of two files of features; see `descriptors.best_pairs`."""
    scores, query_ids, reference_ids = best_pairs(
        queries, references, frame_pairs=_FRAME_PAIRS, video_pairs=_VIDEO_PAIRS
    )
    named = {(full_id(q, "Q"), full_id(r, "R")): score for (q, r), score in scores.items()}
    present = [(full_id(q, "Q"), "") for q in query_ids]
    present += [("", full_id(r, "R")) for r in reference_ids]
    return Evaluation(
        [pair_task("descriptor track", named, annotation)], *_coverage(annotation, present)
    )


def pair_task(name: str, scores: Mapping[Pair, float], annotation: Annotation) -> Task:
    """Micro-AP of pairs in one ranking."""
    hits = pair_hits(scores, annotation)
    figure = micro_ap(hits)
    return Task(name, [figure], hits.scored, hits.total - hits.scored, _queries(annotation))


def pair_hits(scores: Mapping[Pair, float], annotation: Annotation) -> Hits:
    """The ranking of pairs."""
    values = np.fromiter(scores.values(), np.float64, len(scores))
    relevant = np.fromiter((pair in annotation.boxes for pair in scores), bool, len(scores))
    return Hits.of(values, relevant, len(annotation.boxes))


def matching_task(
    segments: Mapping[Pair, Sequence[FoundSegment]], boxes: Mapping[Pair, Sequence[Box]]
) -> Task:
    """Segment uAP; left out are the labelled pairs without an entry."""
    labelled = {pair: own for pair, own in boxes.items() if pair in segments}
    counted, left_out = segment_uap(segments, boxes), segment_uap(segments, labelled)
    figure = Figure("uAP", dict.fromkeys(TIES, counted.uap), dict.fromkeys(TIES, left_out.uap))
    details = {"recall": counted.recall, "precision": counted.precision}
    queries = len({query for query, _ in boxes})
    return Task(
        "matching track", [figure], len(labelled), len(boxes) - len(labelled), queries, details
    )


@dataclass(frozen=True)
class SegmentAp:
    """Segment uAP; recall at the end of the list, precision where that recall is reached."""

    uap: float
    recall: float
    precision: float


@dataclass
class _PairState:
    """What is predicted for one pair so far; lengths are by axis, query and reference."""

    truth: Sequence[Box]
    found: list[Box] = field(default_factory=list)
    predicted: np.ndarray = field(default_factory=lambda: np.zeros(2))
    covered: np.ndarray = field(default_factory=lambda: np.zeros(2))

    def add(self, box: Box) -> None:
        self.found.append(box)
        touched = [t for t in self.truth if any(_share_area(t, f) for f in self.found)]
        for axis in (0, 2):
            ours = _union([(f[axis], f[axis + 1]) for f in self.found])
            theirs = _union([(t[axis], t[axis + 1]) for t in touched])
            self.predicted[axis // 2] = _length(ours)
            self.covered[axis // 2] = _length(_common(ours, theirs))


def segment_uap(
    segments: Mapping[Pair, Sequence[FoundSegment]], boxes: Mapping[Pair, Sequence[Box]]
) -> SegmentAp:
    """The matching track's figure.

    Predictions are taken by descending score, equal scores at once. Precision and recall of an
    axis are seconds over all pairs: of the union of predicted intervals within true ones, of those
    whose box a predicted box shares area with; the geometric mean of both axes counts.

    Source: Pizzi et al., "The 2023 Video Similarity Dataset and Challenge", and its code.
    """
    states: dict[Pair, _PairState] = {}
    total = np.zeros(2)
    for own in boxes.values():
        for axis in (0, 2):
            total[axis // 2] += _length(_union([(t[axis], t[axis + 1]) for t in own]))
    steps: dict[float, list[tuple[Pair, Box]]] = defaultdict(list)
    for pair, predictions in segments.items():
        for segment in predictions:
            steps[segment.score].append((pair, segment.box))
    predicted, covered = np.zeros(2), np.zeros(2)
    uap = recall = precision = 0.0
    for score in sorted(steps, reverse=True):
        for pair, box in steps[score]:
            state = states.setdefault(pair, _PairState(boxes.get(pair, ())))
            predicted -= state.predicted
            covered -= state.covered
            state.add(box)
            predicted += state.predicted
            covered += state.covered
        before = recall
        recall = _geometric_mean(covered, total)
        if recall > before:
            precision = _geometric_mean(covered, predicted)
            uap += precision * (recall - before)
    return SegmentAp(uap, recall, precision)


def _geometric_mean(part: np.ndarray, whole: np.ndarray) -> float:
    if not whole.all():
        return 0.0
    return float(np.sqrt(np.prod(np.maximum(part, 0) / whole)))


def _share_area(a: Box, b: Box) -> bool:
    return min(a[1], b[1]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[2], b[2])


Intervals = list[tuple[float, float]]


def _union(intervals: Intervals) -> Intervals:
    result: Intervals = []
    for start, end in sorted(intervals):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


def _common(a: Intervals, b: Intervals) -> Intervals:
    """What two unions share."""
    pairs = ((max(s, t), min(e, f)) for s, e in a for t, f in b)
    return [(start, end) for start, end in pairs if end > start]


def _length(intervals: Intervals) -> float:
    return sum(end - start for start, end in intervals)


def _queries(annotation: Annotation) -> int:
    return len({query for query, _ in annotation.boxes})


def _coverage(annotation: Annotation, present: Sequence[Pair]) -> tuple[Coverage, Coverage]:
    return (
        coverage({q for q, _ in annotation.boxes}, [q for q, _ in present]),
        coverage({r for _, r in annotation.boxes}, [r for _, r in present]),
    )
