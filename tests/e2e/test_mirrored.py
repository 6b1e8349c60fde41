"""Mirrored queries: a scene whose plain score misses its mirrored copy."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline import compute_similarity
from pipeline.cli import common, main
from pipeline.config import CompareConfig, ExtractConfig
from pipeline.errors import FingerprintMismatchError, InputError
from pipeline.extraction.run import extract_features
from pipeline.records import VideoRef
from pipeline.search.request import SearchRequest
from pipeline.search.run import score_table
from pipeline.search.video_set import VideoSet
from pipeline.store import open_store
from tests import clips, features
from tests.messages import raises
from tests.pixelnet import PixelNet

pytestmark = pytest.mark.usefixtures("kept_networks")


def scene(seed):
    """Coarse random pictures, unlike their mirror images."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 256, (5, 6, 6, 3), np.uint8)
    return [np.kron(p, np.ones((8, 8, 1), np.uint8)) for p in patches]


class Signed(PixelNet):
    """Pixels about grey, so that unlike pictures have scores near 0."""

    def __call__(self, frames):
        cells = frames.astype(np.float32).reshape(len(frames), 3, 10, 3, 10, 3)[:, :, ::2, :, ::2]
        x = cells.transpose(0, 1, 3, 2, 4, 5).reshape(len(frames), 9, -1) - 127
        return x / np.linalg.norm(x, axis=2, keepdims=True)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mirrored")
    pictures = {"q": scene(1), "other": scene(2)}
    pictures |= {"mirror": [p[:, ::-1] for p in pictures["q"]], "stranger": scene(3)}
    return {k: VideoRef(k, str(clips.write(folder / f"{k}.mp4", v, rate=1)))
            for k, v in pictures.items()}  # fmt: skip


@pytest.fixture(scope="module")
def stores(videos, tmp_path_factory):
    """Queries, the same mirrored, and the database."""
    folder = tmp_path_factory.mktemp("stores")
    paths = [folder / "q.h5", folder / "m.zarr", folder / "d.h5"]
    sides = [["q", "other"], ["other", "q"], ["mirror", "stranger", "other"]]
    for path, ids, mirrored in zip(paths, sides, (False, True, False), strict=True):
        config = ExtractConfig(dtype="float32", batch_size=4, workers=1, mirrored=mirrored)
        assert extract_features([videos[i] for i in ids], path, Signed(), config).complete
    return paths


def pixel_model():
    from dataclasses import replace

    from pipeline.nets.model.whitening import Whitening

    size = PixelNet.dims
    return replace(
        features.model(comparator=False, attention=False), features_digest=PixelNet.digest,
        whitening=Whitening(np.zeros(size, "f4"), np.eye(size, dtype="f4"), np.ones(size, "f4")),
    )  # fmt: skip


def test_the_mirrored_copy_is_found(stores):
    opened = [open_store(path) for path in stores]
    queries, mirrored, database = (VideoSet([s]) for s in opened)
    plain, _ = score_table(SearchRequest(queries, database, pixel_model(), CompareConfig()))
    both, _ = score_table(
        SearchRequest(queries, database, pixel_model(), CompareConfig(), mirrored=mirrored)
    )
    assert plain.shape == both.shape == (2, 3)
    assert plain[0, 0] < 0.5 and both[0, 0] > 0.95
    assert (both >= plain).all()
    assert both[1, 2] == plain[1, 2] > 0.95  # the plain copy is as good as before
    assert both[0, 1] < 0.5
    some = VideoSet(opened[1:2], ["q"])
    only, _ = score_table(
        SearchRequest(queries, database, pixel_model(), CompareConfig(), mirrored=some)
    )
    np.testing.assert_allclose(only, [both[0], plain[1]], rtol=1e-6)
    for store in opened:
        store.close()


def test_what_is_no_mirrored_store_is_refused(stores, tmp_path):
    with open_store(stores[0]) as q, open_store(stores[1]) as m, open_store(stores[2]) as d:
        sides = VideoSet([q]), VideoSet([d])
        named = "mirrored: True here", "False there"
        with raises(FingerprintMismatchError, stores[0], *named, remedy="--mirrored"):
            score_table(
                SearchRequest(*sides, pixel_model(), CompareConfig(), mirrored=VideoSet([q]))
            )
        with raises(FingerprintMismatchError, stores[1], stores[2], *named, remedy="extract one"):
            score_table(SearchRequest(VideoSet([m]), sides[1], pixel_model(), CompareConfig()))
        few = VideoSet([q], ["other"])
        with raises(InputError, stores[1], "'q'", "no query"):
            score_table(
                SearchRequest(few, sides[1], pixel_model(), CompareConfig(), mirrored=VideoSet([m]))
            )


def test_a_plain_store_is_described_as_before():
    spec = features.spec("0")
    mirrored = features.spec("0", mirrored=True)
    assert "mirrored" not in spec.as_json() and mirrored.as_json()["mirrored"] is True
    assert spec.fingerprint != mirrored.fingerprint
    assert spec.differences(mirrored) == ["mirrored: False here, True there"]


def test_commands(videos, tmp_path):
    """With lists and with stores, the shipped model; both ways give the same."""

    def run(*arguments, code=0):
        common.load_weights.cache_clear()
        result = CliRunner().invoke(main, list(map(str, arguments)))
        assert result.exit_code == code, result.output
        return result.output

    for name, ids in (("q", ["q"]), ("d", ["mirror", "stranger"])):
        lines = [f"{i}\t{videos[i].path}\n" for i in ids]
        (tmp_path / f"{name}.txt").write_text("".join(lines))
    q, m, d = (tmp_path / f"{name}.h5" for name in "qmd")
    run("extract", "-v", tmp_path / "d.txt", "-o", d, "--batch_sz", "5")
    asked = ("compare", "--database_store", d, "--batch_sz", "5", "-o")
    listed = (*asked, tmp_path / "list.json", "-q", tmp_path / "q.txt", "--query_store", q)
    run(*listed)
    plain = json.loads((tmp_path / "list.json").read_text())["q"]
    run(*listed, "--mirrored_queries", "--mirrored_query_store", m)
    both = json.loads((tmp_path / "list.json").read_text())["q"]
    assert both["mirror"] > plain["mirror"] + 0.02
    assert "mirrored" in run("info", m) and "mirrored" not in run("info", q)
    stored = (*asked, tmp_path / "stored.json", "--query_store", q)
    run(*stored, "--mirrored_query_store", m)
    assert json.loads((tmp_path / "stored.json").read_text())["q"] == both
    table = compute_similarity(q, d, mirrored_queries=m)
    assert table["q"] == pytest.approx(both, abs=1e-6)
    said = run(*stored, "--mirrored_queries", code=2)
    assert "extract_features.py --mirrored" in said
