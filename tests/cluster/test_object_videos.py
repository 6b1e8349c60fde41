"""Videos on object storage: fetched to scratch, or read in blocks; broken connections."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import ExtractConfig
from pipeline.decode import Ended, decode_videos
from pipeline.decode.fetching import Fetcher
from pipeline.errors import VideoError
from pipeline.extraction.run import extract_features
from pipeline.objects import open_objects
from pipeline.objects.blocks import RemoteFile
from pipeline.objects.fetch import RemoteInfo, RemoteObject, without_query
from pipeline.records import Preprocess, VideoRef
from pipeline.store import open_store
from pipeline.video import sample_frames
from pipeline.video.remote import network_error
from tests.pixelnet import PixelNet

EXAMPLES_ALL = sorted(Path(__file__).parents[2].glob("examples/*.[mw][pe]*"))
EXAMPLES = [path for path in EXAMPLES_ALL if path.suffix == ".mp4"][:3]
CONFIG = ExtractConfig(dtype="float32", batch_size=7, workers=2)
SIZES = PixelNet.preprocess


def upload(bucket: str, path: Path, name: str) -> str:
    open_objects(bucket).put_file(name, path)
    return f"{bucket}/{name}"


def as_http(s3: Any, url: str) -> str:
    """The same object as a presigned URL has it."""
    return f"{s3.url}/{url.removeprefix('s3://')}?X-Amz-Signature=secret"


def frames_of(path: str) -> list[tuple[float, np.ndarray]]:
    return list(sample_frames(path, SIZES, 1.0))


def assert_same_frames(found: list[Any], expected: list[Any]) -> None:
    assert [second for second, _ in found] == [second for second, _ in expected]
    for (_, a), (_, b) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def all_bytes(folder: Path) -> bytes:
    return b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())


def test_listed_objects_are_stored_as_files_are(s3: Any, bucket: str, tmp_path: Path) -> None:
    """s3:// and presigned http; the signature is nowhere, and the server sees it each time."""
    urls = [upload(bucket, path, f"in/a b {path.name}") for path in EXAMPLES]
    listed = [urls[0], as_http(s3, urls[1]), as_http(s3, urls[2])]
    open_objects(bucket).put_if_absent("empty.mp4", b"")
    open_objects(bucket).put_if_absent("text.mp4", b"no video")
    broken = [as_http(s3, f"{bucket}/{name}.mp4") for name in ("gone", "empty", "text")]
    refs = [VideoRef(str(n), url) for n, url in enumerate([*listed, *broken])]
    report = extract_features(refs, tmp_path / "remote.h5", PixelNet(), CONFIG)
    files = [VideoRef(str(n), str(path)) for n, path in enumerate(EXAMPLES)]
    extract_features(files, tmp_path / "local.h5", PixelNet(), CONFIG)
    with open_store(tmp_path / "remote.h5") as remote, open_store(tmp_path / "local.h5") as local:
        assert remote.ids == local.ids
        for n, video_id in enumerate(remote.ids):
            vectors = local.read(video_id).vectors
            np.testing.assert_array_equal(remote.read(video_id).vectors, vectors)
            source = remote.record(video_id).source
            assert source.path == without_query(listed[n]) and source.etag
            assert source.size == EXAMPLES[n].stat().st_size and source.mtime_ns > 0
            assert local.record(video_id).source.etag == ""
    reasons = {video_id: failure.reason for video_id, failure in report.failures.items()}
    assert reasons == {"3": "missing", "4": "empty", "5": "not_a_video"}
    assert all(f.source.path.startswith("http") for f in report.failures.values())
    texts = " ".join(f.detail for f in report.failures.values())
    assert "secret" not in texts and "visil-index-" not in texts
    assert b"secret" not in all_bytes(tmp_path)
    assert s3.queries.count("X-Amz-Signature=secret") >= 5
    again = extract_features(refs, tmp_path / "remote.h5", PixelNet(), CONFIG)
    assert again.already == 3 and again.stored == []
    assert list(again.known_failures) == ["4", "5"], "missing ones are tried again"


def test_an_object_with_another_etag_is_extracted_again(
    s3: Any, bucket: str, tmp_path: Path
) -> None:
    """Only on request, as each stored object is asked for; one that is gone keeps its features."""
    refs = [VideoRef(str(n), upload(bucket, path, f"{n}.mp4")) for n, path in enumerate(EXAMPLES)]
    store = tmp_path / "remote.h5"
    extract_features(refs, store, PixelNet(), CONFIG)
    upload(bucket, EXAMPLES[0], "1.mp4")
    open_objects(bucket).delete("2.mp4")
    s3.reset()
    report = extract_features(refs, store, PixelNet(), CONFIG)
    assert report.already == 3 and not s3.requests
    report = extract_features(refs, store, PixelNet(), CONFIG, replace="changed")
    assert report.stored == ["1"] and report.already == 2 and report.complete
    with open_store(store) as opened:
        np.testing.assert_array_equal(opened.read("1").vectors, opened.read("0").vectors)
        etags = [opened.record(str(n)).source.etag for n in range(3)]
    assert etags[0] == etags[1] != etags[2]
    report = extract_features(refs, store, PixelNet(), CONFIG, replace="changed")
    assert not report.stored and report.already == 3


