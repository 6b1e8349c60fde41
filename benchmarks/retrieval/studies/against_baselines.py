"""The model beside what people would pick instead, in one run on one split of the set.

    python -m benchmarks.retrieval.studies.against_baselines SET_DIR --split validation
        [--model_dir model]

Other people's tools are optional (`pip install -r benchmarks/retrieval/requirements-others.txt`);
one that cannot be imported is left out and named. Features and hashes are kept below
SET_DIR/SPLIT, so that a second run only compares, and hashes a few files for the processor time.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.retrieval.baselines.hash_cache import Log, folder_name, hashes_of
from benchmarks.retrieval.baselines.registry import Method, all_methods
from benchmarks.retrieval.baselines.simple import pooled
from benchmarks.retrieval.baselines.untrained import untrained_dir
from benchmarks.retrieval.report.costs import (
    evenly,
    hashing_seconds,
    network_seconds,
    seconds_of,
    timed,
)
from benchmarks.retrieval.report.tables import Row, row_of, tables_of
from benchmarks.retrieval.studies.evaluate import (
    add_options,
    configs,
    model_scores,
    model_stores,
    read_lists,
    to_stderr,
)
from pipeline.config import CompareConfig, ExtractConfig


@dataclass(frozen=True)
class Split:
    """One split of the set.

    Attributes:
        folder: where features and hashes are kept.
        queries, database: id -> path; kinds: str [Q, D].
        hours: of video in the database.
        sample: files to time extraction with; sample_hours: of video in them.
    """

    folder: Path
    queries: dict[str, str]
    database: dict[str, str]
    kinds: np.ndarray
    hours: float
    sample: list[str]
    sample_hours: float


def read_split(folder: Path, sampled: int) -> Split:
    """The split below a folder, with `sampled` files to time.

    Raises:
        FileNotFoundError: it was not built.
    """
    queries, database, kinds = read_lists(folder)
    hours = {path: seconds_of(path) / 3600 for path in database.values()}
    sample = evenly(list(hours), sampled)
    total = sum(hours.values())
    return Split(folder, queries, database, kinds, total, sample, sum(hours[p] for p in sample))


def model_rows(
    split: Split, model_dir: Path, extract: ExtractConfig, compare: CompareConfig, log: Log
) -> dict[str, Row]:
    """The model, and one mean vector a video of it."""
    sides = split.queries, split.database
    stores = model_stores(sides, split.folder, model_dir, extract, log)
    lists = [list(videos) for videos in sides]
    cost = np.nan
    if split.sample:
        log(f"model: timing {len(split.sample)} files")
        cost = network_seconds(split.sample, model_dir, extract) / split.sample_hours
    scores, wall = timed(lambda: model_scores(stores, lists, model_dir, compare))
    size = stores[1].stat().st_size
    means = [pooled(path, ids) for path, ids in zip(stores, lists, strict=True)]
    products, product_wall = timed(lambda: means[0] @ means[1].T)
    return {
        "model": row_of(scores, split.kinds, size / split.hours, cost, wall),
        "one vector": row_of(
            products, split.kinds, means[1].nbytes / split.hours, cost, product_wall
        ),
    }


def untrained_row(
    split: Split, model_dir: Path, extract: ExtractConfig, compare: CompareConfig, log: Log
) -> Row:
    """The model's backbone alone, with nothing fitted; see `untrained`."""
    bare, plain = replace(extract, dims=None, insets=0), replace(compare, adapt=False)
    with untrained_dir(model_dir) as folder:
        return model_rows(split, folder, bare, plain, log)["model"]


def method_row(split: Split, method: Method, workers: int, log: Log) -> Row | None:
    """Row of another method; None if it cannot run here, and the log says why.

    Args:
        workers: processes that hash; 0 for none but this.
    """
    if reason := method.missing():
        log(f"{method.name} left out: {reason}")
        return None
    folder = split.folder / "hashes" / folder_name(method.hash_file, method.package)
    paths = [*split.queries.values(), *split.database.values()]
    hashes = hashes_of(paths, method.hash_file, folder, workers, log)
    if not any(len(video) for video in hashes):
        log(f"{method.name} left out: it hashed no video")
        return None
    cost = np.nan
    if split.sample:
        log(f"{method.name}: timing {len(split.sample)} files")
        cost = hashing_seconds(method.hash_file, split.sample) / split.sample_hours
    size = sum(video.nbytes for video in hashes[len(split.queries) :])
    ready = [method.prepare(video) for video in hashes]
    queries, database = ready[: len(split.queries)], ready[len(split.queries) :]
    scores, wall = timed(lambda: method.scores(queries, database))
    empty = sum(not len(video) for video in ready)
    if empty:
        log(f"{method.name}: {empty} of {len(ready)} videos have no hash to compare")
    return row_of(scores, split.kinds, size / split.hours, cost, wall, method.bar)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    add_options(parser)
    parser.add_argument(
        "--timed", type=int, default=24, help="files to time extraction with; 0 leaves it out"
    )
    options = parser.parse_args(arguments)
    try:
        split = read_split(options.set_dir / options.split, options.timed)
        rows = model_rows(split, options.model_dir, *configs(options), to_stderr)
        rows["untrained"] = untrained_row(split, options.model_dir, *configs(options), to_stderr)
    except (FileNotFoundError, RuntimeError) as error:
        to_stderr(str(error))
        return 1
    for method in all_methods():
        row = method_row(split, method, os.cpu_count() or 1, to_stderr)
        if row:
            rows[method.name] = row
    hours = f"{len(split.queries)} queries, {len(split.database)} files, {split.hours:.2f} hours"
    print(f"{hours}\n\n{tables_of(rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
