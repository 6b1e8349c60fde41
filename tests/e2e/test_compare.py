"""Stage two over real stores against the plain network: values, order, refusals."""

import json
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from pipeline import compute_similarity as compute_from_paths
from pipeline.config import CompareConfig
from pipeline.errors import FingerprintMismatchError, InputError, ModelError
from pipeline.search.limits import Limits
from pipeline.search.request import SearchRequest
from pipeline.search.run import compute_similarity, score_table
from pipeline.search.video_set import VideoSet
from pipeline.store import open_store
from tests import features, reference
from tests.messages import raises

FLOAT32 = CompareConfig(precision="float32")
QUERIES = {"q/1": 12, "-q2": 3, "q 3": 70, "q4": 1}
DATABASE = {"a": 30, "b/b": 5, "c": 300, "d": 2, "e": 64, "f": 9}


def vectors_of(lengths, seed):
    return {k: features.region_vectors(n, [seed, i]) for i, (k, n) in enumerate(lengths.items())}


@pytest.fixture(scope="module")
def query_vectors():
    return vectors_of(QUERIES, 1)


@pytest.fixture(scope="module")
def database_vectors(query_vectors):
    made = vectors_of(DATABASE, 2)
    made["c"][100:112] = query_vectors["q/1"]  # a copy inside a long video, across no boundary
    made["c"][250:262] = query_vectors["q/1"]  # and one across the cut at frame 256
    return made


@pytest.fixture
def stores(tmp_path, query_vectors, database_vectors):
    """Query store (Zarr) and two database stores (HDF5, Zarr) made with the test model."""
    made_with = features.spec(features.model().features_digest)
    names = list(DATABASE)
    first = {k: database_vectors[k] for k in names[:3]}
    second = {k: database_vectors[k] for k in names[3:]}
    return (
        features.fill(tmp_path / "q.zarr", made_with, query_vectors),
        features.fill(tmp_path / "a.h5", made_with, first),
        features.fill(tmp_path / "b.zarr", made_with, second),
    )


@pytest.fixture
def opened(stores):
    with ExitStack() as stack:
        q, *d = [stack.enter_context(open_store(p)) for p in stores]
        yield VideoSet([q]), VideoSet(d)


def attended(vectors, model):
    if model.attention is None:
        return vectors
    return vectors * ((vectors @ model.attention) / 2 + 0.5)[..., None]


def expected(query_vectors, database_vectors, model, function=None):
    function = function or model.similarity_function
    return np.array(
        [
            [
                reference.similarity(
                    attended(q, model), attended(t, model), model.comparator, function
                )
                for t in database_vectors.values()
            ]
            for q in query_vectors.values()
        ]
    )


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("head", [False, True])
def test_scores_equal_the_plain_network(opened, query_vectors, database_vectors, head, symmetric):
    model = features.model(comparator=head, attention=head, symmetric=symmetric)
    larger = replace(FLOAT32, similarity_function="max_chamfer")
    want = expected(query_vectors, database_vectors, model, "max_chamfer")
    np.testing.assert_allclose(
        score_table(SearchRequest(*opened, model, larger))[0], want, atol=1e-5
    )
    table, _ = score_table(SearchRequest(*opened, model, FLOAT32))
    want = expected(query_vectors, database_vectors, model)
    np.testing.assert_allclose(table, want, atol=1e-5)
    if not head and not symmetric:
        np.testing.assert_allclose(table[0, 2], 1, atol=1e-5)  # every frame of it is in there


@pytest.mark.parametrize(
    "frames, batch_size, load",
    [(1, 1, False), (20, 3, True), (20, 1000, False), (100, 5, True), (9999, 7, False)],
)
def test_settings_change_no_score(
    opened, query_vectors, database_vectors, frames, batch_size, load
):
    """Blocks of few frames: every video lies in its own, long ones in several."""
    limits = Limits(piece_frames=64, query_block_frames=frames, matrix_cells=frames * frames)
    assert limits.database_block_frames(32, 1) == frames
    config = replace(FLOAT32, batch_size=batch_size, load_queries=load)
    model = features.model()
    table, _ = score_table(SearchRequest(*opened, model, config), limits=limits)
    want = expected(query_vectors, database_vectors, model)
    np.testing.assert_allclose(table, want, atol=1e-5)


@pytest.mark.parametrize("precision, tolerance", [("bfloat16", 0.03), ("float16", 0.004)])
def test_low_precision_is_close(opened, precision, tolerance):
    model = features.model()
    exact, _ = score_table(SearchRequest(*opened, model, FLOAT32))
    table, _ = score_table(SearchRequest(*opened, model, CompareConfig(precision=precision)))
    difference = np.abs(table - exact).max()
    assert 0 < difference < tolerance