def test_a_large_object_is_read_in_blocks(s3: Any, bucket: str) -> None:
    """The table of these videos is at their end."""
    path = EXAMPLES[0]
    assert path.read_bytes().find(b"moov") > path.stat().st_size // 2
    url = upload(bucket, path, "large.mp4")
    assert_same_frames(frames_of(url), frames_of(str(path)))
    assert network_error(url) is None
    events = list(decode_videos([VideoRef("a", as_http(s3, url))], SIZES, workers=1, fetch_mb=0))
    ended = events[-1]
    assert isinstance(ended, Ended) and ended.failure is None and ended.note == ""
    assert events[0].source.path == without_query(as_http(s3, url))  # type: ignore[union-attr]


@pytest.mark.parametrize("fetch_mb", [8192, 0])
def test_a_connection_that_is_cut(
    s3: Any, bucket: str, fetch_mb: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All frames where a further try succeeds; else unreachable, never damaged."""
    monkeypatch.setattr("pipeline.objects.fetch.PAUSE_SECONDS", 0.01)
    url = upload(bucket, EXAMPLES[1], "clip.mp4")
    size, cuts = EXAMPLES[1].stat().st_size, 0

    def twice(method: str, _: str) -> int | None:
        nonlocal cuts
        cuts += method == "GET"
        return 10_000 if method == "GET" and cuts in (2, 3) else None

    s3.cut = twice
    expected = len(frames_of(str(EXAMPLES[1])))
    refs = [VideoRef("a", as_http(s3, url))]
    events = list(decode_videos(refs, Preprocess(32, 30), workers=1, fetch_mb=fetch_mb))
    assert events[-1] == Ended(0) and cuts > 3
    assert sum(len(getattr(e, "seconds", ())) for e in events) == expected
    s3.cut = lambda method, _: min(70_000, size // 2) if method == "GET" else None
    *_, ended = decode_videos(refs, Preprocess(32, 30), workers=1, fetch_mb=fetch_mb)
    assert ended.failure is not None and ended.failure.reason == "unreachable"
    assert "secret" not in ended.failure.detail and without_query(url)[5:] in ended.failure.detail


def test_an_object_that_changes_while_it_is_read(s3: Any, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(bytes(200_000))
    url = upload(bucket, tmp_path / "old", "x.mp4")
    remote = RemoteObject(url)
    (tmp_path / "new").write_bytes(bytes(199_999) + b"1")
    upload(bucket, tmp_path / "new", "x.mp4")
    with pytest.raises(VideoError, match=r"unreachable: .*changed while it was read"):
        remote.fetch(io.BytesIO())


class Fake:
    """An object of 100 bytes."""

    info = RemoteInfo("s3://b/x", 100, "", 0)

    def __init__(self) -> None:
        self.ranges: list[tuple[int, int]] = []

    def read(self, start: int, stop: int) -> bytes:
        if start == 40:
            raise VideoError("unreachable", "cut")
        self.ranges.append((start, stop))
        return bytes(range(start, stop))


def test_a_file_of_blocks() -> None:
    fake: Any = Fake()
    file = RemoteFile(fake, block_bytes=10, kept_blocks=2)
    assert file.read(3) == bytes([0, 1, 2]) and file.tell() == 3
    assert file.seek(-4, io.SEEK_END) == 96 and file.read() == bytes([96, 97, 98, 99])
    assert file.read(5) == b"" and file.seek(8) == 8 and file.read(4) == bytes([8, 9, 10, 11])
    assert fake.ranges == [(0, 10), (90, 100), (10, 20)]
    other = file.again()
    assert other.tell() == 0 and other.read(1) == b"\0" and file.cache.requests == 3
    file.seek(35)
    with pytest.raises(VideoError):
        file.read(10)
    assert file.error is not None and other.error is file.error


def test_few_are_fetched_ahead_within_the_budget(s3: Any, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(1000))
    refs = [VideoRef(str(n), upload(bucket, tmp_path / "x", f"{n}.mp4")) for n in range(6)]
    refs.insert(1, VideoRef("file", str(tmp_path / "x")))
    fetcher = Fetcher(refs, budget_bytes=1500, ahead=3)
    try:
        with fetcher.fetched(0) as first:
            assert Path(first.path).read_bytes() == bytes(1000)
            with fetcher.fetched(3) as third:  # wanted, so the budget does not matter
                assert Path(third.path).stat().st_size == 1000
            assert len(fetcher._taken) <= 2  # the one at work, and one ahead
        assert not Path(first.path).exists() and not Path(third.path).exists()
    finally:
        fetcher.close()
    assert not fetcher._folder.exists()


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger("libav").setLevel(logging.CRITICAL)
