"""The batched engine against plain numpy: every border, any cut, any batch."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.config import MODEL_FUNCTIONS, SIMILARITY_FUNCTIONS
from pipeline.nets.model.blank import Blank
from pipeline.nets.model.descriptors import DescriptorLayout, QueryAugmentation, standard_layout
from pipeline.nets.model.whitening import Whitening
from pipeline.quantization import dequantize, quantize
from pipeline.search.aggregation import PairScores
from pipeline.search.limits import Limits
from pipeline.search.read_plan import CHAMFER_ONLY, COMPARATOR, plan_pieces
from pipeline.search.score_sink import DenseScores, RestScores
from pipeline.search.scoring import ScoringLoop
from pipeline.short_videos import repeat_to_min
from tests import reference
from tests.features import DIMS, comparator_layers, region_vectors

PLAIN = standard_layout(9)
ANCHORS = region_vectors(150, 5)[:, 0]
AUGMENTATIONS = (
    (QueryAugmentation("rotate", 8), -0.01, 0.0),
    (QueryAugmentation("crops", 0.6, parts=2), 0.03, 0.5),
)


def videos(lengths: list[int], seed: int, vectors: int = 9) -> list[np.ndarray]:
    """Lists of [T, vectors, C]; what is beyond nine are regions of other frames."""
    return [
        np.concatenate([region_vectors(n, [seed, i, k]) for k in range(-(-vectors // 9))], axis=1)[
            :, :vectors
        ]
        if vectors > 9
        else region_vectors(n, [seed, i])
        for i, n in enumerate(lengths)
    ]


class Arrays:
    """Features of one side in memory, as the product reads them from stores."""

    ahead_bytes = 0

    def __init__(self, arrays):
        self._videos = [repeat_to_min(video) for video in arrays]
        self.lengths = np.array([len(video) for video in self._videos])
        self.dtype, self.row_shape = arrays[0].dtype, arrays[0].shape[1:]

    def prefetch(self, wanted):
        """They are in memory."""

    def read(self, video, start, stop, out, *, checksum):
        out[:] = self._videos[video][start:stop]


def score_all(
    queries,
    targets,
    comparator,
    function,
    max_frames=64,
    budget=100,
    pairs=7,
    cells=20_000,
    few_shapes=False,
    shapes=None,
    blank=None,
    layout=PLAIN,
    residual_weight=0.0,
    adaptation=None,
    rest=None,
    padding="edge",
):
    from pipeline.nets.similarity.pair_scorer import PairScorer

    weights = SimpleNamespace(
        layout=layout, dims=DIMS, comparator=comparator, residual_weight=residual_weight,
        attention=None, blank=blank, anchors=ANCHORS, adaptation=adaptation, binarization=None,
        stored_dims=0, comparator_padding=padding,
    )  # fmt: skip
    scorer = PairScorer(weights, function, "float32", tile=(40, 70))
    scorer.few_shapes = few_shapes
    if shapes is not None:
        record_shapes(scorer, shapes)
    limits = Limits(piece_frames=max_frames, query_block_frames=budget, batch_cells=cells)
    loop = ScoringLoop(scorer, function, batch_size=pairs, limits=limits)
    table = np.full((len(queries), len(targets)), -np.inf, np.float32)
    sides = loop.query_reader(Arrays(queries)), loop.reader(Arrays(targets), budget)
    loop.fill(DenseScores(table), *sides, rest=rest)
    assert np.isfinite(table).all(), "every pair has its score"
    return table


def test_the_last_short_query_stays_on_the_device():
    from pipeline.nets.similarity.pair_scorer import PairScorer

    weights = SimpleNamespace(
        layout=PLAIN, dims=DIMS, comparator=None, residual_weight=0.0, attention=None, blank=None,
        anchors=None, adaptation=None, binarization=None, stored_dims=0, comparator_padding=None,
    )  # fmt: skip
    scorer = PairScorer(weights, "chamfer", "float32", tile=(6, 8))
    rng = np.random.default_rng(1)
    one, long = (rng.standard_normal((n, PLAIN.query, DIMS)).astype(np.float32) for n in (5, 7))
    placed = scorer.place_queries(one)
    assert scorer.place_queries(one.copy()) is placed
    assert scorer.place_queries(long) is not scorer.place_queries(long)
    one[0] += 1  # the caller's array is another one now
    again = scorer.place_queries(one)
    assert again is not placed
    targets = scorer.place_targets(one)
    fresh = PairScorer(weights, "chamfer", "float32", tile=(6, 8)).place_queries(one)
    assert np.array_equal(scorer.frame_matrix(again, targets), scorer.frame_matrix(fresh, targets))


def record_shapes(scorer, shapes):
    """Add the shapes of each batch to a set."""
    maxima = scorer.maxima

    def recorded(matrix, windows, rows, columns, weights):
        shapes.add((matrix.shape, windows.shape, rows, columns))
        return maxima(matrix, windows, rows, columns, weights)

    scorer.maxima = recorded


def expected(
    queries,
    targets,
    comparator,
    function,
    blank=None,
    layout=PLAIN,
    residual_weight=0.0,
    adaptation=None,
    match=None,
    padding="edge",
):
    settings = (comparator, function, blank, layout, residual_weight, ANCHORS, adaptation, match)
    settings += (padding,)
    return np.array([[reference.similarity(q, t, *settings) for t in targets] for q in queries])


LENGTHS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 16, 30, 33]


@pytest.mark.slow
@pytest.mark.parametrize("function", SIMILARITY_FUNCTIONS)
@pytest.mark.parametrize("with_comparator", [False, True])
def test_equals_the_plain_network_for_all_small_shapes(with_comparator, function):
    queries, targets = videos(LENGTHS, 1), videos([*reversed(LENGTHS), 12, 61], 2)
    comparator = comparator_layers() if with_comparator else None
    got = score_all(queries, targets, comparator, function)
    want = expected(queries, targets, comparator, function)
    assert want.std() > 0.02, "the case must tell scores apart"
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("function", SIMILARITY_FUNCTIONS)
@pytest.mark.parametrize("with_comparator", [False, True])
def test_cutting_long_videos_changes_nothing(with_comparator, function):
    queries, targets = videos([150, 9, 66], 3), videos([131, 70, 5, 64, 65, 99], 4)
    comparator = comparator_layers(1) if with_comparator else None
    want = expected(queries, targets, comparator, function)
    for max_frames in (8, 20, 64):
        got = score_all(queries, targets, comparator, function, max_frames=max_frames)
        np.testing.assert_allclose(got, want, atol=1e-5, err_msg=f"{max_frames} frames a piece")


@pytest.mark.slow
@pytest.mark.parametrize("max_frames", [8, 64])
def test_padding_by_zeros_at_the_edges_of_each_pair(max_frames):
    """As DnS and S2VS have it. The edges of a batch and of a piece are none of the pair's."""
    queries, targets = videos([5, 7, 30, 41], 3), videos([33, 4, 70], 4)
    comparator = comparator_layers(1)
    settings = {"comparator": comparator, "function": "chamfer", "padding": "zero"}
    got = score_all(queries, targets, max_frames=max_frames, **settings)
    want = expected(queries, targets, **settings)
    assert np.abs(want - expected(queries, targets, comparator, "chamfer")).max() > 0.01
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("with_blank", [False, True])
@pytest.mark.parametrize("function", SIMILARITY_FUNCTIONS)
def test_rest_scores_leave_out_what_matches(function, with_blank):
    queries, targets = videos([9, 30, 70], 3), videos([12, 40, 5, 90], 4)
    targets[1][:16] = queries[1][4:20]  # matches a part of a query
    targets[3][8:38] = queries[1]  # and this one all of it
    blank = BLANK if with_blank else None
    want = expected(queries, targets, None, function, blank, match=0.8)
    plain = expected(queries, targets, None, function, blank)
    assert np.isneginf(want[1, 3]) and want[1, 1] < plain[1, 1] - 0.05
    for max_frames in (8, 64):
        chosen = np.array([1, 2, 3])
        rest = RestScores(np.full((3, 3), -np.inf, np.float32), chosen, 4, 0.8)
        score_all(queries, targets, None, function, max_frames, blank=blank, rest=rest)
        np.testing.assert_allclose(rest.table, want[:, chosen], atol=1e-5)
    rest.leave_out(np.array([True, False, False]), np.array([True, False, True, False]))
    left = np.isfinite(rest.table)
    assert not left[0].any() and not left[:, 1].any() and left[1:, 0].all()


