"""What each part of the shipped model is worth: views, dims, storage, both directions.

    python -m benchmarks.retrieval.studies.ablation SET_DIR --split validation [--model_dir model]

Works on the stores that `evaluate` made, in plain numpy, without comparator and without the weights
of blank regions; `stages` runs the two real stages.
Bytes are those of the database for an hour of video at one frame a second.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.retrieval.dataset.sources import SPLITS
from benchmarks.retrieval.report.metrics_by_kind import figures_by_kind
from benchmarks.retrieval.report.tables import markdown_row, overall
from benchmarks.retrieval.studies.evaluate import model_stores, read_lists, to_stderr
from pipeline.config import ExtractConfig
from pipeline.default_model import default_model_dir
from pipeline.metrics import Figures
from pipeline.nets.formats.loader import load_model
from pipeline.nets.model.descriptors import VIEWS, Layout
from pipeline.nets.model.whitening import unit_vectors
from pipeline.nets.similarity.csls import NEAREST
from pipeline.store import open_store

CHUNK = 1024  # database frames at once
SHOWN = ("pip_25_35", "crushed", "camera", "edges", "chain_3")
HEADS = ["", "mAP", "uAP", "recall at 0.1 %", "hard mAP", *SHOWN]
LOOKS = ("partial", "soft", "pixels", "small", *VIEWS)  # beside the regions
Change = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Side:
    """Vectors of all videos of one side: float32 [N, R, C], and frames of each."""

    vectors: np.ndarray
    frames: list[int]


@dataclass(frozen=True)
class Variant:
    """One row: looks at a frame that count, what is done to all vectors, bits of a stored value."""

    name: str
    looks: Collection[str] = LOOKS
    change: Change = lambda x: x
    dims: float = 1.0
    bits: int = 16
    symmetric: bool = False


def cut(share: float) -> Change:
    """The first values only, brought to length 1 again."""

    def change(x: np.ndarray) -> np.ndarray:
        return unit_vectors(x[..., : int(x.shape[-1] * share)])

    return change


def int8(x: np.ndarray) -> np.ndarray:
    """Rounded to 255 levels, the largest value of a vector being the last."""
    scale = np.abs(x).max(axis=-1, keepdims=True) / 127
    return unit_vectors(np.rint(x / np.maximum(scale, 1e-9)) * scale)


def one_bit(x: np.ndarray) -> np.ndarray:
    """Signs alone."""
    return unit_vectors(np.where(x < 0, -1.0, 1.0).astype(np.float32))


VARIANTS = (
    Variant("regions alone (ViSiL_f)", ()),
    Variant("and the best of them (partial)", ("partial",)),
    Variant("regions and the soft vector", ("soft",)),
    Variant("regions and pixels", ("pixels",)),
    *(Variant(f"regions, soft and {view}", ("soft", view)) for view in VIEWS),
    Variant("regions and small views", ("small",)),
    *(Variant(f"all but {look}", set(LOOKS) - {look}) for look in ("partial", "pixels", *VIEWS)),
    Variant("**all**"),
    Variant("half of the dims", change=cut(0.5), dims=0.5),
    Variant("a quarter of the dims", change=cut(0.25), dims=0.25),
    Variant("int8", change=int8, bits=8),
    Variant("1 bit", change=one_bit, bits=1),
    Variant("symmetric Chamfer", symmetric=True),
)


def frame_matrix(
    query: np.ndarray,
    target: np.ndarray,
    layout: Layout,
    v: Variant,
    offsets: np.ndarray,
) -> np.ndarray:
    """As `nets.similarity.chamfer.best_of_views`: [Nq, Q, C], [Nt, R, C] -> float32 [Nq, Nt].

    `offsets` are those of `view_offsets`.
    """
    n, dims = layout.regions, query.shape[2]
    dots = query[:, :n].reshape(-1, dims) @ target[:, :n].reshape(-1, dims).T
    dots = dots.reshape(len(query), n, len(target), n)
    each = dots.max(axis=3)
    best = each.mean(axis=1)
    if v.symmetric:
        best = (best + dots.max(axis=1).mean(axis=2)) / 2
    if "partial" in v.looks and layout.partial:
        highest = np.sort(each, axis=1)[:, n - layout.partial :]
        best = np.maximum(best, highest.mean(axis=1) + layout.partial_offset)
    if "soft" in v.looks and layout.soft:
        best = np.maximum(best, query[:, n] @ target[:, n].T)
    if "pixels" in v.looks:
        for place in layout.pixel_places:
            both = query[:, place] @ target[:, layout.shared - 1].T
            best = np.maximum(best, both + np.float32(layout.pixels_offset))
    kinds = [view.kind for view in layout.views for _ in range(view.vectors)]
    for i, kind in enumerate(kinds):
        if kind in v.looks:
            vectors = query[:, layout.shared + layout.small + i]
            best = np.maximum(best, vectors @ target[:, n].T + offsets[:, i : i + 1])
    if "small" in v.looks and layout.small:
        small = query[:, layout.shared : layout.shared + layout.small].reshape(-1, dims)
        small = small @ target[:, :n].reshape(-1, dims).T
        small = small.reshape(len(query), layout.small, len(target), n).max(axis=3)
        offsets = np.array(layout.small_offsets or (0.0,) * layout.small, np.float32)
        best = np.maximum(best, (small + offsets[:, None]).max(axis=1))
    return np.minimum(best, 1)


def view_offsets(query: np.ndarray, layout: Layout, hubs: np.ndarray | None) -> np.ndarray:
    """As `csls.view_offsets`, of the views alone: [Nq, Q, C] -> float32 [Nq, views]."""
    views = [view for view in layout.views for _ in range(view.vectors)]
    offsets = np.empty((len(query), len(views)), np.float32)
    for i, view in enumerate(views):
        offsets[:, i] = view.offset
        if hubs is not None and view.hubness:
            dots = np.sort(query[:, layout.shared + layout.small + i] @ hubs.T, axis=1)
            nearest = dots[:, -max(1, round(NEAREST * len(hubs))) :]
            offsets[:, i] -= view.hubness * nearest.mean(axis=1)
    return offsets


def scores(
    queries: Side,
    database: Side,
    layout: Layout,
    variant: Variant,
    hubs: np.ndarray | None = None,
) -> np.ndarray:
    """float32 [queries, database]: Chamfer over frames."""
    asked = variant.change(queries.vectors)
    if hubs is not None and variant.dims < 1:
        hubs = variant.change(hubs)
    offsets = view_offsets(asked, layout, hubs)
    parts = [
        frame_matrix(
            asked, variant.change(database.vectors[i : i + CHUNK]), layout, variant, offsets
        )
        for i in range(0, len(database.vectors), CHUNK)
    ]
    matrix = np.concatenate(parts, axis=1)
    rows, columns = (np.cumsum([0, *side.frames[:-1]]) for side in (queries, database))
    best = np.maximum.reduceat(matrix, columns, axis=1)
    there = np.add.reduceat(best, rows, axis=0) / np.array(queries.frames)[:, None]
    if not variant.symmetric:
        return there
    best = np.maximum.reduceat(matrix, rows, axis=0)
    return (there + np.add.reduceat(best, columns, axis=1) / np.array(database.frames)) / 2


def cells_of(found: Mapping[str, Figures]) -> list[str]:
    """Cells of one row under `HEADS` but for its name; empty for a kind that has no copies."""
    alone = (f"{found[kind].mean_ap:.2f}" if kind in found else "" for kind in SHOWN)
    return [*overall(found), *alone]


def read_side(path: Path, ids: list[str]) -> Side:
    """All features of a store, in this order of videos."""
    with open_store(path) as store:
        parts = [store.read_vectors(i) for i in ids]
    return Side(np.concatenate(parts).astype(np.float32), [len(p) for p in parts])


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("set_dir", type=Path)
    parser.add_argument("--split", choices=SPLITS, default="validation")
    parser.add_argument("--model_dir", type=Path, default=Path(default_model_dir()))
    options = parser.parse_args()
    split = options.set_dir / options.split
    try:
        *sides, kinds = read_lists(split)
    except FileNotFoundError as error:
        to_stderr(str(error))
        return 1
    weights = load_model(options.model_dir)
    if weights.adaptation is not None:
        raise SystemExit(f"{options.model_dir}: is adapted; give the model it was made of")
    stores = model_stores(sides, split, options.model_dir, ExtractConfig(insets=0), to_stderr)
    queries, database = (
        read_side(path, list(ids)) for path, ids in zip(stores, sides, strict=True)
    )
    layout = weights.layout
    print(markdown_row(*HEADS, "bytes an hour"))
    print(markdown_row(*("---" for _ in [*HEADS, ""])))
    for v in VARIANTS:
        found = figures_by_kind(scores(queries, database, layout, v, weights.hubs), kinds)
        vectors = layout.regions + (layout.soft and "soft" in v.looks)
        vectors += layout.pixels and "pixels" in v.looks
        size = 3600 * vectors * weights.dims * v.dims * v.bits / 8
        print(markdown_row(v.name, *cells_of(found), f"{size / 1e6:.1f} M"), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
