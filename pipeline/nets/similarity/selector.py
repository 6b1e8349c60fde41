"""DnS's selector: which pairs are worth the fine-grained student.

Kordopatis-Zilos et al., DnS, IJCV 2022. A video has one value, its index: the mean of what a
comparator makes of the video's similarity to itself. The score of a pair comes from both indices
and the coarse similarity.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import device_scope, ops
from ..model.student import Student
from .attention import attend_by_tanh
from .coarse_student import own_dims
from .comparator import convolve
from .ragged import gather_windows
from .windows import Window, windows

_WINDOW_FRAMES = 256  # rows and columns of the matrix that the comparator takes at once
_ROWS = 1 << 16  # pairs that are scored at once

Tensor = Any


class Selector:
    """The network with the weights of a student of kind "selector".

    Args:
        student: as loaded.
        gpu_id: see `nets.backend.device_scope`.
    """

    def __init__(self, student: Student, gpu_id: int | str | None = None) -> None:
        if student.kind != "selector":
            raise ValueError(f"{student.name} is of kind {student.kind!r}, expected 'selector'")
        self._gpu_id = gpu_id
        with device_scope(gpu_id):
            self._arrays = {k: ops.convert_to_tensor(v) for k, v in student.arrays.items()}
        self._layers = [
            (self._arrays[f"comparator/{i}/kernel"], self._arrays[f"comparator/{i}/bias"])
            for i in range(4)
        ]

    def index(self, descriptors: np.ndarray) -> float:
        """The index of a video.

        Args:
            descriptors: float [T, R, C], see `coarse_student.own_dims`.
        """
        with device_scope(self._gpu_id):
            x = ops.convert_to_tensor(own_dims(descriptors))
            a = self._arrays
            x = attend_by_tanh(x, *(a[f"attention/{k}"] for k in ("context", "kernel", "bias")))
            # The mean of all products of regions is the product of the frames' means.
            frames = ops.mean(x, axis=1)
            total, count = 0.0, 0
            parts = windows(frames.shape[0], _WINDOW_FRAMES)
            for rows in parts:
                for columns in parts:
                    matrix = ops.matmul(frames[rows.frames], ops.transpose(frames[columns.frames]))
                    outputs = self._outputs(matrix, rows, columns)[rows.counted, columns.counted]
                    total += float(outputs.sum(dtype=np.float64))
                    count += outputs.size
        return total / count

    def scores(self, queries: np.ndarray, targets: np.ndarray, coarse: np.ndarray) -> np.ndarray:
        """How much each pair gains by the fine-grained student.

        Args:
            queries, targets: float [Q] and [N], indices of both sides.
            coarse: float [Q, N], products of the coarse student's vectors.

        Returns:
            float32 [Q, N] within [0, 1]. Only their order means something, see
            `search.pair_selection`.
        """
        sides = np.broadcast_arrays(queries[:, None], targets[None], coarse)
        inputs = np.stack(sides, axis=-1).reshape(-1, 3).astype(np.float32)
        out = np.empty(len(inputs), np.float32)
        with device_scope(self._gpu_id):
            for start in range(0, len(inputs), _ROWS):
                part = self._scored(ops.convert_to_tensor(inputs[start : start + _ROWS]))
                out[start : start + _ROWS] = ops.convert_to_numpy(part)[:, 0]
        return out.reshape(coarse.shape)

    def _outputs(self, matrix: Tensor, rows: Window, columns: Window) -> np.ndarray:
        window = ops.convert_to_tensor(np.array([[*rows.half(), *columns.half()]], np.int32))
        high, wide = (ops.arange(side.padded, dtype="int32") for side in (rows, columns))
        x = gather_windows(matrix, window, high, wide, 1, zeros=True)[..., None]
        outputs = convolve(x, window[:, 1], window[:, 5], self._layers, zeros=True)
        return np.asarray(ops.convert_to_numpy(outputs))[0]

    def _scored(self, x: Tensor) -> Tensor:
        for i in range(3):
            x = ops.matmul(x, self._arrays[f"score/{i}/kernel"]) + self._arrays[f"score/{i}/bias"]
            x = ops.relu(x) if i < 2 else ops.sigmoid(x)
        return x
