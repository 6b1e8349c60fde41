"""The benchmark's figures on tables worked out by hand."""

import argparse
import importlib
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.retrieval import command
from benchmarks.retrieval.baselines.hash_matching import mean_of_best, table
from benchmarks.retrieval.baselines.simple import phash
from benchmarks.retrieval.dataset.transforms import HARD_KINDS, KINDS
from benchmarks.retrieval.report.metrics_by_kind import figures_by_kind
from benchmarks.retrieval.studies import ablation, card, hardness
from benchmarks.retrieval.studies.evaluate import add_options, configs
from pipeline.metrics import average_precision, figures, recall_at
from pipeline.nets.model.descriptors import QueryAugmentation, standard_layout
from tests import reference
from tests.features import region_vectors


def test_average_precision_is_the_mean_of_the_precision_at_each_hit():
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    relevant = np.array([True, False, True, False])
    assert average_precision(scores, relevant) == pytest.approx((1 / 1 + 2 / 3) / 2)


def test_ties_count_against_the_relevant():
    assert average_precision(np.zeros(4), np.array([True, False, False, False])) == 0.25


def test_nothing_relevant_has_no_average_precision():
    assert np.isnan(average_precision(np.ones(2), np.zeros(2, bool)))


@pytest.mark.parametrize("rate, expected", [
    (0.0, 1 / 3),  # above 0.8, the best of the others
    (0.1, 2 / 3),  # one of ten others may lie above: the threshold is the second, 0.5
    (1.0, 1.0),
])  # fmt: skip
def test_recall_at_a_false_positive_rate(rate, expected):
    others = [0.8, 0.5, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1]
    scores = np.array([0.9, 0.6, 0.05, *others])
    assert recall_at(scores, np.arange(13) < 3, rate) == pytest.approx(expected)


def test_mean_ap_is_over_queries_and_micro_ap_over_pairs():
    scores = np.array([[0.9, 0.1], [0.5, 0.6], [0.3, 0.2]])
    relevant = np.array([[True, False], [True, False], [False, False]])
    result = figures(scores, relevant, np.ones_like(relevant))
    assert result.mean_ap == pytest.approx((1 + 1 / 2) / 2)  # the third query has no copy
    assert result.micro_ap == pytest.approx((1 / 1 + 2 / 3) / 2)  # ranks 1 and 3 of six
    assert result.pairs == 2


def test_pairs_that_do_not_count_are_ignored():
    scores = np.array([[0.9, 0.8, 0.1]])
    relevant = np.array([[False, True, False]])
    assert figures(scores, relevant, np.array([[False, True, True]])).mean_ap == 1.0


def test_a_kind_is_scored_without_the_copies_of_other_kinds():
    kinds = np.array([["crop", "blur", "", ""]])
    result = figures_by_kind(np.array([[0.9, 0.3, 0.5, 0.1]]), kinds)
    assert set(result) == {"all", "hard", "crop", "blur"}
    assert result["all"].mean_ap == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert result["crop"].mean_ap == 1.0
    assert result["blur"].mean_ap == 0.5  # only the stranger of 0.5 is before it


def test_hard_kinds_are_ranked_together_and_without_the_copies_of_other_kinds():
    kinds = np.array([["mirror", "edges", "", "crushed", ""], ["mirror", "", "", "", "grey"]])
    scores = np.array([[0.3, 0.9, 0.8, 0.7, 0.1], [0.9, 0.85, 0.2, 0.1, 0.0]])
    hard = figures_by_kind(scores, kinds)["hard"]
    # The second query has no hard copy, but its strangers are in the ranking of all pairs.
    assert hard.mean_ap == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert hard.micro_ap == pytest.approx((1 / 1 + 2 / 4) / 2)
    assert hard.pairs == 2
    without = np.array([["mirror", ""]])
    assert np.isnan(figures_by_kind(np.array([[0.9, 0.1]]), without)["hard"].mean_ap)


def test_hard_kinds_are_some_of_the_kinds():
    assert set(HARD_KINDS) < set(KINDS)


def test_phash_is_the_same_for_another_size_and_another_for_the_mirror_image():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    frames, larger = (small.repeat(n, axis=1).repeat(n, axis=2) for n in (8, 16))
    assert (phash(frames) * phash(larger)).mean() > 0.95
    assert abs((phash(frames) * phash(frames[:, :, ::-1])).mean()) < 0.5


def test_chamfer_takes_the_best_frame_of_each_video():
    query = np.float32([[1, 0], [0, 1]])
    videos = [np.float32([[1, 0]]), np.float32([[0.5, 0], [0, 1], [0, 0]])]
    assert table(mean_of_best, [query], videos) == pytest.approx(np.array([[0.5, 0.75]]))


@pytest.mark.parametrize("symmetric", [False, True])
def test_ablation_computes_what_stage_two_computes(symmetric):
    layout = standard_layout(
        9, lowpass=True, thumbnail=True, thumbnail_offset=0.02, flip=True, downscale=(2, 3),
        downscale_offsets=(0.0, 0.04), top_k=4, top_k_offset=-0.02,
        augmentations=(
            (QueryAugmentation("pad_black", 0.5), -0.01, 0.0),
            (QueryAugmentation("crops", 0.5, parts=2), 0.0, 0.5),
        ),
    )  # fmt: skip
    anchors = region_vectors(12, 9)[:, 0]
    model = SimpleNamespace(layout=layout, anchors=anchors)
    sides = []
    for seed, vectors in ((0, layout.query), (1, layout.shared)):
        parts = [region_vectors(n, [seed, n, k]) for n in (5, 7) for k in range(3)]
        videos = [np.concatenate(parts[i : i + 3], axis=1)[:, :vectors] for i in (0, 3)]
        sides.append(videos)
    joined = [ablation.Side(np.concatenate(s), [len(v) for v in s]) for s in sides]
    found = ablation.scores(*joined, model, ablation.Variant("", symmetric=symmetric))
    function = "symmetric_chamfer" if symmetric else "chamfer"
    want = [
        [
            reference.similarity(q, t, None, function, None, layout, anchors=anchors)
            for t in sides[1]
        ]
        for q in sides[0]
    ]
    np.testing.assert_allclose(found, want, atol=1e-5)


