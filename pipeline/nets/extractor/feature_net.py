"""The network of stage one: frames -> whitened vectors of regions and views, before attention."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import ModelError
from ...records import FeatureSpec
from ..backbones import registry
from ..backend import (
    COMPILES_BY_SHAPE,
    compiled,
    compiled_for_shapes,
    device_scope,
    keras,
    ops,
    resolve_precision,
    traced_once,
)
from ..layers import whitening
from ..model.model import ModelWeights
from ..model.whitening import Whitening, projection
from . import query_augmentation, thumbnail
from .regions import region_vectors


class FeatureNet:
    """Backbone, regions, views and whitening as one compiled function of a batch of frames.

    Attributes:
        name, digest: of the model; see `ModelWeights`.
        views_digest: of what only queries have; empty for a database.
        layout: what the vectors of a frame are.
        vectors, dims: R and C of the vectors.
        preprocess: how frames are to be resized and cropped.
        insets: pictures within the picture that the model asks for; see `ModelWeights`.
        precision: the one in use, never "auto".
        batch_size: frames in one run at most. Where each shape is compiled anew (JAX), fewer are
            filled up with black, which is cut off again.
    """

    def __init__(
        self,
        weights: ModelWeights,
        precision: str = "float32",
        batch_size: int = 32,
        gpu_id: int | str | None = None,
        as_queries: bool = False,
    ) -> None:
        """Put the weights on the device; compiling waits for the first batch.

        Args:
            weights: a loaded model.
            precision: of the backbone; regions and whitening are float32 in every case.
            batch_size: frames in one run of the network.
            gpu_id: see `backend.device_scope`.
            as_queries: with the vectors that only queries have; see `layout`.

        Raises:
            ModelError: the arrays do not fit the backbone or the whitening.
            InputError: unknown precision or GPU.
        """
        self.name = weights.name
        self.digest = weights.features_digest
        self.views_digest = weights.views_digest if as_queries else ""
        layout = weights.layout
        self.layout = layout if as_queries else layout.of_database
        self._small = weights.small if as_queries else ()
        self.vectors = self.layout.query
        self.dims = weights.dims
        self.preprocess = weights.input.preprocess
        self.insets = weights.insets
        close = weights.backbone in registry.CLOSE_IN_BFLOAT16
        self.precision = resolve_precision(precision, close, gpu_id)
        self.batch_size = batch_size
        self._gpu_id = gpu_id
        self._input = weights.input
        self._grid = weights.grid
        with device_scope(gpu_id):
            self._backbone = registry.build(weights, self.precision)
            self._check_sizes(weights)
            self._whitening = _constants(weights.whitening)
            variables = [*self._backbone.variables, *self._whitening]
            if weights.soft is not None:
                # The same backbone for pictures of half the side.
                side = self.preprocess.crop // 2
                half = replace(weights.input, resize=side, crop=side)
                small = replace(weights, input=half, pixels=None, mirrored=False, adaptation=None)
                self._half = registry.build(small, self.precision)
                self._soft = _constants(weights.soft)
                variables += [*self._half.variables, *self._soft]
            if weights.pixels is not None:
                self._pixels = _constants(weights.pixels)
                variables += self._pixels
        self._whole_maps = traced_once(lambda x: _maps(self._backbone, x))
        self._half_maps = traced_once(lambda x: _maps(self._half, x))
        if COMPILES_BY_SHAPE:
            self._run = compiled(self._forward, variables)
        else:
            crop = self.preprocess.crop
            self._run = compiled_for_shapes(self._forward, [((None, crop, crop, 3), "uint8")])

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Region vectors of any number of frames.

        Args:
            frames: uint8 [B, crop, crop, 3] RGB.

        Returns:
            float32 [B, R, C], of length 1 along C.
        """
        crop = self.preprocess.crop
        if frames.dtype != np.uint8 or frames.shape[1:] != (crop, crop, 3):
            raise ValueError(
                f"frames are {frames.dtype} {frames.shape}, expected uint8 [B, {crop}, {crop}, 3]"
            )
        out = np.empty((len(frames), self.vectors, self.dims), np.float32)
        with device_scope(self._gpu_id):
            for start in range(0, len(frames), self.batch_size):
                batch = frames[start : start + self.batch_size]
                vectors = ops.convert_to_numpy(self._run(self._filled(batch)))
                out[start : start + len(batch)] = vectors[: len(batch)]
        return out

    def spec(self, fps: float, sampling: str) -> FeatureSpec:
        """What a store has to know of features made by this network."""
        return FeatureSpec(
            model=self.name,
            digest=self.digest,
            shared_descriptors=self.layout.shared,
            dims=self.dims,
            fps=fps,
            resize=self.preprocess.resize,
            crop=self.preprocess.crop,
            resize_method=self.preprocess.method,
            sampling=sampling,
            query_descriptors=self.layout.query - self.layout.shared,
            augmentation_digest=self.views_digest,
        )

    def _filled(self, batch: np.ndarray) -> np.ndarray:
        """Always `batch_size` frames where each shape would be compiled anew."""
        missing = self.batch_size - len(batch)
        if not missing or not COMPILES_BY_SHAPE:
            return batch
        return np.concatenate([batch, np.zeros((missing, *batch.shape[1:]), np.uint8)])

    def _forward(self, frames: Any) -> Any:
        x = rgb = ops.cast(frames, "float32")
        if self._input.channels == "BGR":
            x = ops.flip(x, axis=-1)
        x = (x - np.array(self._input.mean, np.float32)) * np.array(self._input.scale, np.float32)
        vectors = [self._regions(x)]
        if self.layout.soft:
            vectors.append(self._whole([query_augmentation.softened(x)]))
        if self.layout.pixels:
            vectors.append(self._thumbnail(rgb))
        middle = self.layout.regions // 2
        for divisor in self._small:
            vectors.append(
                self._regions(query_augmentation.shrunken(x, divisor))[:, middle : middle + 1]
            )
        if self.layout.views:
            black = -np.array(self._input.mean) * np.array(self._input.scale)
            white = black + 255 * np.array(self._input.scale)
            vectors.append(
                self._whole(query_augmentation.pictures(x, self.layout.views, black, white))
            )
        if self.layout.mirrored:
            vectors.append(self._thumbnail(ops.flip(rgb, axis=2)))
        return vectors[0] if len(vectors) == 1 else ops.concatenate(vectors, axis=1)

    def _whole(self, pictures: list[Any]) -> Any:
        """s of float32 [B, S / 2, S / 2, 3] -> whitened [B, s, C], by one run of the backbone."""
        joined = pictures[0] if len(pictures) == 1 else ops.concatenate(pictures, axis=0)
        found = region_vectors(self._half_maps(joined), 1)
        whitened = whitening.whiten(found, *self._soft)
        apart = ops.reshape(whitened, (len(pictures), -1, whitened.shape[-1]))
        return ops.transpose(apart, (1, 0, 2))

    def _thumbnail(self, rgb: Any) -> Any:
        """float32 [B, S, S, 3] -> whitened [B, 1, C]."""
        found = thumbnail.thumbnails(rgb, self._pixels[0].shape[0])
        return whitening.whiten(found, *self._pixels)[:, None]

    def _regions(self, x: Any) -> Any:
        """float32 [B, S, S, 3] -> whitened [B, grid * grid, C]."""
        found = region_vectors(self._whole_maps(x), self._grid)
        return whitening.whiten(found, *self._whitening)

    def _check_sizes(self, weights: ModelWeights) -> None:
        shapes = [output.shape for output in self._backbone.outputs]
        found, expected = sum(shape[-1] for shape in shapes), len(weights.whitening.mean)
        if found != expected:
            raise ModelError(
                f"{weights.name}: the taps {weights.taps} give {found} values a region, its "
                f"whitening was fitted for {expected}; the model's files do not belong together"
            )
        smallest = min(shape[1] for shape in shapes)
        if smallest < weights.grid:
            raise ModelError(
                f"{weights.name}: its smallest map is {smallest} wide, too small for a grid of "
                f"{weights.grid}; correct grid, taps or crop in its description"
            )


def _maps(backbone: Any, x: Any) -> list[Any]:
    maps = backbone(x, training=False)
    return list(maps) if isinstance(maps, (list, tuple)) else [maps]


def _constants(pca: Whitening) -> list[keras.Variable]:
    """Mean and projection of a whitening."""
    arrays = pca.mean, projection(pca)
    return [keras.Variable(a, trainable=False, dtype="float32") for a in arrays]
