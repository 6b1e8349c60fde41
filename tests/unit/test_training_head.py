"""The head's numbers are stage two's; its losses are the formulas; its start is near plain."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.config import TrainConfig
from pipeline.metrics import mean_average_precision
from pipeline.nets.backend import BACKEND, ops
from pipeline.nets.model.blank import Blank
from pipeline.nets.model.descriptors import QueryAugmentation, standard_layout
from pipeline.training.head_model import HeadModel
from pipeline.training.initializers import comparator_start
from pipeline.training.losses import info_nce, triplets
from pipeline.training.pair_sampler import ClipFeatures
from pipeline.training.score_scaling import scale_scores
from pipeline.training.validation import Validation
from tests import reference
from tests.features import DIMS, comparator_layers, model, region_vectors

pytestmark = pytest.mark.slow  # `make test-fast` leaves these out

LENGTHS = [4, 7, 12, 10], [5, 12, 4]


def head(symmetric=False, **changes):
    config = TrainConfig(**changes)
    return HeadModel(DIMS, standard_layout(9), symmetric, config, np.random.default_rng(0))


def inputs():
    sides = []
    for seed, lengths in enumerate(LENGTHS):
        packed = np.zeros((len(lengths), 12, 9, DIMS), np.float32)
        for i, n in enumerate(lengths):
            packed[i, :n] = region_vectors(n, [seed, i])
        sides += [packed, np.array(lengths, np.int32)]
    return dict(zip(["queries", "query_frames", "targets", "target_frames"], sides, strict=True))


def views():
    """One clip a query, and all targets as copies of the first."""
    queries = [region_vectors(n, [0, i]) for i, n in enumerate(LENGTHS[0])]
    copies = [region_vectors(n, [1, i]) for i, n in enumerate(LENGTHS[1])]
    seconds = [np.arange(len(c)) for c in copies]
    return [
        ClipFeatures(
            str(i), q, copies if i == 0 else [], seconds if i == 0 else [], [""] * 3 * (i == 0)
        )
        for i, q in enumerate(queries)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(("attention", "skip"), [(False, 0.0), (True, 0.3), (False, 0.3)])
def test_scores_are_those_of_stage_two(symmetric, attention, skip):
    trained = head(symmetric, attention=attention, skip=skip)
    assert trained.residual_weight == skip * (not attention)
    for variables, values in zip(trained.layers_of_comparator, comparator_layers(), strict=True):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
    context, layers = trained.head()
    weights = replace(model(symmetric=symmetric), attention=context, comparator=layers)
    weights = replace(weights, residual_weight=trained.residual_weight)
    expected = Validation(views(), np.eye(4, dtype=bool), symmetric).scores(weights)
    found = ops.convert_to_numpy(trained(inputs())["scores"])
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert np.ptp(expected) > 0.03
    if attention:
        assert np.linalg.norm(context) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("symmetric", [False, True])
def test_validation_weighs_frames_as_stage_two_does(symmetric):
    some = views()
    rng = np.random.default_rng(7)
    for vectors in (*(v.clean for v in some), *some[0].copies):
        vectors[..., :2] *= rng.choice([1, 5, 50], size=(len(vectors), 1, 1))
        vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    blank = Blank(np.eye(2, DIMS, dtype=np.float32), 0.2, 0.7)
    weights = replace(model(attention=False, symmetric=symmetric), blank=blank, residual_weight=0.5)
    found = Validation(some, np.eye(4, dtype=bool), symmetric).scores(weights)
    function = "symmetric_chamfer" if symmetric else "chamfer"
    expected = [
        [
            reference.similarity(v.clean, c, weights.comparator, function, blank, None, 0.5)
            for c in some[0].copies
        ]
        for v in some
    ]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    plain = Validation(some, np.eye(4, dtype=bool), symmetric).scores(replace(weights, blank=None))
    assert np.abs(found - plain).max() > 0.01


def test_self_similarities_are_those_of_pairs_with_themselves():
    trained = head(attention=True)
    x = inputs()
    own = ops.convert_to_numpy(trained(x)["selves"])
    both = ops.convert_to_numpy(
        trained(x | {"targets": x["queries"], "target_frames": x["query_frames"]})["scores"]
    )
    np.testing.assert_allclose(own, np.diag(both), atol=1e-5)


@pytest.mark.parametrize("attention", [False, True])
def test_the_average_start_is_near_the_plain_similarity(attention):
    frames = [region_vectors(12, i) for i in range(8)]
    rng = np.random.default_rng(0)
    noisy = [f + 0.3 * rng.standard_normal(f.shape) for f in frames]
    noisy = [(n / np.linalg.norm(n, axis=2, keepdims=True)).astype(np.float32) for n in noisy]
    lengths = np.full(8, 12, np.int32)
    x = {"queries": np.stack(frames), "targets": np.stack(noisy)}
    x |= {"query_frames": lengths, "target_frames": lengths}
    scores = ops.convert_to_numpy(head(attention=attention)(x)["scores"])
    assert scores.diagonal().min() > scores[~np.eye(8, dtype=bool)].max() + 0.05
    own = ops.convert_to_numpy(head(attention=attention)(x)["selves"])
    assert 0.6 < own.mean() < 1.4


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="of TensorFlow's graphs")
@pytest.mark.parametrize("loss", ["infonce", "triplet"])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("attention", [False, True])
def test_no_gradient_is_summed_in_an_order_by_chance(attention, symmetric, loss):
    import tensorflow as tf

    trained = head(symmetric, attention=attention, loss=loss)
    x = inputs()
    positive = np.eye(4, 3, dtype=np.float32)

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            y = {"positive": positive, "negative": 1 - positive}
            told = trained.compute_loss(x, y, trained(x))
        return tape.gradient(told, [v.value for v in trained.trainable_variables])

    graph = gradients.get_concrete_function().graph
    # Which buffer AddN adds to first depends on which is free; of two terms the sum is the same.
    terms = [len(op.inputs) for op in graph.get_operations() if op.type == "AddN"]
    assert terms and max(terms) == 2


def test_info_nce_is_its_formula():
    scores = np.random.default_rng(0).uniform(-1, 1, (3, 3)).astype(np.float32)
    positive = np.eye(3, dtype=np.float32)
    negative = 1 - positive
    negative[0, 1] = 0  # neither
    exp = np.exp(scores / 0.2)
    rows = [-np.log(exp[i, i] / (exp[i, i] + (exp[i] * negative[i]).sum())) for i in range(3)]
    down = [-np.log(exp[i, i] / (exp[i, i] + (exp[:, i] * negative[:, i]).sum())) for i in range(3)]
    found = float(info_nce(scores, positive, negative, 0.2))
    assert found == pytest.approx((np.mean(rows) + np.mean(down)) / 2, rel=1e-5)


def test_triplets_count_only_what_is_too_near():
    positive = np.eye(2, dtype=np.float32)
    apart = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    assert float(triplets(apart, positive, 1 - positive, 0.5)) == 0
    near = np.array([[0.9, 0.1], [0.7, 0.8]], np.float32)
    # Rows: 0 and 0.5 - 0.8 + 0.7; columns: 0.5 - 0.9 + 0.7 and 0.
    assert float(triplets(near, positive, 1 - positive, 0.5)) == pytest.approx(0.175, rel=1e-5)


def test_what_lies_beyond_one_is_counted():
    trained = head(attention=False)
    _, bias = trained.layers_of_comparator[-1]
    bias.assign(np.array([3.0], np.float32))
    assert float(ops.convert_to_numpy(trained(inputs())["beyond"])) > 1


def test_average_precision_by_hand():
    scores = np.array([[0.9, 0.8, 0.7, 0.6], [0.5, 0.5, 0.5, 0.1]])
    relevant = np.array([[True, False, True, False], [True, False, False, False]])
    counted = np.array([[True] * 4, [True, True, False, True]])
    expected = ((1 + 2 / 3) / 2 + 1 / 2) / 2
    assert mean_average_precision(scores, relevant, counted) == pytest.approx(expected)


@pytest.mark.parametrize(
    "layout",
    [
        standard_layout(9, lowpass=True, downscale=(2, 3)),
        standard_layout(9, downscale=(2,)),
        standard_layout(9, downscale=(2,), thumbnail=True, thumbnail_offset=0.03, flip=True),
        standard_layout(
            9,
            lowpass=True,
            downscale=(2,),
            augmentations=((QueryAugmentation("pad_black", 0.75), -0.02, 0.0),),
            thumbnail=True,
        ),
        standard_layout(
            9,
            lowpass=True,
            downscale=(2,),
            augmentations=((QueryAugmentation("pad_black", 0.75), -0.02, 0.0),),
        ),
        standard_layout(
            9, lowpass=True, augmentations=((QueryAugmentation("crops", 0.6, parts=2), 0.01, 0.7),)
        ),
        standard_layout(
            9,
            lowpass=True,
            downscale=(2, 3),
            top_k=5,
            top_k_offset=-0.01,
            downscale_offsets=(0.0, 0.1),
        ),
    ],
)
def test_views_are_compared_as_in_stage_two(layout):
    anchors = region_vectors(120, 8)[:, 3]
    made = HeadModel(DIMS, layout, False, TrainConfig(), np.random.default_rng(0), anchors=anchors)
    assert made.context is None, "attention was learned for regions alone"
    sides = []
    for seed in (3, 4):
        parts = [region_vectors(12, [seed, k]) for k in range(2)]
        sides.append(np.concatenate(parts, axis=1)[:, : layout.query])
    found = made._frame_matrix(*(s.reshape(2, 6, *s.shape[1:]) for s in sides))
    want = reference.frame_similarity(*sides, False, None, layout, anchors)
    np.testing.assert_allclose(ops.convert_to_numpy(found), want, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("skip", [0.0, 0.5])
@pytest.mark.parametrize("symmetric", [False, True])
def test_a_comparator_is_scaled_to_strangers_at_0_and_equals_at_1(symmetric, skip):
    frames = [region_vectors(12, i) for i in range(12)]
    clips = [ClipFeatures(str(i), f, [], [], []) for i, f in enumerate(frames)]
    same = np.eye(12, dtype=bool)
    *hidden, (kernel, bias) = comparator_start("average", 1.0, np.random.default_rng(0))
    layers = (*hidden, (kernel, bias - 0.2))
    weights = replace(
        model(attention=False, symmetric=symmetric), comparator=layers, residual_weight=skip
    )
    found = scale_scores(weights, clips, same, symmetric)
    again = [ClipFeatures(v.video, v.clean, [v.clean], [np.arange(12)], [""]) for v in clips]
    table = Validation(again, same, symmetric).scores(found)
    assert np.quantile(np.diag(table), 0.05) == pytest.approx(1, abs=0.05)
    assert np.median(table[~same]) == pytest.approx(0, abs=0.05)
