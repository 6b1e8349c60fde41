"""Parts of the network on inputs small enough to check by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.nets.backend import keras, ops
from pipeline.nets.extractor.regions import pooling_for, region_vectors
from pipeline.nets.formats.visil_tf import fold_batch_norm
from pipeline.nets.layers import whitening
from pipeline.nets.layers.whitening import l2_normalize
from pipeline.nets.model.blank import Blank, content_of
from pipeline.nets.model.descriptors import (
    DescriptorLayout,
    QueryAugmentation,
    SimilarityTerm,
    make_group,
    standard_layout,
)
from pipeline.nets.model.whitening import Whitening, projection
from pipeline.nets.similarity import chamfer
from pipeline.nets.similarity.attention import attend, content
from pipeline.nets.similarity.pair_scorer import PairScorer


def bare_model(
    layout: Any, dims: int, head: Any = None, residual_weight: float = 0.0, blank: bool = False
) -> Any:
    """What the engine needs of a model."""
    return SimpleNamespace(
        layout=layout, dims=dims, comparator=head, residual_weight=residual_weight,
        attention=None, adaptation=None, anchors=None, binarization=None, stored_dims=0,
        comparator_padding="edge",
        blank=Blank(np.eye(1, dims, dtype=np.float32), 0.2, 0.7) if blank else None,
    )  # fmt: skip


def numpy(x: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(x))


def f32(values: Any) -> np.ndarray:
    return np.asarray(values, np.float32)


def test_folded_batch_norm_equals_convolution_and_batch_norm() -> None:
    rng = np.random.default_rng(0)
    kernel = f32(rng.standard_normal((3, 3, 5, 7)))
    gamma, variance = f32(rng.uniform(0.5, 1.5, (2, 7)))
    beta, mean = f32(rng.standard_normal((2, 7)))
    x = rng.standard_normal((2, 6, 6, 5))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    convolved = np.einsum("byxcij,ijco->byxo", windows, kernel.astype(np.float64))
    plain = gamma * (convolved - mean) / np.sqrt(variance.astype(np.float64) + 1e-5) + beta
    folded_kernel, folded_bias = fold_batch_norm(kernel, gamma, beta, mean, variance)
    folded = np.einsum("byxcij,ijco->byxo", windows, folded_kernel.astype(np.float64)) + folded_bias
    assert np.abs(folded - plain).max() < 1e-5
    assert folded_kernel.dtype == folded_bias.dtype == np.float32
    layer = keras.layers.Conv2D(7, 3)
    layer.build((None, 6, 6, 5))
    layer.set_weights([folded_kernel, folded_bias])
    assert np.abs(numpy(layer(f32(x))) - plain).max() < 1e-5


def test_fold_by_hand() -> None:
    kernel, bias = fold_batch_norm(
        f32([[[[2.0]]]]), f32([3.0]), f32([1.0]), f32([4.0]), f32([0.25 - 1e-5])
    )
    assert kernel.item() == pytest.approx(12.0)  # 2 * 3 / 0.5
    assert bias.item() == pytest.approx(-23.0)  # 1 - 4 * 3 / 0.5


@pytest.mark.parametrize(
    ("size", "grid", "expected"),
    [
        (28, 3, (12, 8)),
        (14, 3, (6, 4)),
        (7, 3, (3, 2)),
        (56, 3, (24, 16)),
        (3, 3, (1, 1)),
        (9, 1, (9, 6)),
    ],
)
def test_pooling_rule(size: int, grid: int, expected: tuple[int, int]) -> None:
    assert pooling_for(size, grid) == expected


@pytest.mark.parametrize("grid", [1, 2, 3, 4, 5])
def test_regions_cover_the_whole_map(grid: int) -> None:
    for size in range(grid, 60):
        window, stride = pooling_for(size, grid)
        assert (grid - 1) * stride + window == size
        assert (size - window) // stride + 1 == grid
        assert 1 <= stride <= window  # no pixel is skipped


def test_a_map_smaller_than_the_grid() -> None:
    with pytest.raises(ValueError, match="side 2 cannot be cut into 3x3"):
        pooling_for(2)


def test_region_vectors_by_hand() -> None:
    """Maxima of a 7x7 map per window of 3 at stride 2; each layer counts alike after its L2."""
    ramp = f32(np.arange(49).reshape(1, 7, 7, 1))
    maxima = [16, 18, 20, 30, 32, 34, 44, 46, 48]
    second = np.zeros((1, 3, 3, 2), np.float32)
    second[0, 1, 1] = 3, 4
    vectors = numpy(region_vectors([ramp, second]))
    assert vectors.shape == (1, 9, 3)
    both = np.sqrt(0.5)
    assert vectors[0, 4] == pytest.approx([both, 0.6 * both, 0.8 * both], abs=1e-6)
    assert vectors[0, 0] == pytest.approx([1, 0, 0])  # a region without activation stays zero
    pair = np.concatenate([ramp, np.full_like(ramp, 10)], axis=-1)
    ratios = numpy(region_vectors([pair]))[0]
    assert ratios[:, 0] / ratios[:, 1] * 10 == pytest.approx(maxima, rel=1e-5)


def test_whitening_by_hand() -> None:
    parts = Whitening(f32([1, 1]), f32([[0, 1], [1, 0]]), f32([4, 1]))
    matrix = projection(parts)
    assert matrix.tolist() == [[0, 1], [0.5, 0]]
    whitened = numpy(whitening.whiten(f32([[4, 9]]), parts.mean, matrix))
    assert whitened[0] == pytest.approx([0.8, 0.6])  # (9 - 1) / 2 = 4 and (4 - 1) / 1 = 3


def test_fewer_dims_are_the_first_columns_renormalised() -> None:
    rng = np.random.default_rng(1)
    rotation = np.linalg.qr(rng.standard_normal((12, 12)))[0]
    parts = Whitening(f32(rng.standard_normal(12)), f32(rotation), f32(rng.uniform(0.1, 2, 12)))
    x = f32(rng.standard_normal((4, 9, 12)))
    whole = numpy(whitening.whiten(x, parts.mean, projection(parts)))
    few = parts.first(5)
    cut = numpy(whitening.whiten(x, few.mean, projection(few)))
    assert cut.shape == (4, 9, 5)
    assert np.allclose(cut, numpy(l2_normalize(whole[..., :5])), atol=1e-6)


def test_attention_by_hand() -> None:
    context = f32([1, 0])
    attended = numpy(attend(f32([[1, 0], [-1, 0], [0, 1], [0.6, 0.8]]), context))
    # weights 1, 0, 1/2 and 0.8
    assert np.allclose(attended, [[1, 0], [0, 0], [0, 0.5], [0.48, 0.64]], atol=1e-6)


QUERY = f32([[[1, 0], [0, 1]]])  # one frame of two regions
TARGET = f32([[[0.6, 0.8], [1, 0], [0, -1]], [[0, 1], [0, 1], [0, 1]]])  # two frames of three


def test_content_is_the_same_in_numpy() -> None:
    blank = Blank(np.eye(2, 16, dtype=np.float32), 0.1, 0.6)
    vectors = np.random.default_rng(0).standard_normal((40, 3, 16)).astype(np.float32)
    vectors[..., :2] *= np.linspace(0, 8, 40, dtype=np.float32)[:, None, None]
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    found = content_of(vectors, blank)
    assert found.min() == 0 and found.max() == 1 and 0.2 < found.mean() < 0.8
    np.testing.assert_allclose(found, ops.convert_to_numpy(content(vectors, blank)), atol=1e-5)


def frames(query: Any, target: Any, symmetric: bool = False, layout: Any = None) -> np.ndarray:
    """The frame matrix of the engine."""
    layout = layout or standard_layout(query.shape[1])
    model = bare_model(layout, query.shape[2])
    scorer = PairScorer(model, "symmetric_chamfer" if symmetric else "chamfer", "float32")
    placed = scorer.place_queries(query), scorer.place_targets(target)
    return numpy(scorer.frame_matrix(*placed))[: len(query), : len(target)]


def test_frame_chamfer_by_hand() -> None:
    # frame 0: dots (0.6 1; 0.8 0): maxima 1 and 0.8; frame 1: (0 0; 1 1): 0 and 1
    target = TARGET[:, :2]
    assert np.allclose(frames(QUERY, target), [[0.9, 0.5]])
    # the other way: (0.8 + 1) / 2 = 0.9 and 1; means with the first are 0.9 and 0.75
    assert np.allclose(frames(QUERY, target, True), [[0.9, 0.75]])


def test_a_part_of_the_regions_is_enough() -> None:
    # maxima as above: 1 and 0.8 to frame 0, 0 and 1 to frame 1
    target = TARGET[:, :2]
    alone = standard_layout(2, top_k=1)
    assert np.allclose(frames(QUERY, target, layout=alone), [[1, 1]])
    layout = standard_layout(2, top_k=1, top_k_offset=-0.25)
    assert np.allclose(frames(QUERY, target, layout=layout), [[0.9, 0.75]])


def test_a_new_descriptor_is_compared_by_chamfer_too() -> None:
    """Both regions of the mirrored picture, which the first frame's target has."""
    plain = standard_layout(2)
    flip = make_group("flip", "regions", 2, QueryAugmentation("flip"))
    term = SimilarityTerm("flip", "regions", "mean", offset=-0.1)
    layout = DescriptorLayout((*plain.groups, flip), (*plain.terms, term))
    mirrored = f32([[[0.6, 0.8], [0.8, 0.6]]])
    query = np.concatenate([QUERY, mirrored], axis=1)
    # (1 + 0.96) / 2 - 0.1 = 0.88 is less than 0.9; (0.8 + 0.6) / 2 - 0.1 = 0.6 more than 0.5;
    # dots with frame 0 are (1 0.6; 0.96 0.8), with frame 1 (0.8 0.8; 0.6 0.6)
    assert np.allclose(frames(query, TARGET[:, :2], layout=layout), [[0.9, 0.6]])
    # the other way: (1 + 0.8) / 2 and 0.8; means with (0.98, 0.7) less 0.1
    both = frames(query, TARGET[:, :2], True, layout)
    assert np.allclose(both, [[0.9, 0.75]])


