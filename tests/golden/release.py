"""A stand-in for the published releases: their files, names and shapes, seeded values.

Every value is a function of a variable's name and the seed. The recorded figures beside this
file were made with exactly these streams, so what is drawn, and in which order, must not change.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
SIZE = 3840
STAGES = (("block1", 64, 3), ("block2", 128, 4), ("block3", 256, 6), ("block4", 512, 3))
COMPARATOR_SCOPES = {
    "2019": ("conv_0", "conv_1", "conv_2", "final_conv"),
    "2020": ("conv2d", "conv2d_1", "conv2d_2", "conv2d_3"),
}
COMPARATOR_VARIABLES = {"2019": ("weights", "biases"), "2020": ("kernel", "bias")}
COMPARATOR_KERNELS = (((3, 3, 1, 32), 2.0), ((3, 3, 32, 64), 1.0), ((3, 3, 64, 128), 1.0),
                      ((1, 1, 128, 1), 1.0))  # fmt: skip
LENGTHS = {"query": 12, "target": 21, "long": 70, "one": 1, "three": 3}

Arrays = dict[str, np.ndarray]


def stream(key: str, seed: int = 0) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(key.encode())])


def he_scale(shape: tuple[int, ...]) -> float:
    """Standard deviation that keeps the size of activations (He et al. 2015)."""
    return float(np.sqrt(2.0 / np.prod(shape[:-1])))


def convolution_shapes() -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    yield "resnet_v1_50/conv1", (7, 7, 3, 64)
    width = 64
    for stage, depth, units in STAGES:
        for number in range(1, units + 1):
            unit = f"resnet_v1_50/{stage}/unit_{number}/bottleneck_v1"
            if number == 1:
                yield f"{unit}/shortcut", (1, 1, width, 4 * depth)
            yield f"{unit}/conv1", (1, 1, width, depth)
            yield f"{unit}/conv2", (3, 3, depth, depth)
            yield f"{unit}/conv3", (1, 1, depth, 4 * depth)
            width = 4 * depth


def variables(names: str = "2020", seed: int = 0) -> Arrays:
    """Every variable of the network, float32, under the names of that generation."""
    values: Arrays = {}
    for scope, shape in convolution_shapes():
        values[f"{scope}/weights"] = stream(scope, seed).standard_normal(shape) * he_scale(shape)
        norm, out = stream(f"{scope}/BatchNorm", seed), shape[-1]
        values[f"{scope}/BatchNorm/gamma"] = norm.uniform(0.5, 1.2, out)
        values[f"{scope}/BatchNorm/beta"] = norm.standard_normal(out) * 0.1
        values[f"{scope}/BatchNorm/moving_mean"] = norm.standard_normal(out) * 0.1
        values[f"{scope}/BatchNorm/moving_variance"] = norm.uniform(0.5, 1.5, out)
    context = stream("attention_layer/context_vector", seed).standard_normal((SIZE, 1))
    values["attention_layer/context_vector"] = context / np.linalg.norm(context)
    kernel_name, bias_name = COMPARATOR_VARIABLES[names]
    for number, (shape, gain) in enumerate(COMPARATOR_KERNELS):
        layer = stream(f"video_comparator/{number}", seed)
        scope = f"video_comparator/{COMPARATOR_SCOPES[names][number]}"
        values[f"{scope}/{kernel_name}"] = layer.standard_normal(shape) * gain * he_scale(shape)
        values[f"{scope}/{bias_name}"] = layer.standard_normal(shape[-1]) * 0.01
    return {name: value.astype(np.float32) for name, value in values.items()}


def pca(seed: int = 0) -> Arrays:
    """A random rotation with decaying variances, centred on the golden frames' mean vector."""
    draws = stream("pca", seed)
    rotation, triangle = np.linalg.qr(draws.standard_normal((SIZE, SIZE)))
    rotation *= np.sign(np.diag(triangle))  # QR leaves the columns' signs to the library
    variances = np.sort(draws.gamma(0.5, 1e-3, SIZE) + 1e-5)[::-1]
    mean = np.load(HERE / f"pca_mean_seed{seed}.npy")
    return {
        "mean": mean.astype(np.float32),
        "V": rotation.astype(np.float32),
        "d": variances.astype(np.float32),
    }


def write_checkpoint(directory: Path, values: Arrays) -> None:
    """model.ckpt.* and, as in the releases, a `checkpoint` file with a path of another machine."""
    import tensorflow as tf

    tensors = [tf.constant(value) for value in values.values()]
    prefix = str(directory / "model.ckpt")
    tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=list(values), shape_and_slices=[""] * len(values),
        tensors=tensors,
    )  # fmt: skip
    elsewhere = "/home/somebody/visil/ckpt/model.ckpt"
    (directory / "checkpoint").write_text(f'model_checkpoint_path: "{elsewhere}"\n')


def write(directory: Path, names: str, pca_arrays: Arrays) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    write_checkpoint(directory, variables(names))
    np.savez(directory / "pca.npz", **pca_arrays)
    return directory


def frames(count: int, key: str, seed: int = 0, size: int = 256) -> np.ndarray:
    """uint8 RGB [count, size, size, 3]: a smooth colour field and a texture, both drifting."""
    draws = stream(f"frames/{key}", seed)
    field = draws.uniform(0, 255, (9, 9, 3))
    texture = draws.uniform(-40, 40, (64, 64, 3))
    pixel = np.arange(size)
    out = np.empty((count, size, size, 3), np.uint8)
    for t in range(count):
        top, bottom, down = _nodes((pixel + 5 * t) % size, size)
        left, right, along = _nodes((pixel + 3 * t) % size, size)
        down, along = down[:, None, None], along[None, :, None]
        smooth = (
            field[top][:, left] * (1 - down) * (1 - along)
            + field[bottom][:, left] * down * (1 - along)
            + field[top][:, right] * (1 - down) * along
            + field[bottom][:, right] * down * along
        )
        enlarged = np.kron(np.roll(texture, t, axis=0), np.ones((size // 64, size // 64, 1)))
        out[t] = np.clip(smooth + enlarged, 0, 255).astype(np.uint8)
    return out


def _nodes(pixel: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neighbouring nodes of the 9-node field along one axis, and the share of the second."""
    position = pixel * 8 / (size - 1)
    before = np.clip(np.floor(position).astype(int), 0, 7)
    return before, before + 1, position - before


def videos() -> dict[str, np.ndarray]:
    """The five golden videos; ten frames of the query are copied into the target."""
    out = {name: frames(count, name) for name, count in LENGTHS.items()}
    out["target"][5:15] = out["query"][1:11]
    return out
