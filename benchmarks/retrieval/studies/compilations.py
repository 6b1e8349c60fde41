"""A query that is one clip among others: what is found by the part of it that the database shows.

    python -m benchmarks.retrieval.studies.compilations SET_DIR [--split validation] [--model_dir
        model]

Every query of the split with a number of its distractors before and behind it, joined as stored
features, asks for the copies of the one clip, by each similarity function. Copies that show one of
the others are not counted. By Chamfer the score is about the clip's share of the query. The last
column is the score that one in a thousand of the unrelated pairs exceeds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.retrieval import command
from benchmarks.retrieval.studies.evaluate import (
    configs,
    model_scores,
    model_store,
    read_lists,
    to_stderr,
)
from benchmarks.retrieval.studies.unrelated_pairs import Strangers, read_strangers
from pipeline.config import SIMILARITY_FUNCTIONS, CompareConfig, ExtractConfig
from pipeline.metrics import Figures, figures
from pipeline.records import SourceInfo
from pipeline.store import create_or_append, open_store

LENGTHS = (1, 3, 10)  # clips of a query
SEED = 9
HEADS = ["clips of a query", "mAP", "uAP", "recall at 1 %", "recall at 0.1 %", "0.1 % above"]


def compilations(strangers: Strangers, clips: int) -> dict[str, list[str]]:
    """Query -> the clips that it is among, in their order; distractors of other parents."""
    rng = np.random.default_rng([SEED, clips])
    names, made = list(strangers.queries), {}
    distractors = [n for n, asked in zip(names, strangers.asked, strict=True) if not asked]
    for query in (n for n, asked in zip(names, strangers.asked, strict=True) if asked):
        others = [d for d in distractors if strangers.parents[d] != strangers.parents[query]]
        parts = rng.choice(others, clips - 1, replace=False).tolist()
        parts.insert(int(rng.integers(clips)), query)
        made[query] = parts
    return made


def joined(store: Path, target: Path, made: Mapping[str, Sequence[str]]) -> Path:
    """A store of compilations, out of one that holds their parts without insets."""
    with open_store(store) as source, create_or_append(target, source.spec, "float16") as writer:
        for name, parts in made.items():
            vectors = np.concatenate([source.read_vectors(part) for part in parts])
            video = writer.begin(name, SourceInfo(""))
            video.append(vectors.astype(np.float16), np.arange(len(vectors), dtype=np.float64))
            video.finish()
    return target


def figures_of(
    split_dir: Path, model_dir: Path, extract: ExtractConfig, compare: CompareConfig
) -> dict[tuple[int, str], tuple[Figures, float]]:
    """Clips of a query and similarity function -> figures, and what a stranger rarely exceeds."""
    strangers = read_strangers(split_dir)
    asked, database, kinds = read_lists(split_dir)
    folder, bare = split_dir / "stores", replace(extract, insets=0)
    parts = model_store(
        strangers.queries, folder / "strangers", model_dir, bare, to_stderr, as_queries=True
    )
    searched = model_store(
        database, folder / "database", model_dir, extract, to_stderr, as_queries=False
    )
    rows = {name: i for i, name in enumerate(strangers.queries)}
    copies, found = kinds != "", {}
    for clips in LENGTHS:
        made = compilations(strangers, clips)
        shown = [[rows[part] for part in made[query]] for query in asked]
        unrelated = np.stack([strangers.unrelated[some].all(axis=0) for some in shown])
        with tempfile.TemporaryDirectory() as temporary:
            queries = joined(parts, Path(temporary) / "queries.h5", made)
            for function in SIMILARITY_FUNCTIONS:
                config = replace(compare, similarity_function=function)
                lists = list(asked), list(database)
                scores = model_scores((queries, searched), lists, model_dir, config)
                rare = float(np.quantile(scores[unrelated], 0.999))
                found[clips, function] = figures(scores, copies, copies | unrelated), rare
    return found


def rows_of(options: argparse.Namespace) -> list[list[str]]:
    """Cells of the table."""
    split_dir = options.set_dir / options.split
    rows = []
    for (clips, function), (one, rare) in figures_of(
        split_dir, options.model_dir, *configs(options)
    ).items():
        values = one.mean_ap, one.micro_ap, one.recall_1, one.recall_01, rare
        rows.append([f"{clips} by {function}", *(f"{value:.3f}" for value in values)])
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    return command.run(__doc__, HEADS, rows_of, arguments)


if __name__ == "__main__":
    sys.exit(main())
