"""Matches of a search: the same whether the scores of all pairs are kept or only the best."""

import csv
import json
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from pipeline import api
from pipeline.config import CompareConfig
from pipeline.errors import InputError
from pipeline.nets.formats import native
from pipeline.output.match_tables import DenseMatches, SparseMatches
from pipeline.output.selection import Selection
from pipeline.records import SourceInfo
from pipeline.search.limits import Limits
from pipeline.search.request import SearchRequest
from pipeline.search.run import find_matches, search
from pipeline.search.video_set import VideoSet
from pipeline.store import create_or_append, open_store
from tests import features
from tests.command import run

CONFIG = CompareConfig(precision="float32", background_top_k=2)
LIMITS = Limits(piece_frames=16, query_block_frames=40, matrix_cells=40 * 40, pending_scores=4)
QUERIES = {"q1": (12, 3), "q2": (40, 0), "q3": (5, 0)}  # frames, and those of an inset
DATABASE = {"a": (20, 8), "b": (9, 0), "twin": (9, 0), "c": (70, 10), "d": (4, 0), "e": (33, 5)}


def fill(path, model, videos, seed):
    """A store of videos of which some have an inset; `twin` is `b` again, so they tie."""
    spec = features.spec(model.features_digest, insets="test 2", mirrored=path.name == "m.h5")
    with create_or_append(path, spec) as writer:
        for number, (name, (own, inset)) in enumerate(videos.items()):
            number -= name == "twin"
            x = features.region_vectors(own + inset, [seed, number])
            video = writer.begin(name, SourceInfo(name))
            video.append(x[:own], np.arange(float(own)))
            if inset:
                video.append(x[own:], np.arange(float(inset)), 1)
            video.finish()
    return path


@pytest.fixture(scope="module")
def model():
    return features.model(comparator=False, attention=False)


