"""Frames a second of the feature network, against plain Keras in the same run.

    python benchmarks/performance/backbone.py [--model_dir DIR] [--precision float32 bfloat16]
        [--batch 32]

Plain Keras is `keras.applications.ResNet50` in float32 with batch norm, four block outputs pooled
to 3x3 maxima, as one compiled function of the same batch. Without --model_dir a release with
random weights of the published shapes is written first (needs the tests folder). Also prints the
mean and least cosine of region vectors to float32, the rate of the convolutions and how much that
is of the ceiling: one large matrix product of that precision in the same run. Where PyTorch is
installed, its plain ResNet-50 in eager float32 takes part, on the GPU if it sees one.

On a GPU: KERAS_BACKEND=jax, --precision float32 bfloat16 float16, --batch 32 128 in turn.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.performance.similarity import product, seconds
from pipeline.nets.backend import compiled, keras, ops
from pipeline.nets.extractor.feature_net import FeatureNet
from pipeline.nets.formats.loader import load_model
from pipeline.nets.model.model import Model

PLAIN = "plain Keras ResNet-50, float32"
BLOCKS = [f"conv{i}_block{n}_out" for i, n in ((2, 3), (3, 4), (4, 6), (5, 3))]


def weights_of(model_dir: str | None) -> Model:
    if model_dir:
        return load_model(model_dir)
    from tests.golden import release

    with tempfile.TemporaryDirectory() as folder:
        return load_model(release.write(Path(folder) / "release", "2020", release.pca()))


def plain(batch: int) -> Callable[[np.ndarray], np.ndarray]:
    full = keras.applications.ResNet50(weights=None, include_top=False, input_shape=(224, 224, 3))
    model = keras.Model(full.input, [full.get_layer(n).output for n in BLOCKS])

    def forward(frames):  # type: ignore[no-untyped-def]
        maps = model(ops.cast(frames, "float32") - 117.0, training=False)
        pooled = []
        for x in maps:
            size = -(-x.shape[1] // 3)
            x = ops.max_pool(x, size, size, padding="same")
            pooled.append(ops.reshape(ops.normalize(x, axis=-1), (batch, 9, -1)))
        return ops.concatenate(pooled, axis=-1)

    run = compiled(forward, model.variables)
    return lambda frames: ops.convert_to_numpy(run(frames))


def eager_torch() -> Callable[[np.ndarray], np.ndarray]:
    """ResNet-50 (stride on the 3x3 convolution), batch norm apart, pooled as `plain`."""
    import torch
    from torch import nn

    def convolution(inputs: int, outputs: int, side: int, stride: int = 1) -> list[nn.Module]:
        layer = nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False)
        return [layer, nn.BatchNorm2d(outputs)]

    class Unit(nn.Module):
        def __init__(self, inputs: int, width: int, stride: int) -> None:
            super().__init__()
            parts = [*convolution(inputs, width, 1), nn.ReLU(inplace=True)]
            parts += [*convolution(width, width, 3, stride), nn.ReLU(inplace=True)]
            self.body = nn.Sequential(*parts, *convolution(width, 4 * width, 1))
            same = inputs == 4 * width
            self.shortcut = nn.Sequential(*convolution(inputs, 4 * width, 1, stride) * (not same))

        def forward(self, x):  # type: ignore[no-untyped-def]
            return torch.relu(self.body(x) + self.shortcut(x))

    stem = nn.Sequential(*convolution(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
    stages, inputs = [], 64
    for width, units, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        chain = [Unit(inputs, width, stride)]
        chain += [Unit(4 * width, width, 1) for _ in range(units - 1)]
        stages.append(nn.Sequential(*chain))
        inputs = 4 * width
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = nn.ModuleList([stem, *stages]).eval().to(device)

    @torch.inference_mode()
    def run(frames: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(frames).to(device).permute(0, 3, 1, 2).float()
        x = network[0](x - 117.0)
        pooled = []
        for stage in network[1:]:
            x = stage(x)
            regions = nn.functional.adaptive_max_pool2d(x, 3).flatten(2)
            pooled.append(nn.functional.normalize(regions, dim=1))
        return torch.cat(pooled, 1).cpu().numpy()

    return run


def gflop(net: FeatureNet) -> float:
    """Of one frame: two for each multiplication in a convolution."""
    total = 0
    for layer in net._backbone.layers:
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
            cells = int(np.prod(layer.output.shape[1:3]))
            total += 2 * cells * int(np.prod(layer.kernel.shape))
    return total / 1e9


def rate(run: Callable[[np.ndarray], np.ndarray], frames: np.ndarray) -> float:
    begin = time.perf_counter()
    run(frames)
    return len(frames) / (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model_dir")
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=4)
    o = parser.parse_args()
    weights = weights_of(o.model_dir)
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (o.batch, 14, 14, 3), np.uint8)
    frames = coarse.repeat(16, 1).repeat(16, 2)
    runs: dict[str, Callable[[np.ndarray], np.ndarray]] = {PLAIN: plain(o.batch)}
    with suppress(ImportError):
        runs["eager PyTorch ResNet-50, float32"] = eager_torch()
    runs |= {f"{weights.name}, {p}": FeatureNet(weights, p, o.batch) for p in o.precision}
    tops = {p: product(4096, p) for p in o.precision}
    exact = FeatureNet(weights, "float32", o.batch)(frames)
    for run in runs.values():
        run(frames)
    for top in tops.values():
        top()
    rates: dict[str, list[float]] = {name: [] for name in (*runs, *tops)}
    for _ in range(o.rounds):
        for name, run in runs.items():
            rates[name].append(rate(run, frames))
        for name, top in tops.items():
            rates[name].append(2 * 4096**3 / seconds(top) / 1e9)
    base = np.array(rates[PLAIN])
    for name, run in runs.items():
        median, ratio = np.median(rates[name]), np.median(rates[name] / base)
        line = f"{name:45} {median:7.1f} frames/s, ratio {ratio:.1f}"
        if isinstance(run, FeatureNet):
            cosine = (run(frames) * exact).sum(-1)
            line += f", cosine mean {cosine.mean():.5f}, least {cosine.min():.5f}"
            speed, ceiling = median * gflop(run), np.median(rates[run.precision])
            line += f", {speed:.0f} GFLOP/s, {speed / ceiling:.0%} of {ceiling:.0f}"
        print(line)


if __name__ == "__main__":
    main()
