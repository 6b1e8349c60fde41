"""The ViSiL network as one object: frames -> descriptors -> matrices -> similarity.

For notebooks and single pairs; whole collections go through the two stages, which keep features in
a store and compare many pairs at once, by the same engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ..config import SIMILARITY_FUNCTIONS
from ..default_model import default_model_dir
from ..errors import InputError
from ..image.resize import resize_crop
from ..short_videos import repeat_to_min
from .backend import device_scope, ops, resolve_precision
from .extractor.feature_net import FeatureNet
from .formats.loader import load_model
from .model.model import Model
from .similarity import chamfer
from .similarity.attention import apply_head
from .similarity.comparator import SHRINK
from .similarity.pair_scorer import PairScorer
from .similarity.windows import Window, windows

FrameWeights = tuple[np.ndarray | None, np.ndarray | None]  # of query and database frames


@dataclass(frozen=True)
class Limits:
    """How much is done at once; results do not depend on it.

    Attributes:
        batch_frames: frames in one run of the backbone.
        tile_frames: frames of queries and of targets in one product: 2304 x 4608 products of
            regions take 40 MiB.
        window_frames: rows and columns of the matrix that the comparator takes at once, beside its
            halo; a multiple of 4.
    """

    batch_frames: int = 32
    tile_frames: tuple[int, int] = (256, 512)
    window_frames: int = 256

    def __post_init__(self) -> None:
        sizes = (self.batch_frames, *self.tile_frames, self.window_frames)
        if min(sizes) < 1 or self.window_frames % SHRINK:
            raise InputError(
                f"{self}: expected 1 or more of each, and window_frames a multiple of {SHRINK}"
            )


class ViSiL:
    """ViSiL (Kordopatis-Zilos et al., ICCV 2019) with the weights of a model directory.

    Attributes:
        model: the loaded `Model`; `model.origin` tells which format was found.
        similarity_function: of `config.SIMILARITY_FUNCTIONS`.
        precision: of the backbone, as asked for; similarities are always computed in float32.
    """

    def __init__(
        self,
        model_dir: str | Path | None = None,
        dims: int | None = None,
        similarity_function: str | None = None,
        *,
        precision: str = "float32",
        gpu_id: int | str | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Load the model; the backbone is built when the first features are extracted.

        Args:
            model_dir: a model directory, see `formats.loader`; None takes the shipped model.
            dims: keep only the first values of each whitened descriptor.
            similarity_function: None takes the model's own.
            precision: auto, float32, bfloat16 or float16.
            gpu_id: number of a GPU, -1 for the CPU, None for the backend's choice.
            limits: how much is done at once; None takes what suits most machines.

        Raises:
            ModelError: the directory holds no usable model.
            InputError: an unknown similarity function, precision or GPU.
        """
        if similarity_function not in (None, *SIMILARITY_FUNCTIONS):
            raise InputError(
                f"similarity_function is {similarity_function!r}, "
                f"expected one of {SIMILARITY_FUNCTIONS}"
            )
        resolve_precision(precision)  # refuses an unknown one now rather than at the first video
        self.precision = precision
        self.model = load_model(model_dir or default_model_dir(), dims)
        self.similarity_function = similarity_function or self.model.similarity_function
        self.limits = limits or Limits()
        self._gpu_id = gpu_id
        self._engine: tuple[Model, str, PairScorer] | None = None
        device_scope(gpu_id)  # refuses an unknown GPU now rather than at the first video

    def __repr__(self) -> str:
        return f"ViSiL({self.model.name!r}, {self.similarity_function}, {self.precision})"

    def extract_features(
        self, frames: np.ndarray | Sequence[np.ndarray], as_query: bool = False
    ) -> np.ndarray:
        """Descriptors of one video, ready for the methods below.

        Args:
            frames: uint8 RGB [T, H, W, 3], or T arrays [H, W, 3]; any size. The shorter side
                is scaled to the model's size unless it has it, then the centre is cut out.
            as_query: with the descriptors that only a query has, see `nets.model.descriptors`.

        Returns:
            float32 [T', R, C] after whitening, L2 norm and attention. T' is T, or for fewer
            than 4 frames T doubled until it is 4 or more.

        Raises:
            InputError: no frames, or not uint8 RGB.
        """
        if len(frames) == 0:
            raise InputError("no frames given, expected uint8 [T, H, W, 3] with T of at least 1")
        more = self.model.layout.query > self.model.regions
        net = self._query_net if as_query and more else self._net
        features = np.empty((len(frames), net.vectors, self.model.dims), np.float32)
        size = self.limits.batch_frames
        for start in range(0, len(frames), size):
            batch = frames[start : start + size]
            cropped = [resize_crop(np.asarray(f), net.preprocess) for f in batch]
            features[start : start + size] = self._attended(net(np.stack(cropped)))
        return repeat_to_min(features)

    def calculate_f2f_matrix(self, query: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Frame-to-frame similarity: Chamfer over regions, or the best of the model's other terms.

        Args:
            query, target: float [T, R, C] of `extract_features`.

        Returns:
            float32 [Tq, Tt], after repeating fewer than 4 frames. Blank regions count for less
            where the model knows them, see `attention.content`.

        Raises:
            InputError: not features of this model.
        """
        return self._matrix(self._checked(query, "query"), self._checked(target, "target"))[0]

    def calculate_visil_output(self, query: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Output of the video comparator.

        Args:
            query, target: float [T, R, C] of `extract_features`.

        Returns:
            float32 [Tq // 4, Tt // 4] within [-1, 1]; for a model without comparator (ViSiL_f
            in the paper) the frame-to-frame matrix [Tq, Tt] itself. Blank frames count for less
            in what passes the comparator by, see `comparator.bypass`.

        Raises:
            InputError: not features of this model.
        """
        return self._output(query, target)[0]

    def calculate_video_similarity(self, query: np.ndarray, target: np.ndarray) -> float:
        """Similarity of two videos, Chamfer over the output of `calculate_visil_output`.

        Args:
            query, target: float [T, R, C] of `extract_features`.

        Returns:
            a number within [-1, 1]. Plain Chamfer is not symmetric: it asks how well the target
            covers the query. The larger of both directions ("max_chamfer") is high as well where
            the query covers the target.

        Raises:
            InputError: not features of this model.
        """
        output, weights = self._output(query, target)
        score = chamfer.video_to_video(output, self.similarity_function, weights)
        return min(1.0, max(-1.0, score))

    @cached_property
    def _net(self) -> FeatureNet:
        return FeatureNet(self.model, self.precision, self.limits.batch_frames, self._gpu_id)

    @cached_property
    def _query_net(self) -> FeatureNet:
        size = self.limits.batch_frames
        return FeatureNet(self.model, self.precision, size, self._gpu_id, as_queries=True)

    @property
    def _scorer(self) -> PairScorer:
        """The engine for the model and the function as they are now."""
        model, function = self.model, self.similarity_function
        if self._engine is None or self._engine[0] is not model or self._engine[1] != function:
            scorer = PairScorer(model, function, "float32", self.limits.tile_frames)
            self._engine = model, function, scorer
        return self._engine[2]

    def _attended(self, vectors: np.ndarray) -> np.ndarray:
        if self.model.attention is None:
            return vectors
        # The signs of a binarization are made by the engine, which also takes what is stored.
        with device_scope(self._gpu_id):
            attended = apply_head(vectors, replace(self.model, binarization=None))
            return np.asarray(ops.convert_to_numpy(attended))

    def _matrix(self, query: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, FrameWeights]:
        """The frame matrix, and how much the frames of both sides count, tile by tile."""
        target = target[:, : self.model.regions]
        if self.model.attention is not None:
            # The engine attends itself, as it does with vectors of stores.
            query, target = _unit(query), _unit(target)
        matrix = np.empty((len(query), len(target)), np.float32)
        weights = tuple(np.ones(len(side), np.float32) for side in (query, target))
        height, width = self.limits.tile_frames
        with device_scope(self._gpu_id):
            scorer = self._scorer
            for top in range(0, len(query), height):
                rows = slice(top, min(top + height, len(query)))
                placed = scorer.place_queries(query[rows])
                _keep(weights[0][rows], scorer.fetched_weights(placed))
                for left in range(0, len(target), width):
                    columns = slice(left, min(left + width, len(target)))
                    references = scorer.place_targets(target[columns])
                    _keep(weights[1][columns], scorer.fetched_weights(references))
                    tile = ops.convert_to_numpy(scorer.frame_matrix(placed, references))
                    part = matrix[rows, columns]
                    part[:] = tile[: part.shape[0], : part.shape[1]]
        return matrix, (None, None) if self.model.blank is None else (weights[0], weights[1])

    def _output(
        self, query: np.ndarray, target: np.ndarray
    ) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray] | None]:
        """`calculate_visil_output`, and the weights of its rows and columns or None."""
        query, target = self._checked(query, "query"), self._checked(target, "target")
        matrix, weights = self._matrix(query, target)
        headed = self.model.comparator is not None
        output = self._compared(matrix, weights) if headed else matrix
        if weights[0] is None or weights[1] is None:
            return output, None
        stride = SHRINK if headed else 1
        return output, (_output_weights(weights[0], stride), _output_weights(weights[1], stride))

    def _compared(self, matrix: np.ndarray, weights: FrameWeights) -> np.ndarray:
        """The comparator over windows with enough of their neighbours to be exact."""
        shape = matrix.shape[0] // SHRINK, matrix.shape[1] // SHRINK
        output = np.empty(shape, np.float32)
        size = self.limits.window_frames
        with device_scope(self._gpu_id):
            scorer = self._scorer
            for rows in windows(len(matrix), size):
                for columns in windows(matrix.shape[1], size):
                    part = ops.convert_to_tensor(matrix[rows.frames, columns.frames])
                    window = np.array([[*rows.half(), *columns.half()]], np.int32)
                    sides = _part_of(weights[0], rows), _part_of(weights[1], columns)
                    part_output = scorer.outputs(part, window, rows.padded, columns.padded, sides)
                    values = ops.convert_to_numpy(part_output)[0]
                    output[rows.outputs, columns.outputs] = values[rows.counted, columns.counted]
        return output

    def _checked(self, features: np.ndarray, role: str) -> np.ndarray:
        features = np.asarray(features)
        layout, dims = self.model.layout, self.model.dims
        right = features.ndim == 3 and features.shape[2] == dims and features.dtype.kind == "f"
        if not right or features.shape[1] not in (layout.shared, layout.query):
            raise InputError(
                f"{role} features are {features.dtype} {features.shape}, expected float "
                f"[T, {layout.shared}, {dims}] as extract_features gives them"
            )
        if len(features) == 0 or not np.isfinite(features).all():
            raise InputError(f"{role} features are empty or hold a value that is not finite")
        return repeat_to_min(features.astype(np.float32, copy=False))


def _part_of(weights: np.ndarray | None, window: Window) -> np.ndarray | None:
    return None if weights is None else weights[window.frames]


def _keep(part: np.ndarray, tile_weights: np.ndarray | None) -> None:
    """Put weights of a tile, which may be filled up, where they belong."""
    if tile_weights is not None:
        part[:] = tile_weights[: len(part)]


def _output_weights(weights: np.ndarray, stride: int) -> np.ndarray:
    """Weight of each row of the output: the mean of its frames'."""
    count = len(weights) // stride
    return np.asarray(weights[: count * stride].reshape(count, stride).mean(axis=1))


def _unit(x: np.ndarray) -> np.ndarray:
    """Vectors of length 1; zeros stay zeros."""
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return np.asarray(x / np.where(length > 0, length, 1))
