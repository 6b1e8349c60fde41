"""Reader of the published TensorFlow 1 releases of ViSiL, as downloaded.

A release is `model.ckpt.index`, `model.ckpt.data-*` and `pca.npz`. Two generations differ in the
comparator's variable names only; both are read, and batch norm is folded into the convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ...errors import ModelError
from ..backbones import resnet50_spec
from ..model.model import Model
from ..model.preprocessing import InputDescription
from ..model.whitening import Whitening
from . import tf_bundle
from .archive import MAX_BYTES, read_arrays, read_file

COMPARATOR_NAMES = {  # generation -> (kernel, bias) variables in order, below video_comparator/
    "2019": [
        (f"{scope}/weights", f"{scope}/biases")
        for scope in ("conv_0", "conv_1", "conv_2", "final_conv")
    ],
    "2020": [
        (f"{scope}/kernel", f"{scope}/bias")
        for scope in ("conv2d", "conv2d_1", "conv2d_2", "conv2d_3")
    ],
}
COMPARATOR_KERNELS = ((3, 3, 1, 32), (3, 3, 32, 64), (3, 3, 64, 128), (1, 1, 128, 1))
BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
EPSILON = 1e-5  # of Slim's ResNet; Keras' default of 1e-3 gives other features
CONTEXT = "attention_layer/context_vector"
INPUT = InputDescription(256, 224, "bicubic", "RGB", (123.68, 116.78, 103.94), (1.0, 1.0, 1.0))
REMEDY = "unpack the release again (model.zip or ckpt.zip) into this folder"
_BOOKKEEPING = ("global_step", "beta1_power", "beta2_power")
_OPTIMISER_SLOTS = ("/Adam", "/Adam_1", "/Momentum")

Variables = Mapping[str, np.ndarray]
Shapes = Mapping[str, tuple[int, ...]]


def is_published(directory: Path) -> bool:
    """True if any file of a release is there, complete or not."""
    return any(directory.glob("model.ckpt*")) or (directory / "pca.npz").exists()


def read(directory: Path) -> Model:
    """The release in a directory.

    Raises:
        ModelError: a file is missing, damaged, or does not hold the variables of ViSiL.
    """
    prefix = _checkpoint_prefix(directory)
    whitening = _read_pca(directory / "pca.npz")
    variables, generation = _read_variables(prefix)
    arrays = folded(variables)
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise ModelError(f"{prefix}: batch norm with a variance below 0; {REMEDY}")
    return Model(
        name="visil_resnet50",
        origin=f"published TensorFlow release ({generation} names)",
        backbone="resnet50_v1",
        arrays=arrays,
        input=INPUT,
        taps=resnet50_spec.TAPS,
        grid=3,
        whitening=whitening,
        attention=variables[CONTEXT].reshape(-1),
        comparator=tuple(
            (variables[f"video_comparator/{kernel}"], variables[f"video_comparator/{bias}"])
            for kernel, bias in COMPARATOR_NAMES[generation]
        ),
    )


def folded(variables: Variables) -> dict[str, np.ndarray]:
    """Convolutions with their batch norm folded in, by our layer names."""
    arrays = {}
    for convolution in resnet50_spec.convolutions():
        kernel = variables[f"{convolution.scope}/weights"]
        norm = (variables[f"{convolution.scope}/BatchNorm/{name}"] for name in BATCH_NORM)
        layer = convolution.layer
        arrays[f"{layer}/kernel"], arrays[f"{layer}/bias"] = fold_batch_norm(kernel, *norm)
    return arrays


def fold_batch_norm(
    kernel: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel [h, w, in, out] and bias [out] of convolution and batch norm together.

    gamma (w * x - mean) / sqrt(variance + epsilon) + beta is the convolution with the kernel
    w gamma / sqrt(...) and the bias beta - mean gamma / sqrt(...) (Ioffe and Szegedy 2015,
    section 3.1); computed in float64, rounded once to float32.
    """
    with np.errstate(invalid="ignore"):  # a variance below 0 gives NaN, which is refused
        scale = gamma / np.sqrt(variance.astype(np.float64) + EPSILON)
    return (kernel * scale).astype(np.float32), (beta - mean * scale).astype(np.float32)