@pytest.fixture(scope="module")
def stores(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("matches")
    native.write(model, folder / "model")
    names = {"q.h5": (QUERIES, 1), "m.h5": (dict(list(QUERIES.items())[:2]), 2),
             "d.zarr": (DATABASE, 3), "u.h5": ({"u1": (9, 0), "u2": (8, 2), "u3": (7, 0)}, 4),
             "part.zarr": (DATABASE, 3)}  # fmt: skip
    made = {name: fill(folder / name, model, *rest) for name, rest in names.items()}
    chunk = made["part.zarr"] / "features" / "a" / "c.0.0.0"
    data = bytearray(chunk.read_bytes())
    data[-1] ^= 1  # in the inset, which is read last
    chunk.write_bytes(data)
    return made


@pytest.fixture
def requested(model, stores):
    """A function that gives a request with new sets of videos."""
    with ExitStack() as stack:

        def request(selection, config=CONFIG, database="d.zarr", **others):
            def videos(name):
                return VideoSet([stack.enter_context(open_store(stores[name]))])

            sets = {key: videos(name) for key, name in others.items()}
            return SearchRequest(
                videos("q.h5"), videos(database), model, config, selection=selection, **sets
            )

        yield request


def rows(table):
    return {q: [(m.database_id, m.score) for m in table.matches(q)] for q in table.query_ids}


@pytest.mark.parametrize("case", ["plain", "insets", "mirrored", "background", "damaged", "all"])
def test_the_best_are_those_of_the_table(requested, case):
    config = replace(CONFIG, query_insets=case in ("insets", "all"))
    others = {}
    if case in ("mirrored", "all"):
        others["mirrored"] = "m.h5"
    if case in ("background", "all"):
        others["background"] = "u.h5"
    if case in ("damaged", "all"):
        others["database"] = "part.zarr"
    table, _ = search(requested(Selection(), config, **others), limits=LIMITS)
    for selection in (Selection(1), Selection(3), Selection(threshold=0.1), Selection(2, 0.1)):
        want = rows(DenseMatches(table, selection))
        request = requested(selection, config, **others)
        found, _ = find_matches(request, limits=LIMITS)
        assert isinstance(found, SparseMatches)
        assert rows(found) == want and any(want.values())
        assert ("a" in request.database.damaged) == (case in ("damaged", "all"))


def test_all_scores_are_a_table(requested):
    found, _ = find_matches(requested(Selection(6)), limits=LIMITS)
    assert isinstance(found, DenseMatches)
    names = [match.database_id for match in found.matches("q1")]
    assert sorted(names) == sorted(DATABASE) and names.index("b") + 1 == names.index("twin")


def test_python_and_the_command_write_what_the_name_says(stores, tmp_path):
    folder = stores["q.h5"].parent
    for name in ("py.csv", "cli.csv"):
        path = tmp_path / name
        if name == "py.csv":
            api.compute_similarity(
                stores["q.h5"], stores["d.zarr"], path, folder / "model", CONFIG, top_k=2
            )
        else:
            run("compare", "-m", folder / "model", "--query_store", stores["q.h5"],
                "--database_store", stores["d.zarr"], "-o", path, "--top_k", 2,
                "--precision", "float32")  # fmt: skip
    lines = (tmp_path / "py.csv").read_text().splitlines()
    assert lines == (tmp_path / "cli.csv").read_text().splitlines() and len(lines) == 7
    info = json.loads((tmp_path / "cli.csv.info.json").read_text())
    assert info["model"] == "test model" and len(info["model_digest"]) == 64
    assert (info["top_k"], info["threshold"], info["max_fpr"]) == (2, None, None)
    assert info["settings"]["similarity_function"] == "chamfer" and info["settings"]["fps"] == 1
    assert (info["queries"], info["matches"]) == (3, 6)
    scores = api.compute_similarity(
        stores["q.h5"], stores["d.zarr"], None, folder / "model", CONFIG, top_k=2
    )
    assert [(q, d) for q, found in scores.items() for d in found] == [
        tuple(line.split(",")[:2]) for line in lines[1:]
    ]


def test_what_does_not_fit_is_refused_before_the_work(stores, tmp_path):
    folder = stores["q.h5"].parent
    given = ("compare", "-m", folder / "model", "--query_store", stores["q.h5"],
             "--database_store", stores["d.zarr"])  # fmt: skip
    assert "no format has the extension .txt" in run(*given, "-o", tmp_path / "r.txt", code=2)
    run(*given, "-o", tmp_path / "r.txt", "--format", "jsonl")
    assert len((tmp_path / "r.txt").read_text().splitlines()) == 18
    run(*given, "-o", tmp_path / "r.json", "--info_file", tmp_path / "info.json")
    assert json.loads((tmp_path / "info.json").read_text())["matches"] == 18
    with pytest.raises(InputError, match="of an output_file, but there is none"):
        api.compute_similarity(stores["q.h5"], stores["d.zarr"], file_format="csv")


def test_all_formats_have_the_same_segments(stores, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = stores["q.h5"].parent
    names = ["r.json", "r.jsonl", "r.csv", "r.parquet", "r.vcsl.json"]
    for name in names:
        api.compute_similarity(
            stores["d.zarr"], stores["d.zarr"], tmp_path / name, folder / "model", CONFIG,
            top_k=2, segments=True,
        )  # fmt: skip
    json_matches = json.loads((tmp_path / "r.json").read_text())["matches"]
    want = {
        (q, d): [[s["query_start"], s["database_start"], s["query_end"], s["database_end"]]
                 for s in match["segments"]]
        for q, found in json_matches.items() for d, match in found.items()
    }  # fmt: skip
    assert len(want) == 12 and sum(map(len, want.values())) >= 5
    lines = map(json.loads, (tmp_path / "r.jsonl").read_text().splitlines())
    assert {(x["query_id"], x["database_id"]): len(x["segments"]) for x in lines} == {
        pair: len(boxes) for pair, boxes in want.items()
    }
    boxes = json.loads((tmp_path / "r.vcsl.json").read_text())
    assert boxes == {"-".join(pair): found for pair, found in want.items()}
    rows = [(*pair, *(box or [None] * 4)) for pair, found in want.items() for box in found or [[]]]
    columns = "query_id", "ref_id", "query_start", "ref_start", "query_end", "ref_end"
    table = parquet.read_table(tmp_path / "r.parquet").to_pylist()
    assert [tuple(row[name] for name in columns) for row in table] == rows
    with (tmp_path / "r.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [tuple(row[name] for name in columns) for row in read] == [
        tuple("" if value is None else str(value) for value in row) for row in rows
    ]
    assert [float(row["score"]) for row in read] == [row["score"] for row in table]
