"""The loop: deterministic, goes on where it was killed, and learns what can be learned."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pipeline.config import TrainConfig
from pipeline.errors import InputError, ModelError
from pipeline.nets.backend import deterministic
from pipeline.nets.model.descriptors import standard_layout
from pipeline.nets.model.whitening import Whitening
from pipeline.training.pair_sampler import ClipFeatures, PairSampler
from pipeline.training.train import train_model
from pipeline.training.trainer import Trainer
from pipeline.training.validation import Validation
from tests.features import model, region_vectors

pytestmark = pytest.mark.slow  # heads are trained

CONFIG = TrainConfig(
    batch_clips=6,
    batch_copies=2,
    window=8,
    epochs=3,
    steps=3,
    learning_rate=0.01,
    patience=3,
    clean_share=0.5,
)


def views(count, seed):
    """Clips, and copies of the same frames under noise."""
    rng, made = np.random.default_rng(seed), []
    for i in range(count):
        clean = region_vectors(8, [seed, i])
        copies = [clean + 0.4 * rng.standard_normal(clean.shape) for _ in range(3)]
        copies = [c / np.linalg.norm(c, axis=2, keepdims=True) for c in copies]
        seconds = [np.arange(8, dtype=np.float32)] * 3
        halves = [c.astype(np.float16) for c in copies]
        made.append(ClipFeatures(str(i), clean.astype(np.float16), halves, seconds, [""] * 3))
    return made


@pytest.fixture(scope="module", autouse=True)
def equal_runs():
    deterministic()


def fit(folder, config=CONFIG, log=lambda entry: None):
    start = model(comparator=False, attention=False)
    train, held = views(10, 0), views(6, 1)
    drawn = PairSampler(
        train,
        np.eye(10, dtype=bool),
        size=config.batch_clips,
        copies=config.batch_copies,
        window=config.window,
        clean_share=0.5,
    )
    validation = Validation(held, np.eye(6, dtype=bool), False)
    return Trainer(start, drawn, validation, config, folder, symmetric=False, log=log)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder and the result of an undisturbed run."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, fit(folder).run()


def arrays(weights):
    return [weights.attention, *(a for layer in weights.comparator for a in layer)]


def assert_equal(one, other):
    for a, b in zip(arrays(one), arrays(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_equal_seeds_give_equal_weights_and_others_do_not(whole, tmp_path):
    assert_equal(fit(tmp_path / "again").run(), whole[1])
    other = fit(tmp_path / "other", TrainConfig(**{**vars(CONFIG), "seed": 1})).run()
    assert not np.array_equal(other.attention, whole[1].attention)


def test_a_killed_run_goes_on_as_if_it_had_not_been(whole, tmp_path):
    def kill(entry):
        if entry["epoch"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, log=kill).run()
    resumed = fit(tmp_path)
    assert resumed.epoch == 1
    assert_equal(resumed.run(), whole[1])
    told = [
        [json.loads(line) for line in (f / "log.jsonl").read_text().splitlines()]
        for f in (tmp_path, whole[0])
    ]
    for one, other in zip(*told, strict=True):
        assert one | {"seconds": 0} == other | {"seconds": 0}


def test_a_finished_run_is_only_read(whole):
    again = fit(whole[0])
    assert again.epoch == CONFIG.epochs
    assert_equal(again.run(), whole[1])


def test_it_learns(tmp_path):
    config = TrainConfig(**{**vars(CONFIG), "start": "random", "steps": 20, "epochs": 4})
    entries = []
    trained = fit(tmp_path, config, entries.append)
    trained.run()
    losses = [entry["loss"] for entry in entries[1:]]
    assert losses[-1] < 0.7 * losses[0]
    assert trained.best > entries[0]["validation_map"]


def test_it_stops_when_nothing_gets_better(tmp_path):
    config = TrainConfig(**{**vars(CONFIG), "epochs": 30, "patience": 1, "learning_rate": 1e-9})
    trained = fit(tmp_path, config)
    trained.run()
    assert trained.epoch < 30


def test_the_last_epoch_if_it_is_asked_for(whole, tmp_path):
    config = TrainConfig(**{**vars(CONFIG), "chosen_epoch": "last", "patience": 1})
    trained = fit(tmp_path, config)
    found = trained.run()
    assert (trained.epoch, trained.best_epoch) == (CONFIG.epochs, CONFIG.epochs)
    values = trained._values()
    assert_equal(found, trained._model_with_head())
    assert_equal(fit(tmp_path, config).run(), found)
    # The undisturbed run went the same way, whichever of its epochs it chose.
    with np.load(whole[0] / "checkpoint.npz") as file:
        for i, value in enumerate(values):
            np.testing.assert_array_equal(file[f"now_{i}"], value)


@pytest.mark.parametrize(
    ("size", "dims", "error", "message"),
    [
        (500, 16, ModelError, "500 values before whitening, fewer than the 1024"),
        (1500, 1025, InputError, r"train\.dims is 1025, .* gives 1024 values at most"),
    ],
)
def test_what_a_model_with_pixels_cannot_be_is_said_before_the_work(
    tmp_path, size, dims, error, message
):
    def pca(values):
        return Whitening(np.zeros(values, "f4"), np.eye(values, 16, 0, "f4"), np.ones(16, "f4"))

    weights = replace(
        model(attention=False),
        whitening=pca(size),
        thumbnail=pca(1024),
        layout=standard_layout(9, thumbnail=True),
    )
    with pytest.raises(error, match=message):
        train_model([], [], weights, TrainConfig(dims=dims), tmp_path)
    assert not list(tmp_path.iterdir())
