"""The benchmark of the paper's parts: what is left of a model, and that heads are trained once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.retrieval.studies import heads
from pipeline.config import load_config
from pipeline.default_model import default_model_dir
from pipeline.nets.extractor.feature_net import FeatureNet
from pipeline.nets.formats.loader import load_model
from pipeline.records import Failure, SourceInfo, VideoRef
from pipeline.training.train import TrainReport
from tests.features import comparator_layers


@pytest.fixture(scope="module")
def shipped():
    return load_model(default_model_dir())


def build_lists(set_dir: Path) -> None:
    for split, names in (("train", "ba"), ("validation", "v")):
        (set_dir / split).mkdir(parents=True)
        lines = [f"{n}\t{set_dir}/{split}/clips/{n}.mp4" for n in names]
        (set_dir / split / "queries.txt").write_text(lines[0] + "\n")
        copy = f"{names[0]}_crop\t{set_dir}/{split}/copies/{names[0]}_crop.mp4"
        (set_dir / split / "database.txt").write_text("\n".join([*lines[1:], copy]) + "\n")
        truth = f"{names[0]}\t{names[0]}_crop\tcrop_60_80\n"
        (set_dir / split / "truth.tsv").write_text(truth)


def test_regions_alone_are_those_of_the_whole_model(shipped):
    plain = heads.regions_alone(shipped)
    assert plain.layout.query == plain.layout.regions == shipped.layout.regions
    assert plain.insets == 0 and plain.comparator is None and plain.blank is shipped.blank
    assert plain.features_digest != shipped.features_digest
    frames = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    alone = FeatureNet(plain)(frames)
    assert np.array_equal(alone, FeatureNet(plain, as_queries=True)(frames))
    whole = FeatureNet(shipped)(frames)[:, : plain.regions]
    assert np.allclose(alone, whole, atol=1e-5)


def test_training_is_on_clips_and_not_on_their_copies(tmp_path):
    build_lists(tmp_path)
    expected = [VideoRef(name, f"{tmp_path}/train/clips/{name}.mp4") for name in "ab"]
    assert heads.training_clips(tmp_path) == expected


def test_a_head_is_trained_as_the_shipped_one_but_for_its_row_and_kept(
    tmp_path, shipped, monkeypatch
):
    build_lists(tmp_path)
    asked = []

    def train_model(refs, held, weights, config, work_dir, *, force_head, say):
        asked.append((refs, held, config, work_dir))
        assert force_head
        made = replace(weights, comparator=comparator_layers())
        made = replace(made, residual_weight=config.skip)
        return TrainReport(made, True, "keep", 0.1, 0.1, 0.2, len(refs), len(held), work_dir)

    monkeypatch.setattr(heads, "train_model", train_model)
    kept = heads.Heads(tmp_path, heads.regions_alone(shipped))
    first, second = kept.trained(False, 0.0), kept.trained(False, 0.5)
    assert (first.residual_weight, second.residual_weight) == (0.0, 0.5)
    again = heads.Heads(tmp_path, heads.regions_alone(shipped)).trained(False, 0.5)
    assert again.residual_weight == 0.5 and len(asked) == 2
    refs, held, config, work_dir = asked[1]
    own = load_config(heads.SETTINGS).train
    assert config == replace(own, attention=False, skip=0.5) == own
    assert [ref.id for ref in refs] == ["a", "b"] and [ref.id for ref in held] == ["v"]
    assert tmp_path in work_dir.parents


def test_a_video_that_cannot_be_used_leaves_no_head(tmp_path, shipped, monkeypatch):
    build_lists(tmp_path)

    def train_model(refs, held, weights, *_, **__):
        failures = [Failure("a", "decode", "cannot be decoded", SourceInfo("a.mp4"))]
        return TrainReport(weights, True, "keep", 0, 0, 0, 1, 1, tmp_path, failures)

    monkeypatch.setattr(heads, "train_model", train_model)
    kept = heads.Heads(tmp_path, heads.regions_alone(shipped))
    for _ in "12":
        with pytest.raises(RuntimeError, match="cannot be decoded"):
            kept.trained(True, 0.0)
