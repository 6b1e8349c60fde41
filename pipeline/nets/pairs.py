"""The similarity network over many pairs at once; equals the per-pair functions of this package.

Pairs of different shapes share a batch by padding to a common one. The video comparator pads its
input symmetrically at the *pair's own* edge, which then lies inside the batch; before each
convolution one gather (`bordered`) puts the right values there, so padding changes no number.

Source of the network: Kordopatis-Zilos et al., ViSiL, ICCV 2019, sections 3.2 to 3.4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.nets.attention import attend, content_of_views
from pipeline.nets.backend import (
    COMPILES_BY_SHAPE,
    compiled_for_shapes,
    gpu_count,
    ops,
    quiet_stderr,
)
from pipeline.nets.comparator import passed_by
from pipeline.nets.hubness import view_offsets
from pipeline.nets.layout import Layout
from pipeline.nets.stored import as_floats
from pipeline.nets.weights import ModelWeights

# Frames of queries and of targets in one product of region vectors: 2304 x 4608 float32 are 40
# MiB, and large enough to run at the pace of one large product (benchmarks/NOTES.md). A GPU wants
# more work in each call of its own: 4608 x 18432 float16 are 162 MiB.
_TILE = 256, 512
_GPU_TILE = 512, 2048
_FAR = -2.0  # below every similarity; -inf would turn a masked mean into NaN

Tensor = Any


@dataclass(frozen=True)
class Placed:
    """Vectors of one side on the device.

    Attributes:
        tiles: in the scorer's precision, weighted; of queries each [n * (Q - s), C], of targets
            [R * n, C]: Q and R vectors of a frame, s of them soft or views.
        soft: per tile [s * n, C], these of queries; empty where there are none.
        offsets: per tile float32 [s * n], what is added to their similarities.
        weights: per tile float32 [n], how much each frame counts; None where all count alike.
    """

    tiles: list[Tensor]
    weights: list[Tensor] | None
    soft: list[Tensor]
    offsets: list[Tensor]
    layout: Layout


class PairScorer:
    """Scores of many (query, database) pairs of pieces.

    Args:
        weights: attention and comparator are used, the backbone is not.
        symmetric: average both directions of Chamfer, over regions and over frames.
        precision: "float32", "bfloat16" or "float16" of products and convolutions; sums of
            Chamfer are always float32.
        tile: frames of queries and of targets in one product; None takes what suits the device.

    Attributes:
        few_shapes: every new shape costs a compilation, so inputs are filled up to few of them.
    """

    def __init__(
        self,
        weights: ModelWeights,
        symmetric: bool,
        precision: str,
        tile: tuple[int, int] | None = None,
    ) -> None:
        with quiet_stderr():
            # TensorFlow says once that it has no fast float16 products on this processor; that
            # is no news to the user, since stored float16 is only ever converted here.
            ops.cast(ops.convert_to_tensor(np.zeros(1, np.float16)), "float32")
        self.few_shapes = COMPILES_BY_SHAPE
        self.tile = tile or (_GPU_TILE if gpu_count() else _TILE)
        self.symmetric = symmetric
        self.precision = precision
        self.layout = weights.layout
        self.has_comparator = weights.comparator is not None
        self._skip = weights.skip
        self._attention = weights.attention
        self._blank = weights.blank
        self._hubs = weights.hubs
        self._dims = weights.dims
        self._kernels = [
            (ops.cast(kernel, precision), ops.cast(bias, precision))
            for kernel, bias in weights.comparator or ()
        ]
        self._products: dict[Layout, Callable[..., Tensor]] = {}
        # Weights of frames count in what passes the comparator by; without either, none are sent.
        self._weighs = self.has_comparator and bool(self._skip) and self._blank is not None
        index, weight = ((None,), "int32"), ((None,), "float32")
        self._maxima = compiled_for_shapes(
            self._pair_maxima,
            [((None, None), "float32"), ((None, 8), "int32"), index, index]
            + [weight] * (2 * self._weighs),
        )

    def place_queries(self, vectors: np.ndarray) -> Placed:
        """Move query vectors to the device, weighted by attention and content.

        Args:
            vectors: [N, R, C] as stored, see `encoding`; with `few_shapes` N is rounded up to
                whole tiles, by zeros.
        """
        size = self.tile[0]
        layout = self.layout.of_query(vectors.shape[1])
        if self.few_shapes:
            vectors = _whole_tiles(vectors, size)
        tiles, weights, soft, offsets = [], [], [], []
        for start in range(0, len(vectors), size):
            x = ops.convert_to_tensor(vectors[start : start + size])
            x, weight = self._weighted(x, layout, regions_axis=1)
            if layout.soft:
                asked = [x[:, place] for place in layout.soft_places]
                soft.append(_joined(asked, axis=0))
                whole = ops.cast(ops.stack(asked, axis=0), "float32")
                each = view_offsets(ops.transpose(whole, (1, 0, 2)), layout, self._hubs)
                offsets.append(ops.reshape(ops.transpose(each), (-1,)))
                rest = x[:, : layout.regions], x[:, layout.shared : layout.shared + layout.small]
                x = _joined([part for part in rest if part.shape[1]], axis=1)
            tiles.append(ops.reshape(x, (-1, self._dims)))
            weights.append(weight)
        return Placed(tiles, None if self._blank is None else weights, soft, offsets, layout)

    def place_targets(self, vectors: np.ndarray) -> Placed:
        """Move database vectors to the device, weighted by attention and content.

        Regions lie outside of frames, so that the maximum over them runs along whole rows of
        memory.

        Args:
            vectors: [N, R, C] as stored, see `encoding`; with `few_shapes` the last tile is
                filled up with zeros.
        """
        tiles, weights, size = [], [], self.tile[1]
        if self.few_shapes:
            vectors = _whole_tiles(vectors, size)
        for start in range(0, len(vectors), size):
            x = ops.convert_to_tensor(vectors[start : start + size])
            x = ops.transpose(x, (1, 0, 2))
            x, weight = self._weighted(x, self.layout, regions_axis=0)
            tiles.append(ops.reshape(x, (-1, self._dims)))
            weights.append(weight)
        return Placed(tiles, None if self._blank is None else weights, [], [], self.layout)

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
            of_query += queries.soft[i : i + 1] + queries.offsets[i : i + 1]
            row = []
            for k, target in enumerate(targets.tiles):
                of_target = [targets.weights[k]] if targets.weights else []
                row.append(product(tile, target, *of_query, *of_target))
            rows.append(_joined(row, axis=1))
        return _joined(rows, axis=0)

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
            Float32 [B, rows / s]: for each query output its best target output, and, if
            symmetric, [B, columns / s] the other way round, else None; s is 4 with the
            comparator, else 1. Entries of outputs that do not count mean nothing.
        """
        by_row, by_column = maxima
        return (
            ops.convert_to_numpy(by_row),
            ops.convert_to_numpy(by_column) if self.symmetric else None,
        )

    def _weighted(
        self, x: Tensor, layout: Layout, regions_axis: int
    ) -> tuple[Tensor, Tensor | None]:
        """[..., C] in the scorer's precision, weighted, and the weights of the frames."""
        x = as_floats(x, self._dims)
        if self._attention is None and self._blank is None:
            return ops.cast(x, self.precision), None
        x, scale, weights = ops.cast(x, "float32"), None, None
        if self._blank is not None:
            of_queries = regions_axis == 1
            scale, weights = content_of_views(
                x if of_queries else ops.transpose(x, (1, 0, 2)), layout, self._blank, of_queries
            )
            scale = scale if of_queries else ops.transpose(scale)
        if self._attention is not None:
            x = attend(x, ops.convert_to_tensor(self._attention))
        if scale is not None:
            x = x * scale[..., None]
        return ops.cast(x, self.precision), weights

    def _product(self, layout: Layout) -> Callable[..., Tensor]:
        """The compiled product for queries of a layout."""
        if layout not in self._products:
            matrix, weight = ((None, None), self.precision), ((None,), "float32")
            weights = [weight] * (self._blank is not None)
            soft = [matrix, weight] * layout.soft
            signature = [matrix, matrix, *weights, *soft, *weights]

            def run(queries: Tensor, targets: Tensor, *others: Tensor) -> Tensor:
                return self._frame_matrix(layout, queries, targets, others)

            self._products[layout] = compiled_for_shapes(run, signature)
        return self._products[layout]

    def _frame_matrix(
        self, layout: Layout, queries: Tensor, targets: Tensor, others: Sequence[Tensor]
    ) -> Tensor:
        """[n * (Q - s), C], [R * Nt, C] -> [n, Nt].

        Args:
            others: weights of query frames [n], soft query vectors [s * n, C] and their offsets
                [s * n], weights of target frames [Nt], as far as there are such.
        """
        regions = layout.regions
        frames = ops.shape(targets)[0] // layout.shared
        weights = (others[0], others[-1]) if self._blank is not None else None
        dots = ops.einsum("qc,tc->qt", queries, targets[: regions * frames])
        dots = ops.reshape(dots, (-1, len(layout.region_places), regions, frames))
        best = ops.cast(ops.max(dots, axis=2), "float32")
        result = ops.mean(best[:, :regions], axis=1)
        if weights is not None:
            result = result / weights[0][:, None]
        if self.symmetric:
            back = ops.mean(ops.cast(ops.max(dots[:, :regions], axis=1), "float32"), axis=1)
            if weights is not None:
                back = back / weights[1][None, :]
            result = (result + back) / 2
        if layout.partial:
            part = best_sum(best[:, :regions], layout.partial) / layout.partial
            result = ops.maximum(result, part + layout.partial_offset)
        if layout.soft:
            soft, offsets = others[0 if weights is None else 1 :][:2]
            of_targets = targets[regions * frames :]
            dots = ops.cast(ops.einsum("qc,tc->qt", soft, of_targets), "float32")
            if layout.views:
                dots = ops.reshape(dots + offsets[:, None], (len(layout.soft_places), -1, frames))
                dots = ops.max(dots, axis=0)
            result = ops.maximum(result, dots)
        if layout.small:
            small = best[:, regions : regions + layout.small]
            if layout.small_offsets:
                small = small + np.array(layout.small_offsets, np.float32)[:, None]
            result = ops.maximum(result, ops.max(small, axis=1))
        # Offsets and rounding may lead beyond what a similarity is.
        return ops.minimum(result, 1.0)

    def _pair_maxima(
        self, matrix: Tensor, windows: Tensor, rows: Tensor, columns: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.has_comparator:
            cut = _cut(matrix, windows, rows, columns, 1)
            x = self._comparator(cut, windows, _cut_weights(weights, windows, rows, columns))
        else:
            x = _cut(matrix, windows, rows, columns, 0)  # [B, P, Q]
        counted = _between(ops.shape(x)[2], windows[:, 6:7], windows[:, 7:8])
        by_row = ops.max(ops.where(counted[:, None, :], x, _FAR), axis=2)
        if not self.symmetric:
            return by_row, by_row
        counted = _between(ops.shape(x)[1], windows[:, 2:3], windows[:, 3:4])
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
            x = (1 - self._skip) * x + self._skip * passed_by(whole, self.symmetric, weights)
        return x[..., 0]


def _cut(matrix: Tensor, windows: Tensor, rows: Tensor, columns: Tensor, border: int) -> Tensor:
    """Cut windows out of [Nq, Nt]: [B, P + 2 border, Q + 2 border].

    Args:
        rows, columns: 0 to P - 1 and 0 to Q - 1.
        border: 0, or 1 for symmetric padding at the window's own edge. What lies beyond repeats
            the window's last row or column.
    """
    r, c = _cut_places(windows, rows, columns, border)
    width = ops.shape(matrix)[1]
    return ops.take(ops.reshape(matrix, (-1,)), r[:, :, None] * width + c[:, None, :])


def _cut_weights(
    weights: Sequence[Tensor], windows: Tensor, rows: Tensor, columns: Tensor
) -> tuple[Tensor, Tensor] | None:
    """Of rows [Nq] and columns [Nt] those of the windows, [B, P] and [B, Q]; None of none."""
    if not weights:
        return None
    r, c = _cut_places(windows, rows, columns, 0)
    return ops.take(weights[0], r), ops.take(weights[1], c)


def _cut_places(
    windows: Tensor, rows: Tensor, columns: Tensor, border: int
) -> tuple[Tensor, Tensor]:
    """Where in the matrix the rows and columns of the windows lie; arguments as of `_cut`."""
    r = windows[:, 0:1] + places(ops.shape(rows)[0], windows[:, 1:2], border)
    c = windows[:, 4:5] + places(ops.shape(columns)[0], windows[:, 5:6], border)
    return r, c


def bordered(x: Tensor, heights: Tensor, widths: Tensor) -> Tensor:
    """Symmetric padding by 1 at each pair's own edge: [B, H, W, C] -> [B, H + 2, W + 2, C].

    One gather of whole channel vectors; a fifth to a third faster on a CPU than padding the batch
    and then correcting rows and columns (benchmarks/NOTES.md).
    """
    batch, height, width = (ops.shape(x)[i] for i in range(3))
    r = ops.arange(batch, dtype="int32")[:, None] * height + places(height, heights[:, None], 1)
    c = places(width, widths[:, None], 1)
    flat = ops.reshape(x, (-1, x.shape[3]))
    return ops.take(flat, r[:, :, None] * width + c[:, None, :], axis=0)


def places(n: Any, sizes: Tensor, border: int) -> Tensor:
    """[B, n + 2 border] int32: where each row of a window is taken from, sizes [B, 1].

    Mirroring by one and repeating the edge are the same: -1 is 0, and `size` is `size - 1`.
    """
    place = ops.arange(n + 2 * border, dtype="int32")[None, :] - border
    return ops.minimum(ops.maximum(place, 0), sizes - 1)


def best_sum(x: Tensor, count: int) -> Tensor:
    """Sum of the `count` highest along axis 1, [n, R, m] -> [n, m].

    By maxima and minima of whole slices: next to nothing beside the product that x comes from,
    where sorting nine values at a time costs a sixth of it on a CPU (benchmarks/NOTES.md).
    """
    rest = [x[:, i] for i in range(x.shape[1])]
    total = None
    for _ in range(count):
        highest, left = rest[0], []
        for other in rest[1:]:
            left.append(ops.minimum(highest, other))
            highest = ops.maximum(highest, other)
        total = highest if total is None else total + highest
        rest = left
    return total


def _whole_tiles(vectors: np.ndarray, size: int) -> np.ndarray:
    """[N, R, C] with N rounded up to a multiple of `size` by zeros."""
    missing = -len(vectors) % size
    return np.concatenate([vectors, np.zeros((missing, *vectors.shape[1:]), vectors.dtype)])


def _joined(parts: list[Tensor], axis: int) -> Tensor:
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=axis)


def _between(n: Any, first: Tensor, end: Tensor) -> Tensor:
    """[B, n] bool: which of 0 to n - 1 lie in [first, end) of each pair; both are [B, 1]."""
    position = ops.arange(n, dtype="int32")[None, :]
    return ops.logical_and(position >= first, position < end)
