"""The network of stage one: frames -> whitened descriptors, before attention."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from ...config import ENGINES, ExtractConfig
from ...errors import InputError, ModelError
from ...records import FeatureSpec
from ..backbones import registry
from ..backend import (
    BACKEND,
    COMPILES_BY_SHAPE,
    compiled,
    compiled_for_shapes,
    device_scope,
    frozen_graph,
    keras,
    network_threads,
    on_gpu,
    ops,
    resolve_precision,
    traced_once,
)
from ..layers import whitening
from ..model.descriptors import QueryAugmentation
from ..model.model import Model
from ..model.whitening import Whitening, projection
from . import openvino_engine, query_augmentation, thumbnail
from .openvino_engine import EngineError, OpenVinoNet
from .query_augmentation import Colours
from .regions import region_vectors


def network_for(model: Model, config: ExtractConfig, gpu_id: int | str | None) -> FeatureNet:
    """Make the network that the settings of stage one ask for.

    Args:
        model: a loaded model, with the number of dimensions of `config`.
        gpu_id: see `backend.device_scope`.

    Raises:
        ModelError: the arrays do not fit the backbone or the whitening.
        InputError: unknown precision, engine or GPU.
    """
    return FeatureNet(
        model,
        config.precision,
        config.batch_size,
        gpu_id,
        config.as_queries,
        engine=config.engine,
    )


class FeatureNet:
    """Backbone, pooling, augmentation and whitening as one compiled function of frames.

    Attributes:
        name, digest: of the model; see `Model`.
        views_digest: of what only queries have; empty for a database.
        layout: what the vectors of a frame are.
        vectors, dims: R and C of the vectors.
        preprocess: how frames are to be resized and cropped.
        insets: pictures within the picture that the model asks for; see `Model`.
        precision: the one in use, never "auto".
        engine: the one in use, "keras" or "openvino".
        notes: sentences for the user; why the engine that was asked for is not in use.
        batch_size: frames in one run at most. Where each shape is compiled anew (JAX), fewer are
            filled up with black, which is cut off again.
    """

    def __init__(
        self,
        model: Model,
        precision: str = "float32",
        batch_size: int = 32,
        gpu_id: int | str | None = None,
        as_queries: bool = False,
        *,
        engine: str = "keras",
    ) -> None:
        """Put the weights on the device; compiling waits for the first batch.

        Args:
            model: a loaded model.
            precision: of the backbone; with Keras regions and whitening are float32 in every case.
            batch_size: frames in one run of the network.
            gpu_id: see `backend.device_scope`.
            as_queries: with the descriptors that only queries have.
            engine: see `config.ExtractConfig`; features do not depend on it.

        Raises:
            ModelError: the arrays do not fit the backbone or the whitening.
            InputError: unknown precision or GPU.
        """
        self.name = model.name
        self.digest = model.features_digest
        self.views_digest = model.views_digest if as_queries else ""
        self.layout = model.layout if as_queries else model.layout.of_database
        self.vectors = self.layout.query
        self.dims = model.dims
        self.preprocess = model.input.preprocess
        self.insets = model.insets
        close = model.backbone in registry.CLOSE_IN_BFLOAT16
        self.precision = resolve_precision(precision, close, gpu_id)
        self._precision_asked = precision
        self.batch_size = batch_size
        self._gpu_id = gpu_id
        self._input = model.input
        self._grid, self._windows = model.grid, model.windows
        self._model, self._engine_asked = model, engine
        self.engine = "keras"
        self.notes: tuple[str, ...] = ()
        if self._takes_openvino(engine):
            self._start_openvino(model)
        if self.engine == "keras":
            self._build(model, self.precision)

    def _takes_openvino(self, engine: str) -> bool:
        """Whether OpenVINO is to be tried; adds to `notes` if it was asked for in vain."""
        if engine not in ENGINES:
            raise InputError(f"engine is {engine!r}, expected one of {', '.join(ENGINES)}")
        if engine == "keras":
            return False
        # Where "auto" means bfloat16, TensorFlow is as fast.
        precise = self.precision == "float32" or self._precision_asked in openvino_engine.PRECISIONS
        fits = BACKEND == "tensorflow" and precise and not on_gpu(self._gpu_id)
        if fits and openvino_engine.installed():
            return True
        if engine == "openvino":
            reason = (
                "it is not installed (pip install openvino)"
                if fits
                else "it computes on a CPU (--gpu_id -1), in float32 or bfloat16 (--precision), "
                "and takes the network from TensorFlow"
            )
            self.notes = (f"OpenVINO is not used, as {reason}",)
        return False

    def _start_openvino(self, model: Model) -> None:
        def graph() -> Any:
            self._build(model, "float32")
            return frozen_graph(self._run)

        key = (self.digest, self.views_digest, self.dims, self.vectors)
        views = self.vectors > self.layout.shared
        frames = openvino_engine.QUERY_JOB_FRAMES if views else openvino_engine.JOB_FRAMES
        try:
            self._openvino = OpenVinoNet(
                key,
                (frames, self.preprocess.crop),
                graph,
                self._run_keras,
                network_threads(),
                precision=self.precision,
            )
        except EngineError as error:
            self.notes = (f"OpenVINO cannot run this network here ({error}); TensorFlow does",)
        else:
            self.engine = "openvino"

    def _build(self, model: Model, precision: str) -> None:
        """Make the network of Keras layers, not yet compiled."""
        with device_scope(self._gpu_id):
            self._backbone = registry.build(model, precision)
            self._check_sizes(model)
            whitenings = model.whitenings.items()
            self._whitenings = {space: _constants(pca) for space, pca in whitenings}
            variables = list(self._backbone.variables)
            for constants in self._whitenings.values():
                variables += constants
            if model.lowpass is not None:
                # The same backbone for pictures of half the side.
                half = self.preprocess.crop // 2
                self._half = registry.build(model, precision, half)
                variables += self._half.variables
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
        return self._openvino(frames) if self.engine == "openvino" else self._run_keras(frames)

    def _run_keras(self, frames: np.ndarray) -> np.ndarray:
        out = np.empty((len(frames), self.vectors, self.dims), np.float32)
        with device_scope(self._gpu_id):
            for start in range(0, len(frames), self.batch_size):
                batch = frames[start : start + self.batch_size]
                vectors = ops.convert_to_numpy(self._run(self._filled(batch)))
                out[start : start + len(batch)] = vectors[: len(batch)]
        return out

    @property
    def lowpass_views(self) -> list[int]:
        """Places of the lowpass query views among a frame's descriptors."""
        return self.layout.lowpass_views

    def with_views_of(self, frames: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Descriptors of frames, with the lowpass query views of some of them only.

        Args:
            frames: uint8 [B, crop, crop, 3] RGB.
            chosen: bool [B].

        Returns:
            float32 [B, R, C]; views that were not chosen are zeros, or what they would be.
        """
        # Where each number of frames is filled up to a batch, two small batches cost more.
        if COMPILES_BY_SHAPE or chosen.all() or not self.lowpass_views:
            return self(frames)
        out = np.zeros((len(frames), self.vectors, self.dims), np.float32)
        out[chosen] = self(frames[chosen])
        others = np.setdiff1d(np.arange(self.vectors), self.lowpass_views)
        out[np.ix_(~chosen, others)] = self._without_views(frames[~chosen])
        return out

    @cached_property
    def _without_views(self) -> FeatureNet:
        """The network without lowpass query views."""
        return FeatureNet(
            replace(self._model, layout=self.layout.without_lowpass_views),
            self._precision_asked,
            self.batch_size,
            self._gpu_id,
            as_queries=True,
            engine=self._engine_asked,
        )

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
        black = -np.array(self._input.mean) * np.array(self._input.scale)
        colours = Colours(black, black + 255 * np.array(self._input.scale), np.zeros(3))
        descriptors = self._lowpass_groups(x, colours)
        for group in self.layout.groups:
            if group.space == "regions":
                descriptors[group.name] = self._region_group(x, group.augmentation, colours)
            elif group.space == "thumbnail":
                descriptors[group.name] = self._thumbnail_group(rgb, group.augmentation)
        parts = [descriptors[group.name] for group in self.layout.groups]
        return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=1)

    def _lowpass_groups(self, x: Any, colours: Colours) -> dict[str, Any]:
        """float32 [B, S, S, 3] -> [B, s, C] for each lowpass group.

        All that only queries have is one run of the backbone, so that a database's descriptors do
        not depend on it.
        """
        groups = [group for group in self.layout.groups if group.space == "lowpass"]
        descriptors: dict[str, Any] = {}
        pictures: list[Any] = []
        for group in groups:
            if group.augmentation is None:
                descriptors[group.name] = self._lowpass([query_augmentation.halve_and_lowpass(x)])
            else:
                pictures += query_augmentation.lowpass_pictures(x, group.augmentation, colours)
        augmented, start = self._lowpass(pictures) if pictures else None, 0
        for group in groups:
            if group.augmentation is not None and augmented is not None:
                descriptors[group.name] = augmented[:, start : start + group.count]
                start += group.count
        return descriptors

    def _lowpass(self, pictures: list[Any]) -> Any:
        """s of float32 [B, S / 2, S / 2, 3] -> whitened [B, s, C], by one run of the backbone."""
        joined = pictures[0] if len(pictures) == 1 else ops.concatenate(pictures, axis=0)
        vectors = region_vectors(self._half_maps(joined), 1)
        whitened = whitening.whiten(vectors, *self._whitenings["lowpass"])
        apart = ops.reshape(whitened, (len(pictures), -1, whitened.shape[-1]))
        return ops.transpose(apart, (1, 0, 2))

    def _thumbnail_group(self, rgb: Any, augmentation: QueryAugmentation | None) -> Any:
        """float32 [B, S, S, 3] of 0 to 255 -> whitened [B, s, C]."""
        mean = np.array(self._input.mean[:: -1 if self._input.channels == "BGR" else 1])
        colours = Colours(np.zeros(3), np.full(3, 255.0), mean)
        pictures = [rgb]
        if augmentation is not None:
            pictures = query_augmentation.full_pictures(rgb, augmentation, colours)
        size = self._whitenings["thumbnail"][0].shape[0]
        parts = [
            whitening.whiten(thumbnail.thumbnails(p, size), *self._whitenings["thumbnail"])[:, None]
            for p in pictures
        ]
        return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=1)

    def _region_group(
        self, x: Any, augmentation: QueryAugmentation | None, colours: Colours
    ) -> Any:
        """float32 [B, S, S, 3] -> whitened [B, s * grid * grid, C], or [B, 1, C] downscaled."""
        if augmentation is None:
            return self._regions(x)
        pictures = query_augmentation.full_pictures(x, augmentation, colours)
        parts = [self._regions(picture) for picture in pictures]
        if augmentation.kind == "downscale":
            middle = self.layout.regions // 2
            return parts[0][:, middle : middle + 1]
        return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=1)

    def _regions(self, x: Any) -> Any:
        """float32 [B, S, S, 3] -> whitened [B, grid * grid, C]."""
        vectors = region_vectors(self._whole_maps(x), self._grid, self._windows)
        return whitening.whiten(vectors, *self._whitenings["regions"])

    def _check_sizes(self, model: Model) -> None:
        shapes = [output.shape for output in self._backbone.outputs]
        values, expected = sum(shape[-1] for shape in shapes), len(model.whitening.mean)
        if values != expected:
            raise ModelError(
                f"{model.name}: the taps {model.taps} give {values} values a region, its "
                f"whitening was fitted for {expected}; the model's files do not belong together"
            )
        smallest = min(shape[1] for shape in shapes)
        if smallest < model.grid:
            raise ModelError(
                f"{model.name}: its smallest map is {smallest} wide, too small for a grid of "
                f"{model.grid}; correct grid, taps or crop in its description"
            )


def _maps(backbone: Any, x: Any) -> list[Any]:
    maps = backbone(x, training=False)
    return list(maps) if isinstance(maps, (list, tuple)) else [maps]


def _constants(pca: Whitening) -> list[keras.Variable]:
    """Mean and projection of a whitening."""
    arrays = pca.mean, projection(pca)
    return [keras.Variable(a, trainable=False, dtype="float32") for a in arrays]
