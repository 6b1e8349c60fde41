"""The similarity network over many pairs at once; equals the per-pair functions of this package.

Vectors come to the device (`device_features`), all products of a tile are taken at once
(`max_fusion`), and the comparator runs over windows of the matrix (`ragged`).

Source of the network: Kordopatis-Zilos et al., ViSiL, ICCV 2019, sections 3.2 to 3.4.
"""

from __future__ import annotations

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
from ..model.descriptors import Layout
from ..model.model import ModelWeights
from .comparator import passed_by
from .device_features import Placed, Placer, joined
from .max_fusion import best_look
from .ragged import between, bordered, cut, cut_weights

# Frames of queries and of targets in one product of region vectors: 2304 x 4608 float32 are 40
# MiB, and large enough to run at the pace of one large product (benchmarks/NOTES.md). A GPU wants
# more work in each call of its own: 4608 x 18432 float16 are 162 MiB.
_TILE = 256, 512
_GPU_TILE = 512, 2048
_FAR = -2.0  # below every similarity; -inf would turn a masked mean into NaN

Tensor = Any


class PairScorer:
    """Scores of many (query, database) pairs of pieces.

    Args:
        weights: all that acts after the store is used, the backbone is not.
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
        weights: ModelWeights,
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
        self.layout = weights.layout
        self.has_comparator = weights.comparator is not None
        self._skip = weights.skip
        self._weighted = weights.blank is not None
        self._placer = Placer(weights, precision)
        self._kernels = [
            (ops.cast(kernel, precision), ops.cast(bias, precision))
            for kernel, bias in weights.comparator or ()
        ]
        self._products: dict[Layout, Callable[..., Tensor]] = {}
        # Weights of frames count in what passes the comparator by; without either, none are sent.
        self._weighs = self.has_comparator and bool(self._skip) and self._weighted
        index, weight = ((None,), "int32"), ((None,), "float32")
        self._maxima = compiled_for_shapes(
            self._pair_maxima,
            [((None, None), "float32"), ((None, 8), "int32"), index, index]
            + [weight] * (2 * self._weighs),
        )

    def place_queries(self, vectors: np.ndarray) -> Placed:
        """Move query vectors to the device, adapted, weighted by attention and content.

        Args:
            vectors: [N, R, C] as stored, see `encoding`; with `few_shapes` N is rounded up to
                whole tiles, by zeros.
        """
        return self._placer.queries(vectors, self.tile[0], self.few_shapes)

    def place_targets(self, vectors: np.ndarray) -> Placed:
        """Move database vectors to the device; as `place_queries`."""
        return self._placer.targets(vectors, self.tile[1], self.few_shapes)

    def fetched_weights(self, placed: Placed) -> np.ndarray | None:
        """How much each placed frame counts, float32 [N] on the host; None where all do alike."""
        if placed.weights is None:
            return None
        return np.concatenate([ops.convert_to_numpy(w) for w in placed.weights])

    def frame_matrix(self, queries: Placed, targets: Placed) -> Tensor:
        """Frame-to-frame Chamfer similarity over regions.

        With weights it is their weighted mean: sum_i w_i max_j v_j q_i . t_j over the sum of
        w_i, so that a frame of few regions that count is compared by these. With further views
        it is the best of theirs, see `layout`.

        Args:
            queries: Nq frames of `place_queries`.
            targets: Nt frames of `place_targets`.

        Returns:
            [Nq, Nt] float32 tensor.
        """
        product = self._product(queries.layout)
        rows = []
        for i, tile in enumerate(queries.tiles):
            of_query = [queries.weights[i]] if queries.weights else []
            of_query += queries.whole[i : i + 1] + queries.offsets[i : i + 1]
            row = []
            for k, target in enumerate(targets.tiles):
                of_target = [targets.weights[k]] if targets.weights else []
                row.append(product(tile, target, *of_query, *of_target))
            rows.append(joined(row, axis=1))
        return joined(rows, axis=0)

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
        # The batch's shape travels as the lengths of two index vectors: every backend then
        # compiles by shape, and none needs to know the number itself.
        offsets = [ops.arange(n, dtype="int32") for n in (rows, columns)]
        sent = [ops.convert_to_tensor(w) for w in weights] if self._weighs else []
        found: tuple[Tensor, Tensor] = self._maxima(
            matrix, ops.convert_to_tensor(windows), *offsets, *sent
        )
        return found

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

    def _product(self, layout: Layout) -> Callable[..., Tensor]:
        """The compiled product for queries of a layout."""
        if layout not in self._products:
            matrix, weight = ((None, None), self.precision), ((None,), "float32")
            weights = [weight] * (self._weighted)
            whole = [matrix, weight] * bool(layout.whole_places)
            signature = [matrix, matrix, *weights, *whole, *weights]

            def run(queries: Tensor, targets: Tensor, *others: Tensor) -> Tensor:
                return self._frame_matrix(layout, queries, targets, others)

            self._products[layout] = compiled_for_shapes(run, signature)
        return self._products[layout]

    def _frame_matrix(
        self, layout: Layout, queries: Tensor, targets: Tensor, others: Sequence[Tensor]
    ) -> Tensor:
        """[n * (Q - s), C], [R * Nt, C] -> [n, Nt].

        Args:
            others: weights of query frames [n], query vectors of whole pictures [s * n, C] and
                their offsets [s * n], weights of target frames [Nt], as far as there are such.
        """
        regions = layout.regions
        frames = ops.shape(targets)[0] // layout.shared
        weights = (others[0], others[-1]) if self._weighted else None
        dots = ops.einsum("qc,tc->qt", queries, targets[: regions * frames])
        dots = ops.reshape(dots, (-1, len(layout.region_places), regions, frames))
        whole = None
        if layout.whole_places:
            asked, offsets = others[0 if weights is None else 1 :][:2]
            count, parts = ops.shape(asked)[0] // len(layout.whole_places), []
            soft = count * len(layout.soft_places)
            start = regions * frames
            if layout.soft:
                parts.append(ops.einsum("qc,tc->qt", asked[:soft], targets[start : start + frames]))
                start = start + frames
            if layout.pixels:
                parts.append(ops.einsum("qc,tc->qt", asked[soft:], targets[start:]))
            whole = ops.cast(joined(parts, axis=0), "float32") + offsets[:, None]
            whole = ops.max(ops.reshape(whole, (len(layout.whole_places), -1, frames)), axis=0)
        return best_look(dots, whole, layout, self._symmetric, weights)

    def _pair_maxima(
        self, matrix: Tensor, windows: Tensor, rows: Tensor, columns: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.has_comparator:
            whole = cut(matrix, windows, rows, columns, 1)
            x = self._comparator(whole, windows, cut_weights(weights, windows, rows, columns))
        else:
            x = cut(matrix, windows, rows, columns, 0)  # [B, P, Q]
        counted = between(ops.shape(x)[2], windows[:, 6:7], windows[:, 7:8])
        by_row = ops.max(ops.where(counted[:, None, :], x, _FAR), axis=2)
        if not self.both_ways:
            return by_row, by_row
        counted = between(ops.shape(x)[1], windows[:, 2:3], windows[:, 3:4])
        return by_row, ops.max(ops.where(counted[:, :, None], x, _FAR), axis=1)

    def _comparator(
        self, x: Tensor, windows: Tensor, weights: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        """[B, P + 2, Q + 2] with borders -> [B, P / 4, Q / 4] float32 in [-1, 1]."""
        heights, widths = windows[:, 1], windows[:, 5]
        whole = x[:, 1:-1, 1:-1, None]
        x = ops.cast(x[..., None], self.precision)
        for i, (kernel, bias) in enumerate(self._kernels[:3]):
            if i:
                heights, widths = heights // 2, widths // 2
                x = bordered(ops.max_pool(x, 2, 2, padding="valid"), heights, widths)
            x = ops.relu(ops.conv(x, kernel, padding="valid") + bias)
        kernel, bias = self._kernels[3]
        x = ops.clip(ops.cast(ops.matmul(x, kernel[0, 0]) + bias, "float32"), -1.0, 1.0)
        if self._skip:
            x = (1 - self._skip) * x + self._skip * passed_by(whole, self._symmetric, weights)
        return x[..., 0]
