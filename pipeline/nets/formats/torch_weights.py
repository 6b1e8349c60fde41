"""The published PyTorch weights of ViSiL, DnS and S2VS, made into models.

A head's file holds a head alone. Backbone and whitening are files of their own, the same ones for
the whole family: torchvision's ResNet-50 and `pca_resnet50_vcdb_1M.pth`. Which is which is told by
the names of the arrays; each must be there, in its shape, and none may be left over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ModelError
from ..backbones import resnet50_spec
from ..model.model import Model
from ..model.preprocessing import InputDescription
from ..model.student import DIMS, SHAPES, Student
from ..model.whitening import Whitening
from .torch_file import Arrays, read_weight_file
from .visil_tf import COMPARATOR_KERNELS, fold_batch_norm

BACKBONE = "resnet50_torchvision"
CHANNELS = resnet50_spec.CHANNELS
WINDOWS = (28, 14, 6, 3)  # of the four blocks' maps
FEATURES = "dns"
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
INPUT = InputDescription(
    256,
    224,
    "bicubic",
    "RGB",
    (_MEAN[0] * 255, _MEAN[1] * 255, _MEAN[2] * 255),
    (1 / (255 * _STD[0]), 1 / (255 * _STD[1]), 1 / (255 * _STD[2])),
)
_PCA_EPSILON = 1e-7  # that the published code adds to each eigenvalue
_NORM = ("weight", "bias", "running_mean", "running_var")
_CONTEXT = "attention.context_vector.weight"
_TRANSFORM = ("attention.transform.weight", "attention.transform.bias")
_LAYERS = ("conv1", "conv2", "conv3", "fconv")
_UNUSED = (".num_batches_tracked",)
NEEDED = "resnet50-0676ba61.pth (torchvision) and pca_resnet50_vcdb_1M.pth"


@dataclass
class Parts:
    """What files that are converted together hold.

    Attributes:
        backbone: convolutions with batch norm folded in, or None.
        whitening: of all values, largest eigenvalue first, or None.
        head: (file, kind, arrays), or None.
        names: of the files.
    """

    backbone: dict[str, np.ndarray] | None = None
    whitening: Whitening | None = None
    head: tuple[Path, str, Arrays] | None = None
    names: list[str] = field(default_factory=list)


def read_parts(paths: Sequence[Path]) -> Parts:
    """Read files of the family, each told by its content.

    Raises:
        ModelError: a file of no use here, two of a kind, or damaged ones.
    """
    parts = Parts()
    for path in paths:
        arrays = read_weight_file(path).arrays
        kind = _kind(arrays)
        taken = {"backbone": parts.backbone, "whitening": parts.whitening}.get(kind, parts.head)
        if kind and taken is not None:
            raise ModelError(f"{path}: is a second {kind}; give one head, one backbone and one PCA")
        try:
            if kind == "backbone":
                parts.backbone = _backbone(arrays)
            elif kind == "whitening":
                parts.whitening = _whitening(arrays)
            elif kind:
                _require_exact(arrays, _HEAD_SHAPES[kind](arrays))
                parts.head = path, kind, arrays
            elif arrays.keys() == {"proj"}:
                raise ValueError("only the training of a binary student needs it; leave it out")
            else:
                raise ValueError(f"its arrays ({_some(arrays)}) are of no model known here")
        except ValueError as error:
            raise ModelError(
                f"{path}: {error}; see docs/MODELS.md for the files that fit"
            ) from error
        parts.names.append(path.name)
    return parts


def assembled(parts: Parts, extractor: Model | None, name: str = "") -> Model | Student:
    """The model or the student that files make together.

    Args:
        extractor: a converted model whose backbone and whitening are taken, in place of files.
        name: of the model; empty takes the head's file name.

    Raises:
        ModelError: no head among them, or one of backbone and whitening without the other.
    """
    if parts.head is None:
        raise ModelError(
            f"{', '.join(parts.names)}: no head among these files; give one as well, e.g. "
            "visil.pth or dns_fg_att_student.pth"
        )
    if (parts.backbone is None) != (parts.whitening is None):
        raise ModelError(
            f"{', '.join(parts.names)}: backbone and PCA need each other; give {NEEDED}, or "
            "neither for a head alone"
        )
    if extractor is not None and parts.whitening is not None:
        raise ModelError(
            f"{', '.join(parts.names)}: a folder with backbone and PCA is given as well as files "
            "of them; give one of the two"
        )
    path, kind, arrays = parts.head
    model = _model(parts, extractor, kind, name or path.stem)
    if kind in ("coarse", "selector"):
        weights = _coarse(arrays) if kind == "coarse" else _selector(arrays)
        origin = f"published PyTorch weights ({', '.join(parts.names)})"
        return Student(kind, name or path.stem, weights, model.features_digest, origin)
    try:
        return _with_head(model, kind, arrays)
    except ValueError as error:
        raise ModelError(f"{path}: {error}; see docs/MODELS.md for the files that fit") from error


def _model(parts: Parts, extractor: Model | None, kind: str, name: str) -> Model:
    """All but the head."""
    dims = CHANNELS if kind == "visil" else DIMS
    whitening = parts.whitening
    backbone: Mapping[str, np.ndarray] = parts.backbone or {}
    if extractor is not None:
        whitening, backbone = _of_family(extractor)
    return Model(
        name=name,
        origin=f"published PyTorch weights ({', '.join(parts.names)})",
        backbone=BACKBONE,
        arrays=backbone,
        input=INPUT,
        taps=resnet50_spec.TAPS,
        grid=3,
        windows=WINDOWS,
        whitening=whitening or Whitening.absent(CHANNELS),
        features=FEATURES,
        head_dims=0 if dims == CHANNELS else dims,
    )


def _of_family(extractor: Model) -> tuple[Whitening, Mapping[str, np.ndarray]]:
    if extractor.backbone != BACKBONE or not extractor.has_extractor:
        raise ModelError(
            f"{extractor.name}: its backbone is {extractor.backbone}, or it has none; these heads "
            f"were learned for {BACKBONE}: give {NEEDED}"
        )
    return extractor.whitening, extractor.arrays


def _with_head(model: Model, kind: str, arrays: Arrays) -> Model:
    attention = transform = binarization = None
    if kind == "binary":
        binarization = arrays["binarization.W"]
    else:
        attention = arrays[_CONTEXT].reshape(-1)
    if kind == "fine":
        transform = arrays[_TRANSFORM[0]].T.copy(), arrays[_TRANSFORM[1]]
    symmetric = kind == "visil_symmetric"
    return replace(
        model,
        attention=attention,
        attention_transform=transform,
        binarization=binarization,
        comparator=tuple(_comparator(arrays, _prefix(kind))),
        comparator_padding="edge" if kind.startswith("visil") else "zero",
        similarity_function="symmetric_chamfer" if symmetric else "chamfer",
    )


def _kind(arrays: Arrays) -> str:
    """What a file holds, by names that no other kind has; empty for something else."""
    if arrays.keys() >= {"mean", "V", "d"}:
        return "whitening"
    if "video_comperator.conv1.weight" in arrays:  # the published spelling
        context = arrays.get(_CONTEXT)
        small = context is not None and context.shape == (1, DIMS)
        return "visil_symmetric" if small else "visil"
    signs = {
        "layer1.0.conv1.weight": "backbone",
        "netvlad.centroids": "coarse",
        "mlp.model.0.weight": "selector",
        "binarization.W": "binary",
        "visil_head.conv1.weight": "fine",
    }
    return next((kind for name, kind in signs.items() if name in arrays), "")


def _require_exact(arrays: Arrays, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ValueError unless these arrays are there, and no others but those that nothing uses."""
    problems = [f"{name} is missing" for name in shapes if name not in arrays]
    problems += [
        f"{name[:80]!r} is unknown"
        for name in arrays
        if name not in shapes and not name.endswith(_UNUSED)
    ]
    problems += [
        f"{name} is {arrays[name].shape}, expected {shape}"
        for name, shape in shapes.items()
        if name in arrays and (arrays[name].shape != shape or arrays[name].dtype != np.float32)
    ]
    if problems:
        raise ValueError("; ".join(problems[:3]))