def test_video_chamfer_by_hand() -> None:
    matrix = f32([[0.1, 0.9, 0.2], [0.3, 0.7, 0.4]])
    assert chamfer.video_to_video(matrix) == pytest.approx(0.8)
    # columns: (0.3 + 0.9 + 0.4) / 3 = 1.6 / 3
    symmetric = (0.8 + 1.6 / 3) / 2
    for either in (matrix, matrix.T):
        both = chamfer.video_to_video(either, "symmetric_chamfer")
        assert both == pytest.approx(symmetric)
        assert chamfer.video_to_video(either, "max_chamfer") == pytest.approx(0.8)
    assert chamfer.video_to_video(matrix.T) == pytest.approx(1.6 / 3)
    weights = f32([1, 3]), f32([1, 0, 1])
    assert chamfer.video_to_video(matrix, weights=weights) == pytest.approx((0.9 + 2.1) / 4)
    back = (0.3 + 0.4) / 2
    found = chamfer.video_to_video(matrix, "symmetric_chamfer", weights)
    assert found == pytest.approx((0.75 + back) / 2)


def delta(scale: float) -> np.ndarray:
    kernel = np.zeros((3, 3, 1, 1), np.float32)
    kernel[1, 1] = scale
    return kernel


def layers(last_bias: float) -> list[tuple[np.ndarray, np.ndarray]]:
    zero = np.zeros(1, np.float32)
    return [
        (np.ones((3, 3, 1, 1), np.float32), zero),
        (delta(0.01), zero),
        (delta(0.5), zero),
        (np.ones((1, 1, 1, 1), np.float32), f32([last_bias])),
    ]


