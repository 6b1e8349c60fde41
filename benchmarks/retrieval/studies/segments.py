"""From when to when do videos match? Methods of alignment on videos whose times are known.

    python -m benchmarks.retrieval.dataset.timed SET_DIR [--split validation]
    python -m benchmarks.retrieval.studies.segments SET_DIR [--split validation]

Every pair of a query and a database video is aligned, on the frame matrix before the comparator. A
pair is marked if it has a segment and its score is above the one that 0.1 % of the unrelated pairs
with a segment reach; only segments of marked pairs count. Its score is the model's, less the 95 %
quantile of the query's scores over the database.

Columns are F1 by VCSL's rule: over all pairs; over pairs that need localisation (the match is less
than 80 % of one of the videos); by how the database video was put together. Queries of these are
clips as they are. Of long queries, in which a tenth may match, related pairs count as marked: here
the question is where, not whether. Then, of clips, the part of the true segments that a predicted
one overlaps by half (IoU of the boxes), the median and 90 % quantile of the error of the ends of
these, in seconds, and the share of unrelated pairs marked. The last column is the time that
aligning a pair takes. A second row of a method leaves out pairs whose query side it says is not
decidable. The rows `--segments` mark pairs as `compare --segments --top_k` does, by the segments'
evidence and the pair's score, as it is and normalised, and what is usual for the query.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from pipeline.alignment import DEFAULT_METHOD, METHODS, Segment, align, fold_insets
from pipeline.config import CompareConfig, ExtractConfig
from pipeline.metrics import pair_precision_recall, segment_figures
from pipeline.nets.backend import device_scope
from pipeline.nets.formats.loader import load_model
from pipeline.nets.similarity.pair_scorer import PairScorer
from pipeline.search.pair_alignment import SegmentJudge
from pipeline.search.score_normalization import unusual_scores
from pipeline.store import FeatureStore, open_store

FALSE_ALARMS = 0.001  # of the unrelated pairs
QUANTILE = 0.95  # of a query's scores over the database
LOCAL = 0.80  # of a video: where less matches, the match has to be localised
CATEGORIES = ("whole", "speed", "reordered", "excerpt", "embedded", "compilation")
HEADS = [
    "method", "all", "localisation", *CATEGORIES, "long query", "IoU 0.5",
    "end error, median", "90 %",
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
        ids: of query and database video.
        score: the model's, less the query's `QUANTILE`.
        plain_score, normalized_score: the model's, and as `--normalize database` gives it.
        needed: plain score that stands out for the query, see `unusual_scores`.
    """

    query: Side
    database: Side
    matrix: np.ndarray
    times: tuple[np.ndarray, np.ndarray]
    category: str
    truth: np.ndarray
    of_clip: bool
    score: float
    plain_score: float = 0.0
    normalized_score: float = 0.0
    ids: tuple[str, str] = ("", "")
    needed: float = -1.0

    @property
    def is_local(self) -> bool:
        """Whether the match is less than `LOCAL` of one of the videos."""
        durations = self.query.duration, self.database.duration
        lengths = (self.truth[:, 1::2] - self.truth[:, ::2]).sum(axis=0)
        return bool((lengths < LOCAL * np.array(durations)).any())


Method = Callable[[Pair], list[Segment]]


def whole_videos(pair: Pair) -> list[Segment]:
    """The answer without alignment: both videos as a whole."""
    return [Segment(0.0, pair.query.duration, 0.0, pair.database.duration, pair.score)]


def aligned_by(method: str) -> Method:
    """A method of `pipeline.alignment`."""

    def segments(pair: Pair) -> list[Segment]:
        return align(
            pair.matrix,
            *pair.times,
            query_duration=pair.query.duration,
            database_duration=pair.database.duration,
            method=method,
        )

    return segments


def boxes_of(segments: Sequence[Segment]) -> np.ndarray:
    """[N, 4] query start and end, database start and end."""
    ends = [(s.query_start, s.query_end, s.database_start, s.database_end) for s in segments]
    return np.array(ends).reshape(-1, 4)


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


def stores_of(
    split_dir: Path, model_dir: Path, extract: ExtractConfig
) -> tuple[list[dict[str, str]], list[str]]:
    """Ids and paths of queries and database, and the stores of both, made where they lack."""
    lists = [read_pairs(split_dir / "timed" / f"{name}.txt") for name in ("queries", "database")]
    sides = (
        ("queries", ExtractConfig(**{**vars(extract), "insets": 0}), True),
        ("database", extract, False),
    )
    paths = [
        model_store(videos, split_dir / "stores" / f"timed_{name}", model_dir, config, to_stderr, q)
        for videos, (name, config, q) in zip(lists, sides, strict=True)
    ]
    return lists, paths


