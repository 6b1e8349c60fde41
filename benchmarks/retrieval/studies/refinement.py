"""Are the ends of segments exact after `--refine_segments`? On excerpts whose times are known.

    python -m benchmarks.retrieval.dataset.timed SET_DIR [--split validation]
    python -m benchmarks.retrieval.studies.refinement SET_DIR [--split validation]

Every excerpt of 3 to 5 s in a minute is aligned with its query, and its segments are refined as the
program does it, in the videos. All pairs count as marked: the question is where, not whether. Rows
and columns as those of `studies.segments`; the last columns are how many segments were refined, and
the processor time of the refinement in this process, without decoders, for each of them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from itertools import groupby

import numpy as np

from benchmarks.retrieval import command
from benchmarks.retrieval.studies.evaluate import configs, to_stderr
from benchmarks.retrieval.studies.segments import (
    Pair,
    aligned_by,
    boxes_of,
    ends_of,
    f1_of,
    read_pairs_of,
    stores_of,
)
from pipeline.alignment import DEFAULT_METHOD, Segment
from pipeline.config import ExtractConfig
from pipeline.nets.formats.loader import load_model
from pipeline.refinement import VideoRefiner
from pipeline.search.pair_alignment import PairAlignment
from pipeline.search.request import SearchRequest
from pipeline.search.video_set import VideoSet
from pipeline.source_files import SourceFiles
from pipeline.store import open_store

CATEGORY = "excerpt"
HEADS = ["segments", "pairs", "F1", "IoU 0.5", "end error, median", "90 %", "refined", "s each"]


def figures(
    pairs: Sequence[Pair], found: Sequence[Sequence[Segment]], chosen: Sequence[bool]
) -> list[str]:
    """Number of the pairs that are chosen, F1, IoU 0.5, and quantiles of the error of ends."""
    boxes = [(p, boxes_of(s)) for p, s, own in zip(pairs, found, chosen, strict=True) if own]
    share, errors = ends_of(boxes)
    ends = np.quantile(errors, (0.5, 0.9)) if len(errors) else (np.nan, np.nan)
    return [f"{len(boxes)}", *(f"{value:.3f}" for value in (f1_of(boxes), share, *ends))]


def rows_of(options: argparse.Namespace) -> list[list[str]]:
    """Cells of the table."""
    split_dir = options.set_dir / options.split
    extract, compare = configs(options)
    every = read_pairs_of(split_dir, options.model_dir, extract, compare)
    pairs = [pair for pair in every if pair.category == CATEGORY and pair.of_clip]
    coarse = [aligned_by(DEFAULT_METHOD)(pair) for pair in pairs]
    _, paths = stores_of(split_dir, options.model_dir, extract)
    model = load_model(options.model_dir, extract.dims)
    with open_store(paths[0]) as queries, open_store(paths[1]) as database:
        request = SearchRequest(VideoSet([queries]), VideoSet([database]), model, compare)
        refiner = VideoRefiner(request, ExtractConfig(), SourceFiles())
        began = time.process_time()
        fine = refined(refiner, request, pairs, coarse)
        seconds = time.process_time() - began
    report = refiner.report
    for reason, ids in report.reasons.items():
        to_stderr(f"not refined in {len(ids)} videos: {reason}")
    clear = [all(segment.query_decidable for segment in segments) for segments in coarse]
    rows = []
    for name, own in (("", [True] * len(pairs)), (", query decidable", clear)):
        rows.append([f"1 frame a second{name}", *figures(pairs, coarse, own), "", ""])
        cells = [f"{report.refined} of {report.segments}", f"{seconds / report.segments:.1f}"]
        rows.append(
            [f"refined{name}", *figures(pairs, fine, own), *(cells if not name else ["", ""])]
        )
    return rows


def refined(
    refiner: VideoRefiner,
    request: SearchRequest,
    pairs: Sequence[Pair],
    coarse: Sequence[Sequence[Segment]],
) -> list[tuple[Segment, ...]]:
    """The segments of each pair with better ends, query by query."""
    rows = {video_id: i for i, video_id in enumerate(request.queries.ids)}
    columns = {video_id: i for i, video_id in enumerate(request.database.ids)}
    found: list[tuple[Segment, ...]] = []
    for query_id, group in groupby(zip(pairs, coarse, strict=True), lambda each: each[0].ids[0]):
        of_query = list(group)
        alignments = [PairAlignment(tuple(segments)) for _, segments in of_query]
        videos = [columns[pair.ids[1]] for pair, _ in of_query]
        better = refiner.refined(rows[query_id], videos, alignments)
        found += [alignment.segments for alignment in better if alignment is not None]
        to_stderr(f"refined {len(found)} of {len(pairs)} pairs")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    return command.run(__doc__, HEADS, rows_of, arguments)


if __name__ == "__main__":
    sys.exit(main())