def _some(names: Iterable[str]) -> str:
    shown = sorted(names)
    return ", ".join(name[:40] for name in shown[:3]) + (", ..." if len(shown) > 3 else "")


def _prefix(kind: str) -> str:
    return "video_comperator" if kind.startswith("visil") else "visil_head"


def _comparator_shapes(kind: str) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (height, width, inputs, outputs) in zip(_LAYERS, COMPARATOR_KERNELS, strict=True):
        shapes[f"{_prefix(kind)}.{layer}.weight"] = (outputs, inputs, height, width)
        shapes[f"{_prefix(kind)}.{layer}.bias"] = (outputs,)
    return shapes


def _attention_shapes() -> dict[str, tuple[int, ...]]:
    return {_TRANSFORM[0]: (DIMS, DIMS), _TRANSFORM[1]: (DIMS,), _CONTEXT: (1, DIMS)}


def _binary_shapes(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    """The number of bits is free."""
    bits = arrays["binarization.W"].shape[-1:]
    return {**_comparator_shapes("binary"), "binarization.W": (DIMS, *bits)}


def _selector_shapes(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    units = 100
    shapes = {**_comparator_shapes("selector"), **_attention_shapes()}
    for layer, inputs in ((0, 3), (4, units)):
        shapes[f"mlp.model.{layer}.weight"] = (units, inputs)
        shapes |= {f"mlp.model.{layer + 1}.{part}": (units,) for part in _NORM}
    return {**shapes, "mlp.model.8.weight": (1, units), "mlp.model.8.bias": (1,)}


# Ours -> (theirs, whether theirs is used transposed); of the coarse student.
_COARSE = {
    "attention/kernel": (_TRANSFORM[0], True),
    "attention/bias": (_TRANSFORM[1], False),
    "attention/context": (_CONTEXT, False),
    "transformer/inputs/kernel": ("transformer.layers.0.self_attn.in_proj_weight", True),
    "transformer/inputs/bias": ("transformer.layers.0.self_attn.in_proj_bias", False),
    "transformer/outputs/kernel": ("transformer.layers.0.self_attn.out_proj.weight", True),
    "transformer/outputs/bias": ("transformer.layers.0.self_attn.out_proj.bias", False),
    "transformer/hidden/kernel": ("transformer.layers.0.linear1.weight", True),
    "transformer/hidden/bias": ("transformer.layers.0.linear1.bias", False),
    "transformer/projection/kernel": ("transformer.layers.0.linear2.weight", True),
    "transformer/projection/bias": ("transformer.layers.0.linear2.bias", False),
    "norm/0/scale": ("transformer.layers.0.norm1.weight", False),
    "norm/0/shift": ("transformer.layers.0.norm1.bias", False),
    "norm/1/scale": ("transformer.layers.0.norm2.weight", False),
    "norm/1/shift": ("transformer.layers.0.norm2.bias", False),
    "norm/2/scale": ("transformer.norm.weight", False),
    "norm/2/shift": ("transformer.norm.bias", False),
    "clusters/kernel": ("netvlad.conv.weight", True),
    "clusters/centres": ("netvlad.centroids", False),
    "reduction/kernel": ("netvlad.reduction_layer.weight", True),
    "norm/vector/scale": ("netvlad.norm.weight", False),
    "norm/vector/shift": ("netvlad.norm.bias", False),
}


def _coarse_shapes(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for ours, (theirs, transposed) in _COARSE.items():
        shape = SHAPES["coarse"][ours]
        shapes[theirs] = shape[::-1] if transposed else shape
    shapes[_CONTEXT] = (1, DIMS)
    shapes["netvlad.conv.weight"] += (1, 1)
    return shapes


_HEAD_SHAPES: dict[str, Any] = {
    "visil": lambda _: {**_comparator_shapes("visil"), _CONTEXT: (1, CHANNELS)},
    "visil_symmetric": lambda _: {**_comparator_shapes("visil"), _CONTEXT: (1, DIMS)},
    "fine": lambda _: {**_comparator_shapes("fine"), **_attention_shapes()},
    "binary": _binary_shapes,
    "coarse": _coarse_shapes,
    "selector": _selector_shapes,
}


def _comparator(arrays: Arrays, prefix: str) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    for layer in _LAYERS:
        kernel = arrays[f"{prefix}.{layer}.weight"].transpose(2, 3, 1, 0)
        yield np.ascontiguousarray(kernel), arrays[f"{prefix}.{layer}.bias"]


def _coarse(arrays: Arrays) -> dict[str, np.ndarray]:
    weights = {}
    for ours, (theirs, transposed) in _COARSE.items():
        array = arrays[theirs]
        array = array.reshape(array.shape[:2]) if array.ndim == 4 else array
        weights[ours] = array.T.copy() if transposed else array
    weights["attention/context"] = weights["attention/context"].reshape(-1)
    return weights


def _selector(arrays: Arrays) -> dict[str, np.ndarray]:
    weights = {ours: _coarse_like(arrays, ours) for ours in list(_COARSE)[:3]}
    for i, (kernel, bias) in enumerate(_comparator(arrays, "visil_head")):
        weights |= {f"comparator/{i}/kernel": kernel, f"comparator/{i}/bias": bias}
    for i, layer in enumerate((0, 4)):
        norm = [arrays[f"mlp.model.{layer + 1}.{part}"] for part in _NORM]
        kernel, bias = fold_batch_norm(arrays[f"mlp.model.{layer}.weight"].T, *norm)
        weights |= {f"score/{i}/kernel": kernel, f"score/{i}/bias": bias}
    weights["score/2/kernel"] = arrays["mlp.model.8.weight"].T.copy()
    weights["score/2/bias"] = arrays["mlp.model.8.bias"]
    _require_finite(weights)
    return weights


def _coarse_like(arrays: Arrays, ours: str) -> np.ndarray:
    theirs, transposed = _COARSE[ours]
    array = arrays[theirs].T.copy() if transposed else arrays[theirs]
    return array.reshape(-1) if ours.endswith("context") else array


def _backbone(arrays: Arrays) -> dict[str, np.ndarray]:
    """Convolutions with their batch norm folded in, by our layer names."""
    used = {name: array for name, array in arrays.items() if not name.startswith("fc.")}
    names = {convolution.layer: _their_names(convolution.layer) for convolution in _convolutions()}
    shapes: dict[str, tuple[int, ...]] = {}
    for convolution in _convolutions():
        conv, norm = names[convolution.layer]
        height, width, inputs, outputs = convolution.shape
        shapes[f"{conv}.weight"] = (outputs, inputs, height, width)
        shapes |= {f"{norm}.{part}": (outputs,) for part in _NORM}
    _require_exact(used, shapes)
    folded = {}
    for layer, (conv, norm) in names.items():
        kernel = used[f"{conv}.weight"].transpose(2, 3, 1, 0)
        parts = (used[f"{norm}.{part}"] for part in _NORM)
        folded[f"{layer}/kernel"], folded[f"{layer}/bias"] = fold_batch_norm(kernel, *parts)
    _require_finite(folded)
    return folded


def _convolutions() -> list[resnet50_spec.Convolution]:
    return list(resnet50_spec.convolutions())


def _their_names(layer: str) -> tuple[str, str]:
    """torchvision's names of a convolution and of its batch norm: block2_unit_1_conv3."""
    if layer == "conv1":
        return "conv1", "bn1"
    block, _, unit, part = layer.split("_")
    prefix = f"layer{block.removeprefix('block')}.{int(unit) - 1}"
    if part == "shortcut":
        return f"{prefix}.downsample.0", f"{prefix}.downsample.1"
    return f"{prefix}.{part}", f"{prefix}.bn{part.removeprefix('conv')}"


def _require_finite(arrays: Mapping[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: a batch norm has a variance below 0")


def _whitening(arrays: Arrays) -> Whitening:
    """The PCA with its eigenvalues in descending order, which the file does not promise."""
    mean = arrays["mean"].reshape(-1)
    expected = {"mean": (CHANNELS,), "V": (CHANNELS, CHANNELS), "d": (CHANNELS,)}
    _require_exact({"mean": mean, "V": arrays["V"], "d": arrays["d"]}, expected)
    values = arrays["d"].astype(np.float64)
    order = np.argsort(values)[::-1]
    scaled = np.asarray(values[order] + _PCA_EPSILON, np.float32)
    return Whitening(mean, np.ascontiguousarray(arrays["V"][:, order]), scaled)
