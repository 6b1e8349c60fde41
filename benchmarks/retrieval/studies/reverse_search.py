"""The other way round: copies that show a clip beside, within or among others ask for its original.

    python -m benchmarks.retrieval.studies.reverse_search SET_DIR [--split validation]

Queries are the split's copies of `KINDS`, the database is its clips, distractors too. Of a copy the
original is to be found; the host that it shows as well is not counted. Each row is one way to
compare: the queries as they are and with their insets (`--query_insets`), by the model's own
similarity function and by max_chamfer, for which it is enough that the clip is found in the query.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.retrieval import command
from benchmarks.retrieval.studies.evaluate import configs, model_scores, model_store, to_stderr
from benchmarks.retrieval.studies.unrelated_pairs import Strangers, read_strangers
from pipeline.config import CompareConfig, ExtractConfig
from pipeline.metrics import figures

KINDS = ("pip_25_35", "pip_50", "split_screen", "excerpt")
INSETS = 2  # in each picture


def asked_of(strangers: Strangers) -> dict[str, str]:
    """Id -> path of the copies that ask."""
    return {i: path for i, path in strangers.database.items() if kind_of(i) in KINDS}


def kind_of(video_id: str) -> str:
    """Of a copy; empty for a clip."""
    parts = video_id.split("-")
    return parts[1] if len(parts) > 1 else ""


def truth(strangers: Strangers, asked: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Bool [copies, clips] each: the pair to be found, and what is counted."""
    columns = {name: i for i, name in enumerate(strangers.database)}
    unrelated = strangers.unrelated[:, [columns[name] for name in asked]].T
    clips = list(strangers.queries)
    found = np.array([[clip == name.partition("-")[0] for clip in clips] for name in asked])
    return found, unrelated | found


def rows_of(
    split_dir: Path, model_dir: Path, extract: ExtractConfig, compare: CompareConfig
) -> list[list[str]]:
    """Cells of one row for each way to compare."""
    strangers = read_strangers(split_dir)
    copies, clips = asked_of(strangers), strangers.queries
    folder = split_dir / "stores"
    with_insets = replace(extract, insets=INSETS)
    stores = [
        model_store(copies, folder / "copies", model_dir, with_insets, to_stderr, True),
        model_store(clips, folder / "clips", model_dir, extract, to_stderr, False),
    ]
    relevant, counted = truth(strangers, list(copies))
    kinds = np.array([kind_of(name) for name in copies])
    rows = []
    for searched, function in itertools.product((False, True), (None, "max_chamfer")):
        config = replace(compare, query_insets=searched)
        if function:
            config = replace(config, similarity_function=function)
        name = " ".join(filter(None, ("--query_insets" if searched else "as they are", function)))
        scores = model_scores(stores, (list(copies), list(clips)), model_dir, config)
        whole = figures(scores, relevant, counted)
        apart = [
            figures(scores[kinds == k], relevant[kinds == k], counted[kinds == k]) for k in KINDS
        ]
        values = whole.mean_ap, whole.micro_ap, whole.recall_01, *(part.mean_ap for part in apart)
        rows.append([name, *(f"{value:.3f}" for value in values)])
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""

    def rows(options: argparse.Namespace) -> list[list[str]]:
        return rows_of(options.set_dir / options.split, options.model_dir, *configs(options))

    return command.run(__doc__, ["", "mAP", "uAP", "recall at 0.1 %", *KINDS], rows, arguments)


if __name__ == "__main__":
    sys.exit(main())