def compared(
    matrices: np.ndarray,
    head: Any,
    residual_weight: float = 0.0,
    symmetric: bool = False,
    weights: Any = None,
) -> np.ndarray:
    """Outputs of the engine's comparator: float [B, h, w] or [h, w] -> [B, h / 4, w / 4]."""
    batch = matrices if matrices.ndim == 3 else matrices[None]
    count, height, width = batch.shape
    blocks = np.full((count * height, count * width), 9, np.float32)  # what no window may see
    for i, matrix in enumerate(batch):
        blocks[i * height : (i + 1) * height, i * width : (i + 1) * width] = matrix
    windows = np.array(
        [
            [i * height, height, 0, height // 4, i * width, width, 0, width // 4]
            for i in range(count)
        ],
        np.int32,
    )
    model = bare_model(standard_layout(1), 16, head, residual_weight, weights is not None)
    scorer = PairScorer(model, "symmetric_chamfer" if symmetric else "chamfer", "float32")
    sides = None, None
    if weights is not None:
        sizes = (count, height), (count, width)
        sides = tuple(
            np.broadcast_to(w, size).reshape(-1) for w, size in zip(weights, sizes, strict=True)
        )
    padded = (-(-n // 4) * 4 for n in (height, width))
    outputs = numpy(scorer.outputs(ops.convert_to_tensor(blocks), windows, *padded, sides))
    outputs = outputs[:, : height // 4, : width // 4]
    return outputs if matrices.ndim == 3 else outputs[0]


def test_comparator_by_hand() -> None:
    """Box sums with mirrored edges, pooled: 1..16 gives 54 69 / 114 129, then 1.29, 0.645."""
    matrix = f32(np.arange(1, 17).reshape(4, 4))
    assert (compared(matrix, layers(-0.045))) == pytest.approx(0.6)
    assert (compared(matrix, layers(0.5))) == 1.0  # clipped
    assert (compared(matrix, layers(-2.0))) == -1.0
    # with zeros at the edge the corner would be 54 = 11 + 12 + 15 + 16, not 129
    assert (compared(-matrix, layers(0.25))) == 0.25  # ReLU leaves the bias


def test_a_share_passes_the_comparator_by() -> None:
    matrix = f32(np.arange(1, 17).reshape(4, 4) / 16)  # row maxima 4, 8, 12, 16: mean 10
    past = 10 / 16
    assert (compared(matrix, layers(2.0), 0.25)) == pytest.approx(0.75 + past / 4)
    both = (past + 14.5 / 16) / 2  # column maxima 13 to 16
    found = compared(matrix, layers(2.0), 0.25, symmetric=True)
    assert found == pytest.approx(0.75 + both / 4)


def past(matrix: np.ndarray, symmetric: bool = False, weights: Any = None) -> np.ndarray:
    """What passes a comparator by that gives 0 whatever it sees."""
    silent = [*layers(0.0)[:3], (np.zeros((1, 1, 1, 1), np.float32), np.zeros(1, np.float32))]
    return (compared(matrix, silent, 0.5, symmetric, weights)) * 2


def test_rows_that_count_for_less_take_less_from_their_group() -> None:
    matrix = f32(np.arange(1, 17).reshape(4, 4) / 16)  # row maxima 4 8 12 16, columns 13 to 16
    rows, columns = f32([0, 0.5, 1, 0.5]), f32([1, 0.2, 0.2, 0.2])
    there = (0.5 * 8 + 12 + 0.5 * 16) / 2 / 16
    back = (13 + 0.2 * (14 + 15 + 16)) / 1.6 / 16
    assert past(matrix, False, (rows, columns)) == pytest.approx(there)
    assert past(matrix, True, (rows, columns)) == pytest.approx((there + back) / 2)


@pytest.mark.slow
@pytest.mark.parametrize("symmetric", [False, True])
def test_equal_weights_change_nothing(symmetric: bool) -> None:
    matrix = f32(np.random.default_rng(5).uniform(-1, 1, (2, 11, 9)))
    ones = np.ones(11, np.float32), np.ones(9, np.float32)
    plain = past(matrix, symmetric)
    assert np.array_equal(past(matrix, symmetric, ones), plain)
    for least in (0.02, 1e-7, 0.0):
        weights = ones[0] * np.float32(least), ones[1] * np.float32(least)
        assert past(matrix, symmetric, weights) == pytest.approx(plain, abs=1e-5)


@pytest.mark.slow
def test_each_pair_of_a_batch_may_have_weights_of_its_own() -> None:
    rng = np.random.default_rng(6)
    matrix = f32(rng.uniform(-1, 1, (3, 11, 9)))
    rows, columns = f32(rng.uniform(0, 1, (3, 11))), f32(rng.uniform(0, 1, (3, 9)))
    found = past(matrix, True, (rows, columns))
    for i, one in enumerate(found):
        assert one == pytest.approx(past(matrix[i], True, (rows[i], columns[i])), abs=1e-6)
    assert np.abs(found - past(matrix, True, (rows[0], columns[0]))).max() > 0.01


def test_comparator_shrinks_by_four_and_takes_batches() -> None:
    rng = np.random.default_rng(3)
    matrices = f32(rng.uniform(-1, 1, (2, 11, 9)))
    outputs = compared(matrices, layers(0.0))
    assert outputs.shape == (2, 2, 2)
    for matrix, output in zip(matrices, outputs, strict=True):
        assert np.allclose((compared(matrix, layers(0.0))), output, atol=1e-6)
