"""The benchmark of warm searches, on made-up videos and a small network."""

import re

import pytest

from benchmarks.performance import warm_search
from pipeline.config import ExtractConfig
from pipeline.extraction import run
from pipeline.records import VideoRef
from pipeline.store import open_store
from tests import clips
from tests.e2e.test_mirrored import Signed, pixel_model, scene


def test_it_searches_a_store_of_noisy_copies(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("pipeline.nets.formats.loader.load_model", lambda *_: pixel_model())
    monkeypatch.setattr("pipeline.api._network", lambda *_: Signed())
    video = clips.write(tmp_path / "a.mp4", scene(1), rate=1)
    other = clips.write(tmp_path / "b.mp4", scene(2), rate=1)
    refs = [VideoRef("a", str(video)), VideoRef("b", str(other))]
    before = run.extract_features
    assert before(refs, tmp_path / "d.h5", Signed(), ExtractConfig(workers=1)).complete
    many = warm_search.enlarge(tmp_path / "d.h5", tmp_path / "many.zarr", 5)
    with open_store(many) as store:
        assert store.ids == ["0/a", "1/b", "2/a", "3/b", "4/a"]
        assert store.read("0/a").vectors != pytest.approx(store.read("2/a").vectors, abs=1e-3)
    warm_search.main([str(tmp_path / "d.h5"), str(video), "--videos", "5", "--searches", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert [re.match(r"search \d: [\d.]+ s, processor [\d.]+ s", line) is not None
            for line in lines] == [True, True]  # fmt: skip
    assert all("5 matches" in line and "/a'" in line for line in lines)
    assert run.extract_features is before