@pytest.mark.parametrize("function", SIMILARITY_FUNCTIONS)
def test_little_is_kept_of_a_long_video_against_many_queries(function):
    """In one direction only the queries' maxima are needed until all pieces have come."""
    queries, targets = ([8] * 50, [4000])
    pieces = [plan_pieces(side, COMPARATOR, 256) for side in (queries, targets)]
    scores = PairScores(*pieces, COMPARATOR, function)
    table = np.full((50, 1), -np.inf, np.float32)
    for batch in scores.batches(pieces[0], pieces[1][:3], 64, 1 << 20):
        shape = len(batch.windows), batch.rows // 4
        back = (
            np.zeros((shape[0], batch.columns // 4), np.float32) if function != "chamfer" else None
        )
        scores.add(batch, np.zeros(shape, np.float32), back, DenseScores(table))
    kept = sum(p.rows.nbytes + p.columns.nbytes for p in scores._unfinished.values())
    assert len(scores._unfinished) == 50 and (table == -np.inf).all()
    assert kept == 50 * 4 * (2 + 1000 * (function != "chamfer"))


def test_a_score_that_is_no_number_stays_though_an_inset_has_one():
    """Damaged features are to be told of, not passed over."""
    sides = [plan_pieces(side, CHAMFER_ONLY, 256) for side in ([8], [8, 8, 8])]
    column_index = np.array([0, 0, 1])  # the second belongs to the first
    for values in ([np.nan, 0.1, 0.3], [0.1, np.nan, 0.3]):
        scores = PairScores(*sides, CHAMFER_ONLY, "chamfer", column_index=column_index)
        table = np.full((1, 2), -np.inf, np.float32)
        for batch in scores.batches(*sides, 64, 1 << 20):
            by_row = np.array(values, np.float32)[batch.targets, None]
            scores.add(batch, np.repeat(by_row, batch.rows, axis=1), None, DenseScores(table))
        assert np.isnan(table[0, 0]) and table[0, 1] == np.float32(0.3)


@pytest.mark.parametrize(
    "budget, pairs, cells",
    [
        (1, 1, 1),
        (40, 3, 10**6),
        (333, 1000, 10**6),
        (10**6, 5, 5000),
        (10**6, 10**6, 10**9),
    ],
)
def test_block_and_batch_sizes_change_nothing(budget, pairs, cells):
    queries, targets = videos([20, 3, 40, 33], 5), videos([44, 7, 60, 12, 100, 1], 6)
    comparator = comparator_layers(2)
    got = score_all(queries, targets, comparator, "chamfer", 64, budget, pairs, cells)
    np.testing.assert_allclose(got, expected(queries, targets, comparator, "chamfer"), atol=1e-5)


def test_order_of_videos_changes_nothing():
    queries, targets = videos([20, 3, 40], 7), videos([44, 7, 60, 12], 8)
    forward = score_all(queries, targets, comparator_layers(3), "chamfer")
    backward = score_all(queries[::-1], targets[::-1], comparator_layers(3), "chamfer")
    np.testing.assert_allclose(forward, backward[::-1, ::-1], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("function", SIMILARITY_FUNCTIONS)
@pytest.mark.parametrize("with_comparator", [False, True])
def test_few_shapes_change_nothing_and_are_few(with_comparator, function):
    queries, targets = videos([*LENGTHS, 70], 9), videos([*range(1, 41), 131], 10)
    comparator = comparator_layers(4) if with_comparator else None
    settings = {"budget": 200, "pairs": 64}
    few, many = set(), set()
    got = score_all(queries, targets, comparator, function, **settings, few_shapes=True,
                    shapes=few)  # fmt: skip
    plain = score_all(queries, targets, comparator, function, **settings, shapes=many)
    np.testing.assert_allclose(got, plain, atol=1e-6)
    want = expected(queries, targets[::5], comparator, function)  # numpy takes its time
    np.testing.assert_allclose(got[:, ::5], want, atol=1e-5)
    sizes = {(rows, columns): set() for _, _, rows, columns in few}
    for _, windows, rows, columns in few:
        sizes[rows, columns].add(windows)
    assert max(map(len, sizes.values())) <= 2
    assert len({matrix for matrix, *_ in few}) < len({matrix for matrix, *_ in many}) / 2
    assert len(few) < len(many) / 2


BLANK = Blank(np.eye(2, DIMS, dtype=np.float32), 0.2, 0.7)


def partly_blank(lengths: list[int], seed: int) -> list[np.ndarray]:
    """Some regions and whole frames lie more or less in the blank space; one video lies all."""
    made = videos(lengths, seed)
    for i, video in enumerate(made):
        rng = np.random.default_rng([seed, i])
        video[..., :2] *= rng.choice([1, 3, 30], size=(len(video), 9, 1))
        video[rng.random(len(video)) < 0.3, :, :2] *= 100
    made[0][..., 2:] = 0
    return [(v / np.linalg.norm(v, axis=2, keepdims=True)).astype(np.float32) for v in made]


@pytest.mark.slow
@pytest.mark.parametrize("function", SIMILARITY_FUNCTIONS)
@pytest.mark.parametrize("with_comparator", [False, True])
def test_weights_of_blank_regions(with_comparator, function):
    """Every border, with whole videos and cut ones, against the formula in numpy."""
    queries = partly_blank([*LENGTHS, 150], 11)
    targets = partly_blank([70, *reversed(LENGTHS), 131], 12)
    comparator = comparator_layers(5) if with_comparator else None
    want = expected(queries, targets, comparator, function, BLANK)
    assert want.std() > 0.02
    without = expected(queries[1::4], targets[1::4], comparator, function)
    assert np.abs(want[1::4, 1::4] - without).max() > 0.1, "the case must tell weights from none"
    for few_shapes in (False, True):
        got = score_all(queries, targets, comparator, function, few_shapes=few_shapes, blank=BLANK)
        np.testing.assert_allclose(got, want, atol=1e-5)
    whole = score_all(queries, targets, comparator, function, 256, 10**6, blank=BLANK)
    np.testing.assert_allclose(whole, want, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("function", MODEL_FUNCTIONS)
@pytest.mark.parametrize("with_blank", [False, True])
@pytest.mark.parametrize(
    "layout",
    [
        standard_layout(9, lowpass=True),
        standard_layout(9, downscale=(2, 3)),
        standard_layout(9, lowpass=True, downscale=(2, 3)),
        standard_layout(9, lowpass=True, downscale=(2,)),
        standard_layout(9, top_k=4),
        standard_layout(9, thumbnail=True, thumbnail_offset=0.05),
        standard_layout(
            9, lowpass=True, downscale=(2,), augmentations=AUGMENTATIONS, thumbnail=True, flip=True
        ),
        standard_layout(
            9, lowpass=True, augmentations=((QueryAugmentation("pad_black", 0.75), 0.04, 0.0),)
        ),
        standard_layout(
            9,
            lowpass=True,
            downscale=(2,),
            top_k=2,
            augmentations=((QueryAugmentation("edges", 2), -0.02, 0.0), *AUGMENTATIONS),
        ),
        standard_layout(
            9,
            lowpass=True,
            downscale=(2, 3),
            top_k=3,
            top_k_offset=-0.02,
            downscale_offsets=(0.05, -0.1),
        ),
    ],
)
def test_views_equal_the_plain_network(layout, with_blank, function):
    queries = videos([5, 30, 70], 11, layout.query)
    targets = videos([9, 66, 4], 12, layout.shared)
    blank = BLANK if with_blank else None
    comparator = comparator_layers(2)
    got = score_all(queries, targets, comparator, function, blank=blank, layout=layout)
    want = expected(queries, targets, comparator, function, blank, layout)
    np.testing.assert_allclose(got, want, atol=1e-5)
    plain = [v[:, :9] for v in queries], [v[:, :9] for v in targets]
    assert np.abs(want - expected(*plain, comparator, function, blank)).max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("function", MODEL_FUNCTIONS)
def test_what_passes_the_comparator_by(function):
    queries, targets = videos([5, 30, 70], 11), videos([9, 66, 4, 43], 12)
    comparator = comparator_layers(2)
    want = expected(queries, targets, comparator, function, residual_weight=0.4)
    for size in (8, 64):
        got = score_all(
            queries, targets, comparator, function, max_frames=size, residual_weight=0.4
        )
        np.testing.assert_allclose(got, want, atol=1e-5, err_msg=f"{size} frames a piece")
    assert np.abs(want - expected(queries, targets, comparator, function)).max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("function", SIMILARITY_FUNCTIONS)
def test_blank_frames_beside_the_comparator(function):
    """Weights inside groups of four: whole videos, cut ones, windows within a larger matrix."""
    queries, targets = partly_blank([5, 30, 70], 16), partly_blank([9, 66, 4, 43], 17)
    comparator = comparator_layers(6)
    want = expected(queries, targets, comparator, function, BLANK, residual_weight=0.6)
    for max_frames, few_shapes in product((8, 64), (False, True)):
        how = {"max_frames": max_frames, "few_shapes": few_shapes, "residual_weight": 0.6}
        got = score_all(queries, targets, comparator, function, blank=BLANK, **how)
        np.testing.assert_allclose(got, want, atol=1e-5, err_msg=str(how))
    weighing = reference.comparator
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "comparator", lambda *given, **options: weighing(*given[:4]))
        plain = expected(queries, targets, comparator, function, BLANK, residual_weight=0.6)
    assert np.abs(want - plain).max() > 0.01, "the case must tell weights from none"


@pytest.mark.slow
@pytest.mark.parametrize("function", MODEL_FUNCTIONS)
def test_groups_of_blank_frames_alone_give_numbers(function):
    some = partly_blank([12, 5, 20], 18)
    for video in some:
        video[:4, :, 2:] = 0
        video[:4] /= np.linalg.norm(video[:4], axis=2, keepdims=True)
    comparator = comparator_layers(7)
    got = score_all(some, some, comparator, function, blank=BLANK, residual_weight=0.5)
    assert np.isfinite(got).all()
    want = expected(some, some, comparator, function, BLANK, residual_weight=0.5)
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("function", MODEL_FUNCTIONS)
def test_a_blank_space_that_holds_nothing_changes_nothing(function):
    """Every weight is 1, so the scores are those of the model without one."""
    queries, targets = videos([5, 30, 70], 19), videos([9, 66, 4], 20)
    for video in (*queries, *targets):
        video[..., :2] = 0
        video /= np.linalg.norm(video, axis=2, keepdims=True)
    both = [
        score_all(
            queries, targets, comparator_layers(8), function, blank=blank, residual_weight=0.5
        )
        for blank in (BLANK, None)
    ]
    np.testing.assert_allclose(*both, atol=1e-6)


def test_similarity_never_exceeds_1_by_offsets():
    layout = standard_layout(9, downscale=(2,), downscale_offsets=(0.5,))
    video = videos([6], 15, 10)
    video[0][:, 9] = video[0][:, 4]
    got = score_all(video, [video[0][:, :9]], None, "chamfer", layout=layout)
    np.testing.assert_allclose(got, 1, atol=1e-6)


def test_queries_without_small_views_are_compared_by_what_they_have():
    layout = standard_layout(9, lowpass=True, downscale=(2, 3), downscale_offsets=(0.1, 0.2))
    queries, targets = videos([8, 21], 13, 10), videos([12, 40], 14, 10)
    got = score_all(queries, targets, None, "chamfer", layout=layout)
    want = expected(queries, targets, None, "chamfer", layout=standard_layout(9, lowpass=True))
    np.testing.assert_allclose(got, want, atol=1e-5)


def adaptation_of(layout: DescriptorLayout) -> dict[str, Whitening]:
    """A turn, a shift and a stretch of its own for each kind of vector."""
    made = {}
    for seed, kind in enumerate(dict(layout.of_database.spaces)):
        rng = np.random.default_rng([7, seed])
        turn = np.linalg.qr(rng.standard_normal((DIMS, DIMS)))[0]
        arrays = rng.normal(0, 0.1, DIMS), turn, rng.uniform(0.3, 2, DIMS)
        made[kind] = Whitening(*(a.astype(np.float32) for a in arrays))
    return made


@pytest.mark.slow
@pytest.mark.parametrize("function", MODEL_FUNCTIONS)
@pytest.mark.parametrize("with_blank", [False, True])
@pytest.mark.parametrize(
    ("layout", "asked"),
    [
        (PLAIN, 9),
        (
            standard_layout(
                9,
                lowpass=True,
                downscale=(2,),
                augmentations=AUGMENTATIONS,
                thumbnail=True,
                flip=True,
            ),
            None,
        ),
        (
            standard_layout(
                9,
                lowpass=True,
                downscale=(2,),
                augmentations=AUGMENTATIONS,
                thumbnail=True,
                flip=True,
            ),
            11,
        ),
        (standard_layout(9, thumbnail=True, downscale=(2, 3), flip=True), None),
    ],
    ids=["regions", "all views", "queries without views", "pixels without soft"],
)
def test_adapted_vectors_equal_the_plain_network(layout, asked, with_blank, function):
    """What is blank is seen by vectors as they were; anchors are adapted as lowpass is."""
    queries = videos([5, 30, 70], 21, asked or layout.query)
    targets = videos([9, 66, 4], 22, layout.shared)
    blank, adaptation = BLANK if with_blank else None, adaptation_of(layout)
    settings = {"blank": blank, "layout": layout, "residual_weight": 0.5}
    comparator = comparator_layers(2)
    got = score_all(
        queries, targets, comparator, function, **settings, adaptation=adaptation,
        few_shapes=with_blank,
    )  # fmt: skip
    settings["layout"] = layout.of_query(asked or layout.query)
    want = expected(queries, targets, comparator, function, **settings, adaptation=adaptation)
    np.testing.assert_allclose(got, want, atol=2e-5)
    assert np.abs(want - expected(queries, targets, comparator, function, **settings)).max() > 0.01


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_adapted_vectors_of_coarse_stores(dtype):
    queries, targets = videos([5, 9], 23), videos([8, 12], 24)
    stored = [[quantize(v, np.dtype(dtype)) for v in side] for side in (queries, targets)]
    floats = [[dequantize(v, DIMS) for v in side] for side in stored]
    adaptation, comparator = adaptation_of(PLAIN), comparator_layers(2)
    got = score_all(*stored, comparator, "chamfer", blank=BLANK, adaptation=adaptation)
    want = expected(*floats, comparator, "chamfer", BLANK, adaptation=adaptation)
    np.testing.assert_allclose(got, want, atol=2e-5)
