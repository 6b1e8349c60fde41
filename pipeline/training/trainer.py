"""The training loop: epochs of batches, a validation and a checkpoint after each."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import atomic_write
from ..config import TrainConfig
from ..nets.backend import COMPILES_BY_SHAPE, keras, ops
from ..nets.model.model import Model
from .head_model import HeadModel
from .pair_sampler import PairSampler
from .validation import Validation

Log = Callable[[dict[str, Any]], None]


class Trainer:
    """Trains a head for a model and chooses the best epoch.

    Args:
        weights: the model; its attention and comparator are replaced.
        sampler: draws batches.
        validation: measures the mAP of a model.
        config: steps, epochs, rates; see `TrainConfig`.
        folder: for the checkpoint and the log; for this model, these clips and settings alone.
        symmetric: train and validate symmetric Chamfer similarity.
        log: called with each entry of `log.jsonl`.

    Attributes:
        epoch: epochs done.
        best_epoch, best: the epoch with the highest validation mAP, and that mAP.
    """

    def __init__(
        self,
        weights: Model,
        sampler: PairSampler,
        validation: Validation,
        config: TrainConfig,
        folder: Path,
        *,
        symmetric: bool,
        log: Log = lambda entry: None,
    ) -> None:
        self._weights, self._sampler, self._validation = weights, sampler, validation
        self._config, self._folder, self._log = config, folder, log
        self._model = HeadModel(
            weights.dims,
            weights.layout,
            symmetric,
            config,
            np.random.default_rng([config.seed, 1]),
            anchors=weights.anchors,
        )
        # Batches have one shape. TensorFlow makes a graph all the same, JAX would run each
        # operation for itself; XLA is slower on a CPU.
        self._model.compile(optimizer=self._optimizer(), jit_compile=COMPILES_BY_SHAPE)
        self._model.optimizer.build(self._model.trainable_variables)
        self.epoch, self.best_epoch, self.best = 0, 0, -math.inf
        self._best_values = self._values()
        folder.mkdir(parents=True, exist_ok=True)
        self._restore()

    def run(self) -> Model:
        """Train to the end, from the checkpoint if there is one.

        Returns:
            The model with the head of the best or the last epoch, as `config.chosen_epoch` says.
        """
        config = self._config
        if not self.epoch:
            self._validate(0, math.nan, 0.0)
        last = config.chosen_epoch == "last"
        while self.epoch < config.epochs and (
            last or self.epoch - self.best_epoch < config.patience
        ):
            begin = time.perf_counter()
            losses = [self._step(step) for step in range(config.steps)]
            self.epoch += 1
            self._validate(self.epoch, float(np.mean(losses)), time.perf_counter() - begin)
        if last:
            self.best, self.best_epoch = self._validation(self._model_with_head()), self.epoch
        else:
            self._assign(self._model.trainable_variables, self._best_values)
        return self._model_with_head()

    def _step(self, step: int) -> float:
        # Each step has its own generator, so that a run that continues draws the same batches.
        batch = self._sampler.batch(np.random.default_rng([self._config.seed, self.epoch, step]))
        x = {
            "queries": batch.queries,
            "targets": batch.targets,
            "query_frames": batch.query_frames,
            "target_frames": batch.target_frames,
        }
        y = {"positive": batch.positive, "negative": batch.negative}
        return float(self._model.train_on_batch(x, y))

    def _validate(self, epoch: int, loss: float, seconds: float) -> None:
        """Validate, remember the best head, write log and checkpoint."""
        score = self._validation(self._model_with_head())
        if score > self.best:
            self.best, self.best_epoch, self._best_values = score, epoch, self._values()
        entry = {
            "epoch": epoch,
            "loss": None if math.isnan(loss) else round(loss, 5),
            "validation_map": round(score, 5),
            "best_epoch": self.best_epoch,
            "seconds": round(seconds, 1),
        }
        self._save()
        with (self._folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        self._log(entry)

    def _model_with_head(self) -> Model:
        attention, comparator = self._model.head()
        return replace(
            self._weights,
            attention=attention,
            comparator=comparator,
            residual_weight=self._model.residual_weight,
        )

    def _optimizer(self) -> Any:
        config = self._config
        total = config.epochs * config.steps
        warm_up = int(total * config.warm_up)
        rate = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0 if warm_up else config.learning_rate,
            decay_steps=max(1, total - warm_up),
            warmup_target=config.learning_rate if warm_up else None,
            warmup_steps=warm_up,
        )
        return keras.optimizers.Adam(rate, clipnorm=1.0)

    def _values(self) -> list[np.ndarray]:
        return [np.array(ops.convert_to_numpy(v)) for v in self._model.trainable_variables]

    @staticmethod
    def _assign(variables: Any, values: list[np.ndarray]) -> None:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    def _save(self) -> None:
        arrays = {f"best_{i}": v for i, v in enumerate(self._best_values)}
        arrays |= {f"now_{i}": v for i, v in enumerate(self._values())}
        for i, variable in enumerate(self._model.optimizer.variables):
            arrays[f"optimizer_{i}"] = np.array(ops.convert_to_numpy(variable))
        arrays["state"] = np.array([self.epoch, self.best_epoch, self.best])
        with atomic_write(self._folder / "checkpoint.npz") as file:
            np.savez(file, allow_pickle=False, **arrays)

    def _restore(self) -> None:
        path = self._folder / "checkpoint.npz"
        if not path.exists():
            return
        with np.load(path, allow_pickle=False) as file:
            epoch, best_epoch, self.best = file["state"].tolist()
            self.epoch, self.best_epoch = int(epoch), int(best_epoch)
            count = len(self._best_values)
            self._best_values = [file[f"best_{i}"] for i in range(count)]
            self._assign(self._model.trainable_variables, [file[f"now_{i}"] for i in range(count)])
            state = self._model.optimizer.variables
            self._assign(state, [file[f"optimizer_{i}"] for i in range(len(state))])
