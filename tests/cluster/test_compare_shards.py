"""Stage two in shards, and over a network: the same bytes as one process."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import CompareConfig
from pipeline.errors import InputError, StorageError
from pipeline.nets.formats import native
from pipeline.nets.formats.loader import load_model
from pipeline.objects import open_objects
from pipeline.output.selection import Selection
from pipeline.output.sparse_scores import SCORE
from pipeline.search.adapt import adapt
from pipeline.search.partial_results import read_partial
from pipeline.search.request import SearchRequest
from pipeline.search.run import find_matches, needs_sample, score_shard, score_table
from pipeline.search.segments import SegmentMatches
from pipeline.search.shards import Distribute, ShardScores, merge_shards, shard_range
from pipeline.search.video_set import VideoSet
from pipeline.store import copy_store, create_or_append, open_store
from tests import features
from tests.command import run
from tests.messages import assert_output, raises

QUERIES = {f"q{n}": 5 + n for n in range(3)}
DATABASE = {f"v{n:02}": 4 + n % 13 for n in range(24)}


def fill(path: str | Path, model: Any, videos: dict[str, int], seed: int, parts: int = 1) -> str:
    """Videos in the given number of commits; every eighth is the video before it again, a tie."""
    with create_or_append(path, features.spec(model.features_digest), "float32") as writer:
        for number, (name, frames) in enumerate(videos.items()):
            number -= number % 8 == 7
            video = writer.begin(name, features.SourceInfo(name))
            frames = list(videos.values())[number]
            vectors = features.region_vectors(frames, [seed, number])
            video.append(vectors, np.arange(float(frames)))
            video.finish()
            if (number + 1) % -(-len(videos) // parts) == 0:
                writer.commit()
    return str(path)


def assert_same_result(path: Path, expected: Path, exact: bool) -> None:
    """The same bytes; two adaptations of one model may differ in the last decimal of a score."""
    if exact:
        assert path.read_bytes() == expected.read_bytes()
        return
    found, scores = json.loads(path.read_text()), json.loads(expected.read_text())
    assert list(found) == list(scores)
    for query_id in found:
        assert found[query_id] == pytest.approx(scores[query_id], abs=1.5e-6)


@pytest.fixture(scope="module")
def model() -> Any:
    return features.model(attention=False)


@pytest.fixture(scope="module")
def made(model: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("stores")
    native.write(model, folder / "model")
    database = fill(folder / "db.parts", model, DATABASE, 2, parts=4)
    run("index", database, "--model_dir", folder / "model")
    return {
        "model": str(folder / "model"),
        "queries": fill(folder / "q.h5", model, QUERIES, 1),
        "database": database,
        "background": fill(folder / "b.h5", model, {f"u{n}": 6 for n in range(12)}, 3),
    }


def command(made: dict[str, str], *options: object, database: str = "") -> list[object]:
    place = database or made["database"]
    stores = ("--query_store", made["queries"], "--database_store", place)
    fixed = ("--model_dir", made["model"], "--precision", "float32")
    return ["compare", *stores, *fixed, *options]


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--top_k", 5),
        ("--threshold", -0.58),
        ("--top_k", 4, "--normalize", "database"),
        ("--normalize", "database"),
        ("--adapt",),
        ("--candidates", "30%", "--top_k", 5, "--normalize", "database"),
    ],
    ids=lambda o: " ".join(map(str, o)) or "all",
)
def test_merged_shards_are_the_result_of_one_process(
    made: dict[str, str], options: tuple[object, ...], tmp_path: Path
) -> None:
    one = tmp_path / "one.json"
    run(*command(made, *options, "--output_file", one))
    files = [tmp_path / f"part{number}.npz" for number in (1, 2, 3)]
    for number, file in enumerate(files, 1):
        output = run(*command(made, *options, "--shard", f"{number}/3", "--output_file", file))
        share = "1 queries and 24" if "--candidates" in options else "3 queries and 8"
        assert_output(output, file, f"{share} database videos", remedy="merge-results")
    merged = tmp_path / "merged.json"
    run("merge-results", *reversed(files), "--output_file", merged)
    assert_same_result(merged, one, exact="--adapt" not in options)
    assert json.loads(one.read_text())["q0"]


def test_shards_that_do_not_fit_are_refused(made: dict[str, str], tmp_path: Path) -> None:
    names = {n: tmp_path / f"{n}.npz" for n in ("1", "2", "other")}
    run(*command(made, "--shard", "1/2", "--output_file", names["1"]))
    run(*command(made, "--shard", "2/2", "--output_file", names["2"]))
    run(*command(made, "--shard", "2/2", "--top_k", 2, "--output_file", names["other"]))
    assert read_partial(names["1"]).scores.last == 12
    (tmp_path / "cut.npz").write_bytes(names["1"].read_bytes()[:500])
    for files, named in (
        (["1"], ("shards 2 of 2", "missing")),
        (["1", "1"], ("shard 1", str(names["1"]))),
        (["1", "other"], (str(names["other"]), "another search")),
        (["1", "cut"], (str(tmp_path / "cut.npz"), "run that shard again")),
    ):
        paths = [names.get(name, tmp_path / f"{name}.npz") for name in files]
        output = run("merge-results", *paths, "-o", tmp_path / "r.json", code=2)
        assert_output(output, *named)
    assert not (tmp_path / "r.json").exists()
    for options in (("--output_file", "r.json"), ("--segments", "--output_file", "r.npz")):
        run(*command(made, "--shard", "1/2", *options), code=InputError.exit_code)


def test_ranges_of_shards() -> None:
    assert [shard_range(10, number, 3) for number in (1, 2, 3)] == [(0, 3), (3, 6), (6, 10)]
    assert shard_range(1, 1, 2) == (0, 0)


def shard(first: int, last: int, *entries: tuple[int, int, float]) -> ShardScores:
    columns = np.ones(last - first, bool)
    return ShardScores(first, last, np.array(list(entries), SCORE), {}, np.ones(2, bool), columns)


def test_missing_and_repeated_columns_are_refused() -> None:
    merged = merge_shards([shard(2, 4, (0, 3, 0.5)), shard(0, 2, (0, 1, 0.5))], 2, 4)
    assert merged.scores.row(0)[0].tolist() == [1, 3] and merged.sound_database.all()
    with raises(InputError, "3 to 4", "missing"):
        merge_shards([shard(0, 2)], 2, 4)
    with raises(InputError, "2 to 2", "twice"):
        merge_shards([shard(0, 2), shard(1, 4)], 2, 4)
    of_candidates = [replace(shard(0, 4, (n, 1, 0.5)), rows=(n, n + 1)) for n in range(2)]
    assert merge_shards(of_candidates, 2, 4).scores.row(1)[0].tolist() == [1]
    with raises(InputError, "queries 2 to 2", "missing"):
        merge_shards(of_candidates[:1], 2, 4)
    with raises(InputError, "candidates"):
        merge_shards([shard(0, 4), of_candidates[0]], 2, 4)


def test_segments_of_shards_know_what_is_usual_for_a_query(made: dict[str, str]) -> None:
    """Each shard keeps a sample of its scores; together they are those of one process."""
    with open_store(made["queries"]) as asked, open_store(made["database"]) as stored:
        config = CompareConfig(precision="float32", normalize="none")
        sides = VideoSet([asked]), VideoSet([stored])
        model = load_model(made["model"])
        selection = Selection(top_k=2)
        request = SearchRequest(*sides, model, config, selection=selection, segments=True)

        shards = [score_shard(request, a, b, None, sampled=True) for a, b in ((9, 24), (0, 9))]
        found, _ = find_matches(request, distribute=Distribute(lambda *_: shards, lambda *_: []))
        assert isinstance(found, SegmentMatches) and found._needed is not None
        samples = [shard.sample for shard in reversed(shards) if shard.sample is not None]
        expected, _ = score_table(request)
        np.testing.assert_allclose(np.concatenate(samples, axis=1), expected, rtol=0, atol=1e-6)
        assert needs_sample(request) and not needs_sample(replace(request, segments=False))


# Over a network


def test_a_search_of_a_remote_database(
    made: dict[str, str], s3: Any, bucket: str, tmp_path: Path
) -> None:
    """Bit-equal to one local file, with one request for each part in a block."""
    place = f"{bucket}/db"
    copy_store(made["database"], place)  # one part
    copy_store(made["database"], tmp_path / "db.h5")
    s3.requests.clear()
    run(*command(made, "--output_file", tmp_path / "remote.json", database=place))
    reads = [path for _, path in s3.requests if "/parts/" in path]
    assert len(reads) == 1, "the block is one joined range, and the check reads nothing again"
    local = command(
        made, "--output_file", tmp_path / "local.json", database=str(tmp_path / "db.h5")
    )
    run(*local)
    assert (tmp_path / "remote.json").read_bytes() == (tmp_path / "local.json").read_bytes()


def test_every_block_is_one_request_and_is_read_once(
    model: Any, made: dict[str, str], s3: Any, bucket: str, tmp_path: Path
) -> None:
    """Also where a long video lies in two blocks; the check behind the search asks for nothing."""
    videos = {f"v{n:02}": 700 if n % 6 == 5 else 60 for n in range(24)}
    local, place = fill(tmp_path / "db.h5", model, videos, 4), f"{bucket}/db"
    copy_store(local, place)
    s3.reset()
    options = "--block_mb", 1, "--top_k", 3
    run(*command(made, *options, "--output_file", tmp_path / "remote.json", database=place))
    reads = sum("/parts/" in path for _, path in s3.requests)
    assert reads == 3, "4,000 frames of 576 bytes, up to 1,820 in a block"
    run(*command(made, *options, "--output_file", tmp_path / "local.json", database=local))
    assert (tmp_path / "remote.json").read_bytes() == (tmp_path / "local.json").read_bytes()


def test_a_network_that_fails_ends_the_search(
    model: Any, made: dict[str, str], s3: Any, bucket: str, monkeypatch: Any
) -> None:
    """It is no damage of a video: a result without these videos would look whole."""
    monkeypatch.setattr("pipeline.objects.bucket.RETRIES", {"max_retries": 0})
    place = f"{bucket}/db"
    copy_store(made["database"], place)
    with open_store(place) as store:
        videos = VideoSet([store])
        s3.lose_answer = lambda method, path: "503" if "/parts/" in path else None
        with raises(StorageError, place, "parts/", remedy="run the"):
            videos.check()
        with raises(StorageError, place):
            videos.read(0, 0, 4, np.empty((4, 9, features.DIMS), np.float32))
        with raises(StorageError, place):  # not an adaptation to those that could be read
            adapt(videos, model)
        s3.reset()
        adapted = adapt(videos, model)
        assert adapted.videos == len(DATABASE) and videos.sound.all()
        assert len(s3.requests) <= 4, "one for each part"


def test_many_videos_open_with_few_requests(s3: Any, bucket: str, model: Any) -> None:
    """Entries behind the last checkpoint are read at the same time."""
    place = f"{bucket}/db"
    for number in range(6):
        fill(place, model, {f"v{number}-{n}": 4 for n in range(2)}, number)
    s3.reset()
    with open_store(place) as store:
        assert len(store) == 12
    assert len(s3.requests) == 3 + 6
    assert len(open_objects(place).list("log")) == 6
