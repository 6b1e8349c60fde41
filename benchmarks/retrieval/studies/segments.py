"""From when to when do videos match? Methods of alignment on videos whose times are known.

    python -m benchmarks.retrieval.dataset.timed SET_DIR [--split validation]
    python -m benchmarks.retrieval.studies.segments SET_DIR [--split validation]

Every pair of a query and a database video is aligned, on the frame matrix before the comparator. A
pair is marked if it has a segment and its score is above the one that 0.1 % of the unrelated pairs
reach; only segments of marked pairs count. Its score is the model's, less the 95 % quantile of the
query's scores over the database. Columns are F1 by VCSL's rule: over all pairs; over pairs that
need localisation (the match is less than 80 % of one of the videos); by how the database video was
put together. Then the part of the true segments that a predicted one overlaps by half (IoU of the
boxes), the median and 90 % quantile of the error of the ends of these, in seconds, and the share of
unrelated pairs marked. The last column is the time that aligning a pair takes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.retrieval import command
from benchmarks.retrieval.studies.evaluate import (
    configs,
    model_scores,
    model_store,
    read_pairs,
    to_stderr,
)
from pipeline.alignment import METHODS, align, fold_insets
from pipeline.config import CompareConfig, ExtractConfig
from pipeline.metrics import pair_precision_recall, segment_figures
from pipeline.nets.backend import device_scope
from pipeline.nets.formats.loader import load_model
from pipeline.nets.similarity.pair_scorer import PairScorer
from pipeline.store import FeatureStore, open_store

FALSE_ALARMS = 0.001  # of the unrelated pairs
QUANTILE = 0.95  # of a query's scores over the database
LOCAL = 0.80  # of a video: where less matches, the match has to be localised
CATEGORIES = ("whole", "speed", "reordered", "excerpt", "embedded", "compilation")
HEADS = [
    "method", "all", "localisation", *CATEGORIES, "IoU 0.5", "end error, median", "90 %",
    "unrelated marked", "ms a pair",
]  # fmt: skip


@dataclass(frozen=True)
class Side:
    """Frames of a video: times of all rows, how many are its own, and its duration."""

    seconds: np.ndarray
    own: int
    duration: float


@dataclass(frozen=True)
class Pair:
    """A pair of videos and what is known of it.

    Attributes:
        matrix: [Q, D] float32, insets folded in.
        category: of the database video; empty for unrelated pairs.
        truth: [M, 4] query start and end, database start and end.
        of_clip: the query is a clip as it is.
    """

    query: Side
    database: Side
    matrix: np.ndarray
    times: tuple[np.ndarray, np.ndarray]
    category: str
    truth: np.ndarray
    of_clip: bool
    score: float

    @property
    def is_local(self) -> bool:
        """Whether the match is less than `LOCAL` of one of the videos."""
        durations = self.query.duration, self.database.duration
        lengths = (self.truth[:, 1::2] - self.truth[:, ::2]).sum(axis=0)
        return bool((lengths < LOCAL * np.array(durations)).any())


Method = Callable[[Pair], np.ndarray]  # predicted boxes [N, 4]


def whole_videos(pair: Pair) -> np.ndarray:
    """The answer without alignment: both videos as a whole."""
    return np.array([[0.0, pair.query.duration, 0.0, pair.database.duration]])


def aligned_by(method: str) -> Method:
    """Boxes of a method of `pipeline.alignment`."""

    def boxes(pair: Pair) -> np.ndarray:
        found = align(
            pair.matrix,
            *pair.times,
            query_duration=pair.query.duration,
            database_duration=pair.database.duration,
            method=method,
        )
        ends = [(s.query_start, s.query_end, s.database_start, s.database_end) for s in found]
        return np.array(ends).reshape(-1, 4)

    return boxes


def side_of(store: FeatureStore, video_id: str) -> Side:
    """Times of a stored video."""
    record = store.record(video_id)
    return Side(store.seconds(video_id), record.own_frames, record.source.duration)


def matrices(
    stores: tuple[FeatureStore, FeatureStore], scorer: PairScorer
) -> dict[str, np.ndarray]:
    """Database video -> similarities of all query frames to all its frames."""
    queries, database = stores
    asked = np.concatenate([queries.read_vectors(i) for i in queries.ids])
    placed = scorer.place_queries(asked)
    found = {}
    for video_id in database.ids:
        vectors = database.read_vectors(video_id)
        matrix = np.asarray(scorer.frame_matrix(placed, scorer.place_targets(vectors)), np.float32)
        found[video_id] = matrix[: len(asked), : len(vectors)]
    return found


def read_pairs_of(
    split_dir: Path, model_dir: Path, extract: ExtractConfig, compare: CompareConfig
) -> list[Pair]:
    """All pairs that count, with their matrices."""
    folder = split_dir / "timed"
    truth, uncounted = read_truth(folder)
    lists = [read_pairs(folder / f"{name}.txt") for name in ("queries", "database")]
    paths = [
        model_store(videos, split_dir / "stores" / f"timed_{name}", model_dir, config, to_stderr, q)
        for videos, name, config, q in (
            (lists[0], "queries", ExtractConfig(**{**vars(extract), "insets": 0}), True),
            (lists[1], "database", extract, False),
        )
    ]
    scores = model_scores(paths, (list(lists[0]), list(lists[1])), model_dir, compare)
    scores -= np.quantile(scores, QUANTILE, axis=1, keepdims=True)
    model = load_model(model_dir, extract.dims)
    pairs = []
    with open_store(paths[0]) as queries, open_store(paths[1]) as database, device_scope(None):
        function = compare.similarity_function or model.similarity_function
        similar = matrices((queries, database), PairScorer(model, function, "float32"))
        asked = {i: side_of(queries, i) for i in queries.ids}
        searched = {i: side_of(database, i) for i in lists[1]}
        ends = np.cumsum([len(side.seconds) for side in asked.values()])
        rows = dict(zip(asked, ends, strict=True))
        for q, query_id in enumerate(lists[0]):
            query = asked[query_id]
            part = slice(rows[query_id] - len(query.seconds), rows[query_id])
            for d, video_id in enumerate(lists[1]):
                if (query_id, video_id) in uncounted:
                    continue
                category, boxes = truth.get((query_id, video_id), ("", []))
                video = searched[video_id]
                matrix, *times = fold_insets(
                    similar[video_id][part], (query.seconds, query.own), (video.seconds, video.own)
                )
                pairs.append(
                    Pair(
                        query, video, matrix, (times[0], times[1]), category,
                        np.array(boxes).reshape(-1, 4), not query_id.startswith("long_"),
                        float(scores[q, d]),
                    )
                )  # fmt: skip
    return pairs


def read_truth(
    folder: Path,
) -> tuple[dict[tuple[str, str], tuple[str, list[list[float]]]], set[tuple[str, str]]]:
    """(query, database video) -> category and boxes; and the pairs that do not count."""
    truth: dict[tuple[str, str], tuple[str, list[list[float]]]] = {}
    for line in (folder / "segments.tsv").read_text(encoding="utf-8").splitlines():
        query, video, category, *times = line.split("\t")
        truth.setdefault((query, video), (category, []))[1].append([float(t) for t in times])
    lines = (folder / "uncounted.tsv").read_text(encoding="utf-8").splitlines()
    return truth, {(line.split("\t")[0], line.split("\t")[1]) for line in lines}


def box_overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of the areas, [N, M] of boxes [N, 4] and [M, 4]."""
    low = np.maximum(boxes[:, None, ::2], others[None, :, ::2])
    high = np.minimum(boxes[:, None, 1::2], others[None, :, 1::2])
    shared = np.maximum(high - low, 0).prod(axis=2)
    areas = [(b[:, 1::2] - b[:, ::2]).prod(axis=1) for b in (boxes, others)]
    return np.asarray(shared / (areas[0][:, None] + areas[1][None, :] - shared))