def test_json_is_complete_ordered_and_repeatable(tmp_path, opened):
    model = features.model()
    for name in ("one.json", "two.json"):
        report = compute_similarity(SearchRequest(*opened, model, FLOAT32), tmp_path / name)
    assert (report.queries, report.database, report.written) == (4, 6, 24)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    result = json.loads((tmp_path / "one.json").read_text())
    assert list(result) == list(QUERIES)
    assert all(list(row) == list(DATABASE) for row in result.values())
    table, _ = score_table(SearchRequest(*opened, model, FLOAT32))
    np.testing.assert_allclose([list(r.values()) for r in result.values()], table, atol=1e-6)


def test_progress_counts_videos(opened):
    seen = []
    score_table(
        SearchRequest(*opened, features.model(), FLOAT32), progress=lambda *a: seen.append(a)
    )
    assert seen[-1] == (6, 6)


def test_chosen_ids_in_chosen_order(stores):
    with open_store(stores[1]) as store:
        videos = VideoSet([store], ["c", "a"])
        assert videos.ids == ["c", "a"]
        assert videos.lengths.tolist() == [300, 30]
        with raises(InputError, "'nobody'", "stores given"):
            VideoSet([store], ["nobody"])


def test_unequal_features_are_refused_by_name(tmp_path, stores, query_vectors):
    digest = features.model().features_digest
    other = features.fill(
        tmp_path / "o.h5", features.spec(digest, fps=2.0), {"x": query_vectors["q4"]}
    )
    with open_store(other) as a, open_store(stores[1]) as b:
        with raises(
            FingerprintMismatchError,
            f"{other} (here)",
            f"{stores[1]} (there)",
            "fps: 2.0 here",
            "1.0 there",
            remedy="extract one of them again",
        ):
            score_table(SearchRequest(VideoSet([a]), VideoSet([b]), features.model(), FLOAT32))
        with raises(
            FingerprintMismatchError, other, stores[1], "fps", remedy="extract one of them again"
        ):
            VideoSet([a, b])


def test_a_model_that_did_not_make_the_features_is_refused(tmp_path, query_vectors):
    path = features.fill(tmp_path / "o.h5", features.spec("f" * 64), query_vectors)
    with open_store(path) as store:
        videos = VideoSet([store])
        with raises(
            FingerprintMismatchError, path, features.model().name, remedy="give --model_dir"
        ):
            score_table(SearchRequest(videos, videos, features.model(), FLOAT32))


def test_queries_with_other_views_than_the_models_are_refused(tmp_path):
    digest = features.model().features_digest
    made_with = features.spec(digest, query_descriptors=1, augmentation_digest="a" * 64)
    vectors = features.region_vectors(8, 0).reshape(4, 18, 16)[:, :10]
    queries = features.fill(tmp_path / "q.h5", made_with, {"x": vectors})
    database = features.fill(tmp_path / "d.h5", features.spec(digest), {"x": vectors[:, :9]})
    with open_store(queries) as a, open_store(database) as b:
        sides = VideoSet([a]), VideoSet([b])
        remedy = "--model_dir of the store's model, or extract them again"
        with raises(FingerprintMismatchError, queries, features.model().name, remedy=remedy):
            score_table(SearchRequest(*sides, features.model(), FLOAT32))


def test_stores_with_and_without_query_views_on_one_side_are_refused_with_a_remedy(tmp_path):
    digest = features.model().features_digest
    vectors = features.region_vectors(8, 0).reshape(4, 18, 16)[:, :10]
    views = "a" * 64
    with_views = features.fill(
        tmp_path / "with.h5",
        features.spec(digest, query_descriptors=1, augmentation_digest=views),
        {"x": vectors},
    )
    plain = features.fill(tmp_path / "plain.h5", features.spec(digest), {"y": vectors[:, :9]})
    with open_store(with_views) as a, open_store(plain) as b:
        for stores in ([a, b], [b, a]):
            again = f"extract the videos of {plain} again"
            remedy = "extract_features.py --as_queries"
            with raises(FingerprintMismatchError, with_views, again, remedy=remedy) as raised:
                VideoSet(stores)
            assert views[:12] not in str(raised.value)


def test_attention_of_other_dims_is_refused(tmp_path):
    digest = features.model().features_digest
    cut = {"x": features.region_vectors(5, 0, dims=8)}
    path = features.fill(tmp_path / "o.h5", features.spec(digest, dims=8), cut)
    with open_store(path) as store:
        videos = VideoSet([store])
        with raises(ModelError, path, "attention", "8 values", "16", remedy="without --dims"):
            score_table(SearchRequest(videos, videos, features.model(), FLOAT32))