def test_stored_values_of_fewer_bits_keep_directions():
    x = region_vectors(6, 3)
    assert (x * ablation.int8(x)).sum(axis=-1).min() > 0.999
    assert np.unique(ablation.one_bit(x)).size == 2
    np.testing.assert_allclose(np.linalg.norm(ablation.cut(0.5)(x), axis=-1), 1, rtol=1e-5)


def test_a_table_on_the_command_line(tmp_path, capsys):
    asked = []

    def rows(options):
        asked.append((options.set_dir, options.split, *configs(options)))
        yield ["one", "0.500"]
        if options.split == "test":
            raise FileNotFoundError("build the set first")

    arguments = [str(tmp_path), "--fps", "2", "--similarity_function", "max_chamfer"]
    assert command.run("Title.\nmore", ["", "mAP"], rows, arguments) == 0
    assert capsys.readouterr().out == "|  | mAP |\n| --- | ---: |\n| one | 0.500 |\n"
    ((folder, split, extract, compare),) = asked
    assert (folder, split) == (tmp_path, "validation")
    assert (extract.fps, compare.similarity_function) == (2, "max_chamfer")
    assert command.run(None, ["", "mAP"], rows, [*arguments, "--split", "test"]) == 1
    assert capsys.readouterr() == ("", "build the set first\n")


def test_the_card_runs_each_command_once_and_goes_on_after_a_failure(tmp_path, monkeypatch, capsys):
    asked, broken = [], {"wide"}
    commands = {
        "held": ("held", "validation", []),
        "wide": ("wide", "validation", []),
        "wild": ("wild", "validation", []),
        "held_on_test": ("held", "validation", ["--on", "test"]),
        "blank": ("blank", "validation", []),
        "wild_test": ("wild", "test", []),
    }
    monkeypatch.setattr(card, "COMMANDS", commands)

    def run(words, stdout, check):
        module = words[2].rpartition(".")[2]
        asked.append((module, words[3:]))
        stdout.write(f"figures of {module}\n".encode())
        if check and module in broken:
            raise subprocess.CalledProcessError(1, words)
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(card.subprocess, "run", run)
    arguments = [str(tmp_path), "--model_dir", "mine", "--only", "wi", "held"]
    names = ["held", "wide", "wild", "held_on_test", "wild_test"]
    assert card.main(arguments) == 1
    assert [module for module, _ in asked] == ["held", "wide", "wild", "held", "wild"]
    shared = ["--model_dir", "mine"]
    assert asked[3][1] == [str(tmp_path), "--split", "validation", *shared, "--on", "test"]
    assert asked[4][1] == [str(tmp_path), "--split", "test", *shared]
    told = capsys.readouterr()
    assert "wide: exit code 1" in told.err and told.err.endswith("failed: wide\n")
    assert [line[3:] for line in told.out.splitlines() if line.startswith("##")] == [
        name for name in names if name != "wide"
    ]
    assert (tmp_path / "card" / "wild.md").read_text() == "figures of wild\n"
    broken.clear()
    asked.clear()
    assert card.main(arguments) == 0
    assert [module for module, _ in asked] == ["wide"]  # what is there is not run again


@pytest.mark.parametrize("name", card.COMMANDS)
def test_a_command_of_the_card_takes_its_options(name, tmp_path, monkeypatch, capsys):
    module, split, options = card.COMMANDS[name]
    command_line = importlib.import_module(f"benchmarks.retrieval.studies.{module}")
    monkeypatch.setattr(sys, "argv", [module, str(tmp_path), "--split", split, *options])
    assert command_line.main() == 1
    said = capsys.readouterr().err
    assert said.startswith(f"{tmp_path / split}/") and "build the set first" in said


def test_the_hardest_queries_are_left_out_by_the_yardstick_alone(tmp_path, monkeypatch):
    assert hardness.as_hard(np.array([0.2, 1.0, 0.6]), 0.8).tolist() == [False, True, True]
    assert hardness.as_hard(np.array([0.9, 1.0]), 0.8).all()
    assert not hardness.as_hard(np.array([0.5, 0.6]), 0.8).any()

    kinds = np.array([["edges", "", "negate"], ["", "edges", ""], ["negate", "", ""]])
    scores = np.array([[0.5, 0.7, 0.9], [0.1, 0.8, 0.2], [0.9, 0.1, 0.2]])
    assert hardness.precisions(scores, kinds, "edges").tolist() == [0.5, 1.0]  # negate not counted

    def model_scores(stores, *_):
        return scores if stores == "bare" else scores[:, [1, 0, 2]]

    def model_stores(*arguments):
        return "bare" if arguments[3].insets == 0 else "model"

    monkeypatch.setattr(hardness, "LEVELS", {"edges": 0.9})
    monkeypatch.setattr(hardness, "read_lists", lambda _: ("abc", "def", kinds))
    monkeypatch.setattr(hardness, "model_stores", model_stores)
    monkeypatch.setattr(hardness, "model_scores", model_scores)
    monkeypatch.setattr(hardness, "untrained_dir", nullcontext)
    parser = argparse.ArgumentParser()
    add_options(parser)
    options = parser.parse_args([str(tmp_path)])
    assert hardness.rows_of(options) == [["edges", "2", "0.750", "0.667", "1", "1.000", "0.333"]]
