"""Segments from videos to the result: found from the stores, refined in the videos."""

import csv
import json

import numpy as np
import pytest

from pipeline import compute_similarity, extract_features
from pipeline.config import CompareConfig, Config, ExtractConfig
from pipeline.errors import InputError, PipelineWarning
from pipeline.records import VideoRef
from pipeline.workflow import Comparison, VideoSource
from tests import clips
from tests.command import run
from tests.e2e.test_mirrored import Signed, pixel_model
from tests.messages import raises

RATE = 8
EXTRACT = ExtractConfig(workers=1, batch_size=8, dtype="float32")
# Seconds of the film that are in the copy, and where they begin there.
FIRST, LAST, AT = 7.375, 16.75, 5.25


def film(seed, seconds):
    """Coarse random pictures, one a second, that go over into each other."""
    rng = np.random.default_rng(seed)
    keys = rng.integers(0, 256, (seconds + 1, 12, 12, 3)).astype(np.float32)
    times = np.arange(seconds * RATE) / RATE
    before, share = times.astype(int), (times % 1)[:, None, None, None]
    patches = (keys[before] * (1 - share) + keys[before + 1] * share).astype(np.uint8)
    return [np.kron(patch, np.ones((8, 8, 1), np.uint8)) for patch in patches]


def frames(seconds):
    return round(seconds * RATE)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    whole = film(1, 24)
    around = film(2, 12)
    copy = [*around[: frames(AT)], *whole[frames(FIRST) : frames(LAST)], *around[frames(AT) :]]
    made = {"film": whole, "copy": copy, "other": film(3, 10)}
    how = {"rate": RATE, "options": {"crf": "8", "g": "16"}}
    return {k: clips.write(folder / f"{k}.mp4", v, **how) for k, v in made.items()}


@pytest.fixture(autouse=True)
def pixels(monkeypatch):
    monkeypatch.setattr("pipeline.nets.formats.loader.load_model", lambda *_: pixel_model())
    monkeypatch.setattr("pipeline.api._network", lambda *_, **__: Signed())
    monkeypatch.setattr("pipeline.nets.extractor.feature_net.FeatureNet", lambda *_, **__: Signed())


@pytest.fixture
def stores(videos, tmp_path):
    paths = {"q": ["film"], "d": ["copy", "other"]}
    for name, ids in paths.items():
        extract_features({i: videos[i] for i in ids}, tmp_path / f"{name}.h5", config=EXTRACT)
    return [str(tmp_path / f"{name}.h5") for name in paths]


def end_error(segment):
    ends = segment.query_start, segment.query_end, segment.database_start, segment.database_end
    return np.abs(np.array(ends) - (FIRST, LAST, AT, AT + LAST - FIRST)).max()


def test_refinement_finds_the_ends(stores):
    plain = compute_similarity(*stores, segments=True)
    refined = compute_similarity(*stores, refine_segments=True)
    by_id = {match.database_id: match for match in refined["film"]}
    assert [match.score for match in plain["film"]] == [match.score for match in refined["film"]]
    (before,) = next(m.segments for m in plain["film"] if m.database_id == "copy")
    (after,) = by_id["copy"].segments
    assert end_error(before) < 1.0
    assert end_error(after) < 0.3
    assert end_error(after) < end_error(before)
    assert by_id["other"].segments == ()


def test_what_cannot_be_refined_is_named(stores, videos, tmp_path):
    moved = tmp_path / "gone"
    moved.mkdir()
    original = videos["copy"]
    there = original.rename(moved / original.name)
    try:
        with pytest.warns(PipelineWarning, match=r"not refined in copy: the file is not there"):
            found = compute_similarity(*stores, refine_segments=True, top_k=1)
        plain = compute_similarity(*stores, segments=True, top_k=1)
        assert found["film"][0].segments == plain["film"][0].segments
        refined = compute_similarity(*stores, refine_segments=True, video_root=moved, top_k=1)
        assert end_error(refined["film"][0].segments[0]) < 0.3
        content = there.read_bytes()
        there.write_bytes(content[:100] + bytes(len(content) - 100))
        with pytest.warns(PipelineWarning, match=r"not refined in copy: (it cannot be|its pict)"):
            found = compute_similarity(*stores, refine_segments=True, video_root=moved, top_k=1)
        assert found["film"][0].segments == plain["film"][0].segments
        there.write_bytes(content)
    finally:
        there.rename(original)


def test_pictures_of_another_film_refine_nothing(stores, videos, tmp_path, monkeypatch):
    """The file has name, size and time of the stored one, but other content."""
    from pipeline.source_files import FoundFile, SourceFiles

    monkeypatch.setattr(SourceFiles, "find", lambda self, source: FoundFile(str(videos["other"])))
    with pytest.warns(PipelineWarning, match="its pictures are not those that were stored"):
        compute_similarity(*stores, refine_segments=True, top_k=1)


def test_the_command_writes_them(stores, tmp_path):
    out = tmp_path / "found.csv"
    options = ["--query_store", stores[0], "--database_store", stores[1], "--top_k", 1]
    said = run("compare", *options, "--segments", "-o", out)
    assert "1 segments in 1 of 1 matches" in said
    (row,) = csv.DictReader(out.read_text().splitlines())
    assert row["ref_id"] == "copy" and float(row["query_start"]) == pytest.approx(FIRST, abs=1)
    said = run("compare", *options, "--refine_segments", "-o", tmp_path / "found.json")
    assert "1 of 1 segments refined" in said
    assert "query_start" in json.dumps(json.loads((tmp_path / "found.json").read_text()))
    page = tmp_path / "page.html"
    said = run("compare", *options, "--report", page, "-o", tmp_path / "plain.json")
    assert "segments in" not in said and page.stat().st_size > 1000
    assert list(json.loads((tmp_path / "plain.json").read_text())["film"]) == ["copy"]


def test_what_cannot_be_is_refused(stores, tmp_path):
    with raises(InputError, "video_root", remedy="refine_segments"):
        compute_similarity(*stores, segments=True, video_root=tmp_path)
    with raises(InputError, tmp_path / "none", "folder"):
        compute_similarity(*stores, refine_segments=True, video_root=tmp_path / "none")
    with raises(InputError, "refine_fps is 1", "have 1 frames", remedy="set a higher one"):
        compute_similarity(*stores, refine_segments=True, config=CompareConfig(refine_fps=1))
    listed = VideoSource((), [VideoRef(str(i), f"{i}.mp4") for i in range(101)])
    with raises(InputError, "10,201 pairs", remedy="top_k"):
        Comparison(listed, listed, Config(), segments=True)
    Comparison(listed, listed, Config(), segments=True, max_fpr=0.01)
