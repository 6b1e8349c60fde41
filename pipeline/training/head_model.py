"""Attention and comparator as a Keras model of a batch: every query against every copy.

The numbers are those of `nets.similarity.pair_scorer`, the losses those of `training.losses`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..config import TrainConfig
from ..nets.backend import keras, ops
from ..nets.model.descriptors import DescriptorLayout
from ..nets.similarity.attention import attention_weights
from ..nets.similarity.comparator import SHRINK, bypass, convolve
from ..nets.similarity.csls import placed_anchors, term_offsets
from ..nets.similarity.max_fusion import fused_similarity
from ..nets.similarity.ragged import pad_edges
from .initializers import comparator_start, context_start
from .losses import extremes, info_nce, triplets, uses

_FAR = -2.0  # below every similarity

Tensor = Any


class HeadModel(keras.Model):  # type: ignore[misc]
    """Scores of all pairs of a batch.

    Args:
        dims: C of the vectors.
        layout: of the frames of queries; copies have as many vectors.
        symmetric: average both directions of Chamfer, over regions and over frames.
        config: what is trained and how; attention is for models of regions alone.
        rng: of what the weights begin with.
        anchors: of the model, see `nets.similarity.csls`.

    Attributes:
        residual_weight: share of the output that bypasses the comparator; 0 with attention.
    """

    def __init__(
        self,
        dims: int,
        layout: DescriptorLayout,
        symmetric: bool,
        config: TrainConfig,
        rng: np.random.Generator,
        *,
        anchors: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self._anchors = placed_anchors(anchors)
        self._layout, self._symmetric, self._config = layout, symmetric, config
        self.context = None
        attention = config.attention and layout.query == layout.regions
        # Attention shortens vectors, so equals would no longer reach 1 beside the comparator.
        self.residual_weight = 0.0 if attention else config.skip
        if attention:
            self.context = self._weight(context_start(dims, rng), "context")
        scale = 4.0 if attention else 1.0
        self.layers_of_comparator = [
            (self._weight(kernel, f"kernel_{i}"), self._weight(bias, f"bias_{i}"))
            for i, (kernel, bias) in enumerate(comparator_start(config.start, scale, rng))
        ]
        self.built = True

    def head(self) -> tuple[np.ndarray | None, tuple[tuple[np.ndarray, np.ndarray], ...]]:
        """Attention (or None) and comparator as `Model` has them."""
        context = None if self.context is None else ops.convert_to_numpy(self._unit_context())
        layers = tuple(
            (np.array(ops.convert_to_numpy(k)), np.array(ops.convert_to_numpy(b)))
            for k, b in self.layers_of_comparator
        )
        return context, layers

    def call(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Scores [B, M], self-similarities [B], and [] for what lies beyond [-1, 1]."""
        queries, targets = (ops.cast(inputs[k], "float32") for k in ("queries", "targets"))
        frames_q, frames_t = inputs["query_frames"], inputs["target_frames"]
        batch, copies, window = queries.shape[0], targets.shape[0], queries.shape[1]
        contexts = self._contexts(1 + batch)
        matrix = self._frame_matrix(queries, targets, contexts[0])
        matrix = ops.reshape(matrix, (batch, window, copies, window))
        matrix = ops.reshape(ops.transpose(matrix, (0, 2, 1, 3)), (-1, window, window, 1))
        rows = ops.repeat(frames_q, copies)
        columns = ops.reshape(ops.tile(frames_t[None], (batch, 1)), (-1,))
        scores, beyond = self._scores(matrix, rows, columns)
        alone = zip(ops.unstack(queries[:, None], batch), contexts[1:], strict=True)
        own = ops.stack([self._frame_matrix(q, q, c) for q, c in alone])
        selves, beyond_self = self._scores(own[..., None], frames_q, frames_q)
        return {
            "scores": ops.reshape(scores, (batch, copies)),
            "selves": selves,
            "beyond": beyond + beyond_self,
        }

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """The whole loss; y holds "positive" and "negative", float32 [B, M]."""
        config = self._config
        loss_function = info_nce if config.loss == "infonce" else triplets
        argument = config.temperature if config.loss == "infonce" else config.margin
        scores, same_scores = uses(y_pred["scores"], 2)
        apart = loss_function(scores, y["positive"], y["negative"], argument)
        ends = extremes(same_scores, y_pred["selves"], y["negative"])
        return apart + config.self_weight * ends + config.regularisation * y_pred["beyond"]

    def _weight(self, value: np.ndarray, name: str) -> Any:
        start = keras.initializers.Constant(0.0)
        variable = self.add_weight(shape=value.shape, initializer=start, name=name)
        variable.assign(value)
        return variable

    def _unit_context(self) -> Tensor:
        length = ops.sqrt(ops.sum(ops.square(self.context)))
        return self.context / ops.maximum(length, 1e-6)

    def _contexts(self, count: int) -> list[tuple[Tensor, Tensor] | None]:
        """The unit context, for the rows and the columns of `count` matrices."""
        if self.context is None:
            return [None] * count
        vectors = uses(self._unit_context(), 2 * count)
        return list(zip(vectors[::2], vectors[1::2], strict=True))

    def _frame_matrix(
        self, queries: Tensor, targets: Tensor, contexts: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """[B, W, R, C], [M, W, R, C] -> [B W, M W]; as `PairScorer.frame_matrix`."""
        layout, products = self._layout, []
        for comparison in layout.comparisons:
            groups = [queries[:, :, layout.slices[group.name]] for group in comparison.groups]
            rows = _descriptors_first(groups)
            columns = _descriptors_first([targets[:, :, layout.slices[comparison.reference.name]]])
            dots = ops.matmul(_flat(rows), ops.transpose(_flat(columns)))
            if contexts is not None:
                # Features are constants, so with attention behind the product its gradient needs
                # none of them.
                row_weights = attention_weights(_flat(rows), contexts[0])
                column_weights = attention_weights(_flat(columns), contexts[1])
                dots = dots * (row_weights * ops.transpose(column_weights))
            offsets = None
            if comparison.maxima:
                fused = rows[comparison.rows - comparison.fused_rows :]
                offsets = term_offsets(fused, comparison, self._anchors)
            count = comparison.reference.count
            dots = ops.reshape(dots, (comparison.rows, -1, count, columns.shape[1]))
            products.append((dots, offsets))
        return fused_similarity(products, layout, self._symmetric)

    def _scores(self, x: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """[P, W, W, 1] with [P] frames that count -> scores [P], mean excess over [-1, 1]."""
        matrix = x
        x = convolve(pad_edges(x, rows, columns), rows, columns, self.layers_of_comparator)
        rows, columns = rows // SHRINK, columns // SHRINK
        place = ops.arange(x.shape[1], dtype="int32")[None]
        row_counts, column_counts = place < rows[:, None], place < columns[:, None]
        counted = ops.logical_and(row_counts[:, :, None], column_counts[:, None, :])
        excess = ops.relu(ops.abs(x) - 1.0) * ops.cast(counted, x.dtype)
        beyond = ops.sum(excess) / ops.sum(ops.cast(counted, x.dtype))
        x = ops.clip(x, -1.0, 1.0)
        if self.residual_weight:
            # Frames weigh alike: the space of blank regions is found when training is over.
            past = bypass(matrix, self._symmetric)
            x = (1 - self.residual_weight) * x + self.residual_weight * past
        x = ops.where(counted, x, _FAR)
        scores = _mean_where(ops.max(x, axis=2), row_counts)
        if self._symmetric:
            scores = (scores + _mean_where(ops.max(x, axis=1), column_counts)) / 2
        return scores, beyond


def _descriptors_first(groups: list[Tensor]) -> Tensor:
    """Parts of [B, W, R, C] -> [R, B W, C]."""
    x = groups[0] if len(groups) == 1 else ops.concatenate(groups, axis=2)
    return ops.reshape(ops.transpose(x, (2, 0, 1, 3)), (x.shape[2], -1, x.shape[3]))


def _flat(x: Tensor) -> Tensor:
    return ops.reshape(x, (-1, x.shape[-1]))


def _mean_where(x: Tensor, counted: Tensor) -> Tensor:
    weight = ops.cast(counted, x.dtype)
    return ops.sum(ops.where(counted, x, 0.0), axis=1) / ops.sum(weight, axis=1)
