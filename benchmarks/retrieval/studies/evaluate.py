"""Both stages over a split of the set, and its figures beside those of two baselines.

    python -m benchmarks.retrieval.studies.evaluate SET_DIR --split validation [--model_dir model]

Features and hashes are kept below SET_DIR/SPLIT, features in one store for each model and setting,
so that a second run only compares. Look at the test split once, when nothing is left to choose.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.retrieval.baselines.hash_cache import Log, folder_name
from benchmarks.retrieval.baselines.simple import phash_bits_of_file, phash_scores, pooled_scores
from benchmarks.retrieval.dataset.sources import SPLITS
from benchmarks.retrieval.report.metrics_by_kind import figures_by_kind
from benchmarks.retrieval.report.tables import table_of
from pipeline import compute_similarity, extract_features
from pipeline.config import (
    DTYPES,
    NORMALIZATIONS,
    SAMPLINGS,
    SIMILARITY_FUNCTIONS,
    CompareConfig,
    ExtractConfig,
)
from pipeline.default_model import default_model_dir
from pipeline.extraction.plan import choose_insets
from pipeline.extraction.run import ExtractReport
from pipeline.metrics import Figures
from pipeline.nets.formats.loader import load_model
from pipeline.store import copy_store

PROGRESS_SECONDS = 10.0


def read_lists(split_dir: Path) -> tuple[dict[str, str], dict[str, str], np.ndarray]:
    """Queries and database as id -> path, and the kind of copy of every pair, str [Q, D].

    Raises:
        FileNotFoundError: the split was not built.
    """
    queries, database = (read_pairs(split_dir / f"{name}.txt") for name in ("queries", "database"))
    rows = {name: i for i, name in enumerate(queries)}
    columns = {name: i for i, name in enumerate(database)}
    kinds = np.full((len(queries), len(database)), "", dtype="<U24")
    for line in (split_dir / "truth.tsv").read_text(encoding="utf-8").splitlines():
        query, copy, kind = line.split("\t")
        kinds[rows[query], columns[copy]] = kind
    return queries, database, kinds


def model_store(
    videos: Mapping[str, str],
    name: Path,
    model_dir: Path,
    config: ExtractConfig,
    log: Log,
    as_queries: bool,
) -> Path:
    """The store of the videos for a model and setting, made or brought up to date.

    Its file name begins with `name`.

    Raises:
        RuntimeError: a video of the set could not be used.
    """
    model = load_model(model_dir, config.dims)
    config = replace(config, as_queries=as_queries)
    insets = choose_insets(config, model.insets)
    config = replace(config, insets=insets.limit)
    digest = model.features_digest + (model.views_digest if as_queries else "")
    setting = f"{digest} {config.fps} {config.dims} {config.dtype} {config.precision}"
    if config.sampling != ExtractConfig.sampling:
        setting += f" {config.sampling}"
    if insets.limit:
        setting += f" {insets}"
    if as_queries and config.view_step:
        setting += f" views of every {config.view_step}"
    store = name.with_name(f"{name.name}_{hashlib.sha256(setting.encode()).hexdigest()[:16]}.h5")
    store.parent.mkdir(exist_ok=True)
    if config.dtype in ("int8", "binary"):  # as extracting so would give, up to float16's rounding
        made = model_store(videos, name, model_dir, replace(config, dtype=None), log, as_queries)
        copy_store(made, store, dtype=config.dtype)
        return store
    report = extract_features(videos, store, model_dir, config, progress=_Progress(log))
    if not report.complete:
        raise RuntimeError(f"{store}: {report.failures or report.known_failures}")
    if report.frames:
        log(f"extracted {report.frames} frames in {report.seconds:.1f} s")
    return store


def model_stores(
    sides: Sequence[Mapping[str, str]],
    split_dir: Path,
    model_dir: Path,
    config: ExtractConfig,
    log: Log,
) -> list[Path]:
    """Stores of queries and database; see `model_store`."""
    folder = split_dir / "stores"
    queries, database = sides
    return [
        model_store(queries, folder / "queries", model_dir, replace(config, insets=0), log, True),
        model_store(database, folder / "database", model_dir, config, log, False),
    ]


def model_scores(
    stores: Sequence[Path | Sequence[Path]],
    lists: Sequence[list[str]],
    model_dir: Path,
    config: CompareConfig,
    background: Sequence[Path] = (),
) -> np.ndarray:
    """Stage two; float [Q, D]. Stores and lists: those of the queries, those of the database.

    Either side may be several stores.
    """
    table = compute_similarity(
        *stores, model_dir=model_dir, config=config, background=background or None
    )
    assert table is not None
    return np.array([[table[query][video] for video in lists[1]] for query in lists[0]])


def evaluate(
    split_dir: Path,
    model_dir: Path,
    extract: ExtractConfig,
    compare: CompareConfig,
    baselines: bool,
    log: Log,
    background: Sequence[Path] = (),
) -> dict[str, dict[str, Figures]]:
    """Method -> kind of copy -> figures.

    With stores of a background, the model stands there once more with normalised scores.
    """
    queries, database, kinds = read_lists(split_dir)
    names, searched = list(queries), list(database)
    stores = model_stores((queries, database), split_dir, model_dir, extract, log)
    began = time.perf_counter()
    scores = {"model": model_scores(stores, (names, searched), model_dir, compare)}
    log(f"{len(names)} queries, {len(searched)} videos: {time.perf_counter() - began:.1f} s")
    if background:
        normalised = model_scores(stores, (names, searched), model_dir, compare, background)
        scores["normalised"] = normalised
    if baselines:
        scores["one vector"] = pooled_scores(stores, (names, searched))
        folder = split_dir / "hashes" / folder_name(phash_bits_of_file)
        scores["frame pHash"] = phash_scores(queries, database, folder, os.cpu_count() or 1, log)
    return {method: figures_by_kind(values, kinds) for method, values in scores.items()}


class _Progress:
    """Tells now and then how far the extraction is."""

    def __init__(self, log: Log) -> None:
        self.log, self.told = log, time.monotonic()

    def __call__(self, report: ExtractReport) -> None:
        if time.monotonic() - self.told < PROGRESS_SECONDS:
            return
        self.told = time.monotonic()
        done = report.already + len(report.stored) + len(report.failures)
        self.log(f"extracting: {done} of {report.listed} videos, {report.frames} frames")


def read_pairs(path: Path) -> dict[str, str]:
    """Lines `id<TAB>path` of a list file.

    Raises:
        FileNotFoundError: the split was not built.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: build the set first (python -m benchmarks.retrieval.dataset.build)"
        )
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t", 1) for line in lines)  # type: ignore[misc]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Set, split, and the options of both stages that change figures."""
    parser.add_argument("set_dir", type=Path)
    parser.add_argument("--split", choices=SPLITS, default="validation")
    parser.add_argument("--model_dir", type=Path, default=Path(default_model_dir()))
    parser.add_argument("--fps", type=float, default=1.0)
    parser.add_argument("--dims", type=int)
    parser.add_argument("--dtype", choices=DTYPES)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--sampling", choices=SAMPLINGS, default=ExtractConfig.sampling)
    parser.add_argument("--view_step", type=int, help="query views of every so many frames")
    parser.add_argument("--insets", type=int, help="pictures within the picture, 0 for none")
    parser.add_argument("--similarity_function", choices=SIMILARITY_FUNCTIONS)
    parser.add_argument("--adapt", action="store_true", help="the model adapted to the database")
    parser.add_argument("--normalize", choices=NORMALIZATIONS, default=CompareConfig.normalize)
    parser.add_argument("--background", type=Path, nargs="+", default=[], metavar="STORE",
                        help="the model with score normalisation as well")  # fmt: skip
    parser.add_argument("--background_weight", type=float, default=CompareConfig.background_weight)
    parser.add_argument("--background_top_k", type=int, default=CompareConfig.background_top_k)


def configs(options: argparse.Namespace) -> tuple[ExtractConfig, CompareConfig]:
    """Of the two stages, from what `add_options` added."""
    extract = ExtractConfig(
        fps=options.fps, dims=options.dims, dtype=options.dtype, precision=options.precision
    )
    extract = replace(
        extract,
        sampling=options.sampling,
        insets=options.insets,
        view_step=options.view_step,
    )
    compare = CompareConfig(
        similarity_function=options.similarity_function,
        adapt=options.adapt,
        normalize=options.normalize,
        background_weight=options.background_weight,
        background_top_k=options.background_top_k,
    )
    return extract, compare


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    add_options(parser)
    parser.add_argument("--no_baselines", action="store_true", help="the model alone")
    options = parser.parse_args()
    try:
        columns = evaluate(
            options.set_dir / options.split,
            options.model_dir,
            *configs(options),
            not options.no_baselines,
            to_stderr,
            options.background,
        )
    except (FileNotFoundError, RuntimeError) as error:
        to_stderr(str(error))
        return 1
    print(table_of(columns))
    return 0


def to_stderr(line: str) -> None:
    """Progress goes to standard error, so that standard output is the table alone."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
