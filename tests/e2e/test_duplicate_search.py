"""Duplicates within stores: copies, excerpts, chains, damage; Python and the command line alike."""

import json
import warnings
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from pipeline import find_duplicates
from pipeline.config import CompareConfig
from pipeline.errors import InputError, PipelineWarning
from pipeline.nets.formats.native import write
from pipeline.output.selection import Selection
from pipeline.records import SourceInfo
from pipeline.search.collection_pairs import pairs_of_collection
from pipeline.search.engine import pair_scorer
from pipeline.search.limits import Limits
from pipeline.search.request import SearchRequest
from pipeline.search.run import score_table
from pipeline.store import create_or_append
from pipeline.workflow import open_video_set
from tests import features
from tests.command import run
from tests.messages import raises

FILMS = {seed: features.region_vectors(24, seed) for seed in range(4)}


def fill(path, spec, videos):
    """A store of `id: (vectors, width, mtime)`; a frame a second."""
    with create_or_append(path, spec, "float32") as writer:
        for video_id, (vectors, width, mtime) in videos.items():
            seconds = float(len(vectors))
            source = SourceInfo(
                f"/films/{video_id}.mp4", width * 100, mtime, "h264", width, 100, 1.0, seconds
            )
            video = writer.begin(video_id, source)
            video.append(vectors, np.arange(len(vectors), dtype=np.float64))
            video.finish()


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """A film with a copy and an excerpt; a compilation of two others with both; one by itself."""
    folder = tmp_path_factory.mktemp("stores")
    model = features.model(comparator=False, attention=False)
    write(model, folder / "model")
    from pipeline.nets.formats.loader import load_model

    spec = features.spec(load_model(folder / "model").features_digest)
    one = {
        "film": (FILMS[0], 320, 50),
        "excerpt": (FILMS[0][6:14], 640, 10),
        "alone": (FILMS[3], 320, 50),
        "first part": (FILMS[1][:12], 320, 50),
    }
    two = {
        "film": (FILMS[0], 640, 60),
        "both": (np.concatenate([FILMS[1][:12], FILMS[2][:12]]), 320, 50),
        "second part": (FILMS[2][:12], 320, 50),
    }
    fill(folder / "1.h5", spec, one)
    fill(folder / "2.zarr", spec, two)
    fill(folder / "empty.h5", spec, {})
    return folder


def search(folder, **changes):
    values = {"threshold": 0.8, "model_dir": folder / "model", **changes}
    return find_duplicates({"": folder / "1.h5", "b/": folder / "2.zarr"}, **values)


def told(report):
    """For each group its representative, then what became of the others."""
    return [
        [(m.id, m.keep, m.relation and (m.relation.kind, m.relation.other)) for m in group.members]
        for group in report.groups
    ]


def test_copies_excerpts_and_compilations_are_told_apart(stores, tmp_path):
    seen = []
    report = search(
        stores, output_file=tmp_path / "d.json", progress=lambda *counts: seen.append(counts)
    )
    assert seen and seen[-1][0] == seen[-1][1]
    assert told(report) == [
        [
            ("b/film", True, None),  # as long as the other, but of more pixels
            ("film", False, ("copy", "b/film")),
            ("excerpt", False, ("contained in", "b/film")),
        ],
        [
            ("b/both", True, None),
            ("first part", False, ("contained in", "b/both")),
            ("b/second part", False, ("contained in", "b/both")),
        ],
    ]
    assert (report.videos, report.pairs) == (7, 21)
    excerpt = report.groups[0].members[2].relation
    assert excerpt.coverage > 0.9 and 0.3 < excerpt.other_coverage < 0.4
    (stretch,) = excerpt.stretches
    assert (stretch.other_start, stretch.other_end) == pytest.approx((6, 14), abs=0.6)
    written = json.loads((tmp_path / "d.json").read_text())
    assert written["removable"] == [member.id for member in report.removable]
    assert written["settings"]["similarity_function"] == "max_chamfer"
    assert ["excerpt", "film"] in [pair[:2] for pair in written["groups"][0]["pairs"]]


def test_a_video_stays_if_it_has_more_than_those_that_stay(stores):
    assert told(search(stores, keep="oldest")) == [
        [
            ("excerpt", True, None),
            ("film", True, ("contains", "excerpt")),
            ("b/film", False, ("copy", "film")),
        ],
        [
            ("first part", True, None),
            ("b/both", True, ("contains", "first part")),
            ("b/second part", False, ("contained in", "b/both")),
        ],
    ]
    largest = search(stores, keep="largest").groups[0]  # of two as large the one listed first
    assert [m.id for m in largest.members if m.keep] == ["excerpt", "b/film"]
    first = search(stores, keep="first").groups[0]
    assert [m.id for m in first.members if m.keep] == ["film"]


