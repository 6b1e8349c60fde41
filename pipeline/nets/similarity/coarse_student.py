"""DnS's coarse-grained student: one vector of a video, whose products are coarse similarities.

Kordopatis-Zilos et al., DnS, IJCV 2022: attention over regions, whose sum is the frame; one layer
of a transformer (Vaswani et al. 2017) over the frames; NetVLAD (Arandjelovic et al., CVPR 2016);
a linear map.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...short_videos import repeat_to_min
from ..backend import device_scope, ops
from ..layers.whitening import l2_normalize
from ..model.student import DIMS, HEADS, VECTOR, Student
from .attention import attend_by_tanh

_ROWS = 512  # frames whose attention to all frames is computed at once
_SMALLEST = 1e-12  # length of a vector that is taken for zero, as PyTorch does
_EPSILON = 1e-5  # of layer norm, as PyTorch has it

Tensor = Any


def own_dims(descriptors: np.ndarray) -> np.ndarray:
    """The values that students were trained on: the first ones, brought to length 1 again.

    Args:
        descriptors: float [T, R, C], whitened and before attention, C of `student.DIMS` or more.

    Returns:
        float32 [T', R, DIMS]; T' is T, or for fewer than 4 frames T doubled until it is 4 or more.

    Raises:
        ValueError: no frames, or fewer values.
    """
    if descriptors.ndim != 3 or not len(descriptors) or descriptors.shape[2] < DIMS:
        raise ValueError(f"descriptors are {descriptors.shape}, expected [T, R, {DIMS} or more]")
    x = repeat_to_min(descriptors.astype(np.float32, copy=False))
    if x.shape[2] == DIMS:
        return x
    x = x[..., :DIMS]
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-6))


def _unit(x: Tensor) -> Tensor:
    """The last axis at length 1, also of values far below what `l2_normalize` takes for zero.

    A cluster that hardly any frame belongs to counts as much as the others.
    """
    length = ops.sqrt(ops.sum(ops.square(x), axis=-1, keepdims=True))
    return x / ops.maximum(length, _SMALLEST)


class CoarseStudent:
    """The network with the weights of a student of kind "coarse".

    Args:
        student: as loaded.
        gpu_id: see `nets.backend.device_scope`.
    """

    def __init__(self, student: Student, gpu_id: int | str | None = None) -> None:
        if student.kind != "coarse":
            raise ValueError(f"{student.name} is of kind {student.kind!r}, expected 'coarse'")
        self._gpu_id = gpu_id
        with device_scope(gpu_id):
            self._arrays = {k: ops.convert_to_tensor(v) for k, v in student.arrays.items()}

    def __call__(self, descriptors: np.ndarray) -> np.ndarray:
        """The vector of a video.

        Args:
            descriptors: float [T, R, C], see `own_dims`.

        Returns:
            float32 [1024], of length 1.
        """
        with device_scope(self._gpu_id):
            x = ops.convert_to_tensor(own_dims(descriptors))
            a = self._arrays
            x = attend_by_tanh(x, *(a[f"attention/{k}"] for k in ("context", "kernel", "bias")))
            x = l2_normalize(ops.sum(x, axis=1))
            x = self._norm(self._transformed(x), "norm/2")
            return np.asarray(ops.convert_to_numpy(self._vector(x)))

    def _transformed(self, x: Tensor) -> Tensor:
        """One encoder layer, [T, C] -> [T, C]: each half's result is added, then normalised."""
        x = self._norm(x + self._attended(x), "norm/0")
        hidden = ops.relu(self._linear(x, "transformer/hidden"))
        return self._norm(x + self._linear(hidden, "transformer/projection"), "norm/1")

    def _attended(self, x: Tensor) -> Tensor:
        """Attention of each frame to all frames."""
        parts = ops.split(self._linear(x, "transformer/inputs"), 3, axis=1)
        heads = [ops.reshape(part, (-1, HEADS, DIMS // HEADS)) for part in parts]
        queries, keys, values = (ops.transpose(part, (1, 0, 2)) for part in heads)
        scale = np.float32(1 / np.sqrt(DIMS // HEADS))
        keys, rows = ops.transpose(keys, (0, 2, 1)), []
        for start in range(0, x.shape[0], _ROWS):
            dots = ops.matmul(queries[:, start : start + _ROWS] * scale, keys)
            rows.append(ops.matmul(ops.softmax(dots, axis=-1), values))
        joined = ops.transpose(ops.concatenate(rows, axis=1), (1, 0, 2))
        return self._linear(ops.reshape(joined, (-1, DIMS)), "transformer/outputs")

    def _vector(self, x: Tensor) -> Tensor:
        """NetVLAD of [T, C] and what follows: residuals to the clusters' centres, summed."""
        a = self._arrays
        shares = ops.softmax(ops.matmul(x, a["clusters/kernel"]), axis=-1)
        total = ops.sum(shares, axis=0)[:, None]
        residuals = ops.matmul(ops.transpose(shares), x) - total * a["clusters/centres"]
        flat = _unit(ops.reshape(_unit(residuals), (1, -1)))
        reduced = self._norm(ops.matmul(flat, a["reduction/kernel"]), "norm/vector")
        return ops.reshape(_unit(reduced), (VECTOR,))

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return ops.matmul(x, self._arrays[f"{name}/kernel"]) + self._arrays[f"{name}/bias"]

    def _norm(self, x: Tensor, name: str) -> Tensor:
        """Layer norm (Ba et al. 2016)."""
        mean = ops.mean(x, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(x - mean), axis=-1, keepdims=True)
        normal = (x - mean) * ops.rsqrt(variance + _EPSILON)
        return normal * self._arrays[f"{name}/scale"] + self._arrays[f"{name}/shift"]
