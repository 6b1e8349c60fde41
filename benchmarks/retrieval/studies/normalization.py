"""What is the normalisation by the searched database worth, and where does it fail?

    python -m benchmarks.retrieval.studies.normalization SET_DIR --split validation [--adapt]
    python -m benchmarks.retrieval.studies.normalization SET_DIR --split validation --on test

Plain and normalised scores (`CompareConfig.normalize`) of a split's queries, and plain scores less
the 95 % quantile of all scores of the query, which is the simplest such rule. In the whole
database, with and without pairs of two parts of one film, and in parts of it: so many videos drawn
by chance; the copies of each query and the 5 % of the unrelated videos that score highest with it
(look-alikes); its copies and as many unrelated videos; its copies alone.

Thresholds for `--max_fpr` are fitted on all clips of `--split`, and applied to the queries of the
same split, or of `--on`. Stores are those of `calibration_holdout`. With `--adapt` the model is
adapted to the whole database of a split, parts of it are parts of that table. "100,000" draws the
unrelated videos of each query with replacement out of the whole database and moves both scores of
each by a normal error of 0.01; its copies stay. Tables of scores are kept in SET_DIR/SPLIT/tables.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.retrieval.dataset.sources import SPLITS
from benchmarks.retrieval.report.tables import markdown_row
from benchmarks.retrieval.studies.calibration_holdout import (
    RATES,
    stranger_stores,
    thresholds,
)
from benchmarks.retrieval.studies.evaluate import (
    add_options,
    configs,
    model_stores,
    read_lists,
    to_stderr,
)
from benchmarks.retrieval.studies.unrelated_pairs import Strangers, read_strangers
from pipeline.calibration.curve import CONFIDENCE
from pipeline.config import CompareConfig
from pipeline.metrics import figures
from pipeline.nets.formats.loader import load_model
from pipeline.search.adapt import adapt_request
from pipeline.search.request import SearchRequest
from pipeline.search.run import score_tables
from pipeline.search.score_normalization import database_level
from pipeline.search.video_set import VideoSet
from pipeline.store import open_store

SIZES = (500, 100, 50, 20)
DRAWN_VIDEOS = 4000  # in all draws of a size together: a pair in a thousand is rare in 20 videos
LARGE = 100_000
LOOK_ALIKES = 0.05  # of the unrelated videos
HEADS = ["database", "scores", "mAP", "uAP", "recall at 0.1 %"]
HEADS += [f"max_fpr {rate:g}: let through, found" for rate in RATES]

# Of plain scores and rest scores [Q, D], NaN for what is not in the database.
Scores = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Tables:
    """Plain scores and rest scores, float32 [Q, D] each."""

    scores: np.ndarray
    rest: np.ndarray

    def __getitem__(self, place: object) -> Tables:
        return Tables(self.scores[place], self.rest[place])  # type: ignore[index]


@dataclass(frozen=True)
class Split:
    """Queries of a split against its database.

    Attributes:
        tables: of the scores.
        copies: bool [Q, D].
        one_film: bool [Q, D], unrelated pairs of two parts of one film: some show the same (a
            camera that never moves, a test card). None if that is not known.
    """

    tables: Tables
    copies: np.ndarray
    one_film: np.ndarray | None = None

    @property
    def scores(self) -> np.ndarray:
        """Plain scores."""
        return self.tables.scores


def normalized(config: CompareConfig) -> Scores:
    """The scores less their levels; `config.adapt` says whether the model was adapted."""
    return lambda scores, rest: scores - database_level(rest, config, adapted=config.adapt)


def less_own_quantile(scores: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """The scores less the 95 % quantile of all that their query has, copies or not."""
    return np.asarray(scores - np.nanquantile(scores, 0.95, axis=1, keepdims=True))


def enlarged(split: Split, videos: int) -> Split:
    """A database of so many videos, drawn as the head of this module says."""
    rng = np.random.default_rng(0)
    tables = []
    for row, copies in enumerate(split.copies):
        kept = np.flatnonzero(copies)
        others = rng.choice(np.flatnonzero(~copies), videos - len(kept))
        error = np.concatenate([np.zeros(len(kept)), rng.normal(0, 0.01, len(others))])
        chosen = split.tables[row, np.concatenate([kept, others])]
        order = rng.permutation(videos)
        both = (table[order] + error[order] for table in (chosen.scores, chosen.rest))
        tables.append((*both, (np.arange(videos) < len(kept))[order]))
    scores, rest, copies = (np.stack(side) for side in zip(*tables, strict=True))
    return Split(Tables(scores.astype(np.float32), rest.astype(np.float32)), copies)


def parts_of(split: Split) -> dict[str, list[np.ndarray]]:
    """Which databases each query is searched in: name -> bool [Q, D], one or several draws."""
    scores, copies = split.scores, split.copies
    parts = {f"all {scores.shape[1]}": [np.ones_like(copies)]}
    if split.one_film is not None:
        parts["all but pairs of one film"] = [~split.one_film]
    rng = np.random.default_rng(0)
    places = np.arange(scores.shape[1])
    for size in SIZES:
        size_here, times = min(size, len(places)), DRAWN_VIDEOS // size
        draws = [rng.choice(places, size_here, replace=False) for _ in range(times)]
        parts[f"{size} by chance"] = [
            np.broadcast_to(np.isin(places, draw), copies.shape) for draw in draws
        ]
    unrelated = np.where(copies, -np.inf, scores)
    alike = unrelated >= np.quantile(unrelated, 1 - LOOK_ALIKES, axis=1, keepdims=True)
    parts["copies and look-alikes"] = [copies | alike]
    rng = np.random.default_rng(0)
    chance = np.where(copies, np.inf, rng.random(scores.shape)).argsort(axis=1).argsort(axis=1)
    parts["half copies"] = [copies | (chance < copies.sum(axis=1, keepdims=True))]
    parts["copies alone"] = [copies]
    return parts


def cells_of(split: Split, masks: Sequence[np.ndarray], way: Scores, bars: np.ndarray) -> list[str]:
    """Figures of one way of scoring in databases of one kind, means over draws."""
    rows = []
    for mask in masks:
        scores = way(*(np.where(mask, t, np.nan) for t in (split.scores, split.tables.rest)))
        found = figures(scores, split.copies & mask, mask)
        passed = [
            np.mean(scores[mask & side][:, None] >= bars, axis=0)
            if (mask & side).any()
            else np.full(len(bars), np.nan)
            for side in (~split.copies, split.copies)
        ]
        rows.append([found.mean_ap, found.micro_ap, found.recall_01, *np.ravel(passed, "F")])
    mean = np.mean(rows, axis=0)
    pairs = [f"{let:.2g}, {found:.3f}" for let, found in mean[3:].reshape(-1, 2)]
    return [*(f"{value:.3f}" for value in mean[:3]), *pairs]


def bars_of(strangers: Strangers, fitted: Tables, way: Scores) -> np.ndarray:
    """Thresholds for `RATES`, as `visil-index calibrate` finds them on all clips."""
    table = np.where(strangers.unrelated, way(fitted.scores, fitted.rest), np.nan)
    rows, columns = (
        np.array([strangers.parents[name] for name in side])
        for side in (strangers.queries, strangers.database)
    )
    found = thresholds(table, strangers.asked, rows, columns, [CONFIDENCE])
    return found[f"confidence {CONFIDENCE:g}"]


def lines_of(
    strangers: Strangers, fitted: Tables, split: Split, ways: Mapping[str, Scores]
) -> list[str]:
    """Markdown: a row for each database and way of scoring."""
    lines = [markdown_row(*HEADS), markdown_row("---", "---", *("---:" for _ in HEADS[2:]))]
    bars = {name: bars_of(strangers, fitted, way) for name, way in ways.items()}
    large = enlarged(split, LARGE)
    databases = [(name, split, masks) for name, masks in parts_of(split).items()]
    databases.append((f"{LARGE:,}", large, [np.ones_like(large.copies)]))
    for database, searched, masks in databases:
        for name, way in ways.items():
            cells = cells_of(searched, masks, way, bars[name])
            lines.append(markdown_row(database, name, *cells))
    return lines


def kept_tables(
    stores: Sequence[Path], lists: Sequence[list[str]], options: argparse.Namespace
) -> Tables:
    """Plain and rest scores of stores, computed once."""
    plain, match = configs(options)[1], options.match
    config = replace(plain, normalize="database", normalize_match=match)
    made_of = stores, lists, options.model_dir, plain.adapt, plain.similarity_function, match
    name = hashlib.sha256(repr(made_of).encode()).hexdigest()
    path = stores[1].parent.parent / "tables" / f"{name[:16]}.npz"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        with ExitStack() as stack:
            sides = [
                VideoSet([stack.enter_context(open_store(store))], names)
                for store, names in zip(stores, lists, strict=True)
            ]
            request = SearchRequest(sides[0], sides[1], load_model(options.model_dir), config)
            scores, rest, _ = score_tables(adapt_request(request))
        assert rest is not None and rest.shape == scores.shape, "a level is of all videos here"
        np.savez(path, scores=scores, rest=rest)
    with np.load(path) as kept:
        return Tables(kept["scores"], kept["rest"])


def read_fitted(options: argparse.Namespace) -> tuple[Strangers, Tables]:
    """All clips of the split, and their scores."""
    split_dir, extract = options.set_dir / options.split, configs(options)[0]
    strangers = read_strangers(split_dir)
    stores = stranger_stores(strangers, split_dir, options.model_dir, extract)
    lists = [list(strangers.queries), list(strangers.database)]
    return strangers, kept_tables(stores, lists, options)


def read_split(options: argparse.Namespace, strangers: Strangers, fitted: Tables) -> Split:
    """The queries that figures are of."""
    split_dir = options.set_dir / (options.on or options.split)
    queries, database, kinds = read_lists(split_dir)
    if options.on:
        strangers = read_strangers(split_dir)
    rows = [list(strangers.queries).index(name) for name in queries]
    one_film = strangers.unrelated[rows] & (
        np.array([strangers.parents[name] for name in queries])[:, None]
        == np.array([strangers.parents[name] for name in database])
    )
    if not options.on:
        return Split(fitted[rows], kinds != "", one_film)
    stores = model_stores(
        (queries, database), split_dir, options.model_dir, configs(options)[0], to_stderr
    )
    tables = kept_tables(stores, [list(queries), list(database)], options)
    return Split(tables, kinds != "", one_film)


def ways_of(options: argparse.Namespace) -> dict[str, Scores]:
    """Plain scores, and normalised ones with the settings that are asked for."""
    ways: dict[str, Scores] = {
        "plain": lambda scores, rest: scores,
        "less own 95 % quantile": less_own_quantile,
    }
    base = CompareConfig(adapt=options.adapt, normalize="database", normalize_match=options.match)
    for quantile, prior in product(options.quantile, options.prior):
        config = replace(base, normalize_quantile=quantile, normalize_prior=prior)
        several = max(map(len, (options.quantile, options.prior))) > 1
        ways[config.normalization if several else "normalised"] = normalized(config)
    return ways


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    add_options(parser)
    parser.add_argument("--on", choices=SPLITS, help="the split that thresholds are applied to")
    parser.add_argument("--match", type=float, default=CompareConfig.normalize_match)
    for name in ("quantile", "prior"):
        value = getattr(CompareConfig, f"normalize_{name}")
        parser.add_argument(f"--{name}", type=float, nargs="+", default=[value])
    options = parser.parse_args(arguments)
    try:
        strangers, fitted = read_fitted(options)
        split = read_split(options, strangers, fitted)
    except (FileNotFoundError, RuntimeError) as error:
        to_stderr(str(error))
        return 1
    print("\n".join(lines_of(strangers, fitted, split, ways_of(options))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
