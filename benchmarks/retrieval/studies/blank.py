"""What blank intros do to retrieval, and what the space of blank regions does against it.

    python -m benchmarks.retrieval.studies.blank SET_DIR --split validation [--model_dir model]

Every query and every database video gets 10 s of a black, white, one-coloured or noisy picture in
front, really encoded, drawn apart from `pipeline.nets.model.blank`. Stores of the split must be
there (run `evaluate` first).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.retrieval.dataset.sources import SPLITS
from benchmarks.retrieval.studies.evaluate import model_stores, read_lists, to_stderr
from pipeline.config import CompareConfig, ExtractConfig
from pipeline.default_model import default_model_dir
from pipeline.metrics import figures
from pipeline.nets.extractor.feature_net import FeatureNet
from pipeline.nets.formats.loader import load_model
from pipeline.nets.model.model import Model
from pipeline.records import SourceInfo
from pipeline.search.request import SearchRequest
from pipeline.search.run import score_table
from pipeline.search.video_set import VideoSet
from pipeline.store import create_or_append, open_store
from pipeline.training.blank_frames import blank_space
from pipeline.video import sample_frames
from tools.clips import Clip, write_clip

SIZE, SECONDS, EACH = (320, 240), 10, 16
Videos = dict[str, np.ndarray]


def intros(net: FeatureNet, folder: Path, rng: np.random.Generator) -> list[np.ndarray]:
    """Vectors [T, Q, C] of `EACH` intros of every kind, as queries have them."""
    width, height = SIZE
    made = []
    for kind in ("black", "white", "colour", "noise"):
        for number in range(EACH):
            colour = {
                "black": rng.uniform(0, 16, 1).repeat(3),
                "white": rng.uniform(240, 255, 1).repeat(3),
            }.get(kind, rng.uniform(0, 255, 3))
            noise = rng.normal(0, 4 if kind == "noise" else 0.7, (SECONDS, height, width, 1))
            frames = np.clip(np.rint(colour + noise), 0, 255).astype(np.uint8)
            path = folder / f"{kind}{number}.mp4"
            options = {"crf": str(rng.integers(20, 36)), "preset": "veryfast"}
            write_clip(path, Clip(frames, 1.0), "libx264", options)
            shown = [image for _, image in sample_frames(str(path), net.preprocess, 1.0)]
            made.append(net(np.stack(shown)))
    return made


def with_intros(store: Path, target: Path, ids: list[str], fronts: list[np.ndarray], seed: int):
    """A store of the same videos, each with one of the intros in front.

    Of the intros' vectors it takes the first, as many as the store has: what only queries have
    comes last.
    """
    rng = np.random.default_rng(seed)
    with open_store(store) as source, create_or_append(target, source.spec, "float16") as writer:
        for video_id in ids:
            front = fronts[rng.integers(len(fronts))]
            front = front[:, : source.spec.descriptors]
            vectors = np.concatenate([front, source.read_vectors(video_id)])
            video = writer.begin(video_id, SourceInfo(""))
            video.append(vectors.astype(np.float16), np.arange(len(vectors), dtype=np.float64))
            video.finish()
    return target


def row(name: str, stores: list[Path], ids: list[list[str]], kinds: np.ndarray, m: Model):
    """One line of the table: figures, self-similarity of queries, scores of unrelated pairs."""
    with ExitStack() as stack:
        queries, database = (
            VideoSet([stack.enter_context(open_store(path))], side)
            for path, side in zip(stores, ids, strict=True)
        )
        scores, _ = score_table(SearchRequest(queries, database, m, CompareConfig()))
        own = np.diag(score_table(SearchRequest(queries, queries, m, CompareConfig()))[0])
    copies = kinds != ""
    f = figures(scores, copies, np.ones_like(copies))
    cells = [
        f.mean_ap,
        f.micro_ap,
        f.recall_01,
        own.min(),
        *np.quantile(scores[~copies], [0.5, 0.99]),
    ]
    print("| " + " | ".join([name, *(f"{c:.3f}" for c in cells)]) + " |", flush=True)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("set_dir", type=Path)
    parser.add_argument("--split", choices=SPLITS, default="validation")
    parser.add_argument("--model_dir", type=Path, default=Path(default_model_dir()))
    options = parser.parse_args()
    split = options.set_dir / options.split
    try:
        queries, database, kinds = read_lists(split)
    except FileNotFoundError as error:
        to_stderr(str(error))
        return 1
    ids = [list(queries), list(database)]
    sides, bare = (queries, database), ExtractConfig(insets=0)  # every frame is of the video itself
    stores = model_stores(sides, split, options.model_dir, bare, to_stderr)
    plain = replace(load_model(options.model_dir), blank=None)
    net = FeatureNet(plain, batch_size=SECONDS, as_queries=True)
    own = load_model(options.model_dir).blank
    weighted = replace(plain, blank=own or blank_space(FeatureNet(plain)))
    print("|  | mAP | uAP | recall at 0.1 % | least self-similarity | unrelated, median | 99 % |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    row("as they are", stores, ids, kinds, plain)
    row("as they are, blank space", stores, ids, kinds, weighted)
    with tempfile.TemporaryDirectory() as folder:
        fronts = intros(net, Path(folder), np.random.default_rng(0))
        fronted = [
            with_intros(store, Path(folder) / f"{i}.h5", side, fronts, i)
            for i, (store, side) in enumerate(zip(stores, ids, strict=True))
        ]
        row("blank intros", fronted, ids, kinds, plain)
        row("blank intros, blank space", fronted, ids, kinds, weighted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