def read_pairs_of(
    split_dir: Path, model_dir: Path, extract: ExtractConfig, compare: CompareConfig
) -> list[Pair]:
    """All pairs that count, with their matrices."""
    truth, uncounted = read_truth(split_dir / "timed")
    lists, paths = stores_of(split_dir, model_dir, extract)
    ids = list(lists[0]), list(lists[1])
    plain = model_scores(paths, ids, model_dir, compare)
    normalized = model_scores(paths, ids, model_dir, replace(compare, normalize="database"))
    needed = unusual_scores(plain)
    scores = plain - np.quantile(plain, QUANTILE, axis=1, keepdims=True)
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
                        float(scores[q, d]), float(plain[q, d]), float(normalized[q, d]),
                        (query_id, video_id), float(needed[q]),
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
    unrelated = [i for i, pair in enumerate(pairs) if pair.of_clip and not pair.category]
    alarms = sorted((pairs[i].score for i in unrelated if len(predicted[i])), reverse=True)
    allowed = int(FALSE_ALARMS * len(unrelated))
    return alarms[allowed] if allowed < len(alarms) else -np.inf


def rows_by(name: str, pairs: Sequence[Pair], method: Method) -> list[list[str]]:
    """A method's row, and the same without pairs whose query side it says is not decidable."""
    began = time.perf_counter()
    predicted = [method(pair) for pair in pairs]
    milliseconds = 1e3 * (time.perf_counter() - began) / len(pairs)
    boxes = [boxes_of(segments) for segments in predicted]
    bar = threshold_of(pairs, boxes)
    kept = [
        (pair, own if pair.score > bar or not pair.of_clip else boxes_of([]))
        for pair, own in zip(pairs, boxes, strict=True)
    ]
    rows = [[name, *cells_of(kept), f"{milliseconds:.1f}"]]
    clear = [all(s.query_decidable for s in segments) for segments in predicted]
    if not all(clear):
        decidable = [each for each, is_clear in zip(kept, clear, strict=True) if is_clear]
        rows.append([f"{name}, query decidable", *cells_of(decidable), ""])
    return rows


def rows_as_marked(pairs: Sequence[Pair]) -> list[list[str]]:
    """What `compare --segments --top_k` marks, without and with `--normalize database`."""
    predicted = [aligned_by(DEFAULT_METHOD)(pair) for pair in pairs]
    rows = []
    for name, is_normalized in (("--segments", False), ("--segments --normalize database", True)):
        judge = SegmentJudge.of(CompareConfig(), False, is_normalized=is_normalized)
        kept = []
        for pair, segments in zip(pairs, predicted, strict=True):
            score = pair.normalized_score if is_normalized else pair.plain_score
            stands_out = is_normalized or score >= pair.needed
            found = judge.convincing(segments, score) if stands_out else []
            kept.append((pair, boxes_of(found)))
        rows.append([name, *cells_of(kept), ""])
    return rows


def cells_of(kept: Sequence[tuple[Pair, np.ndarray]]) -> list[str]:
    """Figures of pairs and the boxes that count, without name and time."""
    of_clips = [(pair, boxes) for pair, boxes in kept if pair.of_clip]
    of_long = [(pair, boxes) for pair, boxes in kept if pair.category and not pair.of_clip]
    cells = [f1_of(of_clips), f1_of([(p, b) for p, b in of_clips if p.category and p.is_local])]
    cells += [f1_of([(p, b) for p, b in of_clips if p.category == name]) for name in CATEGORIES]
    found, errors = ends_of(of_clips)
    ends = np.quantile(errors, (0.5, 0.9)) if len(errors) else (np.nan, np.nan)
    cells += [f1_of(of_long), found, *ends]
    marked = [bool(len(boxes)) for pair, boxes in of_clips if not pair.category]
    return [*(f"{cell:.3f}" for cell in cells), f"{np.mean(marked):.2%}"]


def f1_of(pairs: Sequence[tuple[Pair, np.ndarray]]) -> float:
    """F1 by VCSL's rule of pairs and their predicted boxes."""
    return segment_figures([pair_precision_recall(b, pair.truth) for pair, b in pairs]).f1


def ends_of(pairs: Sequence[tuple[Pair, np.ndarray]]) -> tuple[float, np.ndarray]:
    """Part of a pair's true segments found (IoU 0.5), mean over pairs, and errors of their ends."""
    shares, errors = [], []
    for pair, boxes in pairs:
        if not pair.category:
            continue
        overlap = box_overlap(pair.truth, boxes)
        best = overlap.max(axis=1, initial=0)
        shares.append(float((best >= 0.5).mean()))
        for i in np.flatnonzero(best >= 0.5):
            errors.append(np.abs(boxes[overlap[i].argmax()] - pair.truth[i]))
    return float(np.mean(shares)), np.array(errors).ravel()


def rows_of(options: argparse.Namespace) -> list[list[str]]:
    """Cells of the table."""
    pairs = read_pairs_of(options.set_dir / options.split, options.model_dir, *configs(options))
    methods: Mapping[str, Method] = {name: aligned_by(name) for name in METHODS}
    rows = [
        row
        for name, method in {"whole videos": whole_videos, **methods}.items()
        for row in rows_by(name, pairs, method)
    ]
    return rows + rows_as_marked(pairs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    return command.run(__doc__, HEADS, rows_of, arguments)


if __name__ == "__main__":
    sys.exit(main())
