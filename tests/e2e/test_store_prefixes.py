"""Stores with equal ids are searched together by a prefix for each."""

import json
from contextlib import ExitStack

import numpy as np
import pytest

from pipeline.api import compute_similarity
from pipeline.cli.common import split_store
from pipeline.errors import InputError
from pipeline.nets.formats.native import write
from pipeline.search.video_set import VideoSet
from pipeline.store import open_store
from tests import features
from tests.command import run
from tests.messages import assert_output, raises


@pytest.fixture
def cards(tmp_path):
    """Two stores with the same ids and other films, and a query that is the second's."""
    write(features.model(comparator=False), tmp_path / "model")
    from pipeline.nets.formats.loader import load_model

    spec = features.spec(load_model(tmp_path / "model").features_digest)
    for card in (1, 2):
        films = {"a": features.region_vectors(9, card), "b": features.region_vectors(9, card + 10)}
        features.fill(tmp_path / f"{card}.h5", spec, films)
    features.fill(tmp_path / "q.h5", spec, {"q": features.region_vectors(9, 2)})
    return tmp_path


def test_videos_of_both_are_read_from_their_own_store(cards):
    with ExitStack() as stack:
        stores = [stack.enter_context(open_store(cards / f"{n}.h5")) for n in (1, 2)]
        with raises(InputError, "'a'", cards / "1.h5", cards / "2.h5", remedy="PREFIX=STORE"):
            VideoSet(stores)
        both = VideoSet(stores, None, ["", "card2/"])
        assert both.ids == ["a", "b", "card2/a", "card2/b"]
        for video, seed in enumerate((1, 11, 2, 12)):
            for videos, at in ((both, video), (both.split_insets()[0], video)):
                out = np.empty((9, *both.row_shape), np.float32)
                videos.read(at, 0, 9, out)
                np.testing.assert_array_equal(out, features.region_vectors(9, seed))
        some = VideoSet(stores, ["card2/b", "a"], ["", "card2/"])
        joined = some.concat(both)
        out = np.empty((9, *both.row_shape), np.float32)
        joined.read(0, 0, 9, out)
        np.testing.assert_array_equal(out, features.region_vectors(9, 12))
        assert joined.ids == ["card2/b", "a", *both.ids]
        with raises(InputError, cards / "1.h5", remedy="give it once"):
            VideoSet([stores[0], stores[0]], None, ["x", "y"])


def test_ids_in_the_result_carry_the_prefix(cards):
    for given in (("1.h5", "card2/=2.h5"), ("card1/=1.h5", "card2/=2.h5")):
        stores = []
        for text in given:
            prefix, _, name = text.rpartition("=")
            stores += ["--database_store", f"{prefix}={cards / name}" if prefix else cards / name]
        run(
            "compare", "--query_store", cards / "q.h5", *stores, "-m", cards / "model",
            "-o", cards / "r.json",
        )  # fmt: skip
        scores = json.loads((cards / "r.json").read_text())["q"]
        assert list(scores)[2:] == ["card2/a", "card2/b"]
        assert scores["card2/a"] > 2 * sorted(scores.values())[-2]
    found = compute_similarity(
        cards / "q.h5", {"": cards / "1.h5", "x": cards / "2.h5"}, model_dir=cards / "model"
    )
    assert list(found["q"]) == ["a", "b", "xa", "xb"]


def test_a_result_never_replaces_a_store_that_has_a_prefix(cards):
    said = run(
        "compare", "--query_store", cards / "q.h5", "--database_store", f"x={cards / '1.h5'}",
        "-m", cards / "model", "-o", cards / "1.h5", code=2,
    )  # fmt: skip
    assert_output(said, "error", cards / "1.h5", "input")


def test_paths_with_an_equals_sign(tmp_path, monkeypatch):
    (tmp_path / "year=2024").mkdir()
    path = tmp_path / "year=2024" / "s.h5"
    path.touch()
    assert split_store(str(path)) == ("", str(path))
    assert split_store(f"a=b={path}") == ("a=b", str(path))
    assert split_store(f"card2/={path}") == ("card2/", str(path))
    assert split_store("card2/=nowhere.h5") == ("card2/", "nowhere.h5")
    with pytest.raises(InputError, match="id prefix"):
        split_store("a\tb=nowhere.h5")
