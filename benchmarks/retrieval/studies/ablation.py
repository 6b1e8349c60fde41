"""What each part of the shipped model is worth: terms, dims, storage, both directions.

    python -m benchmarks.retrieval.studies.ablation SET_DIR --split validation [--model_dir model]

Works on the stores that `evaluate` made, by stage two's engine, without comparator and without the
weights of blank regions; `stages` runs the two real stages.
Bytes are those of the database for an hour of video at one frame a second.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.retrieval.dataset.sources import SPLITS
from benchmarks.retrieval.report.metrics_by_kind import figures_by_kind
from benchmarks.retrieval.report.tables import markdown_row, overall
from benchmarks.retrieval.studies.evaluate import model_stores, read_lists, to_stderr
from pipeline.config import ExtractConfig
from pipeline.default_model import default_model_dir
from pipeline.metrics import Figures
from pipeline.nets.backend import ops
from pipeline.nets.formats.loader import load_model
from pipeline.nets.model.descriptors import DescriptorLayout, SimilarityTerm
from pipeline.nets.model.model import Model
from pipeline.nets.model.whitening import unit_vectors
from pipeline.nets.similarity.pair_scorer import PairScorer
from pipeline.store import open_store

CHUNK = 1024  # database frames at once
SHOWN = ("pip_25_35", "crushed", "camera", "edges", "chain_3")
HEADS = ["", "mAP", "uAP", "recall at 0.1 %", "hard mAP", *SHOWN]
VIEWS = ("pad_black", "pad_mean", "crops", "rotate", "edges")
TERMS = ("top_k", "lowpass", "thumbnail", "downscale", *VIEWS)  # beside Chamfer over regions
Change = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Side:
    """Vectors of all videos of one side: float32 [N, R, C], and frames of each."""

    vectors: np.ndarray
    frames: list[int]


@dataclass(frozen=True)
class Variant:
    """One row: terms that count, what is done to all vectors, bits of a stored value."""

    name: str
    terms: Collection[str] = TERMS
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
    Variant("and the best of them (top k)", ("top_k",)),
    Variant("regions and lowpass", ("lowpass",)),
    Variant("regions and thumbnail", ("thumbnail",)),
    *(Variant(f"regions, lowpass and {view}", ("lowpass", view)) for view in VIEWS),
    Variant("regions and downscaled queries", ("downscale",)),
    *(Variant(f"all but {term}", set(TERMS) - {term}) for term in ("top_k", "thumbnail", *VIEWS)),
    Variant("**all**"),
    Variant("half of the dims", change=cut(0.5), dims=0.5),
    Variant("a quarter of the dims", change=cut(0.25), dims=0.25),
    Variant("int8", change=int8, bits=8),
    Variant("1 bit", change=one_bit, bits=1),
    Variant("symmetric Chamfer", symmetric=True),
)


def label(term: SimilarityTerm, layout: DescriptorLayout) -> str:
    """What `TERMS` calls a term; empty for Chamfer over regions, which all rows have."""
    group = next(group for group in layout.groups if group.name == term.query)
    if group.augmentation is not None and group.augmentation.kind != "flip":
        return group.augmentation.kind
    if group.space != "regions":
        return group.space
    return "top_k" if term.reduce == "top_k" else ""


def scores(queries: Side, database: Side, model: Model, variant: Variant) -> np.ndarray:
    """float32 [queries, database]: Chamfer over frames."""
    layout = model.layout
    terms = [t for t in layout.terms if label(t, layout) in {"", *variant.terms}]
    anchors = model.anchors
    if anchors is not None and variant.dims < 1:
        anchors = variant.change(anchors)
    vectors = variant.change(queries.vectors)
    bare: Any = SimpleNamespace(
        layout=layout.with_terms(terms),
        dims=vectors.shape[2],
        anchors=anchors,
        attention=None,
        adaptation=None,
        blank=None,
        binarization=None,
        stored_dims=0,
        comparator=None,
        comparator_padding="edge",
        residual_weight=0.0,
    )
    scorer = PairScorer(bare, "symmetric_chamfer" if variant.symmetric else "chamfer", "float32")
    placed = scorer.place_queries(vectors)
    parts = []
    for start in range(0, len(database.vectors), CHUNK):
        part = variant.change(database.vectors[start : start + CHUNK])
        matrix = ops.convert_to_numpy(scorer.frame_matrix(placed, scorer.place_targets(part)))
        parts.append(matrix[: len(vectors), : len(part)])
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
    print(markdown_row(*HEADS, "bytes an hour"))
    print(markdown_row(*("---" for _ in [*HEADS, ""])))
    for v in VARIANTS:
        found = figures_by_kind(scores(queries, database, weights, v), kinds)
        groups = [group for group in weights.layout.groups if not group.query_only]
        vectors = sum(g.count for g in groups if g.space in ("regions", *v.terms))
        size = 3600 * vectors * weights.dims * v.dims * v.bits / 8
        print(markdown_row(v.name, *cells_of(found), f"{size / 1e6:.1f} M"), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