def threshold_of(pairs: Sequence[Pair], predicted: Sequence[np.ndarray]) -> float:
    """Score that at most `FALSE_ALARMS` of the unrelated pairs that have a segment exceed."""
    unrelated = [i for i, pair in enumerate(pairs) if not pair.category]
    alarms = sorted((pairs[i].score for i in unrelated if len(predicted[i])), reverse=True)
    allowed = int(FALSE_ALARMS * len(unrelated))
    return alarms[allowed] if allowed < len(alarms) else -np.inf


def row_of(name: str, pairs: Sequence[Pair], method: Method) -> list[str]:
    """Cells of a method's row."""
    began = time.perf_counter()
    predicted = [method(pair) for pair in pairs]
    milliseconds = 1e3 * (time.perf_counter() - began) / len(pairs)
    bar = threshold_of(pairs, predicted)
    nothing = np.empty((0, 4))
    kept = [b if p.score > bar else nothing for p, b in zip(pairs, predicted, strict=True)]
    values = [
        pair_precision_recall(boxes, pair.truth) for pair, boxes in zip(pairs, kept, strict=True)
    ]

    def f1(chosen: Callable[[Pair], bool]) -> float:
        some = [v for v, pair in zip(values, pairs, strict=True) if chosen(pair)]
        return segment_figures(some).f1

    cells = [f1(lambda p: True), f1(lambda p: bool(p.category) and p.is_local)]
    for category in CATEGORIES:
        cells.append(f1(lambda p, c=category: p.of_clip and p.category == c))  # type: ignore[misc]
    found, errors = ends_of(pairs, kept)
    marked = [bool(len(b)) for p, b in zip(pairs, kept, strict=True) if not p.category]
    cells += [found, *np.quantile(errors, (0.5, 0.9))] if len(errors) else [found, np.nan, np.nan]
    return [
        name, *(f"{cell:.3f}" for cell in cells), f"{np.mean(marked):.2%}", f"{milliseconds:.1f}"
    ]  # fmt: skip


def ends_of(pairs: Sequence[Pair], kept: Sequence[np.ndarray]) -> tuple[float, np.ndarray]:
    """Part of the true segments that are found (IoU 0.5), and errors of their four ends."""
    found, errors = [], []
    for pair, boxes in zip(pairs, kept, strict=True):
        overlap = box_overlap(pair.truth, boxes)
        for truth, row in zip(pair.truth, overlap, strict=True):
            found.append(bool(len(row)) and row.max() >= 0.5)
            if found[-1]:
                errors.append(np.abs(boxes[row.argmax()] - truth))
    return float(np.mean(found)), np.array(errors).ravel()


def rows_of(options: argparse.Namespace) -> list[list[str]]:
    """Cells of the table."""
    pairs = read_pairs_of(options.set_dir / options.split, options.model_dir, *configs(options))
    methods: Mapping[str, Method] = {name: aligned_by(name) for name in METHODS}
    return [
        row_of(name, pairs, method)
        for name, method in {"whole videos": whole_videos, **methods}.items()
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    return command.run(__doc__, HEADS, rows_of, arguments)


if __name__ == "__main__":
    sys.exit(main())
