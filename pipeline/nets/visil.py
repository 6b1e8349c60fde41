"""The ViSiL network as one object: frames -> region vectors -> matrices -> similarity.

For notebooks and single pairs; whole collections go through the two stages, which share the
weights but keep features in a store and compare many pairs at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..config import SIMILARITY_FUNCTIONS
from ..default_model import default_model_dir
from ..errors import InputError
from ..image.resize import resize_crop
from ..short_videos import MINIMUM_FRAMES, repeat_to_min
from .backend import device_scope, ops, resolve_precision
from .extractor.feature_net import FeatureNet
from .formats.loader import load_model
from .layers.whitening import l2_normalize
from .model.blank import Blank
from .model.descriptors import Layout
from .similarity import chamfer, comparator
from .similarity.adaptation import Matrices, adapted, hubs_of, matrices_of
from .similarity.attention import attend, content_of_views

BATCH_FRAMES = 32
TILE_FRAMES = 256  # side of a tile of the f2f matrix: 2304 x 2304 region products, 20 MiB
STRIP_ROWS = 256  # of the f2f matrix that the comparator takes at once
HALO_ROWS = 8  # of its neighbours; it looks 7 rows far, and strips start at multiples of 4

Weights = tuple[np.ndarray, np.ndarray]  # of query and database frames


class ViSiL:
    """ViSiL (Kordopatis-Zilos et al., ICCV 2019) with the weights of a model directory.

    Attributes:
        weights: the loaded `ModelWeights`; `weights.origin` tells which format was found.
        similarity_function: of `config.SIMILARITY_FUNCTIONS`.
        precision: of the backbone, as asked for; similarities are always computed in float32.
    """

    def __init__(
        self,
        model_dir: str | Path | None = None,
        dims: int | None = None,
        similarity_function: str | None = None,
        precision: str = "float32",
        gpu_id: int | str | None = None,
    ) -> None:
        """Load the weights; the backbone is built when the first features are extracted.

        Args:
            model_dir: a model directory, see `formats.loader`; None takes the shipped model.
            dims: keep only the first values of each whitened region vector.
            similarity_function: None takes the model's own.
            precision: auto, float32, bfloat16 or float16.
            gpu_id: number of a GPU, -1 for the CPU, None for the backend's choice.

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
        self.weights = load_model(model_dir or default_model_dir(), dims)
        self.similarity_function = similarity_function or self.weights.similarity_function
        self._gpu_id = gpu_id
        device_scope(gpu_id)  # refuses an unknown GPU now rather than at the first video

    def __repr__(self) -> str:
        return f"ViSiL({self.weights.name!r}, {self.similarity_function}, {self.precision})"

    def extract_features(
        self, frames: np.ndarray | Sequence[np.ndarray], as_query: bool = False
    ) -> np.ndarray:
        """Region vectors of one video, ready for the methods below.

        Args:
            frames: uint8 RGB [T, H, W, 3], or T arrays [H, W, 3]; any size. The shorter side
                is scaled to the model's size unless it has it, then the centre is cut out.
            as_query: with the views that only a query has, see `layout`.

        Returns:
            float32 [T', R, C] after whitening, L2 norm and attention. T' is T, or for fewer
            than 4 frames T doubled until it is 4 or more.

        Raises:
            InputError: no frames, or not uint8 RGB.
        """
        if len(frames) == 0:
            raise InputError("no frames given, expected uint8 [T, H, W, 3] with T of at least 1")
        net = (
            self._query_net
            if as_query and self.weights.layout.query > self.weights.regions
            else self._net
        )
        shape = (len(frames), net.vectors, self.weights.dims)
        features = np.empty(shape, np.float32)
        for start in range(0, len(frames), BATCH_FRAMES):
            batch = frames[start : start + BATCH_FRAMES]
            cropped = [resize_crop(np.asarray(f), net.preprocess) for f in batch]
            vectors = self._attended(net(np.stack(cropped)))
            features[start : start + BATCH_FRAMES] = vectors
        return repeat_to_min(features)

    def calculate_f2f_matrix(self, query: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Frame-to-frame similarity: Chamfer over regions.

        Args:
            query, target: float [T, R, C] of `extract_features`.

        Returns:
            float32 [Tq, Tt], after repeating fewer than 4 frames. Blank regions count for less
            where the model knows them, see `attention.content`.

        Raises:
            InputError: not features of this model.
        """
        query, target = self._checked(query, "query"), self._checked(target, "target")
        matrix = np.empty((len(query), len(target)), np.float32)
        with device_scope(self._gpu_id):
            layout = self.weights.layout.of_query(query.shape[1])
            for row in range(0, len(query), TILE_FRAMES):
                rows, of_rows = self._weighted(query[row : row + TILE_FRAMES], layout, True)
                for column in range(0, len(target), TILE_FRAMES):
                    part = target[column : column + TILE_FRAMES, : layout.shared]
                    columns, of_columns = self._weighted(part, layout, False)
                    weights = None if self.weights.blank is None else (of_rows, of_columns)
                    tile = chamfer.best_of_views(
                        rows, columns, layout, self._symmetric, weights, self._hubs
                    )
                    matrix[row : row + TILE_FRAMES, column : column + TILE_FRAMES] = (
                        ops.convert_to_numpy(tile)
                    )
        return matrix

    def calculate_visil_output(self, query: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Output of the video comparator.

        Args:
            query, target: float [T, R, C] of `extract_features`.

        Returns:
            float32 [Tq // 4, Tt // 4] within [-1, 1]; for a model without comparator (ViSiL_f
            in the paper) the frame-to-frame matrix [Tq, Tt] itself. Blank frames count for less
            in what passes the comparator by, see `comparator.passed_by`.

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
        if weights is not None:
            weights = self._of_outputs(weights[0]), self._of_outputs(weights[1])
        with device_scope(self._gpu_id):
            tensor = ops.convert_to_tensor(output)
            score = chamfer.video_to_video(tensor, self.similarity_function, weights)
            number = float(ops.convert_to_numpy(score))
        return min(1.0, max(-1.0, number))

    @cached_property
    def _net(self) -> FeatureNet:
        return FeatureNet(self.weights, self.precision, BATCH_FRAMES, self._gpu_id)

    @cached_property
    def _query_net(self) -> FeatureNet:
        return FeatureNet(self.weights, self.precision, BATCH_FRAMES, self._gpu_id, as_queries=True)

    @cached_property
    def _hubs(self) -> np.ndarray | None:
        return hubs_of(self.weights)

    @cached_property
    def _adaptation(self) -> Matrices | None:
        return matrices_of(self.weights.adaptation) if self.weights.adaptation else None

    @property
    def _symmetric(self) -> bool:
        return self.similarity_function == "symmetric_chamfer"

    def _attended(self, vectors: np.ndarray) -> np.ndarray:
        if self.weights.attention is None:
            return vectors
        with device_scope(self._gpu_id):
            return np.asarray(ops.convert_to_numpy(attend(vectors, self.weights.attention)))

    def _weighted(self, features: np.ndarray, layout: Layout, of_queries: bool) -> tuple[Any, Any]:
        """The features, adapted and scaled by their content; the frames' weights [T] or None."""
        x = ops.convert_to_tensor(features)
        scale, weights = None, None
        if self.weights.blank is not None:
            scale, weights = _content(x, layout, self.weights.blank, of_queries)
        if self._adaptation is not None:
            x = adapted(x, layout, self._adaptation)
        return (x if scale is None else x * scale[..., None]), weights

    def _output(self, query: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, Weights | None]:
        """`calculate_visil_output`, and the weights of both sides' frames or None."""
        matrix, weights = self.calculate_f2f_matrix(query, target), None
        if self.weights.blank is not None:
            blank = self.weights.blank
            weights = self._frame_weights(query, blank), self._frame_weights(target, blank)
        return self._compared(matrix, weights), weights

    def _frame_weights(self, features: np.ndarray, blank: Blank) -> np.ndarray:
        """How much each frame counts: float32 [T]."""
        with device_scope(self._gpu_id):
            shared = self._checked(features, "query")[:, : self.weights.layout.shared]
            layout = self.weights.layout.of_query(shared.shape[1])
            _, weights = _content(ops.convert_to_tensor(shared), layout, blank, True)
            return np.asarray(ops.convert_to_numpy(weights))

    def _of_outputs(self, weights: np.ndarray) -> np.ndarray:
        """Weight of each row of the output: the mean of its frames'."""
        stride = 1 if self.weights.comparator is None else comparator.SHRINK
        return np.asarray(weights[: len(weights) // stride * stride].reshape(-1, stride).mean(1))

    def _compared(self, matrix: np.ndarray, weights: Weights | None) -> np.ndarray:
        """Comparator over strips of rows with enough of their neighbours to be exact."""
        layers = self.weights.comparator
        if layers is None:
            return matrix
        parts = []
        with device_scope(self._gpu_id):
            for start in range(0, len(matrix) - MINIMUM_FRAMES + 1, STRIP_ROWS):
                first = max(0, start - HALO_ROWS)
                rows = slice(first, start + STRIP_ROWS + HALO_ROWS)
                strip = ops.convert_to_tensor(matrix[rows])
                of_strip = weights and (weights[0][rows], weights[1])
                output: Any = ops.convert_to_numpy(
                    comparator.compare(strip, layers, self.weights.skip, self._symmetric, of_strip)
                )
                skip = (start - first) // comparator.SHRINK
                parts.append(output[skip : skip + STRIP_ROWS // comparator.SHRINK])
        return np.concatenate(parts)

    def _checked(self, features: np.ndarray, role: str) -> np.ndarray:
        features = np.asarray(features)
        layout, dims = self.weights.layout, self.weights.dims
        right = features.ndim == 3 and features.shape[2] == dims and features.dtype.kind == "f"
        if not right or features.shape[1] not in (layout.shared, layout.query):
            raise InputError(
                f"{role} features are {features.dtype} {features.shape}, expected float "
                f"[T, {layout.shared}, {dims}] as extract_features gives them"
            )
        if len(features) == 0 or not np.isfinite(features).all():
            raise InputError(f"{role} features are empty or hold a value that is not finite")
        return repeat_to_min(features.astype(np.float32, copy=False))


def _content(x: Any, layout: Layout, blank: Blank, of_queries: bool) -> tuple[Any, Any]:
    # Attention keeps directions.
    return content_of_views(l2_normalize(x), layout, blank, of_queries)
