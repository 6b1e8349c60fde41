"""What the settings of the two stages give and cost, run as their users run them.

    python -m benchmarks.retrieval.studies.settings SET_DIR --split validation [--model_dir model]

`ablation` takes the views of the model apart in plain numpy; this runs both stages, with comparator
and the weights of blank regions. Stores are kept below SET_DIR/SPLIT/stores, so an interrupted run
goes on where it was, and a second one only compares and measures. `--only TEXT` takes the rows
that have a text in their name.

Bytes are those of the database's store. Stage one's time is processor time for a second of a
database video, of some files, start not counted. Stage two's is wall time for a pair of a query and
a database video, what starting and compiling take not counted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks.retrieval.dataset.sources import SPLITS
from benchmarks.retrieval.report.costs import network_seconds, timed
from benchmarks.retrieval.report.metrics_by_kind import figures_by_kind
from benchmarks.retrieval.report.tables import markdown_row
from benchmarks.retrieval.studies.ablation import HEADS, cells_of
from benchmarks.retrieval.studies.against_baselines import Split, read_split
from benchmarks.retrieval.studies.evaluate import model_store, model_stores, to_stderr
from pipeline.config import DTYPES, CompareConfig, ExtractConfig
from pipeline.default_model import default_model_dir
from pipeline.errors import PipelineError
from pipeline.nets.formats.loader import load_model
from pipeline.nets.model.model import Model
from pipeline.search.adapt import adapt_request
from pipeline.search.request import SearchRequest
from pipeline.search.run import score_table
from pipeline.search.video_set import VideoSet
from pipeline.store import open_store

AGAIN = 4  # so many times the database: what is more than once, is not the start
COLUMNS = [*HEADS, "bytes an hour", "stage one, ms a second", "stage two, ms a pair"]


@dataclass(frozen=True)
class Setting:
    """One row: options of both stages, and whether the model's comparator is used.

    `as_queries` and `queries` (None: as `extract`) are of the queries' store alone.
    """

    name: str
    extract: ExtractConfig = field(default_factory=ExtractConfig)
    compare: CompareConfig = field(default_factory=CompareConfig)
    comparator: bool = True
    as_queries: bool = True
    queries: ExtractConfig | None = None


def settings(model: Model) -> list[Setting]:
    """The rows that this model can have; the store's types are those that stage one knows."""
    rows = [Setting("**as it is**")]
    if model.comparator is not None:
        rows.append(Setting("without comparator", comparator=False))
    if model.insets:
        rows.append(Setting("--insets 0", ExtractConfig(insets=0)))
    if model.layout.query > model.regions:
        rows.append(Setting("queries without --as_queries", as_queries=False))
    if model.attention is None and model.adaptation is None:  # which are learned for all values
        rows += [
            Setting(f"--dims {dims}", ExtractConfig(dims=dims))
            for dims in (256, 128)
            if dims < model.dims
        ]
        rows.append(Setting("adapted to the database", compare=CompareConfig(adapt=True)))
    rows += [
        Setting(f"--dtype {dtype}", ExtractConfig(dtype=dtype))
        for dtype in DTYPES
        if dtype != "float16"  # a new store's own
    ]
    binary = ExtractConfig(dtype="binary")
    rows.append(Setting("binary, queries in float16", binary, queries=ExtractConfig()))
    functions = {"symmetric Chamfer": "symmetric_chamfer", "max Chamfer": "max_chamfer"}
    rows += [
        Setting(name, compare=CompareConfig(similarity_function=function))
        for name, function in functions.items()
    ]
    return [
        *rows,
        Setting("2 frames a second", ExtractConfig(fps=2)),
        Setting("keyframes", ExtractConfig(sampling="keyframes")),
    ]


def scored(
    stores: Sequence[Path],
    lists: Sequence[list[str]],
    model: Model,
    config: CompareConfig,
    times: int = 1,
) -> np.ndarray:
    """Stage two with a model at hand; float32 [Q, times * D].

    Args:
        stores, lists: of the queries, of the database.
        times: so often the database is gone through.
    """
    with ExitStack() as stack:
        queries, database = (stack.enter_context(open_store(path)) for path in stores)
        asked = VideoSet([queries], lists[0])
        searched = VideoSet([database], lists[1] * times)
        request = SearchRequest(asked, searched, model, config)
        return np.asarray(score_table(adapt_request(request))[0])


def pair_seconds(
    stores: Sequence[Path],
    lists: Sequence[list[str]],
    model: Model,
    config: CompareConfig,
) -> float:
    """Wall time of stage two for one pair; best of two runs, start not counted."""

    def best(times: int) -> float:
        return min(timed(lambda: scored(stores, lists, model, config, times))[1] for _ in "12")

    pairs = len(lists[0]) * len(lists[1])
    return (best(1 + AGAIN) - best(1)) / (AGAIN * pairs)


def row_of(
    setting: Setting,
    split: Split,
    model_dir: Path,
    model: Model,
    stage_one: dict[ExtractConfig, float],
) -> list[str]:
    """Cells of one row under `COLUMNS`.

    Args:
        stage_one: processor seconds for an hour, of what was timed before; added to.
    """
    sides = split.queries, split.database
    stores = model_stores(sides, split.folder, model_dir, setting.extract, to_stderr)
    if not setting.as_queries:
        plain = replace(setting.extract, insets=0)
        folder = split.folder / "stores"
        stores[0] = model_store(split.queries, folder / "plain", model_dir, plain, to_stderr, False)
    if setting.queries:
        name = split.folder / "stores" / "queries"
        stores[0] = model_store(split.queries, name, model_dir, setting.queries, to_stderr, True)
    if setting.extract not in stage_one:
        seconds = network_seconds(split.sample, model_dir, setting.extract) if split.sample else 0
        stage_one[setting.extract] = seconds / split.sample_hours if split.sample else np.nan
    used = model if setting.comparator else replace(model, comparator=None)
    lists = [list(videos) for videos in sides]
    found = figures_by_kind(scored(stores, lists, used, setting.compare), split.kinds)
    pair = pair_seconds(stores, lists, used, setting.compare) if split.sample else np.nan
    return [
        setting.name,
        *cells_of(found),
        f"{stores[1].stat().st_size / split.hours / 1e6:.1f} M",
        f"{stage_one[setting.extract] / 3.6:.1f}",
        f"{pair * 1e3:.3f}",
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("set_dir", type=Path)
    parser.add_argument("--split", choices=SPLITS, default="validation")
    parser.add_argument("--model_dir", type=Path, default=Path(default_model_dir()))
    parser.add_argument("--only", nargs="+", default=[""], metavar="TEXT")
    parser.add_argument(
        "--timed", type=int, default=24, help="files to time stage one with; 0 times nothing"
    )
    options = parser.parse_args(arguments)
    try:
        split = read_split(options.set_dir / options.split, options.timed)
        model = load_model(options.model_dir)
        stage_one: dict[ExtractConfig, float] = {}
        print(f"{markdown_row(*COLUMNS)}\n{markdown_row(*('---' for _ in COLUMNS))}", flush=True)
        for setting in settings(model):
            if any(text in setting.name for text in options.only):
                cells = row_of(setting, split, options.model_dir, model, stage_one)
                print(markdown_row(*cells), flush=True)
    except (FileNotFoundError, RuntimeError, PipelineError) as error:
        to_stderr(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
