"""The model adapted to the database that is searched, and to it without the copies to be found.

    python -m benchmarks.retrieval.studies.adapted SET_DIR [--split validation] [--model_dir model]

As `visil-index adapt` does, on the stores of `evaluate`. The last column is the kind's that has the
least mAP.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from benchmarks.retrieval import command
from benchmarks.retrieval.report.metrics_by_kind import figures_by_kind
from benchmarks.retrieval.studies.evaluate import configs, model_stores, read_lists, to_stderr
from pipeline.nets.formats.loader import load_model
from pipeline.search.adapt import adapt
from pipeline.search.request import SearchRequest
from pipeline.search.run import score_table
from pipeline.search.video_set import VideoSet
from pipeline.store import open_store

HEADS = ["adapted to", "mAP", "uAP", "recall at 1 %", "recall at 0.1 %"]
HEADS += ["hard mAP", "hard recall at 0.1 %", "least"]


def rows_of(options: argparse.Namespace) -> list[list[str]]:
    """Cells of the table."""
    split_dir = options.set_dir / options.split
    extract, compare = configs(options)
    compare = replace(compare, adapt=False)  # each row is adapted as it says
    queries, database, kinds = read_lists(split_dir)
    stores = model_stores((queries, database), split_dir, options.model_dir, extract, to_stderr)
    model = load_model(options.model_dir, extract.dims)
    rows = []
    with ExitStack() as stack:
        asked, searched = (stack.enter_context(open_store(path)) for path in stores)
        found = VideoSet([asked], list(queries)), VideoSet([searched], list(database))
        others = np.array(list(database))[(kinds == "").all(axis=0)].tolist()
        models = {
            "nothing": model,
            "the database": adapt(found[1], model).model,
            "it without the copies": adapt(VideoSet([searched], others), model).model,
        }
        for name, used in models.items():
            scores = np.asarray(score_table(SearchRequest(*found, used, compare))[0])
            one = figures_by_kind(scores, kinds)
            every, hard = one["all"], one["hard"]
            least = min(figures.mean_ap for figures in one.values())
            values = every.mean_ap, every.micro_ap, every.recall_1, every.recall_01
            values += hard.mean_ap, hard.recall_01, least
            rows.append([name, *(f"{value:.3f}" for value in values)])
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    return command.run(__doc__, HEADS, rows_of, arguments)


if __name__ == "__main__":
    sys.exit(main())
