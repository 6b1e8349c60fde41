"""What cheaper query views would cost: queries with fewer views, or with some at half rate.

    python -m benchmarks.retrieval.studies.view_cost SET_DIR --split validation [--only NAME...]

A view that is left out is stored as a repetition of another one, so that only the maximum over the
views changes. A view at half rate is that of the frame before, in every second frame. The price is
counted in runs of the backbone over a whole picture; a database frame takes 1.25 of them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.retrieval.report.metrics_by_kind import figures_by_kind
from benchmarks.retrieval.studies.evaluate import model_scores, model_stores, read_lists, to_stderr
from pipeline.config import CompareConfig, ExtractConfig
from pipeline.default_model import default_model_dir
from pipeline.nets.formats.loader import load_model
from pipeline.nets.model.descriptors import DescriptorLayout
from pipeline.store import create_or_append, open_store

Change = Callable[[np.ndarray], np.ndarray]  # float32 [T, R, C] to the same shape
_SHARES = {"regions": 1.0, "lowpass": 0.25, "thumbnail": 0.0}  # of a whole picture


def prices(layout: DescriptorLayout) -> dict[str, float]:
    """Price of each group that only queries have."""
    return {g.name: _SHARES[g.space] * g.count for g in layout.groups if g.query_only}


def lower_rate(places: list[slice], step: int = 2) -> Change:
    """The change of some groups to those of every so many frames."""

    def change(vectors: np.ndarray) -> np.ndarray:
        changed = vectors.copy()
        taken = np.arange(len(vectors)) // step * step
        for place in places:
            changed[:, place] = vectors[taken][:, place]
        return changed

    return change


def only(place: slice, kept: list[int]) -> Change:
    """The change to some of the descriptors of one group."""

    def change(vectors: np.ndarray) -> np.ndarray:
        changed = vectors.copy()
        group = vectors[:, place]
        taken = [i if i in kept else kept[0] for i in range(group.shape[1])]
        changed[:, place] = group[:, taken]
        return changed

    return change


def variants(layout: DescriptorLayout) -> dict[str, tuple[float, Change]]:
    """Name -> price of a query frame in database frames, and the change."""
    places, cost = layout.slices, prices(layout)
    total = 1.25 + sum(cost.values())
    halved = {
        "every group at half rate": list(cost),
        "lowpass views at half rate": [n for n in cost if not n.startswith(("down", "flip"))],
        "crops at half rate": [n for n in cost if n.startswith("crops")],
        "crops and downscales at half rate": [n for n in cost if n.startswith(("crops", "down"))],
    }
    made: dict[str, tuple[float, Change]] = {"as it is": (total / 1.25, lambda vectors: vectors)}
    for name, groups in halved.items():
        saved = sum(cost[group] for group in groups) / 2
        made[name] = (total - saved) / 1.25, lower_rate([places[group] for group in groups])
    lowpass = halved["lowpass views at half rate"]
    saved = sum(cost[group] for group in lowpass) * 2 / 3
    made["lowpass views at a third of the rate"] = (
        (total - saved) / 1.25,
        lower_rate([places[group] for group in lowpass], 3),
    )
    for name, kept in {
        "4 crops in the corners": [0, 3, 12, 15],
        "8 crops, as on a chess board": [0, 2, 5, 7, 8, 10, 13, 15],
    }.items():
        crops = next(group for group in cost if group.startswith("crops"))
        saved = cost[crops] * (1 - len(kept) / 16)
        made[name] = (total - saved) / 1.25, only(places[crops], kept)
    return made


def changed_store(source: Path, target: Path, change: Change) -> Path:
    """Write a store of queries with changed descriptors."""
    with open_store(source) as old, create_or_append(target, old.spec, old.encoding) as new:
        for name in old:
            features = old.read(name)
            video = new.begin(name, old.record(name).source)
            video.append(change(np.asarray(features.vectors, np.float32)), features.seconds)
            video.finish("")
        new.commit()
    return target


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("set_dir", type=Path)
    parser.add_argument("--split", default="validation")
    parser.add_argument("--model_dir", type=Path, default=Path(default_model_dir()))
    parser.add_argument("--only", nargs="*", default=[], help="beginnings of names of variants")
    o = parser.parse_args()
    split = o.set_dir / o.split
    queries, database, kinds = read_lists(split)
    sides = model_stores((queries, database), split, o.model_dir, ExtractConfig(), to_stderr)
    print("price: query frame / database frame; mAP, uAP, recall at 0.1 %, hard mAP")
    with tempfile.TemporaryDirectory() as work:
        for name, (price, change) in variants(load_model(o.model_dir).layout).items():
            if o.only and not name.startswith(tuple(o.only)):
                continue
            store = changed_store(sides[0], Path(work) / f"{len(name)}{price:.3f}.h5", change)
            lists = list(queries), list(database)
            scores = model_scores((store, sides[1]), lists, o.model_dir, CompareConfig())
            figures = figures_by_kind(scores, kinds)
            found, hard = figures["all"], figures["hard"]
            row = found.mean_ap, found.micro_ap, found.recall_01, hard.mean_ap
            print(f"{price:4.1f}  {'  '.join(f'{x:.4f}' for x in row)}  {name}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