def test_the_command_prints_a_table_and_does_as_python(stores, tmp_path, capfd):
    command = ["duplicates", stores / "1.h5", f"b/={stores / '2.zarr'}", "-m", stores / "model"]
    said = run(*command, "--threshold", 0.8, "-o", tmp_path / "d.csv")
    lines = said.splitlines()
    assert "7 videos, 21 pairs" in lines
    assert "group 1: 3 videos, 2 could be removed" in lines
    (excerpt,) = [line for line in lines if "remove  excerpt" in line]
    assert "contained in b/film (" in excerpt and "0:08" in excerpt and "640x100" in excerpt
    assert "4 could be removed" in lines[-1] and "nothing was removed" in lines[-1]
    rows = (tmp_path / "d.csv").read_text().splitlines()
    assert len(rows) == 7 and rows[1].startswith("1,keep,b/film,")
    said = run(*command, "--threshold", 0.8, "--output", "-")
    assert "group 1:" not in said
    assert json.loads(capfd.readouterr().out)["removable"][0] == "film"
    said = run(*command, code=2)
    assert "no calibration" in said and "--threshold" in said
    assert "not both" in run(*command, "--threshold", 0.8, "--max_fpr", 0.1, code=2)
    assert "no calibration" in run(*command, "--max_fpr", 0.01, code=2)


def test_nothing_is_found_among_unrelated_videos_or_in_one_alone(stores, tmp_path):
    spec = features.spec(features_digest(stores))
    fill(tmp_path / "one.h5", spec, {"a": (FILMS[0], 320, 1)})
    report = find_duplicates(tmp_path / "one.h5", model_dir=stores / "model", threshold=0.1)
    assert (report.groups, report.videos, report.pairs) == ((), 1, 0)
    fill(tmp_path / "two.h5", spec, {"a": (FILMS[0], 320, 1), "b": (FILMS[1], 320, 1)})
    report = find_duplicates(tmp_path / "two.h5", model_dir=stores / "model", threshold=0.8)
    assert (report.groups, report.videos, report.pairs) == ((), 2, 1)


def features_digest(folder):
    from pipeline.nets.formats.loader import load_model

    return load_model(folder / "model").features_digest


def test_an_empty_store_is_refused_by_itself_and_no_harm_beside_others(stores):
    with raises(InputError, "empty.h5", remedy="extract"):
        find_duplicates(stores / "empty.h5", model_dir=stores / "model", threshold=0.8)
    both = [stores / "1.h5", stores / "empty.h5"]
    report = find_duplicates(both, model_dir=stores / "model", threshold=0.8)
    assert [m.id for m in report.groups[0].members] == ["film", "excerpt"]


def test_a_damaged_video_is_named_and_left_out(stores, tmp_path):
    spec = features.spec(features_digest(stores))
    videos = dict.fromkeys(("a", "b", "c"), (FILMS[0], 320, 1))
    fill(tmp_path / "d.h5", spec, videos)
    features.spoil(tmp_path / "d.h5", np.nan)
    with pytest.warns(PipelineWarning, match="left out: .*'a'"):
        report = find_duplicates(tmp_path / "d.h5", model_dir=stores / "model", threshold=0.8)
    assert [m.id for m in report.groups[0].members] == ["b", "c"]
    assert report.videos == 2 and len(report.damaged) == 1
    said = run("duplicates", tmp_path / "d.h5", "-m", stores / "model", "--threshold", 0.8, code=3)
    assert "damaged, left out: 1" in said


@pytest.mark.parametrize("comparator", [False, True])
def test_small_blocks_find_the_pairs_of_the_whole_table(tmp_path, comparator):
    model = features.model(comparator=comparator, attention=False)
    spec = features.spec(model.features_digest)
    rng = np.random.default_rng(1)
    lengths = rng.integers(2, 40, 14).tolist()
    videos = {f"v{i}": (features.region_vectors(n, i), 320, 1) for i, n in enumerate(lengths)}
    fill(tmp_path / "s.h5", spec, videos)
    with ExitStack() as stack:
        videos = open_video_set(stack, [("", tmp_path / "s.h5")])
        config = CompareConfig(similarity_function="max_chamfer")
        request = SearchRequest(videos, videos, model, config)
        table, _ = score_table(request)
        order = np.argsort(lengths, kind="stable")
        wanted = {
            (int(a), int(b)): table[a, b] for i, a in enumerate(order) for b in order[i + 1 :]
        }
        threshold = float(np.median(list(wanted.values())))
        request = replace(request, selection=Selection(threshold=threshold))
        limits = Limits(piece_frames=8, query_block_frames=24, matrix_cells=24 * 32)
        seen = []
        pairs = pairs_of_collection(
            request, pair_scorer(request), limits=limits,
            progress=lambda *counts: seen.append(counts),
        )  # fmt: skip
    columns = pairs.first.tolist(), pairs.second.tolist(), pairs.scores.tolist()
    found = {(first, second): score for first, second, score in zip(*columns, strict=True)}
    near = {pair for pair, score in wanted.items() if abs(score - threshold) < 1e-4}
    assert set(found) - near == {p for p, score in wanted.items() if score >= threshold} - near
    assert len(found) > 30 and pairs.compared == len(wanted)
    np.testing.assert_allclose([found[p] for p in found], [wanted[p] for p in found], atol=1e-5)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1] and len(seen) > 10


def test_scores_are_not_normalised(stores):
    asked = search(stores, config=CompareConfig(normalize="database"))
    assert asked.info.settings["normalize"] == "none"
    assert asked.groups == search(stores).groups


def test_python_is_silent_where_nothing_is_wrong(stores):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search(stores)
