"""Frames a second of the feature network, against plain Keras in the same run.

    python benchmarks/backbone.py [--model_dir DIR] [--precision float32 bfloat16] [--batch 32]

Plain Keras is `keras.applications.ResNet50` in float32 with batch norm, four block outputs pooled
to 3x3 maxima, as one compiled function of the same batch. Without --model_dir a release with
random weights of the published shapes is written first (needs the tests folder). Also prints the
mean and least cosine of region vectors to float32.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.nets.backend import compiled, keras, ops
from pipeline.nets.features import FeatureNet
from pipeline.nets.model_dir import load_model
from pipeline.nets.weights import ModelWeights

BLOCKS = [f"conv{i}_block{n}_out" for i, n in ((2, 3), (3, 4), (4, 6), (5, 3))]


def weights_of(model_dir: str | None) -> ModelWeights:
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
    runs = {"plain Keras ResNet-50, float32": plain(o.batch)}
    runs |= {f"{weights.name}, {p}": FeatureNet(weights, p, o.batch) for p in o.precision}
    exact = FeatureNet(weights, "float32", o.batch)(frames)
    for run in runs.values():
        run(frames)
    rates = {name: [] for name in runs}  # type: dict[str, list[float]]
    for _ in range(o.rounds):
        for name, run in runs.items():
            rates[name].append(rate(run, frames))
    base = np.array(rates["plain Keras ResNet-50, float32"])
    for name, run in runs.items():
        median, ratio = np.median(rates[name]), np.median(rates[name] / base)
        line = f"{name:45} {median:7.1f} frames/s, ratio {ratio:.1f}"
        if isinstance(run, FeatureNet):
            cosine = (run(frames) * exact).sum(-1)
            line += f", cosine mean {cosine.mean():.5f}, least {cosine.min():.5f}"
        print(line)


if __name__ == "__main__":
    main()
