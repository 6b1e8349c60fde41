"""Stage two over int8 and binary stores: equal to the plain network over decoded vectors."""

from contextlib import ExitStack

import numpy as np
import pytest

from pipeline import compute_similarity
from pipeline.config import CompareConfig
from pipeline.nets.formats import native
from pipeline.quantization import ENCODINGS, dequantize, quantize
from pipeline.search.engine import database_block_frames
from pipeline.search.limits import Limits
from pipeline.search.request import SearchRequest
from pipeline.search.run import score_table
from pipeline.search.video_set import VideoSet
from pipeline.store import copy_store, open_store
from tests import features, reference
from tests.e2e.test_compare import DATABASE, QUERIES, attended, vectors_of

FLOAT32 = CompareConfig(precision="float32")
# Largest change of a score to float32 here, vectors of 16 values; of signs alone much is lost.
TOLERANCE = {"float32": 1e-5, "float16": 2e-3, "int8": 0.03}


@pytest.fixture(scope="module")
def sides():
    queries, database = vectors_of(QUERIES, 1), vectors_of(DATABASE, 2)
    database["c"][100:112] = queries["q/1"]
    return queries, database


def kept(vectors, dtype):
    return {k: dequantize(quantize(v, ENCODINGS[dtype]), v.shape[2]) for k, v in vectors.items()}


def expected(queries, database, model):
    return np.array(
        [
            [reference.similarity(attended(q, model), attended(t, model), model.comparator)
             for t in database.values()]
            for q in queries.values()
        ]
    )  # fmt: skip


def scores(tmp_path, sides, dtypes, model, limits=None):
    made_with = features.spec(model.features_digest)
    with ExitStack() as stack:
        video_sets = []
        for i, (vectors, dtype) in enumerate(zip(sides, dtypes, strict=True)):
            path = features.fill(tmp_path / f"{i}.h5", made_with, vectors, dtype)
            video_sets.append(VideoSet([stack.enter_context(open_store(path))]))
        return score_table(SearchRequest(*video_sets, model, FLOAT32), limits=limits)[0]


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize(
    "dtypes",
    [("int8", "int8"), ("float16", "int8"), ("binary", "binary"), ("float32", "binary"),
     ("int8", "binary"), ("binary", "float16")],
    ids=str,
)  # fmt: skip
def test_scores_equal_a_numpy_decode(tmp_path, sides, dtypes, head):
    model = features.model(comparator=head, attention=head)
    table = scores(tmp_path, sides, dtypes, model)
    decoded = [kept(side, dtype) for side, dtype in zip(sides, dtypes, strict=True)]
    want = expected(*decoded, model)
    assert want.std() > 0.02
    np.testing.assert_allclose(table, want, atol=2e-5)
    if "binary" not in dtypes:
        np.testing.assert_allclose(
            table, expected(*sides, model), atol=max(TOLERANCE[d] for d in dtypes)
        )


def test_blocks_of_few_frames_change_nothing(tmp_path, sides):
    model = features.model()
    whole = scores(tmp_path, sides, ("binary", "int8"), model)
    limits = Limits(piece_frames=64, matrix_cells=20 * 2048)
    assert limits.database_block_frames(32, 1) == 20
    other = tmp_path / "again"
    other.mkdir()
    again = scores(other, sides, ("binary", "int8"), model, limits)
    np.testing.assert_allclose(again, whole, atol=1e-5)


def test_a_side_of_several_encodings(tmp_path, sides):
    """One store keeps floats, one int8, one signs; one block may hold videos of all."""
    model = features.model()
    made_with = features.spec(model.features_digest)
    queries, database = sides
    dtypes = ("float16", "int8", "binary")
    names = list(database)
    with ExitStack() as stack:
        stores, want = [], {}
        for i, dtype in enumerate(dtypes):
            part = {k: database[k] for k in names[2 * i : 2 * i + 2]}
            want |= kept(part, dtype)
            path = features.fill(tmp_path / f"{dtype}.zarr", made_with, part, dtype)
            stores.append(stack.enter_context(open_store(path)))
        path = features.fill(tmp_path / "q.h5", made_with, queries)
        asked = VideoSet([stack.enter_context(open_store(path))])
        mixed = VideoSet(stores)
        assert mixed.dtype == np.float32 and mixed.binary and not asked.binary
        table, _ = score_table(SearchRequest(asked, mixed, model, FLOAT32))
    np.testing.assert_allclose(table, expected(queries, want, model), atol=2e-5)


def test_blocks_hold_as_many_frames_as_of_float16(tmp_path, sides):
    made_with = features.spec("0")
    found = {}
    for dtype in ENCODINGS:
        path = features.fill(tmp_path / f"{dtype}.h5", made_with, {"q4": sides[0]["q4"]}, dtype)
        with open_store(path) as store:
            found[dtype] = database_block_frames(1, VideoSet([store]), Limits())
    assert found["float16"] == found["int8"] == found["binary"] == 2 * found["float32"]


def test_mirrored_queries_and_a_background(tmp_path, sides):
    """Every side in an encoding of its own, against the same of floats decoded beforehand."""
    model = features.model()
    native.write(model, tmp_path / "model")
    queries, database = sides
    digest = model.features_digest
    unrelated = vectors_of(dict.fromkeys("vwxyz", 8), 3)
    flipped = {"q/1": database["e"][:12]}
    tables = []
    for small in (True, False):
        folder = tmp_path / str(small)
        folder.mkdir()

        def side(name, vectors, dtype, folder=folder, small=small, **changes):
            made_with = features.spec(digest, **changes)
            if not small:
                vectors, dtype = kept(vectors, dtype), "float32"
            return features.fill(folder / f"{name}.h5", made_with, vectors, dtype)

        tables.append(
            compute_similarity(
                side("q", queries, "int8"),
                side("d", database, "binary"),
                model_dir=tmp_path / "model",
                config=FLOAT32,
                mirrored_queries=side("m", flipped, "binary", mirrored=True),
                background=side("b", unrelated, "int8"),
            )
        )
    for query, row in tables[1].items():
        assert tables[0][query] == pytest.approx(row, abs=3e-5)
    assert np.std([list(row.values()) for row in tables[1].values()]) > 0.02


def test_converted_stores_score_as_ones_made_so(tmp_path, sides):
    model = features.model()
    made_with = features.spec(model.features_digest)
    exact = features.fill(tmp_path / "d.h5", made_with, sides[1], "float32")
    copy_store(exact, tmp_path / "small.zarr", dtype="binary")
    made = features.fill(tmp_path / "made.h5", made_with, sides[1], "binary")
    with open_store(tmp_path / "small.zarr") as a, open_store(made) as b:
        for video_id in a:
            np.testing.assert_array_equal(a.read_stored(video_id), b.read_stored(video_id))
