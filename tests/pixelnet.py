"""A feature network of one numpy line, for tests of everything around the real one."""

from __future__ import annotations

import numpy as np

from pipeline.records import FeatureSpec, Preprocess


class PixelNet:
    """[B, 32, 32, 3] frames -> [B, 9, 48]: the pixels of a 3x3 grid, every other one left out."""

    name, digest, regions, dims = "pixels", "0" * 64, 9, 75
    precision, preprocess, insets = "float32", Preprocess(32, 30), 0
    notes: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        self.batches.append(len(frames))
        cells = frames.astype(np.float32).reshape(len(frames), 3, 10, 3, 10, 3)[:, :, ::2, :, ::2]
        x = cells.transpose(0, 1, 3, 2, 4, 5).reshape(len(frames), 9, -1) + 1
        return x / np.linalg.norm(x, axis=2, keepdims=True)

    def spec(self, fps: float, sampling: str) -> FeatureSpec:
        size = self.preprocess
        return FeatureSpec(
            self.name, self.digest, 9, self.dims, fps, size.resize, size.crop, size.method, sampling
        )