def test_an_id_in_two_stores_is_refused(tmp_path, stores, query_vectors):
    made_with = features.spec(features.model().features_digest)
    twin = features.fill(tmp_path / "twin.h5", made_with, {"a": query_vectors["q4"]})
    with (
        open_store(stores[1]) as a,
        open_store(twin) as b,
        raises(InputError, "'a'", stores[1], twin, remedy="PREFIX=STORE"),
    ):
        VideoSet([a, b])


@pytest.mark.parametrize(
    "choice, named, remedy",
    [
        ({"top_k": 0}, ("top_k", " 0"), "expected 1 or more"),
        ({"top_k": -1}, ("top_k", "-1"), "expected 1 or more"),
        ({"threshold": float("nan")}, ("threshold",), "number"),
    ],
)
def test_a_choice_of_nothing_is_refused_before_the_work(choice, named, remedy):
    with raises(InputError, *named, remedy=remedy):
        compute_from_paths("q.h5", "d.h5", **choice)


def test_a_store_given_twice_is_refused(stores):
    with raises(InputError, "a.h5", remedy="give it once"):
        compute_from_paths(stores[0], [stores[1], stores[1].parent / "." / "a.h5"])


def test_an_empty_store_is_refused(tmp_path):
    path = features.fill(tmp_path / "e.h5", features.spec("0"), {})
    with open_store(path) as store, raises(InputError, path, remedy="extract_features.py"):
        VideoSet([store])


def test_background_normalisation(tmp_path, opened, stores, query_vectors, database_vectors):
    """Off each query's scores goes a part of the mean of its best ones among unrelated videos."""
    model = features.model(comparator=False, attention=False)
    unrelated = vectors_of({"u1": 9, "u2": 300, "u3": 5, "u4": 20}, 3)
    path = features.fill(
        tmp_path / "u.h5", features.spec(features.model().features_digest), unrelated
    )
    plain = expected(query_vectors, database_vectors, model)
    among = np.sort(expected(query_vectors, unrelated, model), axis=1)
    config = replace(FLOAT32, background_weight=0.7, background_top_k=3)
    want = plain - 0.7 * among[:, -3:].mean(axis=1, keepdims=True)
    with open_store(path) as store:
        background = VideoSet([store])
        table, _ = score_table(SearchRequest(*opened, model, config, background=background))
        np.testing.assert_allclose(table, want, atol=1e-5)
        with raises(
            InputError, path, "4 background videos", "expected 5", remedy="background_top_k"
        ):
            score_table(SearchRequest(*opened, model, FLOAT32, background=background))
    other = features.spec(features.model().features_digest, fps=2.0)
    with (
        open_store(features.fill(tmp_path / "fps.h5", other, unrelated)) as store,
        raises(
            FingerprintMismatchError,
            "fps.h5 (there)",
            "fps: 1.0 here",
            "2.0 there",
            remedy="extract one of them again",
        ),
    ):
        SearchRequest(*opened, model, config, background=VideoSet([store]))
    with raises(InputError, stores[0], "'-q2'", remedy="unrelated to all queries"):
        SearchRequest(*opened, model, replace(config, background_top_k=1), background=opened[0])
    with raises(InputError, "max_fpr", "background", remedy="give a threshold"):
        compute_from_paths(*stores[:2], background=path, max_fpr=0.1)


def test_background_from_python_and_the_command(tmp_path, stores):
    from click.testing import CliRunner

    from pipeline.cli import main
    from pipeline.nets.formats import native

    model = features.model()
    native.write(model, tmp_path / "model")
    path = features.fill(
        tmp_path / "u.h5",
        features.spec(model.features_digest),
        vectors_of(dict.fromkeys("vwxyz", 8), 3),
    )
    settings = {"model_dir": tmp_path / "model", "config": FLOAT32}
    table = compute_from_paths(*stores[:2], **settings, background=path)
    plain = compute_from_paths(*stores[:2], **settings)
    shifts = [{round(plain[q][d] - table[q][d], 5) for d in plain[q]} for q in plain]
    assert all(len(shift) == 1 and shift != {0.0} for shift in shifts)
    result = CliRunner().invoke(
        main,
        ["compare", "--query_store", str(stores[0]), "--database_store", str(stores[1]), "-m",
         str(tmp_path / "model"), "--background_store", str(path), "-o", str(tmp_path / "r.json")],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["q/1"] == pytest.approx(table["q/1"], abs=1e-5)
