"""The model on as many copies as are together as hard as those of another set.

    python -m benchmarks.retrieval.studies.hardness SET_DIR [--split test] [--adapt] [--model_dir
        model]

How hard copies are says the backbone alone, with nothing fitted (`untrained`). For some kinds that
was measured on the set that the goals of the shipped model were set on (`LEVELS`). Of each kind
those queries are left out on which it does worst, until it does as well here as there; the model
has no say in which. What is left is as hard by that measure.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.retrieval import command
from benchmarks.retrieval.baselines.untrained import untrained_dir
from benchmarks.retrieval.studies.evaluate import (
    configs,
    model_scores,
    model_stores,
    read_lists,
    to_stderr,
)
from pipeline.config import CompareConfig, ExtractConfig
from pipeline.metrics import average_precision

# mAP of the untrained backbone there: the middle of what was measured. Crops were not among what
# was left to do there, so they were nearly all found.
LEVELS = {
    "chain_3": 0.78,
    "overlay": 0.9,
    "posterise": 0.93,
    "negate": 0.93,
    "edges": 0.93,
    "crop_60_80": 0.97,
    "crop_40_50": 0.97,
}
HEADS = ["kind", "queries", "untrained", "model", "queries left", "untrained", "model"]


def precisions(scores: np.ndarray, kinds: np.ndarray, kind: str) -> np.ndarray:
    """Average precision of each query that has copies of the kind; others are not counted.

    Args:
        scores: float [Q, D]; kinds: str [Q, D], "" for unrelated pairs.
    """
    found = []
    for row, own in zip(scores, kinds, strict=True):
        if (own == kind).any():
            counted = (own == kind) | (own == "")
            found.append(average_precision(row[counted], (own == kind)[counted]))
    return np.array(found)


def as_hard(precision: np.ndarray, level: float) -> np.ndarray:
    """Which queries are left, bool [N], when the hardest are dropped until the mean is `level`."""
    order = np.argsort(precision, kind="stable")
    dropped = next(
        (n for n in range(len(order)) if precision[order[n:]].mean() >= level), len(order)
    )
    left = np.ones(len(precision), bool)
    left[order[:dropped]] = False
    return left


def rows_of(options: argparse.Namespace) -> list[list[str]]:
    """Cells of the table."""
    split_dir = options.set_dir / options.split
    extract, compare = configs(options)
    queries, database, kinds = read_lists(split_dir)
    lists = list(queries), list(database)

    def scores(model_dir: Path, extract: ExtractConfig, compare: CompareConfig) -> np.ndarray:
        stores = model_stores((queries, database), split_dir, model_dir, extract, to_stderr)
        return model_scores(stores, lists, model_dir, compare)

    with untrained_dir(options.model_dir) as folder:
        bare = scores(folder, replace(extract, dims=None, insets=0), CompareConfig())
    model = scores(options.model_dir, extract, compare)
    rows = []
    for kind, level in LEVELS.items():
        hard, ours = (precisions(table, kinds, kind) for table in (bare, model))
        left = as_hard(hard, level)
        cells = [hard.mean(), ours.mean(), hard[left].mean(), ours[left].mean()]
        before, after = ([f"{value:.3f}" for value in part] for part in (cells[:2], cells[2:]))
        rows.append([kind, str(len(hard)), *before, str(left.sum()), *after])
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    return command.run(__doc__, HEADS, rows_of, arguments)


if __name__ == "__main__":
    sys.exit(main())