def _checkpoint_prefix(directory: Path) -> Path:
    """Path without suffix of the one checkpoint in the directory.

    The text file `checkpoint` beside it names an absolute path on the machine that wrote it.
    """
    index_files = sorted(directory.glob("model.ckpt*.index"))
    if not index_files:
        raise ModelError(f"{directory}: model.ckpt.index is missing; {REMEDY}")
    if len(index_files) > 1:
        names = ", ".join(path.name for path in index_files)
        raise ModelError(f"{directory}: several checkpoints ({names}); keep the files of one")
    prefix = index_files[0].with_suffix("")
    if not any(directory.glob(f"{prefix.name}.data-*")):
        raise ModelError(f"{prefix}.data-00000-of-00001 is missing; {REMEDY}")
    return prefix


def _read_variables(prefix: Path) -> tuple[dict[str, np.ndarray], str]:
    """Every variable of the network, and its generation; shapes are checked before values."""
    name = "index"
    try:
        entries, shards = tf_bundle.read_index(prefix)
        selected = {
            name: entry
            for name, entry in entries.items()
            if name not in _BOOKKEEPING and not name.endswith(_OPTIMISER_SLOTS)
        }
        shapes = {name: entry.shape for name, entry in selected.items()}
        generation = _generation(shapes, prefix)
        _check_shapes(shapes, generation, prefix)
        variables = {}
        for name, entry in selected.items():
            variables[name] = tf_bundle.read_tensor(prefix, entry, shards)
            if not np.isfinite(variables[name]).all():
                raise ValueError("it holds a value that is not finite")
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{prefix}: the checkpoint cannot be read: {name}: {error}; {REMEDY}"
        ) from error
    return variables, generation


def _generation(shapes: Shapes, prefix: Path) -> str:
    for generation, names in COMPARATOR_NAMES.items():
        if f"video_comparator/{names[0][0]}" in shapes:
            return generation
    raise ModelError(
        f"{prefix}: no video_comparator/ variables of a ViSiL release in it; this is another "
        f"network's checkpoint, or {REMEDY}"
    )


def _check_shapes(shapes: Shapes, generation: str, prefix: Path) -> None:
    expected = _expected_shapes(generation)
    problems = [f"{name} is missing" for name in expected if name not in shapes]
    problems += [f"{name[:80]} is unknown" for name in sorted(shapes) if name not in expected]
    problems += [
        f"{name} is {shapes[name]}, expected {shape}"
        for name, shape in expected.items()
        if name in shapes and shapes[name] != shape
    ]
    if problems:
        raise ModelError(
            f"{prefix}: not the variables of a published ViSiL release ({len(shapes)} found, "
            f"{len(expected)} expected): {'; '.join(problems[:3])}; {REMEDY}"
        )


def _expected_shapes(generation: str) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {CONTEXT: (resnet50_spec.CHANNELS, 1)}
    for convolution in resnet50_spec.convolutions():
        shapes[f"{convolution.scope}/weights"] = convolution.shape
        for name in BATCH_NORM:
            shapes[f"{convolution.scope}/BatchNorm/{name}"] = convolution.shape[-1:]
    for (kernel, bias), shape in zip(COMPARATOR_NAMES[generation], COMPARATOR_KERNELS, strict=True):
        shapes[f"video_comparator/{kernel}"] = shape
        shapes[f"video_comparator/{bias}"] = shape[-1:]
    return shapes


def _read_pca(path: Path) -> Whitening:
    size = resnet50_spec.CHANNELS
    expected = {"mean": (size,), "V": (size, size), "d": (size,)}

    def wanted(name: str, shape: tuple[int, ...]) -> bool:
        if name in expected and shape != expected[name]:
            raise ValueError(f"{name} is {shape}, expected {expected[name]}")
        return name in expected

    try:
        arrays = read_arrays(read_file(path, MAX_BYTES), wanted)
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing; {REMEDY}") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read: {error}; {REMEDY}") from error
    for name in expected:
        if name not in arrays:
            raise ModelError(f"{path}: cannot be read: no array {name!r} in it; {REMEDY}")
    try:
        return Whitening(arrays["mean"], arrays["V"], arrays["d"])
    except ValueError as error:
        raise ModelError(f"{path}: {error}; {REMEDY}") from error
