"""Attention and comparator as a Keras model of a batch: every query against every copy.

The numbers are those of `nets.similarity.pair_scorer`, the losses those of `training.losses`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..config import TrainConfig
from ..nets.backend import keras, ops
from ..nets.model.descriptors import Layout
from ..nets.similarity.attention import weight_of
from ..nets.similarity.comparator import passed_by
from ..nets.similarity.csls import view_offsets
from ..nets.similarity.max_fusion import best_look
from ..nets.similarity.ragged import bordered
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
        config: what is trained and how; attention is for models without further views only.
        rng: of what the weights begin with.
        hubs: of the model, see `nets.similarity.csls`.

    Attributes:
        skip: share of the output that passes the comparator by; 0 with attention.
    """

    def __init__(
        self,
        dims: int,
        layout: Layout,
        symmetric: bool,
        config: TrainConfig,
        rng: np.random.Generator,
        hubs: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self._hubs = hubs
        self._layout, self._symmetric, self._config = layout, symmetric, config
        self.context = None
        attention = config.attention and layout.query == layout.regions
        # Attention shortens vectors, so equals would no longer reach 1 beside the comparator.
        self.skip = 0.0 if attention else config.skip
        if attention:
            self.context = self._weight(context_start(dims, rng), "context")
        scale = 4.0 if attention else 1.0
        self.layers_of_comparator = [
            (self._weight(kernel, f"kernel_{i}"), self._weight(bias, f"bias_{i}"))
            for i, (kernel, bias) in enumerate(comparator_start(config.start, scale, rng))
        ]
        self.built = True

    def head(self) -> tuple[np.ndarray | None, tuple[tuple[np.ndarray, np.ndarray], ...]]:
        """Attention (or None) and comparator as `ModelWeights` has them."""
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
        told = info_nce if config.loss == "infonce" else triplets
        argument = config.temperature if config.loss == "infonce" else config.margin
        scores, same_scores = uses(y_pred["scores"], 2)
        apart = told(scores, y["positive"], y["negative"], argument)
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
        each = uses(self._unit_context(), 2 * count)
        return list(zip(each[::2], each[1::2], strict=True))

    def _frame_matrix(
        self, queries: Tensor, targets: Tensor, contexts: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """[B, W, R, C], [M, W, R, C] -> [B W, M W]; as `PairScorer.frame_matrix`."""
        layout, channels = self._layout, queries.shape[3]
        regions = layout.regions
        asked = queries[:, :, : layout.shared + layout.small]
        asked = _without(asked, regions, layout.shared)
        rows = ops.reshape(asked, (-1, channels))
        columns = ops.transpose(targets[:, :, :regions], (2, 0, 1, 3))
        columns = ops.reshape(columns, (-1, channels))
        # Features are constants, so with attention behind the product its gradient needs none.
        products = ops.matmul(rows, ops.transpose(columns))
        if contexts is not None:
            of_rows, of_columns = contexts
            weights = weight_of(rows, of_rows) * ops.transpose(weight_of(columns, of_columns))
            products = products * weights
        frames = columns.shape[0] // regions
        products = ops.reshape(products, (-1, len(layout.region_places), regions, frames))
        whole = None
        if layout.whole_places:
            asked = ops.stack([queries[:, :, place] for place in layout.whole_places], axis=2)
            asked = ops.reshape(asked, (-1, len(layout.whole_places), channels))
            offsets = view_offsets(asked, layout, self._hubs)
            parts, soft = [], len(layout.soft_places)
            for some, place in ((asked[:, :soft], regions), (asked[:, soft:], layout.shared - 1)):
                if some.shape[1]:
                    of_targets = ops.reshape(targets[:, :, place], (-1, channels))
                    parts.append(ops.matmul(some, ops.transpose(of_targets)))
            whole = ops.max(ops.concatenate(parts, axis=1) + offsets[..., None], axis=1)
        return best_look(products, whole, layout, self._symmetric)

    def _scores(self, x: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """[P, W, W, 1] with [P] frames that count -> scores [P], mean excess over [-1, 1]."""
        *hidden, (kernel, bias) = self.layers_of_comparator
        whole = x
        for number, (hidden_kernel, hidden_bias) in enumerate(hidden):
            if number:
                x = ops.max_pool(x, 2, 2, padding="valid")
                rows, columns = rows // 2, columns // 2
            x = bordered(x, rows, columns)
            x = ops.relu(ops.conv(x, hidden_kernel, padding="valid") + hidden_bias)
        x = (ops.matmul(x, kernel[0, 0]) + bias)[..., 0]
        place = ops.arange(x.shape[1], dtype="int32")[None]
        row_counts, column_counts = place < rows[:, None], place < columns[:, None]
        counted = ops.logical_and(row_counts[:, :, None], column_counts[:, None, :])
        excess = ops.relu(ops.abs(x) - 1.0) * ops.cast(counted, x.dtype)
        beyond = ops.sum(excess) / ops.sum(ops.cast(counted, x.dtype))
        x = ops.clip(x, -1.0, 1.0)
        if self.skip:
            # Frames weigh alike: the space of blank regions is found when training is over.
            x = (1 - self.skip) * x + self.skip * passed_by(whole, self._symmetric)[..., 0]
        x = ops.where(counted, x, _FAR)
        scores = _mean_where(ops.max(x, axis=2), row_counts)
        if self._symmetric:
            scores = (scores + _mean_where(ops.max(x, axis=1), column_counts)) / 2
        return scores, beyond


def _without(x: Tensor, first: int, last: int) -> Tensor:
    """[B, W, R, C] without the vectors from `first` up to `last`."""
    return ops.concatenate([x[:, :, :first], x[:, :, last:]], axis=2)


def _mean_where(x: Tensor, counted: Tensor) -> Tensor:
    weight = ops.cast(counted, x.dtype)
    return ops.sum(ops.where(counted, x, 0.0), axis=1) / ops.sum(weight, axis=1)
