"""Both stages over real clips re-encoded with many codecs into many containers."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline import compute_similarity, extract_features, open_store
from pipeline.config import ExtractConfig

EXAMPLES = {p.stem: p for p in sorted(Path(__file__).parents[2].glob("examples/*.[mw][pe]*"))}
SOURCES = ["cockatoo", "rolling_ball"]
# name -> container, encoder, options
ENCODINGS = {
    "h264_b_frames": ("mp4", "libx264", {"bf": "3", "g": "48", "preset": "veryfast", "crf": "28"}),
    "h264_in_mkv": ("mkv", "libx264", {"bf": "0", "preset": "ultrafast", "crf": "30"}),
    "mpeg4": ("avi", "mpeg4", {"b": "400k"}),
    "vp9": ("webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "crf": "40", "b": "0"}),
    "mjpeg": ("avi", "mjpeg", {"q": "8"}),
}


def reencode(source: Path, target: Path, encoder: str, options: dict[str, str]) -> None:
    """The first 6 s at 12 frames a second and about 200 lines, each frame decoded and encoded."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = old.streams.video[0]
        width, height = stream.width * 208 // stream.height // 2 * 2, 208
        out = new.add_stream(encoder, rate=12, options=options)
        out.width, out.height = width, height
        out.pix_fmt = "yuvj420p" if encoder == "mjpeg" else "yuv420p"
        count = 0
        for frame in old.decode(stream):
            if frame.time is None or frame.time < count / 12:
                continue
            if count == 72:
                break
            picture = frame.reformat(width, height, format=out.pix_fmt)
            picture.pts, picture.time_base = count, Fraction(1, 12)
            count += 1
            new.mux(out.encode(picture))
        new.mux(out.encode(None))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("real")
    for name in SOURCES:
        for encoding, (container, encoder, options) in ENCODINGS.items():
            reencode(EXAMPLES[name], path / f"{name} {encoding}.{container}", encoder, options)
    return path


@pytest.fixture(scope="module")
def stores(folder, tmp_path_factory):
    """All re-encoded clips as database, the clips themselves as queries."""
    path = tmp_path_factory.mktemp("stores")
    report = extract_features(folder, path / "database.zarr", config=ExtractConfig(workers=2))
    assert report.complete and not report.notes, report
    queries = {name: str(EXAMPLES[name]) for name in SOURCES}
    extract_features(queries, path / "queries.h5")
    return path / "queries.h5", path / "database.zarr"


def test_every_encoding_gives_the_same_seconds(stores):
    with open_store(stores[1]) as store:
        assert len(store) == len(SOURCES) * len(ENCODINGS)
        for video_id in store.ids:
            own = store.read(video_id).seconds[: store.record(video_id).own_frames]
            np.testing.assert_allclose(own, range(6), atol=0.04)
        codecs = {store.record(i).source.codec for i in store.ids}
    assert codecs == {"h264", "mpeg4", "vp9", "mjpeg"}


def test_copies_are_found_and_strangers_told_apart(stores, tmp_path):
    assert compute_similarity(*stores, tmp_path / "r.json") is None
    result = json.loads((tmp_path / "r.json").read_text())
    returned = compute_similarity(*stores)
    for query, scores in result.items():
        copies = [s for name, s in scores.items() if name.startswith(query)]
        strangers = [s for name, s in scores.items() if not name.startswith(query)]
        assert len(copies) == len(strangers) == len(ENCODINGS)
        assert min(copies) > 0.3 > max(strangers)  # the threshold of the model card
        np.testing.assert_allclose(list(returned[query].values()), list(scores.values()), atol=1e-6)


def test_top_k_from_python(stores):
    best = compute_similarity(*stores, top_k=2)
    assert all(len(s) == 2 and all(n.startswith(q) for n in s) for q, s in best.items())
