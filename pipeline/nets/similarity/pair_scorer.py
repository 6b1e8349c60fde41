"""The similarity network over many pairs at once: what both stages' users and `ViSiL` run.

Descriptors come to the device (`device_features`), all products of a tile are taken at once
(`max_fusion`), and the comparator runs over windows of the matrix (`ragged`).

Source of the network: Kordopatis-Zilos et al., ViSiL, ICCV 2019, sections 3.2 to 3.4.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..backend import (
    COMPILES_BY_SHAPE,
    compiled_for_shapes,
    on_gpu,
    ops,
    quiet_stderr,
)
from ..model.descriptors import Comparison, DescriptorLayout
from ..model.model import Model
from .comparator import bypass, convolve
from .device_features import DeviceFeatures, FeatureLoader, join
from .max_fusion import fused_similarity
from .ragged import gather_weights, gather_windows, range_mask

# Frames of queries and of targets in one product of region descriptors: 1152 x 9216 float32 are 40
# MiB, and large enough to run at the pace of one large product (benchmarks/NOTES.md). Many targets,
# as one short query has few rows. A GPU wants more work in each call of its own: 4608 x 18432
# float16 are 162 MiB.
_TILE = 128, 1024
_GPU_TILE = 512, 2048
_FAR = -2.0  # below every similarity; -inf would turn a masked mean into NaN

Tensor = Any


class PairScorer:
    """Scores of many (query, database) pairs of pieces.

    Args:
        model: all that acts after the store is used, the backbone is not.
        function: of `config.SIMILARITY_FUNCTIONS`. With symmetric_chamfer regions are compared both
            ways as well; all but chamfer need the maxima of both directions.
        precision: "float32", "bfloat16" or "float16" of products and convolutions; sums of
            Chamfer are always float32.
        tile: frames of queries and of targets in one product; None takes what suits the device.
        gpu_id: of the device scope that it is used in.

    Attributes:
        few_shapes: every new shape costs a compilation, so inputs are filled up to few of them.
    """

    def __init__(
        self,
        model: Model,
        function: str,
        precision: str,
        tile: tuple[int, int] | None = None,
        gpu_id: int | None = None,
    ) -> None:
        with quiet_stderr():
            # TensorFlow says once that it has no fast float16 products on this processor; that
            # is no news to the user, since stored float16 is only ever converted here.
            ops.cast(ops.convert_to_tensor(np.zeros(1, np.float16)), "float32")
        self.few_shapes = COMPILES_BY_SHAPE
        self.tile = tile or (_GPU_TILE if on_gpu(gpu_id) else _TILE)
        self.both_ways = function != "chamfer"
        self._symmetric = function == "symmetric_chamfer"
        self.precision = precision
        self.layout = model.layout
        self.has_comparator = model.comparator is not None
        self._residual_weight = model.residual_weight
        self._zeros = model.comparator_padding == "zero"
        self._weighted = model.blank is not None
        self._loader = FeatureLoader(model, precision)
        self._layers = [
            (ops.cast(kernel, precision), ops.cast(bias, precision))
            for kernel, bias in model.comparator or ()
        ]
        self._placed: tuple[np.ndarray, DeviceFeatures] | None = None
        self._without_comparator: PairScorer | None = None
        self._products: dict[DescriptorLayout, Callable[..., Tensor]] = {}
        # Weights of frames count in the residual path; without either, none are sent.
        self._weighs = self.has_comparator and bool(self._residual_weight) and self._weighted
        self._compile()

    def _compile(self) -> None:
        index, weight = ((None,), "int32"), ((None,), "float32")
        signature = [((None, None), "float32"), ((None, 8), "int32"), index, index]
        signature += [weight] * (2 * self._weighs)
        self._maxima = compiled_for_shapes(self._pair_maxima, signature)
        self._outputs = compiled_for_shapes(self._pair_outputs, signature)

    def without_comparator(self) -> PairScorer:
        """A scorer for the Chamfer similarities of frame-to-frame matrices themselves.

        It is made once, and shares what was compiled for these matrices.
        """
        if not self.has_comparator:
            return self
        if self._without_comparator is None:
            scorer = copy.copy(self)
            scorer.has_comparator = scorer._weighs = False
            scorer._placed = None
            scorer._compile()
            self._without_comparator = scorer
        return self._without_comparator

    def place_queries(self, vectors: np.ndarray) -> DeviceFeatures:
        """Move query descriptors to the device, adapted, weighted by attention and content.

        Args:
            vectors: [N, R, C] as stored, see `quantization`; with `few_shapes` N is rounded up to
                whole tiles, by zeros. The last short query stays there: after its scores come its
                segments.
        """
        if len(vectors) > self.tile[0]:
            return self._loader.queries(vectors, self.tile[0], self.few_shapes)
        last = self._placed
        if last is None or not _equal(last[0], vectors):
            placed = self._loader.queries(vectors, self.tile[0], self.few_shapes)
            self._placed = last = vectors.copy(), placed
        return last[1]

    def place_targets(self, vectors: np.ndarray) -> DeviceFeatures:
        """Move database descriptors to the device; as `place_queries`."""
        return self._loader.targets(vectors, self.tile[1], self.few_shapes)

    def fetched_weights(self, placed: DeviceFeatures) -> np.ndarray | None:
        """How much each placed frame counts, float32 [N] on the host; None where all do alike."""
        if placed.weights is None:
            return None
        return np.concatenate([ops.convert_to_numpy(w) for w in placed.weights])

    def frame_matrix(self, queries: DeviceFeatures, targets: DeviceFeatures) -> Tensor:
        """Frame-to-frame similarity: the maximum over the terms of the queries' layout.

        With weights a Chamfer term is the weighted mean sum_i w_i max_j v_j q_i . t_j over the sum
        of w_i, so that a frame of few regions that count is compared by these.

        Args:
            queries: Nq frames of `place_queries`.
            targets: Nt frames of `place_targets`.

        Returns:
            [Nq, Nt] float32 tensor.
        """
        product = self._product(queries.layout)
        names = [comparison.reference.name for comparison in queries.layout.comparisons]
        rows = []
        for i, (tile, offsets) in enumerate(zip(queries.tiles, queries.offsets, strict=True)):
            row = []
            for k, target in enumerate(targets.tiles):
                inputs = []
                for name in names:
                    inputs += [tile[name], target[name]]
                    inputs += [offsets[name]] if name in offsets else []
                if queries.weights and targets.weights:
                    inputs += [queries.weights[i], targets.weights[k]]
                row.append(product(*inputs))
            rows.append(join(row, axis=1))
        return join(rows, axis=0)

    def maxima(
        self,
        matrix: Tensor,
        windows: np.ndarray,
        rows: int,
        columns: int,
        weights: tuple[np.ndarray | None, np.ndarray | None],
    ) -> tuple[Tensor, Tensor]:
        """Run the comparator on windows of the matrix and take the maxima Chamfer needs.

        Args:
            matrix: [Nq, Nt] from `frame_matrix`.
            windows: [B, 8] int32, for the query then for the target: first frame in the
                matrix, number of frames (at most `rows`, `columns`), first output that counts,
                end of the outputs that count. The others are halo, right for no pair.
            rows, columns: shape that the batch is padded to; multiples of 4.
            weights: of all rows and columns of the matrix, as `fetched_weights` gives them.

        Returns:
            Tensors for `fetched`; the device may still be at work on them.
        """
        arguments = self._window_arguments(matrix, windows, rows, columns, weights)
        by_row, by_column = self._maxima(*arguments)
        return by_row, by_column

    def outputs(
        self,
        matrix: Tensor,
        windows: np.ndarray,
        rows: int,
        columns: int,
        weights: tuple[np.ndarray | None, np.ndarray | None],
    ) -> Tensor:
        """What `maxima` takes maxima of; same arguments.

        Returns:
            float32 [B, rows / s, columns / s] tensor of comparator outputs, or of the windows of
            the matrix without a comparator; s as in `fetched`. Entries of outputs that do not
            count mean nothing.
        """
        return self._outputs(*self._window_arguments(matrix, windows, rows, columns, weights))

    def _window_arguments(
        self,
        matrix: Tensor,
        windows: np.ndarray,
        rows: int,
        columns: int,
        weights: tuple[np.ndarray | None, np.ndarray | None],
    ) -> list[Tensor]:
        # The batch's shape travels as the lengths of two index vectors: every backend then
        # compiles by shape, and none needs to know the number itself.
        indices = [ops.arange(n, dtype="int32") for n in (rows, columns)]
        sent = [ops.convert_to_tensor(w) for w in weights] if self._weighs else []
        return [matrix, ops.convert_to_tensor(windows), *indices, *sent]

    def fetched(self, maxima: tuple[Tensor, Tensor]) -> tuple[np.ndarray, np.ndarray | None]:
        """What `maxima` returned, brought to the host.

        Returns:
            Float32 [B, rows / s]: for each query output its best target output, and, unless the
            function is chamfer, [B, columns / s] the other way round, else None; s is 4 with the
            comparator, else 1. Entries of outputs that do not count mean nothing.
        """
        by_row, by_column = maxima
        return (
            ops.convert_to_numpy(by_row),
            ops.convert_to_numpy(by_column) if self.both_ways else None,
        )

    def _product(self, layout: DescriptorLayout) -> Callable[..., Tensor]:
        """The compiled product for queries of a layout."""
        if layout not in self._products:
            matrix = ((None, None), self.precision)
            signature: list[tuple[tuple[int | None, ...], str]] = []
            for comparison in layout.comparisons:
                offsets = ((comparison.fused_rows, None), "float32")
                signature += [matrix, matrix, *[offsets] * bool(comparison.maxima)]
            signature += [((None,), "float32")] * (2 * self._weighted)

            def run(*inputs: Tensor) -> Tensor:
                return self._frame_matrix(layout, inputs)

            self._products[layout] = compiled_for_shapes(run, signature)
        return self._products[layout]

    def _frame_matrix(self, layout: DescriptorLayout, inputs: Sequence[Tensor]) -> Tensor:
        """Inputs in the order of `_product`'s signature -> [n, m]."""
        rest = list(inputs)
        weights = (rest.pop(-2), rest.pop(-1)) if self._weighted else None
        products = []
        for comparison in layout.comparisons:
            dots = _dot_products(rest.pop(0), rest.pop(0), comparison)
            products.append((dots, rest.pop(0) if comparison.maxima else None))
        return fused_similarity(products, layout, self._symmetric, weights)

    def _pair_maxima(
        self, matrix: Tensor, windows: Tensor, rows: Tensor, columns: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        x = self._pair_outputs(matrix, windows, rows, columns, *weights)
        counted = range_mask(ops.shape(x)[2], windows[:, 6:7], windows[:, 7:8])
        by_row = ops.max(ops.where(counted[:, None, :], x, _FAR), axis=2)
        if not self.both_ways:
            return by_row, by_row
        counted = range_mask(ops.shape(x)[1], windows[:, 2:3], windows[:, 3:4])
        return by_row, ops.max(ops.where(counted[:, :, None], x, _FAR), axis=1)

    def _pair_outputs(
        self, matrix: Tensor, windows: Tensor, rows: Tensor, columns: Tensor, *weights: Tensor
    ) -> Tensor:
        """[B, P / 4, Q / 4] float32 in [-1, 1], or [B, P, Q] without a comparator."""
        if not self.has_comparator:
            return gather_windows(matrix, windows, rows, columns, 0)
        zeros = self._zeros
        x = gather_windows(matrix, windows, rows, columns, 1, zeros=zeros)[..., None]
        sizes = windows[:, 1], windows[:, 5]
        convolved = convolve(ops.cast(x, self.precision), *sizes, self._layers, zeros=zeros)
        output = ops.clip(ops.cast(convolved, "float32"), -1.0, 1.0)
        if self._residual_weight:
            window_weights = gather_weights(weights, windows, rows, columns)
            past = bypass(x[:, 1:-1, 1:-1], self._symmetric, window_weights)
            output = (1 - self._residual_weight) * output + self._residual_weight * past
        return output


def _equal(first: np.ndarray, second: np.ndarray) -> bool:
    return first.dtype == second.dtype and np.array_equal(first, second)


def _dot_products(queries: Tensor, targets: Tensor, comparison: Comparison) -> Tensor:
    """[P * n, C], [R * m, C] -> [P, n, R, m]: one product for all descriptors of a tile."""
    frames = ops.shape(targets)[0] // comparison.reference.count
    dots = ops.einsum("qc,tc->qt", queries, targets)
    return ops.reshape(dots, (comparison.rows, -1, comparison.reference.count, frames))
