"""What videos score against themselves: clips, and copies that show one small or beside others.

    python -m benchmarks.retrieval.studies.self_similarity SET_DIR [--split validation]
        [--model_dir model]

Stores are those of `calibration_holdout`, `reverse_search` and `evaluate`. Beside the least score
stand those that one video in a hundred, one in twenty and half of them stay below, then the shares
above a score.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.retrieval import command
from benchmarks.retrieval.studies.evaluate import configs, model_scores, model_store, to_stderr
from benchmarks.retrieval.studies.reverse_search import INSETS, asked_of
from benchmarks.retrieval.studies.unrelated_pairs import read_strangers

ABOVE = (0.88, 0.97, 0.9995)
HEADS = ["", "videos", "least", "1 %", "5 %", "median", *(f"above {score:g}" for score in ABOVE)]


def own_scores(scores: Mapping[str, np.ndarray]) -> list[list[str]]:
    """Cells of one row for each kind of videos, and of one for all; scores: float [N]."""
    rows = []
    for name, own in {**scores, "all": np.concatenate(list(scores.values()))}.items():
        low = [own.min(), *np.quantile(own, (0.01, 0.05, 0.5))]
        shares = [f"{(own > score).mean():.0%}" for score in ABOVE]
        rows.append([name, str(len(own)), *(f"{value:.3f}" for value in low), *shares])
    return rows


def rows_of(options: argparse.Namespace) -> list[list[str]]:
    """Cells of the table."""
    split_dir, model_dir = options.set_dir / options.split, options.model_dir
    extract, compare = configs(options)
    strangers = read_strangers(split_dir)
    clips, copies = strangers.queries, asked_of(strangers)
    folder = split_dir / "stores"

    def store(name: str, videos: Mapping[str, str], insets: int | None, as_queries: bool):
        wanted = extract if insets is None else replace(extract, insets=insets)
        return model_store(videos, folder / name, model_dir, wanted, to_stderr, as_queries)

    sides = {
        "clips": (clips, store("strangers", clips, 0, True), store("clips", clips, None, False)),
        "copies": (
            copies,
            store("copies", copies, INSETS, True),
            store("database", strangers.database, None, False),
        ),
    }
    scores = {}
    for name, (videos, *stores) in sides.items():
        lists = list(videos), list(videos)
        scores[name] = np.diag(model_scores(stores, lists, model_dir, compare))
    return own_scores(scores)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    return command.run(__doc__, HEADS, rows_of, arguments)


if __name__ == "__main__":
    sys.exit(main())
