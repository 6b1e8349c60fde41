"""Does a calibration hold on videos that it has not seen?

    python -m benchmarks.retrieval.studies.calibration_holdout SET_DIR --split validation [--halves
        100]
    python -m benchmarks.retrieval.studies.calibration_holdout SET_DIR --split validation --on test
        [--adapt] [--among N]

The first splits the parents of a split into halves by chance, many times: fitted on the clips of
one half as queries against its database videos, applied to the other half. The second fits on a
split and applies it once to the queries and database of another. With `--adapt` each is adapted to
its own database; with `--among N` the other database is N of its videos, drawn by chance, several
times. Stores are those of `evaluate`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.retrieval.dataset.sources import SPLITS
from benchmarks.retrieval.report.tables import markdown_row
from benchmarks.retrieval.studies.evaluate import (
    add_options,
    configs,
    model_scores,
    model_store,
    model_stores,
    read_lists,
    to_stderr,
)
from benchmarks.retrieval.studies.unrelated_pairs import Strangers, read_strangers, write_strangers
from pipeline.calibration.bootstrap import upper_scores
from pipeline.calibration.curve import CONFIDENCE
from pipeline.config import CompareConfig, ExtractConfig
from pipeline.nets.formats.loader import load_model
from pipeline.search.adapt import adapt_request
from pipeline.search.request import SearchRequest
from pipeline.search.run import score_table
from pipeline.search.video_set import VideoSet
from pipeline.store import open_store

RATES = (0.1, 0.01, 0.001)
DRAWS, DRAWN = 8, 320
OLD, ALL = "quantile, benchmark's queries", "quantile, all clips"


def thresholds(
    table: np.ndarray,
    asked: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    confidences: list[float],
) -> dict[str, np.ndarray]:
    """Way -> a threshold for each of `RATES`.

    Args:
        table: float [Q, D], NaN where related; asked: bool [Q], queries of the benchmark.
        rows, columns: str [Q] and [D], parents.
    """
    ways = {OLD: _quantiles(table[asked]), ALL: _quantiles(table)}
    for confidence in confidences:
        ways[f"confidence {confidence:g}"] = np.maximum(
            ways[ALL], upper_scores(table, rows.tolist(), columns.tolist(), RATES, confidence)
        )
    return ways


def halves(
    strangers: Strangers, scores: np.ndarray, number: int, confidences: list[float]
) -> dict[str, np.ndarray]:
    """Way -> let through on the other half, as a multiple of the rate; float [number, rates].

    What passes there is counted over all clips as queries.
    """
    table = np.where(strangers.unrelated, scores, np.nan)
    rows, columns = _parents(strangers)
    parents = np.unique(rows)
    rng = np.random.default_rng(0)
    ratios: dict[str, list[np.ndarray]] = {}
    for _ in range(number):
        half = rng.permutation(parents)[: len(parents) // 2]
        q, d = np.isin(rows, half), np.isin(columns, half)
        known, other = table[np.ix_(q, d)], table[np.ix_(~q, ~d)]
        found = thresholds(known, strangers.asked[q], rows[q], columns[d], confidences)
        for way, bars in found.items():
            ratios.setdefault(way, []).append(_reached(other, bars) / RATES)
    return {way: np.array(rows_) for way, rows_ in ratios.items()}


def table_of_halves(ratios: dict[str, np.ndarray]) -> str:
    """Markdown: median and 90th percentile of the multiples, and how often they are 1 or less."""
    lines = [
        markdown_row("let through / asked: median, 90th percentile, held", *map(str, RATES)),
        markdown_row("---", *("---" for _ in RATES)),
    ]
    for way, values in ratios.items():
        cells = [
            f"{np.median(v):.2f}, {np.quantile(v, 0.9):.2f}, {np.mean(v <= 1):.0%}"
            for v in values.T
        ]
        lines.append(markdown_row(way, *cells))
    return "\n".join(lines)


def table_of_other(ways: dict[str, np.ndarray], scores: np.ndarray, copies: np.ndarray) -> str:
    """Markdown: threshold, let through, copies found. Scores [Q, D]; copies: bool [Q, D]."""
    lines = [
        markdown_row("threshold, let through, copies found", *map(str, RATES)),
        markdown_row("---", *("---" for _ in RATES)),
    ]
    for way, bars in ways.items():
        passed, found = (_reached(scores[which], bars) for which in (~copies, copies))
        lines.append(
            markdown_row(
                way,
                *(
                    f"{bar:.3f}, {p:.2g}, {f:.3f}"
                    for bar, p, f in zip(bars, passed, found, strict=True)
                ),
            )
        )
    return "\n".join(lines)


def drawn(videos: int, size: int) -> list[np.ndarray]:
    """Places of `size` different videos each, some `DRAWN` in all, in at most `DRAWS` draws."""
    rng = np.random.default_rng(0)
    times = max(1, min(DRAWS, DRAWN // size))
    return [rng.choice(videos, min(size, videos), replace=False) for _ in range(times)]


def _among(
    stores: Sequence[Path],
    lists: Sequence[list[str]],
    model_dir: Path,
    config: CompareConfig,
    draws: Sequence[np.ndarray],
) -> np.ndarray:
    """Scores against each draw of the database as a database of its own, side by side."""
    model = load_model(model_dir)
    with ExitStack() as stack:
        queries, database = (stack.enter_context(open_store(path)) for path in stores)
        query_set = VideoSet([queries], lists[0])
        tables = []
        for draw in draws:
            videos = VideoSet([database], [lists[1][i] for i in draw])
            request = adapt_request(SearchRequest(query_set, videos, model, config))
            tables.append(score_table(request)[0])
        return np.concatenate(tables, axis=1)


def _parents(strangers: Strangers) -> tuple[np.ndarray, np.ndarray]:
    sides = strangers.queries, strangers.database
    rows, columns = (np.array([strangers.parents[name] for name in side]) for side in sides)
    return rows, columns


def _quantiles(table: np.ndarray) -> np.ndarray:
    known = -np.sort(-table[~np.isnan(table)])
    return known[[max(0, round(rate * len(known)) - 1) for rate in RATES]]


def _reached(scores: np.ndarray, bars: np.ndarray) -> np.ndarray:
    known = scores[~np.isnan(scores)]
    return np.array([(known >= bar).mean() for bar in bars])


def stranger_stores(
    strangers: Strangers, split_dir: Path, model_dir: Path, extract: ExtractConfig
) -> list[Path]:
    """Stores of all clips as queries, without insets, and of the database; see `model_store`."""
    folder = split_dir / "stores"
    bare = replace(extract, insets=0)
    return [
        model_store(strangers.queries, folder / "strangers", model_dir, bare, to_stderr, True),
        model_store(strangers.database, folder / "database", model_dir, extract, to_stderr, False),
    ]


def _own_scores(
    strangers: Strangers,
    split_dir: Path,
    model_dir: Path,
    extract: ExtractConfig,
    compare: CompareConfig,
) -> np.ndarray:
    stores = stranger_stores(strangers, split_dir, model_dir, extract)
    lists = [list(strangers.queries), list(strangers.database)]
    return model_scores(stores, lists, model_dir, compare)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    add_options(parser)
    parser.add_argument("--halves", type=int, default=100)
    parser.add_argument("--confidence", type=float, nargs="+", default=[0.9, 0.95, CONFIDENCE])
    parser.add_argument("--on", choices=SPLITS, help="another split in place of halves")
    parser.add_argument("--among", type=int, metavar="N", help="so many of its videos at a time")
    options = parser.parse_args()
    split_dir, model_dir = options.set_dir / options.split, options.model_dir
    extract, compare = configs(options)
    try:
        strangers = read_strangers(split_dir)
        write_strangers(strangers, split_dir)
        scores = _own_scores(strangers, split_dir, model_dir, extract, compare)
        if not options.on:
            print(table_of_halves(halves(strangers, scores, options.halves, options.confidence)))
            return 0
        other_dir = options.set_dir / options.on
        queries, database, kinds = read_lists(other_dir)
        stores = model_stores((queries, database), other_dir, model_dir, extract, to_stderr)
        lists = [list(queries), list(database)]
        if options.among:
            draws = drawn(len(database), options.among)
            other = _among(stores, lists, model_dir, compare, draws)
            kinds = kinds[:, np.concatenate(draws)]
        else:
            other = model_scores(stores, lists, model_dir, compare)
    except (FileNotFoundError, RuntimeError) as error:
        to_stderr(str(error))
        return 1
    table = np.where(strangers.unrelated, scores, np.nan)
    ways = thresholds(table, strangers.asked, *_parents(strangers), options.confidence)
    print(table_of_other(ways, other, kinds != ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
