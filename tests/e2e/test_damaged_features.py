"""Stage two over damaged stores: the damaged video is named, all others score as before."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import CompareConfig
from pipeline.errors import StoreError
from pipeline.nets.formats import native
from pipeline.search.request import SearchRequest
from pipeline.search.run import compute_similarity, score_table
from pipeline.search.video_set import VideoSet
from pipeline.store import open_store
from tests import features
from tests.command import run
from tests.messages import assert_names, assert_output, raises

CONFIG = CompareConfig(precision="float32")
LENGTHS = {"a": 9, "b": 300, "c": 2, "d": 30}  # b is compared in two pieces


def vectors():
    return {v: features.region_vectors(n, [7, i]) for i, (v, n) in enumerate(LENGTHS.items())}


@pytest.fixture
def model():
    return features.model(comparator=False, attention=False)


def made(folder, model, name, dtype="float32", videos=None):
    return features.fill(
        folder / name, features.spec(model.features_digest), videos or vectors(), dtype
    )


def chunk(store, video):
    return store / "features" / video / "c.0.0.0"


def flip(path, at=-1):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def table(queries, database, model, config=CONFIG):
    with open_store(queries) as q, open_store(database) as d:
        sides = VideoSet([q]), VideoSet([d])
        found, _ = score_table(SearchRequest(*sides, model, config))
        return np.array(found), sides[0].damaged, sides[1].damaged


@pytest.mark.parametrize(
    "dtype, video", [("float32", "c"), ("float16", "b"), ("int8", "c"), ("binary", "b")]
)
def test_a_flipped_bit_is_named_and_the_others_score_as_before(tmp_path, model, dtype, video):
    queries = made(tmp_path, model, "q.h5")
    store = made(tmp_path, model, "d.zarr", dtype)
    before, _, none = table(queries, store, model)
    assert not none and np.isfinite(before).all()
    flip(chunk(store, video))
    after, _, damaged = table(queries, store, model)
    assert list(damaged) == [video]
    assert_names(damaged[video], store, f"'{video}'", "checksum", remedy="extract this video again")
    column = list(LENGTHS).index(video)
    assert np.isnan(after[:, column]).all()
    np.testing.assert_array_equal(np.delete(after, column, 1), np.delete(before, column, 1))
    unchecked, _, damaged = table(
        queries,
        store,
        model,
        CompareConfig(similarity_function="chamfer", precision="float32", checksums=False),
    )
    assert not damaged and np.isfinite(unchecked).all()


@pytest.mark.parametrize("harm", ["gone", "short", "empty"])
def test_a_lost_or_cut_chunk_costs_its_video_only(tmp_path, model, harm):
    queries, store = made(tmp_path, model, "q.h5"), made(tmp_path, model, "d.zarr")
    before, _, _ = table(queries, store, model)
    path = chunk(store, "a")
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: -5 if harm == "short" else 0])
    after, _, damaged = table(queries, store, model)
    assert list(damaged) == ["a"]
    what = "is gone" if harm == "gone" else "ends too early"
    assert_names(damaged["a"], store, "'a'", what, remedy="extract this video again")
    np.testing.assert_array_equal(after[:, 1:], before[:, 1:])


@pytest.mark.parametrize(
    "dtype, value",
    [("float16", np.nan), ("float16", -np.inf), ("float32", np.inf), ("float32", -3.0)],
)
def test_values_that_no_vector_has_are_damage_without_checksums_too(tmp_path, model, value, dtype):
    unchecked = CompareConfig(precision="float32", checksums=False)
    queries, store = made(tmp_path, model, "q.h5"), made(tmp_path, model, "d.h5", dtype)
    before, _, _ = table(queries, store, model)
    features.spoil(store, value)
    after, _, damaged = table(queries, store, model, unchecked)
    assert list(damaged) == ["a"]
    assert_names(damaged["a"], store, "'a'", "no numbers", remedy="extract this video again")
    np.testing.assert_array_equal(after[:, 1:], before[:, 1:])


def test_a_damaged_query_is_in_the_result_without_scores(tmp_path, model):
    native.write(model, tmp_path / "model")
    queries, store = made(tmp_path, model, "q.zarr"), made(tmp_path, model, "d.zarr")
    arguments = ("compare", "-m", tmp_path / "model", "--query_store", queries,
                 "--database_store", store, "-o", tmp_path / "r.json")  # fmt: skip
    run(*arguments)
    before = json.loads((tmp_path / "r.json").read_text())
    flip(chunk(queries, "a"))
    flip(chunk(store, "b"))
    said = run(*arguments, code=3)
    after = json.loads((tmp_path / "r.json").read_text())
    assert_output(said, "left out", "2")
    assert_output(said, queries, "'a'", "is damaged", remedy="extract this video again")
    assert_output(said, store, "'b'", "is damaged", remedy="extract this video again")
    assert list(after) == list(LENGTHS) and after["a"] == {}
    for query in ("b", "c", "d"):
        assert after[query] == {v: s for v, s in before[query].items() if v != "b"}
    unchecked = run(*arguments, "--no_checksums")
    assert "left out" not in unchecked


def test_nothing_sound_is_a_refusal_and_the_old_result_stays(tmp_path, model):
    queries, store = made(tmp_path, model, "q.h5"), made(tmp_path, model, "d.zarr")
    for video in LENGTHS:
        flip(chunk(store, video))
    (tmp_path / "r.json").write_text("old")
    with open_store(queries) as q, open_store(store) as d:
        sides = VideoSet([q]), VideoSet([d])
        with raises(
            StoreError, store, "all 4 videos", "damaged", remedy="extract this video again"
        ):
            compute_similarity(SearchRequest(*sides, model, CONFIG), tmp_path / "r.json")
    assert (tmp_path / "r.json").read_text() == "old"


def test_insets_lie_behind_a_video_and_are_checked_with_it(tmp_path, model):
    from pipeline.records import SourceInfo
    from pipeline.store import create_or_append

    spec = features.spec(model.features_digest, insets="test 2")
    path = tmp_path / "d.zarr"
    with create_or_append(path, spec, "float32") as writer:
        for seed, name in enumerate("xy"):
            video = writer.begin(name, SourceInfo(name))
            x = features.region_vectors(20, [9, seed])
            video.append(x[:14], np.arange(14.0))
            video.append(x[14:], np.arange(6.0), 1)
            video.finish()
    before, _, none = table(path, path, model)
    assert not none
    flip(chunk(path, "x"))  # the last byte, in the inset
    after, asked, found = table(path, path, model)
    assert list(asked) == list(found) == ["x"]
    assert after[1, 1] == before[1, 1] and np.isnan(after[0]).all()


def test_a_signal_leaves_no_part_of_a_result(tmp_path, model):
    native.write(model, tmp_path / "model")
    store = made(tmp_path, model, "d.zarr")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "r.json").write_text("old")
    stopped = (
        "import os, sys\n"
        "import pipeline.output.json_writer as results\n"
        "from pipeline.cli import main\n"
        "plain = results._lines\n"
        "def lines(*arguments):\n"
        "    yield from plain(*arguments)\n"
        f"    os.kill(os.getpid(), {int(signal.SIGTERM)})\n"
        "results._lines = lines\n"
        "main(sys.argv[1:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", stopped, "compare", "-m", tmp_path / "model", "--query_store", store,
         "--database_store", store, "-o", tmp_path / "out" / "r.json"],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
    assert_names(done.stderr.splitlines()[-1], "interrupted", "no result")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["r.json"]
    assert (tmp_path / "out" / "r.json").read_text() == "old"
