"""The training command as a user types it, on real video with the shipped model."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.default_model import default_model_dir
from pipeline.nets.formats.loader import load_model
from tests.command import run
from tests.messages import assert_output

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(ROOT.glob("examples/*.[mw][pe]*"))[:6]
CONFIG = """
train:
  copies: 1
  clip_seconds: 4
  clips_per_video: 1
  epochs: 1
  steps: 2
  batch_clips: 4
  whitening: keep
  whitening_frames: 200
"""


WORK = "model.training"  # beside the model, if no other folder is given


def arguments(folder, *options):
    lists = "--video_file", folder / "train.txt", "--validation_file", folder / "validation.txt"
    return [*lists, "--config", folder / "c.yaml", *options]


def train(folder, *options, code=3):
    """What the command says in this process, where TensorFlow is there already."""
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        # It cannot be taken back, and tests of other files would run with it.
        patch.setattr("pipeline.training.train.deterministic", lambda: None)
        return run("train", *arguments(folder, *options), code=code)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("train")
    lines = [f"{p.stem}\t{p}" for p in EXAMPLES]
    (path / "train.txt").write_text("\n".join([*lines[:4], f"gone\t{path / 'gone.mp4'}"]))
    (path / "validation.txt").write_text("\n".join(lines[4:]))
    (path / "c.yaml").write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def trained(folder):
    """What the script said in a process; the model is in `model`, with its head in any case."""
    options = arguments(folder, "--output_dir", "model/", "--force_head")
    done = subprocess.run(
        [sys.executable, *map(str, (ROOT / "train_model.py", *options))],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_model_with_a_head_is_written_and_keeps_the_features(folder, trained):
    assert "gone: missing" in trained
    assert_output(trained, "epoch 1", "loss")
    assert_output(trained, "model:", "with a head")
    model, shipped = load_model(folder / "model"), load_model(default_model_dir())
    assert model.features_digest == shipped.features_digest
    assert model.attention is None, "the shipped model has views"
    np.testing.assert_array_equal(model.blank.directions, shipped.blank.directions)
    assert "blank frames" not in trained  # the space is that of the same features
    assert len(model.comparator) == 4
    assert "trained on 4 clips x 1 copies (seed 0)" in model.description
    (log,) = (folder / WORK).glob("run-*/log.jsonl")
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert [entry["epoch"] for entry in entries] == [0, 1]
    assert all(0 < entry["validation_map"] <= 1 for entry in entries)


def test_again_gives_the_same_from_what_was_kept(folder, trained):
    told = train(folder, "--output_dir", "again", "--work_dir", WORK, "--force_head")
    assert "epoch" not in told
    first = (folder / "model" / "weights.npz").read_bytes()
    assert (folder / "again" / "weights.npz").read_bytes() == first


def test_whitening_can_be_fitted_anew_and_is_taken_if_better(folder, trained):
    told = train(folder, "--output_dir", "pca", "--work_dir", WORK, "--whitening", "pca")
    model, shipped = load_model(folder / "pca"), load_model(default_model_dir())
    if model.features_digest != shipped.features_digest:
        assert_output(told, "features", remedy="extract stores anew")
        assert_output(told, "blank frames")
    else:
        assert_output(told, "pca", "whitening", "validation mAP")
        assert "extract stores" not in told and "blank frames" not in told
    assert (model.comparator is None) == ("written without it" in told)


def test_too_few_videos_are_an_error(folder):
    (folder / "one.txt").write_text(f"a\t{EXAMPLES[0]}")
    told = train(folder, "--output_dir", "x", "--video_file", folder / "one.txt", code=2)
    assert_output(told, "error", "two usable videos", remedy="add some to the list")
    assert not (folder / "x").exists()


def test_a_target_that_cannot_be_written_is_refused_before_the_work(folder):
    (folder / "file").write_text("not a model")
    said = train(folder, "--output_dir", "file", "--work_dir", "unused", code=2)
    assert_output(said, "error", "file", remedy="choose another --output_dir")
    assert not (folder / "unused").exists()
